//! What becomes of a message that the upstream does not simply take.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::harness::config::{LISTENER, NO_REPLY, client, small, upstream};
use crate::harness::mail::{message, password_reset};
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::{Answer, Moment, Upstream, unused_address};

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

/// A category's retry clock that a test need not wait for.
const QUICK: &str = "[categories.password-reset]\nretry = [\"200ms\"]\n";

/// Invitations that go at once.
const SETTLED: &str = "[categories.invitation]\nsettle = \"0s\"\n";

fn is_dot(moment: Moment<'_>) -> bool {
    matches!(moment, Moment::Dot(_))
}

#[test]
fn each_recipient_has_an_end_of_its_own() {
    let provider = Upstream::start(|moment| match moment {
        Moment::Rcpt("bert@customer.example") => Answer::Reply("550 5.1.1 No such user here"),
        _ => Answer::Accept,
    });
    let relay = Relay::start(&small(provider.address(), "category = \"invitation\"", SETTLED));
    let to = [ANNA, "bert@customer.example", "carla@customer.example"];
    let invitation = message(&["From: a@legacy.example", "Subject: Join us", "", "Join us."]);
    let id = relay.accept(FROM, &to, &invitation);
    relay.wait_events(&id, "handed-over", 2);
    relay.wait_event(&id, "failed");
    let trace = relay.trace(&id);
    let rows = trace["messages"].as_array().expect("rows");
    let mut ends: Vec<_> = rows.iter().map(|row| (row["to"].as_str(), row["state"].as_str())).collect();
    ends.sort();
    let ends: Vec<_> = ends.into_iter().map(|(to, state)| (to.unwrap_or(""), state.unwrap_or(""))).collect();
    assert_eq!(ends, [(to[0], "handed-over"), (to[1], "failed"), (to[2], "handed-over")]);
    let of_bert = relay.traced(to[1]);
    let reason = of_bert["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("550") && reason.contains("5.1.1"), "{reason}");
    let of_anna = relay.traced(ANNA);
    let reference = of_anna["reference"].as_str().unwrap_or_default();
    assert!(reference.contains("queued as UP"), "{reference}");
    assert_eq!(provider.seen().taken.len(), 2);
}

#[test]
fn a_temporary_refusal_is_tried_again() {
    let asked = AtomicUsize::new(0);
    let provider = Upstream::start(move |moment| match moment {
        Moment::Rcpt(_) if asked.fetch_add(1, Ordering::Relaxed) < 2 => {
            Answer::Reply("450 4.2.1 Mailbox busy")
        }
        _ => Answer::Accept,
    });
    let relay = Relay::start(&small(provider.address(), "category = \"password-reset\"", QUICK));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "handed-over");
    assert_eq!(relay.events(&id), ["received", "deferred", "deferred", "handed-over"]);
    assert_eq!(relay.traced(&id)["attempts"], 3);
    assert_eq!(provider.seen().taken.len(), 1);
}

#[test]
fn a_permanent_refusal_ends_it_with_the_reason() {
    let provider = Upstream::start(|moment| {
        if is_dot(moment) { Answer::Reply("554 5.7.1 Looks like spam to us") } else { Answer::Accept }
    });
    let relay = Relay::start(&small(provider.address(), "category = \"password-reset\"", QUICK));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "failed");
    let traced = relay.traced(&id);
    assert_eq!(traced["state"], "failed");
    let reason = traced["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("provider") && reason.contains("554 5.7.1 Looks like spam"), "{reason}");
    assert_eq!(provider.seen().dots.len(), 1);
}

#[test]
fn while_the_upstream_is_down_messages_wait_and_its_breaker_says_so() {
    let address = unused_address();
    let home = Home::new();
    let client = client("app", "category = \"password-reset\"");
    let table = upstream("provider", address, "breaker = { shortest = \"1s\", longest = \"1s\" }");
    let relay = home.start(&format!("{LISTENER}{client}{NO_REPLY}{table}"));
    let ids: Vec<String> = (0..5)
        .map(|n| format!("user{n}@customer.example"))
        .map(|to| relay.accept(FROM, &[&to], &password_reset(&to)))
        .collect();
    let deferred = relay.wait_event(&ids[0], "deferred");
    assert_eq!(deferred["class"], "connect", "{deferred}");
    let status = relay.cli(&["status", "--json"]).json();
    let provider = &status["upstreams"][0];
    assert_eq!(provider["name"], "provider", "{status}");
    assert_eq!(provider["state"], "down", "{status}");
    assert!(provider["reason"].is_string() && provider["retry_at"].is_string(), "{status}");
    assert_eq!(status["queue"]["urgent"], 5, "{status}");
    let shown = relay.cli(&["status"]).ok().stdout;
    assert!(shown.contains("upstream provider") && shown.contains("because"), "{shown}");

    let provider = Upstream::start_at(address, |_| Answer::Accept);
    provider.wait_taken(5);
    for id in &ids {
        relay.wait_event(id, "handed-over");
    }
    let status = relay.cli(&["status", "--json"]).json();
    assert_eq!(status["upstreams"][0]["state"], "up", "{status}");
    assert_eq!(status["queue"]["urgent"], 0, "{status}");
}

#[test]
fn an_urgent_message_without_an_answer_is_repeated_once_and_then_unknown() {
    let provider = Upstream::start(|moment| if is_dot(moment) { Answer::Drop } else { Answer::Accept });
    let second = Upstream::accepting();
    let tables = upstream("second", second.address(), "") + QUICK;
    let relay = Relay::start(&small(provider.address(), "category = \"password-reset\"", &tables));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "unknown");
    assert_eq!(relay.traced(&id)["state"], "unknown");
    let seen = provider.seen();
    let ids: Vec<_> = seen.dots.iter().map(|mail| mail.header("Message-ID")).collect();
    assert!(ids.len() == 2 && ids[0].is_some() && ids[0] == ids[1], "{ids:?}");
    assert_eq!(second.seen().connections, 0, "a copy went to another upstream");
}

