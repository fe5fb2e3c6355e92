//! Nobody is sent an older code after a newer one, whatever the upstreams answer and however often the relay dies. And
//! nobody waits for a code because many are invited.
//!
//! What the upstreams do comes from a seed; `AUTHRELAY_SEED` sets another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::harness::config::{LISTENER, NO_REPLY, client, small, upstream};
use crate::harness::dialogue::{Dialogue, Sent};
use crate::harness::look_until;
use crate::harness::mail::{Mail, message, password_reset};
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::{Answer, Moment, Upstream};

const FROM: &str = "shop@legacy.example";
const PEOPLE: u32 = 5;
const CODES: u32 = 90;
/// How often the relay is killed in between.
const KILLS: u32 = 3;
/// The most that an upstream refuses; then it gets well, so that every test ends.
const REFUSALS: usize = 60;

/// What may have reached people, in the order in which it did: recipient and code.
type Arrived = Arc<Mutex<Vec<(String, u32)>>>;

fn code(person: u32, number: u32) -> (String, Vec<u8>) {
    let to = format!("person{person}@customer.example");
    let raw = message(&[
        "From: Shop <shop@legacy.example>",
        &format!("To: {to}"),
        &format!("Subject: {number} is your code"),
        "",
        "Use this code to sign in to the shop:",
        &format!("{number}"),
    ]);
    (to, raw)
}

fn number_of(mail: &Mail) -> u32 {
    let subject = mail.header("Subject").expect("a subject");
    subject.split(' ').next().and_then(|number| number.parse().ok()).expect("a code")
}

/// An upstream that accepts, puts off, refuses for a while, and hangs up before and after the dot, at random.
fn moody(mut random: fastrand::Rng, arrived: Arrived) -> Upstream {
    let draw = Mutex::new(move |moment: &Moment<'_>| {
        let refusals: &[Answer] = match moment {
            Moment::Connect => &[Answer::Reply("421 4.3.2 Busy"), Answer::Drop],
            Moment::Mail(_) => &[Answer::Reply("451 4.3.0 Later"), Answer::Reply("421 4.3.2 Busy")],
            Moment::Rcpt(_) => &[Answer::Reply("450 4.2.1 Later"), Answer::Drop],
            Moment::Data => &[Answer::Reply("451 4.3.0 Later")],
            Moment::Dot(_) => {
                &[Answer::Drop, Answer::Reply("451 4.3.0 Later"), Answer::Reply("452 4.2.2 Full")]
            }
        };
        let share = if matches!(moment, Moment::Dot(_)) { 40 } else { 8 };
        if random.u32(0..100) < share { refusals[random.usize(..refusals.len())] } else { Answer::Accept }
    });
    let refused = Mutex::new(0);
    Upstream::start(move |moment| {
        let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
        let answer =
            if *refused < REFUSALS { (draw.lock().expect("a draw"))(&moment) } else { Answer::Accept };
        *refused += usize::from(answer != Answer::Accept);
        if let (Moment::Dot(mail), Answer::Accept | Answer::Drop) = (moment, answer) {
            // Who hangs up after the dot may have taken the message.
            let number = number_of(mail);
            let to = mail.recipients.iter().map(|to| (to.clone(), number));
            arrived.lock().expect("what arrived").extend(to);
        }
        answer
    })
}

