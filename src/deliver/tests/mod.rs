//! The delivery as a whole: from the queue to upstreams on the loopback interface.

pub(super) mod bench;
#[path = "../../../tests/support/fake_twilio.rs"]
mod fake_twilio;
mod memory_store;
#[path = "../../../tests/support/scripted_upstream.rs"]
mod scripted_upstream;
mod texts;

use std::sync::Arc;
use std::time::Duration;

use bench::{Bench, DEFECT, Draft, upstream};
use scripted_upstream::{Act, ScriptedUpstream, Step};

use super::{BreakerStatus, Config, UpstreamKind};
use crate::ident::Class;
use crate::outcome::ReasonClass;
use crate::queue::State;

const DOWN: Act = Act::SayAndClose("421 4.3.2 down");

#[tokio::test]
async fn a_fresh_message_is_handed_over_and_its_reference_kept() {
    let server = ScriptedUpstream::start().await;
    let bench = Bench::new(vec![upstream("one", &server, None)], 8);
    let delivery = bench.start();
    let id = bench.offer(&Draft::default());
    let entry = bench.until_state(id, State::HandedOver).await;
    assert_eq!(entry.reference.as_deref(), Some("2.0.0 Ok: queued as TEST0001"));
    assert_eq!(entry.upstream.unwrap().as_str(), "one");
    assert_eq!(server.seen().messages[0].mail, "MAIL FROM:<no-reply@sender.example> SIZE=94");
    assert_eq!(delivery.monitor().status().upstreams[0].breaker, BreakerStatus::Closed);
    bench.shutdown.cancel();
    delivery.stopped().await;
    server.until(|seen| seen.open == 0).await;
}

#[tokio::test]
async fn a_defect_at_one_message_defers_it_and_hurts_no_other() {
    let server = ScriptedUpstream::start().await;
    let bench = Bench::new(vec![upstream("one", &server, None)], 1);
    let _delivery = bench.start();
    let defect = bench.offer(&Draft { business: Some(DEFECT), ..Draft::default() });
    bench.store.until(|entries| entries.iter().any(|entry| entry.id == defect && entry.attempts > 1)).await;
    assert_eq!(bench.store.entry(defect).reason.unwrap().class, ReasonClass::Local);
    let other = bench.offer(&Draft::default());
    bench.until_state(other, State::HandedOver).await;
}

#[tokio::test]
async fn one_message_of_another_client_does_not_wait_behind_ten_thousand() {
    let server = ScriptedUpstream::start().await;
    let bench = Bench::new(vec![upstream("one", &server, None)], 8);
    for _ in 0..10_000 {
        bench.store(&Draft { client: "busy", ..Draft::default() });
    }
    let _delivery = bench.start();
    server.until(|seen| seen.messages.len() >= 100).await;
    let from_memory = bench.offer(&Draft { client: "other", ..Draft::default() });
    let before = server.seen().messages.len();
    bench.until_state(from_memory, State::HandedOver).await;
    let after = server.seen().messages.len();
    assert!(after - before < 500, "from memory: {} went before it", after - before);

    let from_store = bench.store(&Draft { client: "third", ..Draft::default() });
    bench.tell().await;
    let before = server.seen().messages.len();
    bench.until_state(from_store, State::HandedOver).await;
    let after = server.seen().messages.len();
    assert!(after - before < 500, "from the store: {} went before it", after - before);
    assert!(after < 9000, "the backlog was still there");
}

#[tokio::test]
async fn while_the_upstream_is_down_a_backlog_costs_one_probe_an_opening_and_then_flows() {
    let server = ScriptedUpstream::start().await;
    server.always(Step::Greeting, DOWN);
    let bench = Bench::new(vec![upstream("one", &server, None)], 16);
    for _ in 0..3000 {
        bench.store(&Draft::default());
    }
    let dying = bench.store(&Draft { life: Duration::from_millis(250), ..Draft::default() });
    let delivery = bench.start();
    let started = tokio::time::Instant::now();
    let probes = 8;
    let seen = server.until(|seen| seen.connections >= 8 + probes).await;
    // 8 connections at most before the first answer; then 40, 80, 160, 160, ... ms between the probes.
    let least = Duration::from_millis(40 + 80 + 160 * (probes as u64 - 3));
    assert!(started.elapsed() >= least, "{probes} probes took {:?}", started.elapsed());
    assert!(seen.messages.is_empty());
    let status = &delivery.monitor().status().upstreams[0];
    assert!(status.breaker != BreakerStatus::Closed);
    assert_eq!(status.last_failure.as_ref().unwrap().code, Some(421));

    // An attempt is counted where one was made, and messages end meanwhile.
    bench.until_state(dying, State::Expired).await;
    let attempts: usize = bench.store.entries().iter().map(|entry| entry.attempts as usize).sum();
    assert!(attempts <= server.seen().connections, "{attempts} attempts counted");
    assert!(bench.store.tally().claimed < 500, "{:?}", bench.store.tally());

    server.as_usual(Step::Greeting);
    let seen = server.until(|seen| seen.messages.len() >= 3000).await;
    assert_eq!(seen.messages.len(), 3000);
    bench.store.until(|entries| entries.iter().all(|entry| entry.state.is_final())).await;
}

