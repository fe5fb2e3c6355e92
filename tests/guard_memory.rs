//! What a million different numbers cost: reading them, and smoothing them. A process of its own, so that nothing else
//! moves its memory.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::time::Duration;

use authrelay::guard::sms::{Smoother, Smoothing};
use authrelay::ident::ClientName;
use authrelay::phone;

const NUMBERS: u64 = 1_000_000;
const THREADS: u64 = 4;
const MEBIBYTE: u64 = 1024 * 1024;

/// The most that may be added by a million numbers.
const GROWTH: u64 = 30 * MEBIBYTE;

/// The resident memory of this process, in octets.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// A number under every calling code in turn, the valid ones and the others.
fn number(index: u64) -> String {
    let code = 1 + index % 998;
    let rest = index.wrapping_mul(2_654_435_761) % 1_000_000_000;
    format!("+{code}{rest:09}")
}

/// What one thread saw.
#[derive(Default)]
struct Seen {
    read: u64,
    known: u64,
    most: u64,
}

impl Seen {
    fn add(self, other: &Self) -> Self {
        Self {
            read: self.read + other.read,
            known: self.known + other.known,
            most: self.most.max(other.most),
        }
    }
}

fn ask_for_all(smoother: &Smoother, indexes: impl Iterator<Item = u64>) -> Seen {
    let smoothing =
        Smoothing { client_per_second: 0, client_burst: 0, number_pause: Duration::from_hours(1) };
    let client = ClientName::new("shop");
    let mut seen = Seen::default();
    for index in indexes {
        let Ok(dialled) = phone::parse(&number(index), None) else { continue };
        seen.read += 1;
        seen.known += u64::from(dialled.range != phone::Range::Unknown);
        smoother.check(&smoothing, &client, Some(&dialled.number)).unwrap();
        if seen.read.is_multiple_of(20_000) {
            seen.most = seen.most.max(resident());
        }
    }
    seen
}

/// From several threads, because each keeps working memory of its own for the patterns.
#[test]
fn a_million_different_numbers_cost_bounded_memory() {
    let smoother = &Smoother::new();
    // The data of the numbering plans is there from the first number on.
    phone::load();
    let before = resident();
    let seen = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    ask_for_all(smoother, (0..NUMBERS).filter(move |index| index % THREADS == thread))
                })
            })
            .collect();
        threads.into_iter().fold(Seen::default(), |all, thread| all.add(&thread.join().unwrap()))
    });
    let grown = seen.most.max(resident()) - before;
    println!(
        "{} read, {} known, {} remembered; {} KiB before, {} KiB more at most",
        seen.read,
        seen.known,
        smoother.len(),
        before / 1024,
        grown / 1024
    );
    assert!(seen.read > NUMBERS / 2 && seen.known > NUMBERS / 50, "{} read, {} known", seen.read, seen.known);
    assert!(smoother.len() <= 100_000, "{}", smoother.len());
    assert!(grown < GROWTH, "{} KiB more", grown / 1024);
}
