//! One person, several codes: the newest is what counts, the same message is one, and nobody is flooded.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::config::{LISTENER, NO_REPLY, client, small, upstream};
use crate::harness::mail::message;
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::{Answer, Moment, Upstream, unused_address};

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";
const SIGNIN: &str = "category = \"signin\"";
const QUICK: &str = "[categories.signin]\nretry = [\"200ms\"]\n";

fn code(number: u32) -> Vec<u8> {
    message(&[
        "From: Shop <shop@legacy.example>",
        &format!("To: {ANNA}"),
        &format!("Subject: {number} is your code"),
        "",
        "Use this code to sign in to the shop:",
        &format!("{number}"),
        "It is good for ten minutes and for nothing else.",
    ])
}

fn subjects(upstream: &Upstream) -> Vec<String> {
    upstream.seen().taken.iter().filter_map(|mail| mail.header("Subject")).collect()
}

#[test]
fn of_the_codes_that_wait_only_the_newest_is_sent_also_after_a_crash() {
    let address = unused_address();
    let provider = upstream("provider", address, "breaker = { shortest = \"1s\", longest = \"1s\" }");
    let tables = format!("{LISTENER}{}{NO_REPLY}{provider}{QUICK}", client("app", SIGNIN));
    let mut relay = Home::new().start(&tables);
    let old: Vec<String> =
        (111_111..111_114).map(|number| relay.accept(FROM, &[ANNA], &code(number))).collect();
    relay.kill9();
    relay.restart();
    let newest = relay.accept(FROM, &[ANNA], &code(222_222));
    let other = relay.accept(FROM, &["bert@customer.example"], &code(333_333));
    let provider = Upstream::start_at(address, |_| Answer::Accept);
    relay.wait_event(&newest, "handed-over");
    relay.wait_event(&other, "handed-over");
    for id in &old {
        assert_eq!(relay.traced(id)["state"], "superseded");
    }
    let mut sent = subjects(&provider);
    sent.sort();
    assert_eq!(sent, ["222222 is your code", "333333 is your code"]);
}

#[test]
fn an_older_code_is_not_tried_again_after_a_newer_one() {
    let asked = AtomicUsize::new(0);
    let first = Upstream::start(move |moment| match moment {
        // The first code gets no answer, so it may have arrived; it would be repeated here.
        Moment::Dot(_) if asked.fetch_add(1, Ordering::Relaxed) == 0 => Answer::Drop,
        _ => Answer::Accept,
    });
    let second = Upstream::accepting();
    let tables = upstream("second", second.address(), "") + QUICK;
    let relay = Relay::start(&small(first.address(), SIGNIN, &tables));
    let older = relay.accept(FROM, &[ANNA], &code(111_111));
    relay.wait_event(&older, "deferred");
    let newer = relay.accept(FROM, &[ANNA], &code(222_222));
    relay.wait_event(&newer, "handed-over");
    relay.wait_event(&older, "superseded");
    let order: Vec<_> = first.seen().dots.iter().filter_map(|mail| mail.header("Subject")).collect();
    assert_eq!(order, ["111111 is your code", "222222 is your code"]);
    assert_eq!(second.seen().connections, 0);
}

#[test]
fn a_newer_code_waits_for_the_answer_to_an_older_one() {
    let provider = Upstream::start(|moment| match moment {
        Moment::Rcpt(_) => Answer::Reply("450 4.2.1 Come again"),
        _ => Answer::Accept,
    });
    let relay = Relay::start(&small(provider.address(), SIGNIN, QUICK));
    let older = relay.accept(FROM, &[ANNA], &code(111_111));
    relay.wait_events(&older, "deferred", 2);
    // Whatever moment this comes at: between two attempts or while one is made.
    let newer = relay.accept(FROM, &[ANNA], &code(222_222));
    relay.wait_event(&older, "superseded");
    relay.wait_event(&newer, "deferred");
    provider.become_(|_| Answer::Accept);
    relay.wait_event(&newer, "handed-over");
    assert_eq!(subjects(&provider), ["222222 is your code"]);
    let reason = relay.traced(&older)["reason"].to_string();
    assert!(reason.contains("newer"), "{reason}");
}

