//! What an upstream made of what it was handed, in numbers, and how long it took over it.

use std::time::Duration;

use super::reply::HandOver;
use crate::metrics::{Counter, Histogram};

/// The counts of one upstream; they begin anew where its configuration changes.
#[derive(Debug, Default)]
pub struct Tally {
    counts: [Counter; RESULTS.len()],
    took: Histogram,
}

/// What can become of an attempt, by name.
const RESULTS: [&str; 7] =
    ["accepted", "refused", "deferred", "in-doubt", "unavailable", "unfit", "sender-refused"];

impl Tally {
    /// Counts an attempt, and the time from the moment it was let in.
    pub(super) fn count(&self, hand_over: &HandOver, took: Duration) {
        let index = match hand_over {
            HandOver::Accepted { .. } | HandOver::Taken { .. } => 0,
            HandOver::Refused(_) => 1,
            HandOver::Deferred(_) => 2,
            HandOver::InDoubt(_) => 3,
            HandOver::Unavailable(..) => 4,
            HandOver::Unfit(_) => 5,
            HandOver::SenderRefused(_) => 6,
        };
        self.counts[index].one();
        self.took.observe(took);
    }

    /// How often each thing became of an attempt.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RESULTS.into_iter().zip(self.counts.iter().map(Counter::get))
    }

    /// How long attempts took.
    pub fn took(&self) -> &Histogram {
        &self.took
    }
}
