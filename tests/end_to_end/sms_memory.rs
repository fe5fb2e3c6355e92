//! Ever new numbers over kept connections: memory stays where it is.
//!
//! `AUTHRELAY_NUMBERS` says how many numbers there are, for a longer look by hand.

use std::fs;

use crate::harness::config::{LISTENER, NO_REPLY, sha256};
use crate::harness::relay::Relay;
use crate::harness::texts::{CODE, OPEN, Shop, TOKEN, asking};

const NUMBERS: u32 = 8_000;
const CONNECTIONS: u32 = 8;

/// How much a relay may have in memory at its highest (most of it are the phrases of recognition, in the moment when they are
/// compiled), and how much may come from the numbers.
const MOST: u64 = 200 << 20;
const GROWTH: u64 = 40 << 20;

#[test]
fn memory_is_bounded_whatever_number_a_code_is_for() {
    let numbers =
        std::env::var("AUTHRELAY_NUMBERS").ok().and_then(|text| text.parse().ok()).unwrap_or(NUMBERS);
    let digest = sha256(TOKEN);
    // Half of what is asked for is refused by the cap on all.
    let otp = OPEN.replace("in_all = [\"1000000/1d\"]", &format!("in_all = [\"{}/1d\"]", numbers * 3 / 4));
    let otp = otp.replace("number_pause = \"0s\"", "number_pause = \"5s\"");
    let mut relay = Relay::start(&format!(
        "{LISTENER}[http.http]\naddress = \"127.0.0.1:0\"\n[clients.shop]\nbusiness = \"acme\"\n\
         token_sha256 = \"{digest}\"\n[businesses.acme]\nurl = \"https://acme.example\"\n{NO_REPLY}\
         [upstreams.mail]\nkind = \"maildir\"\n[upstreams.phones]\nkind = \"outbox\"\n[otp]\n{otp}"
    ));
    ask(&relay, 0..numbers / 10);
    let early = memory(&relay, "VmRSS");
    let (taken, refused) = ask(&relay, numbers / 10..numbers);
    let (late, peak) = (memory(&relay, "VmRSS"), memory(&relay, "VmHWM"));
    println!(
        "{numbers} numbers: RSS {} KiB, then {} KiB; at most {} KiB",
        early >> 10,
        late >> 10,
        peak >> 10
    );
    assert!(taken > 0 && refused > 0, "{taken} were taken, {refused} refused");
    assert!(peak < MOST, "{peak} bytes at most");
    assert!(late.saturating_sub(early) < GROWTH, "from {early} to {late} bytes");
    relay.kill9();
}

/// Asks for a code for each number; how many were taken, and how many refused by a limit.
fn ask(relay: &Relay, numbers: std::ops::Range<u32>) -> (usize, usize) {
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|part| {
                let numbers = numbers.clone();
                scope.spawn(move || {
                    let mut shop = Shop::of(relay);
                    let mine = numbers.filter(|number| number % CONNECTIONS == part);
                    mine.map(|number| status(relay, &mut shop, number)).collect::<Vec<u16>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("answers")).collect()
    });
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    let (taken, refused) = (count(202), count(429));
    assert_eq!(taken + refused, statuses.len(), "other answers");
    (taken, refused)
}

fn status(relay: &Relay, shop: &mut Shop, number: u32) -> u16 {
    if number.is_multiple_of(10_000) {
        empty_outbox(relay);
    }
    let body = asking(&format!("+1212{}", 2_000_000 + number), CODE);
    // A connection serves so many requests, then it is closed.
    let answer = shop.try_post(&body, None).or_else(|_| {
        *shop = Shop::of(relay);
        shop.try_post(&body, None)
    });
    answer.expect("an answer").status
}

/// It is bounded, and its texts would wait.
fn empty_outbox(relay: &Relay) {
    if let Ok(file) = fs::File::options().write(true).open(relay.home.file("state/outbox.jsonl")) {
        file.set_len(0).expect("emptied");
    }
}

fn memory(relay: &Relay, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", relay.process())).expect("a process");
    let line = status.lines().find(|line| line.starts_with(what)).expect("a line");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kib << 10
}