#[tokio::test]
async fn fresh_messages_that_meet_an_open_breaker_wait_in_the_store() {
    let server = ScriptedUpstream::start().await;
    server.always(Step::Greeting, Act::Hang);
    let mut config = upstream("one", &server, None);
    config.max_connections = 1;
    let super::UpstreamKind::Smtp(smtp) = &mut config.kind else { panic!("not smtp") };
    smtp.timeouts.connect = Duration::from_millis(100);
    let bench = Bench::new(vec![config], 4);
    let _delivery = bench.start();
    for _ in 0..200 {
        bench.offer(&Draft::default());
    }
    bench.store.until(|entries| entries.iter().all(|entry| entry.state == State::Queued)).await;
    assert!(server.seen().connections <= 3, "{}", server.seen().connections);
    server.as_usual(Step::Greeting);
    server.until(|seen| seen.messages.len() >= 200).await;
}

#[tokio::test]
async fn failover_sends_one_copy_at_once() {
    let (one, two) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let bench = Bench::new(vec![upstream("one", &one, None), upstream("two", &two, None)], 8);
    let _delivery = bench.start();
    for (step, act) in [
        (Step::Greeting, DOWN),
        (Step::Mail, Act::Say("451 4.3.0 disk")),
        (Step::Rcpt, Act::Close),
        (Step::Dot, Act::SayAndClose("421 4.7.0 later")),
    ] {
        one.once(step, act.clone());
        one.once(step, act.clone());
        let before = two.seen().messages.len();
        let id = bench.offer(&Draft::default());
        let entry = bench.until_state(id, State::HandedOver).await;
        assert_eq!((entry.attempts, entry.upstream.unwrap().as_str()), (1, "two"), "{step:?} {act:?}");
        assert_eq!(two.seen().messages.len(), before + 1);
        // The next one finds the first upstream again, once its breaker lets it.
        one.until(|_| true).await;
        loop {
            let id = bench.offer(&Draft::default());
            if bench.until_state(id, State::HandedOver).await.upstream.unwrap().as_str() == "one" {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_of_the_message_does_not_fail_over() {
    let (one, two) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let bench = Bench::new(vec![upstream("one", &one, None), upstream("two", &two, None)], 8);
    let _delivery = bench.start();
    one.once(Step::Rcpt, Act::Say("550 5.1.1 nobody"));
    let id = bench.offer(&Draft::default());
    let entry = bench.until_state(id, State::Failed).await;
    assert_eq!(entry.reason.unwrap().to_string(), "one: 550 5.1.1 nobody");
    one.once(Step::Dot, Act::Say("450 4.2.1 later"));
    let id = bench.offer(&Draft::default());
    let entry = bench.until_state(id, State::HandedOver).await;
    assert_eq!((entry.attempts, entry.upstream.unwrap().as_str()), (2, "one"));
    assert_eq!(two.seen().connections, 0);
}

#[tokio::test]
async fn after_an_attempt_without_an_answer_only_the_same_upstream_is_asked_and_only_once() {
    let (one, two) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let bench = Bench::new(vec![upstream("one", &one, None), upstream("two", &two, None)], 8);
    let _delivery = bench.start();
    one.once(Step::Dot, Act::Close);
    let first = bench.offer(&Draft::default());
    bench.store.until(|entries| entries.iter().any(|entry| entry.in_doubt == 1)).await;
    assert_eq!(bench.store.entry(first).upstream.unwrap().as_str(), "one");

    // The same, at its second attempt: upstream two could take it, but may not.
    let in_doubt = Draft { in_doubt_at: Some("one"), ..Draft::default() };
    one.once(Step::Dot, Act::Close);
    let id = bench.offer(&in_doubt);
    let entry = bench.until_state(id, State::Unknown).await;
    assert_eq!((entry.in_doubt, entry.upstream.unwrap().as_str()), (2, "one"));

    let gone = bench.offer(&Draft { in_doubt_at: Some("gone"), ..Draft::default() });
    bench.store.until(|entries| entries.iter().any(|entry| entry.id == gone && entry.attempts > 0)).await;
    let entry = bench.store.entry(gone);
    assert_eq!(entry.reason.unwrap().class, ReasonClass::NoRoute);
    assert_eq!(entry.upstream.unwrap().as_str(), "gone", "what it was sent to is not forgotten");
    assert_eq!(two.seen().messages.len(), 0);
}

#[tokio::test]
async fn the_step_from_custom_to_no_reply_is_recorded() {
    let (acme, shared) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let upstreams =
        vec![upstream("shared", &shared, Some(&["no-reply"])), upstream("acme", &acme, Some(&["acme"]))];
    let bench = Bench::new(upstreams, 8);
    let _delivery = bench.start();
    let draft = Draft { business: Some("acme"), ..Draft::default() };
    let entry = bench.until_state(bench.offer(&draft), State::HandedOver).await;
    assert_eq!(entry.upstream.unwrap().as_str(), "acme");
    assert_eq!(entry.reference.as_deref(), Some("2.0.0 Ok: queued as TEST0001"));

    acme.once(Step::Mail, Act::Say("550 5.7.1 sender is not verified"));
    let entry = bench.until_state(bench.offer(&draft), State::HandedOver).await;
    assert_eq!(entry.upstream.unwrap().as_str(), "shared");
    assert_eq!(entry.reference.as_deref(), Some("2.0.0 Ok: queued as TEST0001"));
    let remark = entry.reason.unwrap().text;
    assert_eq!(remark, "from no-reply, not acme: acme: 550 5.7.1 sender is not verified");
    let other = Draft { business: Some("other"), ..Draft::default() };
    let entry = bench.until_state(bench.offer(&other), State::HandedOver).await;
    assert_eq!(entry.reason.unwrap().text, "from no-reply, not other: no upstream carries it");
}

#[tokio::test]
async fn a_message_without_a_route_waits_for_the_configuration_to_be_mended() {
    let server = ScriptedUpstream::start().await;
    let bench = Bench::new(vec![upstream("one", &server, Some(&["acme"]))], 8);
    let delivery = bench.start();
    let id = bench.offer(&Draft::default());
    bench.store.until(|entries| entries.iter().any(|entry| entry.attempts > 0)).await;
    assert_eq!(bench.store.entry(id).reason.unwrap().class, ReasonClass::NoRoute);
    let mended = Config {
        hostname: "relay.example".to_owned(),
        upstreams: vec![upstream("one", &server, None)],
        workers: 8,
    };
    *bench.config.lock().unwrap() = Arc::new(mended);
    delivery.monitor().config_changed();
    bench.until_state(id, State::HandedOver).await;
}

#[tokio::test]
async fn an_attempt_ends_with_the_upstreams_and_the_renderer_it_began_with() {
    let (hanging, second) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    hanging.always(Step::Mail, Act::Hang);
    let mut first = upstream("first", &hanging, None);
    let UpstreamKind::Smtp(smtp) = &mut first.kind else { panic!("an SMTP upstream") };
    smtp.timeouts.command = Duration::from_millis(500);
    let upstreams = vec![first, upstream("second", &second, None)];
    let bench = Bench::new(upstreams.clone(), 8);
    let delivery = bench.start();
    let id = bench.offer(&Draft::default());
    hanging.until(|seen| seen.connections > 0).await;
    let other = Config { hostname: "relay2.example".to_owned(), upstreams, workers: 8 };
    *bench.config.lock().unwrap() = Arc::new(other);
    delivery.monitor().config_changed();
    bench.until_state(id, State::HandedOver).await;
    assert!(
        second.seen().messages[0].mail.contains("no-reply@sender.example"),
        "{:?}",
        second.seen().messages
    );
    hanging.as_usual(Step::Mail);
    let next = bench.offer(&Draft::default());
    bench.until_state(next, State::HandedOver).await;
    assert!(
        hanging.seen().messages[0].mail.contains("no-reply@sender2.example"),
        "{:?}",
        hanging.seen().messages
    );
}

#[tokio::test]
async fn after_a_reload_an_unchanged_upstream_goes_on_and_what_is_gone_closes_its_connections() {
    let (kept, gone) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let config = |upstreams| Arc::new(Config { hostname: "relay.example".to_owned(), upstreams, workers: 8 });
    let to_kept = || upstream("kept", &kept, Some(&["no-reply"]));
    let bench = Bench::new(vec![upstream("gone", &gone, Some(&["acme"])), to_kept()], 8);
    let delivery = bench.start();
    let draft = Draft { business: Some("acme"), ..Draft::default() };
    for draft in [Draft::default(), draft.clone()] {
        bench.until_state(bench.offer(&draft), State::HandedOver).await;
    }
    assert_eq!((kept.seen().open, gone.seen().open), (1, 1));
    *bench.config.lock().unwrap() = config(vec![to_kept()]);
    delivery.monitor().config_changed();
    gone.until(|seen| seen.open == 0).await;
    // What waited for the one that is gone, and all else, goes over the connection that was there.
    for draft in [Draft::default(), draft] {
        bench.until_state(bench.offer(&draft), State::HandedOver).await;
    }
    let seen = kept.seen();
    assert_eq!((seen.connections, seen.messages.len()), (1, 3));
    let names: Vec<String> =
        delivery.monitor().status().upstreams.iter().map(|upstream| upstream.name.to_string()).collect();
    assert_eq!(names, ["kept"]);
}

#[tokio::test]
async fn a_capability_that_one_upstream_lacks_is_asked_of_the_next_and_ends_the_message_when_none_has_it() {
    let small = ScriptedUpstream::start_with(&["SIZE 50"], scripted_upstream::Tls::None, None).await;
    let large = ScriptedUpstream::start().await;
    let bench = Bench::new(vec![upstream("small", &small, None), upstream("large", &large, None)], 8);
    let _delivery = bench.start();
    let entry = bench.until_state(bench.offer(&Draft::default()), State::HandedOver).await;
    assert_eq!(entry.upstream.unwrap().as_str(), "large");

    let bench = Bench::new(vec![upstream("small", &small, None)], 8);
    let _delivery = bench.start();
    let entry = bench.until_state(bench.offer(&Draft::default()), State::Failed).await;
    assert_eq!(entry.reason.unwrap().class, ReasonClass::Capability);
}

#[tokio::test]
async fn normal_mail_leaves_workers_and_connections_to_urgent_mail() {
    let server = ScriptedUpstream::start().await;
    server.always(Step::Greeting, Act::Hang);
    let bench = Bench::new(vec![upstream("one", &server, None)], 8);
    let _delivery = bench.start();
    for _ in 0..20 {
        bench.offer(&Draft { class: Class::Normal, ..Draft::default() });
    }
    server.until(|seen| seen.connections == 6).await;
    bench.offer(&Draft::default());
    bench.offer(&Draft::default());
    let seen = server.until(|seen| seen.connections >= 8).await;
    assert_eq!(seen.connections, 8);
}

#[tokio::test]
async fn an_upstream_that_is_full_or_held_to_a_rate_keeps_nobody_elses_mail_waiting() {
    let (hangs, slow, quick) =
        (ScriptedUpstream::start().await, ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    hangs.always(Step::Greeting, Act::Hang);
    let mut rated = upstream("slow", &slow, Some(&["slow"]));
    rated.messages_per_minute = Some(60);
    let upstreams = vec![
        upstream("hangs", &hangs, Some(&["hangs"])),
        rated,
        upstream("quick", &quick, Some(&["quick", "no-reply"])),
    ];
    let bench = Bench::new(upstreams, 16);
    let _delivery = bench.start();
    for business in ["hangs", "slow"] {
        for _ in 0..100 {
            bench.offer(&Draft { business: Some(business), ..Draft::default() });
        }
    }
    for _ in 0..100 {
        bench.offer(&Draft { business: Some("quick"), ..Draft::default() });
    }
    quick.until(|seen| seen.messages.len() >= 100).await;
    assert!(slow.seen().messages.len() <= 5, "{}", slow.seen().messages.len());
    slow.until(|seen| seen.messages.len() >= 3).await;
    assert_eq!(hangs.seen().connections, 8);
}

/// Found by the simulation: an empty-handed claim was taken for a message that had left the memory, so the store was asked
/// again at once, and for as long as there was no room.
#[tokio::test(start_paused = true)]
async fn while_there_is_no_room_in_memory_the_store_is_left_alone() {
    let bench = Bench::new(Vec::new(), 8);
    let taken: Vec<_> = std::iter::from_fn(|| bench.active.reserve(Class::Normal, 1)).collect();
    bench.store(&Draft { class: Class::Normal, ..Draft::default() });
    let _delivery = bench.start();
    // Time is paused and stands still for as long as somebody is busy.
    for _ in 0..2000 {
        tokio::task::yield_now().await;
    }
    let asked = bench.store.tally().asked;
    assert!(asked <= 10, "asked {asked} times what is due, and had no room for it");
    drop(taken);
    bench.store.until(|entries| entries[0].attempts > 0).await;
}

#[tokio::test]
async fn an_outcome_is_recorded_however_often_the_store_fails_and_nothing_is_sent_twice() {
    let server = ScriptedUpstream::start().await;
    let bench = Bench::new(vec![upstream("one", &server, None)], 8);
    *bench.store.failing.lock().unwrap() = 2;
    let _delivery = bench.start();
    let id = bench.offer(&Draft::default());
    bench.until_state(id, State::HandedOver).await;
    assert_eq!(server.seen().messages.len(), 1);
}

#[tokio::test]
async fn nothing_is_sent_once_its_life_is_over() {
    let server = ScriptedUpstream::start().await;
    server.always(Step::Rcpt, Act::Hang);
    let bench = Bench::new(vec![upstream("one", &server, None)], 8);
    let _delivery = bench.start();
    let dying = bench.offer(&Draft { life: Duration::from_millis(200), ..Draft::default() });
    server.until(|seen| seen.commands.iter().any(|line| line.starts_with("RCPT"))).await;
    let entry = bench.until_state(dying, State::Expired).await;
    assert!(entry.reason.unwrap().to_string().contains("its life ended"));
    let dead = bench.offer(&Draft { life: Duration::ZERO, ..Draft::default() });
    let entry = bench.until_state(dead, State::Expired).await;
    assert_eq!(entry.attempts, 0);
    assert!(server.seen().messages.is_empty());
    assert!(!server.seen().commands.iter().any(|line| line == "DATA"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_nobody_uses_is_closed_in_time() {
    let server = ScriptedUpstream::start().await;
    let mut config = upstream("one", &server, None);
    let super::UpstreamKind::Smtp(smtp) = &mut config.kind else { panic!("not smtp") };
    smtp.idle = Duration::from_secs(7);
    let bench = Bench::new(vec![config], 4);
    let delivery = bench.start();
    let id = bench.offer(&Draft::default());
    bench.until_state(id, State::HandedOver).await;
    assert_eq!(delivery.monitor().status().upstreams[0].connections, 1);
    let handed_over = tokio::time::Instant::now();
    let seen = server.until(|seen| seen.open == 0).await;
    assert!((7..=8).contains(&handed_over.elapsed().as_secs()), "{:?}", handed_over.elapsed());
    assert_eq!(seen.commands.last().map(String::as_str), Some("QUIT"));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_what_was_not_sent_in_the_store_uncounted() {
    let server = ScriptedUpstream::start().await;
    server.always(Step::Mail, Act::Hang);
    let mut config = upstream("one", &server, None);
    let super::UpstreamKind::Smtp(smtp) = &mut config.kind else { panic!("not smtp") };
    (smtp.timeouts.connect, smtp.timeouts.command) = (Duration::from_secs(9999), Duration::from_secs(9999));
    let bench = Bench::new(vec![config], 4);
    let delivery = bench.start();
    for _ in 0..50 {
        bench.offer(&Draft { life: Duration::from_secs(99_999), ..Draft::default() });
    }
    server.until(|seen| seen.commands.iter().filter(|line| line.starts_with("MAIL")).count() == 4).await;
    bench.shutdown.cancel();
    delivery.stopped().await;
    let entries = bench.store.entries();
    assert!(entries.iter().all(|entry| entry.state == State::Queued && entry.attempts == 0));
    assert!(server.seen().messages.is_empty());
}
