//! What happens to bulk: bursts that are held whole, declared bulk that is suppressed, and the pace of normal mail.

use std::collections::BTreeSet;

use crate::harness::config::{LISTENER, NO_REPLY, NO_REPLY_ADDRESS, client, small, upstream};
use crate::harness::dialogue::Dialogue;
use crate::harness::mail::{Mail, message, password_reset};
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::{Upstream, unused_address};

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

/// A client that says of each message what it is.
const DECLARES: &str = "may_declare = true\n";

fn invitation(number: usize) -> (String, Vec<u8>) {
    let to = format!("user{number}@customer.example");
    let raw = message(&[
        "From: Wiki <wiki@legacy.example>",
        &format!("To: Person{number} Number{number} <{to}>"),
        &format!("Subject: Person{number}, join the Acme wiki"),
        "X-Authrelay-Category: invitation",
        "",
        &format!("Hello Person{number},"),
        "",
        "Carla has added you to the wiki of her team, where everything is written down.",
        &format!("https://wiki.acme.example/join?t=t0ken{number}"),
    ]);
    (to, raw)
}

/// Sends invitations over one connection, and gives their ids.
fn invite(dialogue: &mut Dialogue, people: std::ops::Range<usize>) -> Vec<String> {
    let send = |number| {
        let (to, raw) = invitation(number);
        dialogue.send(FROM, &[&to], &raw).expect(250).id()
    };
    people.map(send).collect()
}

fn reset(to: &str) -> Vec<u8> {
    [b"X-Authrelay-Category: password-reset\r\n".to_vec(), password_reset(to)].concat()
}

fn recipients(mails: &[Mail]) -> BTreeSet<String> {
    mails.iter().flat_map(|mail| mail.recipients.clone()).collect()
}

/// The rows in a state, as `queue list` counts them.
fn listed(relay: &Relay, more: &[&str]) -> usize {
    let arguments = [&["queue", "list", "--json", "--limit", "1000"], more].concat();
    relay.cli(&arguments).json()["messages"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_burst_is_held_whole_and_released_exactly_once() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&small(provider.address(), DECLARES, ""));
    let mut dialogue = relay.hello();
    let ids = invite(&mut dialogue, 0..24);
    // Urgent mail in between is none of its business.
    let code = dialogue.send(FROM, &[ANNA], &reset(ANNA)).expect(250).id();
    relay.wait_event(&code, "handed-over");
    let (to, raw) = invitation(24);
    let reply = dialogue.send(FROM, &[&to], &raw).expect(250);
    assert!(reply.text().contains("accepted as"), "{reply}");

    let told = relay.wait_line("the burst", |line| line["message"] == "burst-held");
    assert_eq!(
        (&told["level"], &told["client"], &told["category"]),
        (&"WARN".into(), &"app".into(), &"invitation".into())
    );
    assert_eq!(relay.log().matches("\"burst-held\"").count(), 1);
    let status = relay.cli(&["status", "--json"]).json();
    let burst = status["bursts"][0]["id"].as_str().expect("a burst").to_owned();
    assert!(told["reason"].as_str().is_some_and(|reason| reason.contains(&burst)), "{told}");
    assert_eq!((&status["bursts"][0]["held"], &status["bursts"][0]["goes_on"]), (&25.into(), &true.into()));
    let shown = relay.cli(&["status"]).ok().stdout;
    assert!(shown.contains(&format!("queue release --burst {burst}")), "{shown}");
    assert_eq!((listed(&relay, &["--burst", &burst]), listed(&relay, &["--state", "held"])), (25, 25));
    for id in &ids {
        let traced = relay.traced(id);
        assert_eq!((&traced["state"], &traced["attempts"]), (&"held".into(), &0.into()), "{traced}");
        assert_eq!(traced["reason"], format!("burst {burst}"));
    }
    assert_eq!(provider.seen().dots.len(), 1, "only the reset left");

    let acted = relay.cli(&["queue", "release", "--burst", &burst, "--json"]).json();
    assert_eq!(acted["done"], 25);
    for id in &ids {
        relay.wait_event(id, "handed-over");
    }
    let taken = provider.wait_taken(26);
    assert_eq!((taken.len(), recipients(&taken).len()), (26, 26));
    assert!(taken.iter().all(|mail| mail.reverse_path == NO_REPLY_ADDRESS));
    let again = relay.cli(&["queue", "release", "--burst", &burst]);
    assert!(!again.status.success() && again.stderr.contains("holds nothing"), "{again:?}");
    let unknown = relay.cli(&["queue", "remove", "--burst", "bbbbbbbb"]);
    assert!(!unknown.status.success() && unknown.stderr.contains("no burst"), "{unknown:?}");
    assert!(!relay.cli(&["queue", "release"]).status.success());
    assert!(!relay.cli(&["queue", "release", &ids[0], "--burst", &burst]).status.success());
}