#[test]
fn codes_of_another_kind_or_with_supersede_off_stand_beside_each_other() {
    let address = unused_address();
    let provider = upstream("provider", address, "breaker = { shortest = \"1s\", longest = \"1s\" }");
    let off = "[listeners.other]\naddress = \"127.0.0.1:0\"\n[clients.other]\nlisteners = [\"other\"]\ncategory = \"mfa\"\n\
               [categories.mfa]\nsupersede = false\n";
    let relay =
        Home::new().start(&format!("{LISTENER}{}{NO_REPLY}{provider}{off}{QUICK}", client("app", SIGNIN)));
    let device =
        String::from_utf8(code(444_444)).expect("a text").replace("sign in to the shop", "add a new device");
    let mut ids =
        vec![relay.accept(FROM, &[ANNA], &code(111_111)), relay.accept(FROM, &[ANNA], device.as_bytes())];
    let mut other = crate::harness::dialogue::Dialogue::hello(relay.listener("other"));
    ids.extend((555_555..555_557).map(|number| other.send(FROM, &[ANNA], &code(number)).expect(250).id()));
    let provider = Upstream::start_at(address, |_| Answer::Accept);
    for id in &ids {
        relay.wait_event(id, "handed-over");
    }
    assert_eq!(provider.seen().taken.len(), 4);
}

#[test]
fn the_same_message_twice_is_one_as_long_as_the_first_stands() {
    let fails = AtomicUsize::new(0);
    let provider = Upstream::start(move |moment| match moment {
        Moment::Rcpt("carl@customer.example") if fails.fetch_add(1, Ordering::Relaxed) == 0 => {
            Answer::Reply("550 5.1.1 Nobody")
        }
        _ => Answer::Accept,
    });
    let relay = Relay::start(&small(provider.address(), SIGNIN, ""));
    let mut dialogue = relay.hello();
    let first = dialogue.send(FROM, &[ANNA], &code(111_111)).expect(250).id();
    relay.wait_event(&first, "handed-over");
    let second = dialogue.send(FROM, &[ANNA], &code(111_111)).expect(250);
    assert!(second.text().contains("already queued as"), "{second}");
    assert_eq!(second.id(), first);
    for (from, to) in [("other@legacy.example", ANNA), (FROM, "bert@customer.example")] {
        let other = dialogue.send(from, &[to], &code(111_111)).expect(250).id();
        assert_ne!(other, first);
        relay.wait_event(&other, "handed-over");
    }
    let carl = "carl@customer.example";
    let failed = dialogue.send(FROM, &[carl], &code(111_111)).expect(250).id();
    relay.wait_event(&failed, "failed");
    let again = dialogue.send(FROM, &[carl], &code(111_111)).expect(250).id();
    assert_ne!(again, failed);
    relay.wait_event(&again, "handed-over");
    assert_eq!(provider.seen().taken.len(), 4);
}

#[test]
fn nobody_is_flooded_and_what_is_not_taken_is_on_record() {
    let provider = Upstream::accepting();
    let limit = "[categories.signin]\nper_recipient = [\"100/10m\", \"3/1d\"]\n";
    let mut relay = Relay::start(&small(provider.address(), SIGNIN, limit));
    for number in 0..3 {
        let id = relay.accept(FROM, &[ANNA], &code(111_111 + number));
        relay.wait_event(&id, "handed-over");
    }
    // A repeat is no message more, and a restart forgets nothing.
    relay.hello().send(FROM, &["Anna@CUSTOMER.example"], &code(111_113)).expect(451);
    relay.kill9();
    relay.restart();
    let reply = relay.hello().send(FROM, &[ANNA], &code(111_119)).expect(451);
    let text = reply.text();
    assert!(
        text.starts_with("4.7.1") && text.contains("category signin: at most 3 in 1 d to one recipient"),
        "{reply}"
    );
    assert!(text.contains("T00:00:00Z"), "{reply}");
    let events = relay.trace(&reply.id())["events"].clone();
    assert_eq!((&events[0]["event"], &events[0]["to"]), (&"refused".into(), &ANNA.into()), "{events}");
    assert_eq!(relay.trace(&reply.id())["messages"].as_array().map(Vec::len), Some(0));
    let bert = relay.accept(FROM, &["bert@customer.example"], &code(111_119));
    relay.wait_event(&bert, "handed-over");
    assert_eq!(provider.seen().taken.len(), 4);
}
