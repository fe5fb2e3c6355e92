//! Reloads in rapid succession, good ones and wrong ones, while mail and codes come in: nobody notices.
//!
//! `AUTHRELAY_RELOADS` says how many; a plain run makes enough to meet every pair of states.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::config::{LISTENER, NO_REPLY, client, sha256, upstream};
use crate::harness::dialogue::Dialogue;
use crate::harness::mail::password_reset;
use crate::harness::relay::{Home, Relay};
use crate::harness::texts::{OPEN, Shop, TOKEN, asking};
use crate::harness::upstream::Upstream;
use crate::harness::{look_until, look_until_within};

const FROM: &str = "shop@legacy.example";

/// Three configurations that differ in everything a message meets on its way, and one that is wrong.
fn configurations(one: &Upstream, two: &Upstream) -> Vec<String> {
    let digest = sha256(TOKEN);
    let common = |more: &str, upstreams: &[String], texts: &str| {
        format!(
            "{more}{LISTENER}{}[http.http]\naddress = \"127.0.0.1:0\"\n\
             [clients.shop]\nbusiness = \"acme\"\ntoken_sha256 = \"{digest}\"\n\
             [businesses.acme]\nurl = \"https://acme.example\"\n{NO_REPLY}{}\
             [upstreams.phones]\nkind = \"outbox\"\n{texts}[otp]\n{OPEN}\n",
            client("app", ""),
            upstreams.concat(),
        )
    };
    let (one, two) = (
        |more: &str| upstream("one", one.address(), more),
        |more: &str| upstream("two", two.address(), more),
    );
    vec![
        common("", &[one(""), two("")], ""),
        common("link_guard = \"off\"\n", &[two("max_connections = 3"), one("")], "max_connections = 5\n"),
        common("", &[one("max_connections = 2")], ""),
        common("no_such_key = 1\n", &[one("")], ""),
    ]
}

struct Traffic<'a> {
    relay: &'a Relay,
    over: &'a AtomicBool,
    mails: &'a AtomicUsize,
    codes: &'a AtomicUsize,
}

impl Traffic<'_> {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn mail(&self, dialogue: &mut Dialogue) {
        let number = self.mails.fetch_add(1, Ordering::AcqRel);
        let to = format!("person-{number}@customer.example");
        dialogue.send(FROM, &[&to], &password_reset(&to)).expect(250);
    }

    /// One session for all the time, over which nothing may fail.
    fn one_session(&self, mut dialogue: Dialogue) {
        for sent in 0.. {
            if self.is_over() || sent == 990 {
                break;
            }
            self.mail(&mut dialogue);
        }
        dialogue.command("QUIT").expect(221);
    }

    /// A session a message.
    fn many_sessions(&self) {
        while !self.is_over() {
            self.mail(&mut self.relay.encrypted());
        }
    }

    /// One connection for all the time.
    fn codes(&self) {
        let mut shop = Shop::at(self.relay.http(), TOKEN).expect("the relay listens");
        while !self.is_over() {
            let number = self.codes.fetch_add(1, Ordering::AcqRel);
            let to = format!("+1212555{number:04}");
            shop.try_post(&asking(&to, "739182"), None)
                .expect("an answer on the same connection")
                .expect(202);
            if number == 9990 {
                break;
            }
        }
    }
}

#[test]
fn reloads_under_load_lose_nothing_and_drop_nobody() {
    let reloads = std::env::var("AUTHRELAY_RELOADS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let (one, two) = (Upstream::accepting(), Upstream::accepting());
    let configurations = configurations(&one, &two);
    let relay = Home::new().start_at_level(&configurations[0], "info");
    let (over, mails, codes) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let traffic = Traffic { relay: &relay, over: &over, mails: &mails, codes: &codes };
    let mut refused = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| traffic.one_session(relay.hello()));
        scope.spawn(|| traffic.one_session(relay.encrypted()));
        scope.spawn(|| traffic.many_sessions());
        scope.spawn(|| traffic.codes());
        // Ends the traffic too where the reloads fail.
        let _end = End(&over);
        for number in 0..reloads {
            let which = number % configurations.len();
            relay.home.configure(&configurations[which], "info");
            let ran = relay.cli(&["reload", "--quiet"]);
            let expected = if which == 3 { Some(78) } else { Some(0) };
            refused += usize::from(which == 3);
            assert_eq!(ran.status.code(), expected, "{ran:?}");
            if number % 5 == 4 {
                relay.hang_up();
            }
        }
    });
    let (mails, codes) = (mails.into_inner(), codes.into_inner());
    println!("{reloads} reloads, {refused} of them refused, {mails} mails, {codes} codes");
    let taken = || one.seen().taken.len() + two.seen().taken.len();
    look_until_within(crate::harness::PATIENCE * 5, "all mail", || (taken() >= mails).then_some(()));
    let mut copies: HashMap<String, usize> = HashMap::new();
    for mail in one.seen().taken.iter().chain(&two.seen().taken) {
        mail.recipients.iter().for_each(|to| *copies.entry(to.clone()).or_default() += 1);
    }
    assert_eq!(copies.len(), mails, "each of them arrived");
    assert!(copies.values().all(|count| *count == 1), "and once");
    let outbox = relay.home.file("state/outbox.jsonl");
    let written = || std::fs::read_to_string(&outbox).map_or(0, |text| text.lines().count());
    look_until("all codes", || (written() >= codes).then_some(()));
    assert_eq!(written(), codes);
    let status = relay.cli(&["status", "--json"]).json();
    assert!(status["reloads"]["failed"].as_u64().is_some_and(|failed| failed >= refused as u64), "{status}");
    assert!(!relay.log().contains("\"level\":\"ERROR\",\"fields\""), "no error of the relay's own");
}

/// Ends the traffic when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
