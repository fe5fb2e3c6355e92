//! Ends of the process in the middle of the work, the hard way and the polite way: what was answered `250` arrives.

mod harness;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use harness::config::{LISTENER, NO_REPLY, client, upstream};
use harness::dialogue::{Dialogue, Sent};
use harness::mail::{Mail, password_reset};
use harness::relay::{Home, Relay};
use harness::upstream::{Answer, Moment, Upstream};
use harness::{PATIENCE, Watched};

const FROM: &str = "shop@legacy.example";
const CONNECTIONS: usize = 8;
const MESSAGES: usize = 60;

/// How often the relay is killed.
const ROUNDS: usize = 2;

/// How many messages are handed over at the same time at most.
const IN_FLIGHT: usize = 4;

/// What the senders saw.
#[derive(Debug, Default)]
struct Ledger {
    /// The recipients of messages that were answered `250`.
    accepted: Vec<String>,
    /// The recipients of messages that were sent whole and got no answer at all.
    unanswered: Vec<String>,
}

fn relay_to(provider: &Upstream) -> Relay {
    let client = client("app", "category = \"password-reset\"");
    let retry = "[categories.password-reset]\nretry = [\"300ms\"]\n";
    let table = upstream("provider", provider.address(), &format!("max_connections = {IN_FLIGHT}"));
    Home::new().start(&format!("{LISTENER}{client}{NO_REPLY}{table}{retry}"))
}

/// An upstream that puts off every second recipient until it is told better: a backlog builds up.
fn reluctant() -> Upstream {
    let asked = AtomicUsize::new(0);
    Upstream::start(move |moment| match moment {
        Moment::Rcpt(_) if asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) => {
            Answer::Reply("450 4.2.1 Mailbox busy")
        }
        _ => Answer::Accept,
    })
}

/// Sends messages over several connections at once, each until it is through or hung up on.
fn send_many(address: SocketAddr, round: usize, ledger: &Arc<Watched<Ledger>>) -> Vec<JoinHandle<()>> {
    let one = |connection: usize| {
        let ledger = Arc::clone(ledger);
        std::thread::spawn(move || send_some(address, &format!("user{round}.{connection}"), &ledger))
    };
    (0..CONNECTIONS).map(one).collect()
}

fn send_some(address: SocketAddr, name: &str, ledger: &Watched<Ledger>) {
    let mut dialogue = Dialogue::hello(address);
    for number in 0..MESSAGES {
        let to = format!("{name}.{number}@customer.example");
        match dialogue.try_send(FROM, &[&to], &password_reset(&to)) {
            Sent::Answered(reply) if reply.code == 250 => ledger.change(|ledger| ledger.accepted.push(to)),
            Sent::Answered(reply) => {
                assert_eq!(reply.code, 421, "{reply}");
                return;
            }
            Sent::ClosedBeforeDot => return,
            Sent::ClosedAfterDot => {
                ledger.change(|ledger| ledger.unanswered.push(to));
                return;
            }
        }
    }
}

fn wait_accepted(ledger: &Watched<Ledger>, count: usize) {
    let enough = ledger.wait(PATIENCE, |ledger| (ledger.accepted.len() >= count).then_some(()));
    assert!(enough.is_some(), "only {} were accepted", ledger.get().accepted.len());
}

/// How often a message to each recipient was taken.
fn copies(taken: &[Mail]) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for recipient in taken.iter().flat_map(|mail| &mail.recipients) {
        *copies.entry(recipient.clone()).or_default() += 1;
    }
    copies
}

fn wait_all_arrived(provider: &Upstream, accepted: &[String]) -> BTreeMap<String, usize> {
    provider.wait_seen("every accepted message", |seen| {
        // Counting all of them at each arrival is worth it only when there can be enough.
        seen.taken.len() >= accepted.len() && {
            let copies = copies(&seen.taken);
            accepted.iter().all(|to| copies.contains_key(to))
        }
    });
    copies(&provider.seen().taken)
}