#[test]
fn after_an_attempt_without_an_answer_no_other_upstream_is_asked() {
    let dots = AtomicUsize::new(0);
    // Takes a message without an answer, and is down from then on.
    let provider = Upstream::start(move |moment| match moment {
        Moment::Dot(_) => {
            dots.fetch_add(1, Ordering::Relaxed);
            Answer::Drop
        }
        Moment::Connect if dots.load(Ordering::Relaxed) > 0 => Answer::Reply("421 4.3.2 Closing"),
        _ => Answer::Accept,
    });
    let second = Upstream::accepting();
    let tables = upstream("second", second.address(), "") + QUICK;
    let relay = Relay::start(&small(provider.address(), "category = \"password-reset\"", &tables));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    // The first attempt is in doubt, the second finds the upstream down, where any other message would move on.
    relay.wait_events(&id, "deferred", 2);
    assert_eq!(second.seen().connections, 0, "a copy went to another upstream");
    let other = relay.accept(FROM, &["bert@customer.example"], &password_reset("bert@customer.example"));
    assert_eq!(relay.wait_event(&other, "handed-over")["upstream"], "second");
    provider.become_(|_| Answer::Accept);
    assert_eq!(relay.wait_event(&id, "handed-over")["upstream"], "provider");
    assert_eq!(second.seen().taken.len(), 1);
}

#[test]
fn a_repeated_message_that_is_answered_is_handed_over() {
    let dots = AtomicUsize::new(0);
    let provider = Upstream::start(move |moment| match moment {
        Moment::Dot(_) if dots.fetch_add(1, Ordering::Relaxed) == 0 => Answer::Drop,
        _ => Answer::Accept,
    });
    let relay = Relay::start(&small(
        provider.address(),
        "category = \"invitation\"\n",
        "[categories.invitation]\nretry = [\"1s\"]\nsettle = \"0s\"\n",
    ));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "handed-over");
    let seen = provider.seen();
    let ids: Vec<_> = seen.dots.iter().map(|mail| mail.header("Message-ID")).collect();
    assert!(ids.len() == 2 && ids[0].is_some() && ids[0] == ids[1], "{ids:?}");
}

#[test]
fn what_comes_before_the_final_dot_is_no_doubt() {
    let data = AtomicUsize::new(0);
    let provider = Upstream::start(move |moment| match moment {
        Moment::Data if data.fetch_add(1, Ordering::Relaxed) == 0 => Answer::Drop,
        _ => Answer::Accept,
    });
    let relay = Relay::start(&small(provider.address(), "category = \"password-reset\"", QUICK));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "handed-over");
    assert_eq!(provider.seen().dots.len(), 1);
    assert!(!relay.events(&id).contains(&"unknown".to_owned()));
}

#[test]
fn a_message_whose_life_is_over_is_not_sent() {
    let provider = Upstream::start(|moment| match moment {
        Moment::Rcpt(_) => Answer::Reply("450 4.2.1 Mailbox busy"),
        _ => Answer::Accept,
    });
    let short = "[categories.password-reset]\nlife = \"10s\"\nretry = [\"1s\"]\n";
    let relay = Relay::start(&small(provider.address(), "category = \"password-reset\"", short));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    let expired = relay.wait_event(&id, "expired");
    assert_eq!(expired["class"], "expired", "{expired}");
    assert!(expired["reason"].as_str().is_some_and(|reason| reason.contains("450")), "{expired}");
    provider.become_(|_| Answer::Accept);
    assert_eq!(relay.traced(&id)["state"], "expired");
    let trace = relay.trace(ANNA);
    let told = trace["events"]
        .as_array()
        .is_some_and(|events| events.iter().any(|event| event["event"] == "expired"));
    assert!(told, "{trace}");
    assert!(provider.seen().taken.is_empty());
    assert!(!relay.cli(&["queue", "retry", &id]).status.success());
}

#[test]
fn an_upstream_that_hangs_holds_up_nobody_else() {
    let stuck = Upstream::start(|moment| match moment {
        Moment::Mail(_) => Answer::Hang,
        _ => Answer::Accept,
    });
    let other = Upstream::accepting();
    let sender = "[senders.shop]\nfrom = \"accounts@acme.example\"\n[businesses.acme]\nurl = \"https://acme.example\"\nsender = \"shop\"\n";
    let first = upstream("stuck", stuck.address(), "senders = [\"no-reply\"]\nmax_connections = 2");
    let second = upstream("other", other.address(), "senders = [\"shop\"]");
    let quiet = "[listeners.quiet]\naddress = \"127.0.0.1:0\"\n[clients.quiet]\nlisteners = [\"quiet\"]\ncategory = \"signin\"\n\
                 [categories.signin]\nsender = \"no-reply\"\n";
    let shop = client("app", "business = \"acme\"\ncategory = \"password-reset\"");
    let relay = Relay::start(&format!("{LISTENER}{quiet}{shop}{NO_REPLY}{sender}{first}{second}"));
    let mut through_quiet = crate::harness::dialogue::Dialogue::hello(relay.listener("quiet"));
    for n in 0..8 {
        let to = format!("user{n}@customer.example");
        through_quiet.send(FROM, &[&to], &password_reset(&to)).expect(250);
    }
    stuck.wait_seen("a connection", |seen| seen.connections > 0);
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    let handed_over: Value = relay.wait_event(&id, "handed-over");
    assert_eq!(handed_over["upstream"], "other");
}