#[test]
fn fewer_pass_when_they_have_settled_and_two_clients_are_two() {
    let provider = Upstream::accepting();
    let other = "[listeners.other]\naddress = \"127.0.0.1:0\"\n[clients.other]\nlisteners = [\"other\"]\nmay_declare = true\n\
                 [categories.invitation]\nsettle = \"2s\"\n";
    let relay = Relay::start(&small(provider.address(), DECLARES, other));
    let mut ids = invite(&mut relay.hello(), 0..19);
    ids.extend(invite(&mut Dialogue::hello(relay.listener("other")), 19..38));
    for id in &ids {
        let age = relay.wait_event(id, "handed-over")["age_ms"].as_u64().expect("its age");
        assert!((2_000..62_000).contains(&age), "{age} ms");
    }
    let taken = provider.wait_taken(38);
    assert_eq!((taken.len(), recipients(&taken).len()), (38, 38));
    assert!(!relay.log().contains("\"burst-held\""));
}

#[test]
fn a_trickle_passes_however_long_it_lasts() {
    let provider = Upstream::accepting();
    let settings = "may_declare = true\nburst = { recipients = 2, within = \"1s\" }\n";
    let relay =
        Relay::start(&small(provider.address(), settings, "[categories.invitation]\nsettle = \"1s\"\n"));
    for number in 0..5 {
        let (to, raw) = invitation(number);
        let id = relay.accept(FROM, &[&to], &raw);
        // It was accepted more than a second ago when the next one comes.
        relay.wait_event(&id, "handed-over");
    }
    let taken = provider.wait_taken(5);
    assert_eq!((taken.len(), recipients(&taken).len()), (5, 5));
    assert!(!relay.log().contains("\"burst-held\""));
    // Two at once are a burst there.
    invite(&mut relay.hello(), 5..7);
    assert_eq!(relay.cli(&["status", "--json"]).json()["bursts"][0]["held"], 2);
}

#[test]
fn repeats_and_what_is_refused_do_not_count() {
    let provider = Upstream::accepting();
    let settings = "may_declare = true\nburst = { recipients = 3, within = \"1m\" }\n";
    let relay = Relay::start(&small(provider.address(), settings, ""));
    let mut dialogue = relay.hello();
    let (anna, _) = invitation(0);
    for number in 0..10 {
        // The same template to the same person, and never the same bytes.
        let (_, raw) = invitation(number);
        dialogue.send(FROM, &[&anna], &raw).expect(250);
    }
    for number in 10..20 {
        let (to, raw) = invitation(number);
        let text =
            String::from_utf8(raw).expect("a text").replace("Category: invitation", "Category: marketing");
        dialogue.send(FROM, &[&to], text.as_bytes()).expect(550);
        let (to, raw) = invitation(number);
        let text = String::from_utf8(raw).expect("a text");
        let html = text
            .replace("\r\n\r\n", "\r\nContent-Type: text/html\r\n\r\n<a href=\"javascript:x()\">Join</a>");
        let reply = dialogue.send(FROM, &[&to], html.as_bytes()).expect(550);
        assert!(reply.text().contains("guard:link"), "{reply}");
    }
    invite(&mut dialogue, 20..21);
    assert_eq!(relay.cli(&["status", "--json"]).json()["bursts"], serde_json::json!([]));
    assert_eq!(listed(&relay, &["--state", "queued"]), 11);
    // A third person makes it a burst, and the repeats are part of it.
    let (to, raw) = invitation(21);
    let reply = dialogue.send(FROM, &[&to], &raw).expect(250);
    assert!(reply.text().contains("accepted as"), "{reply}");
    assert_eq!(relay.cli(&["status", "--json"]).json()["bursts"][0]["held"], 12);
    assert_eq!(provider.seen().dots.len(), 0);
}

#[test]
fn a_burst_goes_on_over_a_crash_and_can_be_removed() {
    let provider = Upstream::accepting();
    let mut relay = Relay::start(&small(provider.address(), DECLARES, ""));
    let waits = invite(&mut relay.hello(), 0..12).remove(0);
    let traced = relay.traced(&waits);
    assert!(
        traced["reason"].as_str().is_some_and(|reason| reason.contains("in case it is one of many")),
        "{traced}"
    );
    relay.kill9();
    relay.restart();
    invite(&mut relay.hello(), 12..25);
    let status = relay.cli(&["status", "--json"]).json();
    assert_eq!(status["bursts"][0]["held"], 25, "{status}");
    let burst = status["bursts"][0]["id"].as_str().expect("a burst").to_owned();
    relay.kill9();
    relay.restart();
    let (to, raw) = invitation(25);
    relay.accept(FROM, &[&to], &raw);
    assert_eq!(listed(&relay, &["--burst", &burst, "--state", "held"]), 26);
    relay.cli(&["queue", "remove", "--burst", &burst]).ok();
    assert_eq!(listed(&relay, &["--burst", &burst, "--state", "removed"]), 26);
    let code = relay.accept(FROM, &[ANNA], &reset(ANNA));
    relay.wait_event(&code, "handed-over");
    assert_eq!(provider.seen().dots.len(), 1);
}