#[test]
fn nobody_gets_an_older_code_after_a_newer_one() {
    let seed = std::env::var("AUTHRELAY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2026);
    let mut random = fastrand::Rng::with_seed(seed);
    let arrived = Arrived::default();
    let upstreams = [random.fork(), random.fork()].map(|random| moody(random, Arc::clone(&arrived)));
    let tables: Vec<String> = upstreams
        .iter()
        .zip(["first", "second"])
        .map(|(one, name)| {
            let breaker =
                "breaker = { failures = 10, shortest = \"1s\", longest = \"1s\" }\nmax_connections = 3";
            upstream(name, one.address(), breaker)
        })
        .collect();
    let category = "[categories.signin]\nretry = [\"200ms\"]\nper_recipient = []\n";
    let app = client("app", "category = \"signin\"");
    let mut relay = Home::new().start(&format!("{LISTENER}{app}{NO_REPLY}{}{category}", tables.concat()));

    let mut newest: BTreeMap<u32, String> = BTreeMap::new();
    let mut dialogue = relay.hello();
    for number in 0..CODES {
        if number % (CODES / (KILLS + 1)) == CODES / (KILLS + 1) - 1 {
            relay.kill9();
            relay.restart();
            dialogue = relay.hello();
        }
        let person = random.u32(0..PEOPLE);
        let (to, raw) = code(person, 100_000 + number);
        let Sent::Answered(reply) = dialogue.try_send(FROM, &[&to], &raw) else {
            panic!("hung up: seed {seed}")
        };
        newest.insert(person, reply.expect(250).id());
    }
    for id in newest.values() {
        // Asked of the store: what a relay wrote last before it was killed need not be in its log.
        look_until("the end of the newest", || {
            let state = relay.traced(id)["state"].clone();
            ["handed-over", "unknown"].iter().any(|end| state == *end).then_some(())
        });
    }
    assert_newer_and_newer(&arrived, seed);
    // The end of an older one is no attempt of it.
    drop(relay);
    assert_newer_and_newer(&arrived, seed);
    let refused = |one: &Upstream| {
        let seen = one.seen();
        seen.dots.len() - seen.taken.len()
    };
    let doubted: usize = upstreams.iter().map(refused).sum();
    assert!(doubted > 3, "the upstreams were too kind: seed {seed}");
}

#[track_caller]
fn assert_newer_and_newer(arrived: &Arrived, seed: u64) {
    let mut last: BTreeMap<String, u32> = BTreeMap::new();
    let all = arrived.lock().expect("what arrived").clone();
    for (to, number) in &all {
        let before = last.insert(to.clone(), *number).unwrap_or_default();
        assert!(before <= *number, "{to} got {before}, then {number}: seed {seed}\n{all:?}");
    }
    assert_eq!(last.len(), PEOPLE as usize, "everybody got something: seed {seed}");
}

/// Far more invitations wait than the upstream is given in the time of the test, on one connection and in one memory.
#[test]
fn nobody_waits_for_a_code_because_many_are_invited() {
    const INVITED: usize = 300;
    let provider = Upstream::accepting();
    let settings = "may_declare = true\nburst = { recipients = 100000, within = \"1m\" }\n";
    let tables = "[categories.invitation]\nsettle = \"0s\"\n[queue]\nactive_messages = 40\n";
    let config = small(provider.address(), settings, tables)
        .replace("tls = \"plain\"\n", "tls = \"plain\"\nmessages_per_minute = 120\nmax_connections = 2\n");
    let relay = Relay::start(&config);
    let mut dialogue = relay.hello();
    for number in 0..INVITED {
        let to = format!("user{number}@customer.example");
        dialogue.send(FROM, &[&to], &declared("invitation", &to, number)).expect(250);
    }
    provider.wait_taken(5);
    let before = provider.seen().taken.len();
    let people: Vec<String> = (0..8).map(|number| format!("person{number}@customer.example")).collect();
    let wait = |dialogue: &mut Dialogue, to: &String| {
        let reset = [b"X-Authrelay-Category: password-reset\r\n".to_vec(), password_reset(to)].concat();
        dialogue.send(FROM, &[to], &reset).expect(250).id()
    };
    let resets: Vec<String> = people.iter().map(|to| wait(&mut dialogue, to)).collect();
    for id in &resets {
        relay.wait_event(id, "handed-over");
    }
    let between = provider.seen().taken.len() - before - resets.len();
    assert!(
        between <= 3 * resets.len(),
        "{between} invitations went before the last of {} resets",
        resets.len()
    );
    assert!(before + between < INVITED / 2, "too few invitations waited for this to mean anything");
}

fn declared(category: &str, to: &str, number: usize) -> Vec<u8> {
    message(&[
        "From: Wiki <wiki@legacy.example>",
        &format!("To: {to}"),
        &format!("Subject: Person{number}, join the Acme wiki"),
        &format!("X-Authrelay-Category: {category}"),
        "",
        "Carla has added you to the wiki of her team, where everything is written down.",
        &format!("https://wiki.acme.example/join?t=t0ken{number}"),
    ])
}
