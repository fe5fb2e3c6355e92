//! How many refusals are told one by one. A refusal costs its sender nothing, so whoever wants to could fill a disk with
//! records of them.
//!
//! Each client has a ration for each kind: [`BURST`] at once, and [`A_MINUTE`] a minute in the long run. What goes beyond
//! is counted, and the number is told with the next one that is told. Memory is bounded by the clients that there are.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ident::ClientName;

/// How many are told at once, after a quiet time.
pub const BURST: u32 = 100;
/// How many are told a minute in the long run.
pub const A_MINUTE: u32 = 10;

/// What is left of each ration.
#[derive(Debug, Default)]
pub struct Ration(Mutex<HashMap<(ClientName, &'static str), Left>>);

#[derive(Debug)]
struct Left {
    whole: u32,
    refilled: Timestamp,
    untold: u64,
}

/// Whether a refusal is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// It is; and so many like it were not, since the last that was.
    Told {
        /// How many were left out.
        left_out: u64,
    },
    /// It is only counted.
    LeftOut,
}

impl Ration {
    /// Takes one out of the ration of a client for a kind of refusal.
    pub fn take(&self, client: &ClientName, kind: &'static str, now: Timestamp) -> Share {
        let mut rations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = || Left { whole: BURST, refilled: now, untold: 0 };
        let left = rations.entry((client.clone(), kind)).or_insert_with(full);
        left.refill(now);
        let Some(rest) = left.whole.checked_sub(1) else {
            left.untold += 1;
            return Share::LeftOut;
        };
        left.whole = rest;
        Share::Told { left_out: std::mem::take(&mut left.untold) }
    }
}

impl Left {
    fn refill(&mut self, now: Timestamp) {
        let pause = Duration::from_mins(1) / A_MINUTE;
        if now < self.refilled {
            // The wall clock was put back.
            self.refilled = now;
        }
        let due = now.since(self.refilled).as_millis() / pause.as_millis();
        let due = u32::try_from(due).unwrap_or(u32::MAX).min(BURST);
        if due > 0 {
            self.whole = self.whole.saturating_add(due).min(BURST);
            // A full ration saves nothing up.
            self.refilled = if self.whole == BURST { now } else { self.refilled.plus(pause * due) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn told(ration: &Ration, client: &str, kind: &'static str, now: Timestamp) -> bool {
        ration.take(&client.into(), kind, now) != Share::LeftOut
    }

    #[test]
    fn a_flood_is_told_in_part_and_the_rest_is_counted() {
        let ration = Ration::default();
        let seen = (0..100_000).filter(|_| told(&ration, "shop", "country", at(0))).count();
        assert_eq!(seen, 100);
        assert!(told(&ration, "shop", "range", at(0)), "another kind has its own ration");
        assert!(told(&ration, "bank", "country", at(0)), "another client has its own ration");
        assert_eq!(ration.take(&"shop".into(), "country", at(6)), Share::Told { left_out: 99_900 });
        assert_eq!(ration.take(&"shop".into(), "country", at(6)), Share::LeftOut);
        let hour = (0..3600 * 20).filter(|i| told(&ration, "shop", "country", at(10 + i / 20))).count();
        assert!((598..=602).contains(&hour), "{hour} in an hour");
    }

    #[test]
    fn a_quiet_time_fills_it_up_and_a_clock_put_back_does_not_stop_it() {
        let ration = Ration::default();
        while told(&ration, "shop", "rate", at(1000)) {}
        assert!(!told(&ration, "shop", "rate", at(0)));
        assert!(told(&ration, "shop", "rate", at(6)));
        let seen = (0..200).filter(|_| told(&ration, "shop", "rate", at(5000))).count();
        assert_eq!(seen, 100);
    }
}