#[test]
fn declared_bulk_is_answered_recorded_and_not_sent() {
    let provider = Upstream::accepting();
    let rule =
        "[[rules]]\nname = \"import\"\ncategory = \"invitation-bulk\"\nheader.Precedence = \"^bulk$\"\n";
    let relay = Relay::start(&small(provider.address(), DECLARES, rule));
    let mut dialogue = relay.hello();
    let by_header = |number: usize| {
        let (to, raw) = invitation(number);
        let raw = String::from_utf8(raw).expect("a text");
        (to, raw.replace("X-Authrelay-Category: invitation", "Precedence: bulk").into_bytes())
    };
    let by_declaration = |number: usize| {
        let (to, raw) = invitation(number);
        let raw = String::from_utf8(raw).expect("a text");
        (to, raw.replace("Category: invitation", "Category: invitation-api").into_bytes())
    };
    let mut ids = Vec::new();
    for number in 0..30 {
        let (to, raw) = if number < 15 { by_header(number) } else { by_declaration(number) };
        ids.push(dialogue.send(FROM, &[&to], &raw).expect(250).id());
    }
    for id in &ids {
        assert_eq!(relay.events(id), ["suppressed"]);
        let traced = relay.traced(id);
        assert_eq!((&traced["state"], &traced["attempts"]), (&"suppressed".into(), &0.into()));
    }
    assert_eq!(relay.traced(&ids[0])["rule"], "rule:import");
    assert_eq!(relay.traced(&ids[29])["category"], "invitation-api");
    let status = relay.cli(&["status", "--json"]).json();
    assert_eq!((&status["queue"]["suppressed"], &status["bursts"]), (&30.into(), &serde_json::json!([])));
    let code = dialogue.send(FROM, &[ANNA], &reset(ANNA)).expect(250).id();
    relay.wait_event(&code, "handed-over");
    let dots = provider.seen().dots.len();
    assert_eq!((provider.seen().connections, dots), (1, 1));
    // Within its life an operator can let one go, in no-reply's name.
    relay.cli(&["queue", "release", &ids[3]]).ok();
    relay.wait_event(&ids[3], "handed-over");
    let released = provider.wait_taken(2).remove(1);
    assert_eq!(
        (released.recipients, released.reverse_path.as_str()),
        (vec![by_header(3).0], NO_REPLY_ADDRESS)
    );
}

#[test]
fn normal_mail_over_the_pace_is_delayed_and_says_so() {
    let provider = Upstream::accepting();
    let settings = "may_declare = true\nper_minute = 2\n";
    let relay =
        Relay::start(&small(provider.address(), settings, "[categories.invitation]\nsettle = \"0s\"\n"));
    let mut dialogue = relay.hello();
    let ids = invite(&mut dialogue, 0..2);
    relay.wait_event(&ids[0], "handed-over");
    let delayed = relay.traced(&ids[1]);
    assert_eq!((&delayed["state"], &delayed["attempts"]), (&"queued".into(), &0.into()), "{delayed}");
    assert_eq!(delayed["reason"], "delayed: client app sends at most 2 a minute");
    let shown = relay.cli(&["trace", &ids[1]]).ok().stdout;
    assert!(shown.contains("at most 2 a minute") && shown.contains("next attempt"), "{shown}");
    for number in 0..5 {
        let to = format!("reset{number}@customer.example");
        let id = dialogue.send(FROM, &[&to], &reset(&to)).expect(250).id();
        relay.wait_event(&id, "handed-over");
    }
    assert_eq!(provider.seen().dots.len(), 6);
}

#[test]
fn a_full_backlog_turns_normal_mail_away_and_no_other() {
    let provider = upstream("provider", unused_address(), "breaker = { longest = \"1s\" }");
    let queue = "[queue]\nbacklog = 3\n";
    let relay =
        Home::new().start(&format!("{LISTENER}{}{NO_REPLY}{provider}{queue}", client("app", DECLARES)));
    let mut dialogue = relay.hello();
    invite(&mut dialogue, 0..3);
    let (to, raw) = invitation(3);
    let reply = dialogue.send(FROM, &[&to], &raw).expect(451);
    assert!(reply.text().starts_with("4.3.2") && reply.text().contains("category invitation"), "{reply}");
    let refused = relay.trace(&to);
    assert_eq!(refused["messages"].as_array().map(Vec::len), Some(0), "{refused}");
    assert_eq!(refused["events"][0]["event"], "refused");
    for number in 0..5 {
        let to = format!("reset{number}@customer.example");
        dialogue.send(FROM, &[&to], &reset(&to)).expect(250);
    }
}
