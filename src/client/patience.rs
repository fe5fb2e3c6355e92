//! How long who keeps failing has to wait: a few failures are free, then the wait doubles up to a bound, and a quiet time
//! forgives all. Memory is bounded; the keys are digests, so nobody's name or address is kept.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::secret::Digest;

/// A quiet time after which everything is forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_mins(15);
/// The most who are remembered.
const REMEMBERED: usize = 10_000;

/// The failures of many, each under a key of its own.
#[derive(Debug)]
pub(super) struct Patience {
    free: u32,
    longest: Duration,
    failures: Mutex<HashMap<Digest, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Patience {
    /// One that lets `free` failures pass and never asks for a wait above `longest`.
    pub(super) fn new(free: u32, longest: Duration) -> Self {
        Self { free, longest, failures: Mutex::new(HashMap::new()) }
    }

    /// How long it is until `key` may try again; `None`: it may now.
    pub(super) fn wait(&self, key: &Digest) -> Option<Duration> {
        let seen = *self.failures().get(key)?;
        let wait = self.wait_after(seen.count).checked_sub(seen.last.elapsed())?;
        (!wait.is_zero()).then_some(wait)
    }

    /// Counts a failure.
    pub(super) fn count(&self, key: Digest) {
        let mut failures = self.failures();
        let now = Instant::now();
        if failures.len() >= REMEMBERED && !failures.contains_key(&key) {
            failures.retain(|_, seen| seen.last.elapsed() < FORGIVEN_AFTER);
            if failures.len() >= REMEMBERED
                && let Some(oldest) = failures.iter().min_by_key(|(_, seen)| seen.last).map(|(key, _)| *key)
            {
                failures.remove(&oldest);
            }
        }
        let seen = failures.entry(key).or_insert(Failures { count: 0, last: now });
        if seen.last.elapsed() >= FORGIVEN_AFTER {
            seen.count = 0;
        }
        seen.count = seen.count.saturating_add(1);
        seen.last = now;
    }

    /// It succeeded: what was is forgotten.
    pub(super) fn forgive(&self, key: &Digest) {
        self.failures().remove(key);
    }

    fn wait_after(&self, failures: u32) -> Duration {
        match failures.checked_sub(self.free) {
            None => Duration::ZERO,
            Some(over) => Duration::from_secs(1 << over.min(9)).min(self.longest),
        }
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<Digest, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Digest {
        Digest::sha256(&number.to_be_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn who_keeps_failing_waits_longer_and_longer_and_others_do_not() {
        let patience = Patience::new(3, Duration::from_secs(10));
        let mut waits = Vec::new();
        for _ in 0..9 {
            waits.push(patience.wait(&key(1)).map_or(0, |wait| wait.as_secs()));
            patience.count(key(1));
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 10, 10]);
        assert_eq!(patience.wait(&key(2)), None);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(patience.wait(&key(1)), None);
        patience.count(key(1));
        assert!(patience.wait(&key(1)).is_some());
        patience.forgive(&key(1));
        assert_eq!(patience.wait(&key(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_time_forgives() {
        let patience = Patience::new(0, Duration::from_hours(1));
        for _ in 0..8 {
            patience.count(key(1));
        }
        tokio::time::advance(FORGIVEN_AFTER).await;
        patience.count(key(1));
        assert_eq!(patience.wait(&key(1)), Some(Duration::from_secs(2)));
    }

    #[tokio::test]
    async fn however_many_fail_the_table_stays_small_and_holds_the_latest() {
        let patience = Patience::new(0, Duration::from_hours(1));
        for number in 0..REMEMBERED + 50 {
            patience.count(key(number));
        }
        assert_eq!(patience.failures().len(), REMEMBERED);
        assert!(patience.wait(&key(REMEMBERED + 49)).is_some());
    }
}
