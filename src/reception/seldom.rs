//! Counts what anybody may cause as often as they like, and says when the log is to tell of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often the log tells of it.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// A count that is told at most once a minute.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    count: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Seldom {
    /// How many there were so far.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts one more. The number of all, where it is to be told now.
    pub(super) fn one_more(&self) -> Option<u64> {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.is_none_or(|told| told.elapsed() >= TOLD_EVERY);
        due.then(|| {
            *told = Some(Instant::now());
            count
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_told_once_a_minute_with_its_number() {
        let seldom = Seldom::default();
        let mut told = Vec::new();
        for _ in 0..150 {
            told.extend(seldom.one_more());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!((told.as_slice(), seldom.count()), ([1, 61, 121].as_slice(), 150));
    }
}
