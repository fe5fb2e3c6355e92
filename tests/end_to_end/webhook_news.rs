//! What webhooks say of upstreams and bursts, and what metrics say of webhooks.

use super::monitoring::{metrics, value};
use crate::harness::config::{LISTENER, NO_REPLY, client, small, upstream};
use crate::harness::hook::{Hook, Request};
use crate::harness::look_until;
use crate::harness::mail::{message, password_reset};
use crate::harness::relay::Relay;
use crate::harness::upstream::{Answer, Upstream, unused_address};

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";
const ADMIN: &str = "[http.admin]\naddress = \"127.0.0.1:0\"\nserves = [\"admin\"]\n";

fn first(hook: &Hook, kind: &str) -> Request {
    hook.wait(kind, |all| all.iter().find(|one| one.kind() == kind).cloned())
}

#[test]
fn who_was_told_that_an_upstream_is_down_is_told_that_it_works_again_by_whoever_sees_it() {
    let address = unused_address();
    let hook = Hook::start();
    let provider = |more: &str| {
        let away = format!("breaker.shortest = \"1s\"\nbreaker.longest = \"1s\"\n{more}");
        let events = hook.config("ops", "events = [\"upstream.*\"]");
        format!("{LISTENER}{}{NO_REPLY}{}{events}", client("app", ""), upstream("provider", address, &away))
    };
    let mut relay = Relay::start(&provider(""));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    assert_eq!(first(&hook, "upstream.down").body()["data"]["upstream"], "provider");
    assert!(relay.stop().success());

    // The process that told it is gone, and the one that sees it work never saw it fail.
    let works = Upstream::start_at(address, |_| Answer::Accept);
    relay.restart();
    relay.wait_event(&id, "handed-over");
    let up_again = |count: usize| {
        // One that worked before what was told was known is told of at the next message.
        look_until("it to be told", || {
            relay.accept(FROM, &[ANNA], &password_reset(ANNA));
            let ups = hook.requests().iter().filter(|one| one.kind() == "upstream.up").count();
            (ups >= count).then_some(())
        });
    };
    up_again(1);

    // The same over a reload that makes the upstream anew.
    works.become_(|_| Answer::Reply("421 4.3.2 down"));
    relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    let downs = |all: &[Request]| all.iter().filter(|one| one.kind() == "upstream.down").count();
    hook.wait("down again", |all| (downs(all) == 2).then_some(()));
    works.become_(|_| Answer::Accept);
    relay.reload(&provider("max_connections = 3\n"));
    up_again(2);
    let ups = hook.requests().iter().filter(|one| one.kind() == "upstream.up").count();
    assert_eq!(ups, 2, "each is told once");
}

#[test]
fn a_burst_that_is_held_is_told_by_its_name() {
    let provider = Upstream::accepting();
    let hook = Hook::start();
    let settings = "may_declare = true\nburst = { recipients = 2, within = \"30s\" }\n";
    let more = hook.config("ops", "events = [\"burst.held\"]");
    let relay = Relay::start(&small(provider.address(), settings, &more));
    for number in 0..2 {
        let to = format!("user{number}@customer.example");
        let invitation = message(&[
            "From: Wiki <wiki@legacy.example>",
            &format!("To: <{to}>"),
            "Subject: Join the Acme wiki",
            "X-Authrelay-Category: invitation",
            "",
            "Carla has added you to the wiki of her team, where everything is written down.",
            &format!("https://wiki.acme.example/join?t=t0ken{number}"),
        ]);
        relay.accept(FROM, &[&to], &invitation);
    }
    let told = first(&hook, "burst.held").body();
    let burst = relay.cli(&["status", "--json"]).json()["bursts"][0]["id"].clone();
    assert!(burst.is_string() && told["data"]["burst"] == burst, "{told}");
    assert_eq!(relay.wait_line("the burst", |line| line["message"] == "burst-held")["burst"], burst);
    let id = told["data"]["id"].as_str().expect("an id");
    let shown = relay.cli(&["queue", "show", id, "--json"]).json();
    let events = shown["events"].as_array().expect("events").clone();
    assert!(events.iter().any(|event| event["event"] == "burst-held" && event["burst"] == burst), "{shown}");
    let name = burst.as_str().expect("a name");
    relay.cli(&["queue", "remove", "--burst", name]).ok();
}

#[test]
fn metrics_tell_how_each_endpoint_does() {
    let provider = Upstream::accepting();
    let (taking, refusing, gone) = (Hook::start(), Hook::answering(500), Hook::answering(410));
    let only = "events = [\"message.handed_over\"]";
    let hooks = [("crm", &taking), ("desk", &refusing), ("old", &gone)];
    let hooks: String = hooks.iter().map(|(name, hook)| hook.config(name, only)).collect();
    let relay = Relay::start(&small(provider.address(), "", &format!("{ADMIN}{hooks}")));
    relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    for (endpoint, result) in [("crm", "taken"), ("desk", "failed"), ("old", "gone")] {
        let series =
            format!("authrelay_webhook_attempts_total{{endpoint=\"{endpoint}\",result=\"{result}\"}} ");
        look_until(&series, || metrics(&relay).contains(&series).then_some(()));
    }
    let page = metrics(&relay);
    for (series, endpoints) in [
        ("delivered_total", [1.0, 0.0, 0.0]),
        ("dropped_total", [0.0, 0.0, 0.0]),
        ("waiting", [0.0, 1.0, 1.0]),
        ("disabled", [0.0, 0.0, 1.0]),
    ] {
        for (endpoint, expected) in ["crm", "desk", "old"].iter().zip(endpoints) {
            let found = value(&page, &format!("authrelay_webhook_{series}{{endpoint=\"{endpoint}\"}}"));
            assert!((found - expected).abs() < 1e-9, "{series} of {endpoint} in\n{page}");
        }
    }
    assert!(page.contains("authrelay_webhook_oldest_seconds{endpoint=\"desk\"} "), "{page}");
}