#[test]
fn every_accepted_message_survives_kill_9() {
    let provider = reluctant();
    let mut relay = relay_to(&provider);
    let ledger: Arc<Watched<Ledger>> = Arc::default();
    for round in 0..ROUNDS {
        let goal = ledger.get().accepted.len() + CONNECTIONS * MESSAGES / 3;
        let senders = send_many(relay.address(), round, &ledger);
        wait_accepted(&ledger, goal);
        relay.kill9();
        for sender in senders {
            sender.join().expect("a sender that was hung up on");
        }
        relay.restart();
        // The socket that the dead one left behind is in nobody's way.
        relay.cli(&["status"]).ok();
    }
    provider.become_(|_| Answer::Accept);
    let accepted = ledger.get().accepted.clone();
    assert!(accepted.len() < ROUNDS * CONNECTIONS * MESSAGES, "it was killed when all was over");
    let copies = wait_all_arrived(&provider, &accepted);
    // What was being handed over at the moment of the kill may arrive twice. What was sent whole and not answered may
    // have been stored or not; everything else arrives only if it was accepted.
    let doubled: usize = copies.values().map(|count| count - 1).sum();
    assert!(doubled <= ROUNDS * IN_FLIGHT, "{doubled} copies too many");
    let ledger = ledger.get();
    let stray = copies.keys().find(|to| !ledger.accepted.contains(to) && !ledger.unanswered.contains(to));
    assert_eq!(stray, None, "a message arrived that was never sent whole");
}

#[test]
fn a_polite_end_loses_nothing_and_doubles_nothing() {
    let provider = reluctant();
    let mut relay = relay_to(&provider);
    let ledger: Arc<Watched<Ledger>> = Arc::default();
    let senders = send_many(relay.address(), 0, &ledger);
    wait_accepted(&ledger, CONNECTIONS * MESSAGES / 4);
    let status = relay.stop();
    for sender in senders {
        sender.join().expect("a sender that was told");
    }
    assert!(status.success(), "{status}");
    let (accepted, unanswered) = {
        let ledger = ledger.get();
        (ledger.accepted.clone(), ledger.unanswered.clone())
    };
    assert!(unanswered.is_empty(), "sent whole and not answered: {unanswered:?}");
    assert!(accepted.len() < CONNECTIONS * MESSAGES, "it was stopped when all was over");
    relay.restart();
    provider.become_(|_| Answer::Accept);
    let copies = wait_all_arrived(&provider, &accepted);
    assert_eq!(copies.values().sum::<usize>(), accepted.len());
}

#[test]
fn a_message_under_way_at_the_end_gets_its_answer() {
    let provider = Upstream::accepting();
    let mut relay = relay_to(&provider);
    let mut idle = relay.hello();
    let mut busy = relay.hello();
    let to = "anna@customer.example";
    busy.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
    busy.command(&format!("RCPT TO:<{to}>")).expect(250);
    busy.command("DATA").expect(354);
    let reset = password_reset(to);
    let (first, second) = reset.split_at(reset.len() / 2);
    busy.write(first);
    relay.terminate();
    relay.wait_line("the stop", |line| line["message"] == "stopping");
    idle.reply().expect(421);
    assert!(idle.try_reply().is_none());
    busy.write(second);
    busy.write(b".\r\n");
    let id = busy.reply().expect(250).id();
    assert!(relay.wait_end().success());
    assert!(std::net::TcpStream::connect(relay.address()).is_err(), "it still accepts connections");
    relay.restart();
    relay.wait_event(&id, "handed-over");
    assert_eq!(provider.wait_taken(1).len(), 1);
}

#[test]
fn a_second_relay_on_the_same_state_is_refused_or_harmless() {
    let provider = Upstream::accepting();
    let relay = relay_to(&provider);
    let mut second = relay.home.command();
    let second = second.arg("--config").arg(relay.home.config()).arg("run").env("NOTIFY_SOCKET", "");
    let output = second.output().expect("the binary runs");
    assert!(!output.status.success(), "a second daemon ran on the same queue");
    let to = "anna@customer.example";
    let id = relay.accept(FROM, &[to], &password_reset(to));
    relay.wait_event(&id, "handed-over");
    // The one that runs can still be asked.
    relay.cli(&["status"]).ok();
    assert_eq!(provider.seen().taken.len(), 1);
}
