//! How an endpoint does, and how much is sent to it for that. Pure; time comes in from outside.
//!
//! One that fails again and again is asked by one notice at a time, with growing pauses, so that a backlog of any size
//! costs it little and none of the waiting notices its attempts.

use std::time::Duration;

use tokio::time::Instant;

use super::schedule::PUT_OFF_MOST;

/// After so many failures in a row it is given a rest.
const FAILURES: u32 = 3;

const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_mins(5);

/// How an endpoint does.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// In a row.
    failures: u32,
    until: Option<Instant>,
}

impl Health {
    /// How many may be under way at once.
    pub(super) fn room(&self, most: usize, now: Instant) -> usize {
        match self.until {
            Some(until) if until > now => 0,
            _ if self.failures >= FAILURES => 1,
            _ => most,
        }
    }

    /// Until when nothing is sent there.
    pub(super) fn resting_until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// It answered as it should.
    pub(super) fn worked(&mut self) {
        *self = Self::default();
    }

    /// It did not. `asked` is how long it wants to be left alone; `jitter` is in 0..=1.
    pub(super) fn failed(&mut self, asked: Option<Duration>, now: Instant, jitter: f64) {
        self.failures = self.failures.saturating_add(1);
        let rest = self.failures.checked_sub(FAILURES).map(|beyond| {
            let rest = SHORTEST.saturating_mul(1 << beyond.min(20)).min(LONGEST);
            rest + rest.mul_f64(jitter.clamp(0.0, 1.0) / 5.0)
        });
        let asked = asked.map(|asked| asked.min(PUT_OFF_MOST));
        if let Some(rest) = rest.into_iter().chain(asked).max() {
            self.until = Some(now + rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_gets_growing_rests_and_one_notice_at_a_time() {
        let mut health = Health::default();
        let now = Instant::now();
        health.failed(None, now, 0.0);
        health.failed(None, now, 0.0);
        assert_eq!((health.room(4, now), health.resting_until(now)), (4, None));
        let mut rests = Vec::new();
        let mut at = now;
        for _ in 0..9 {
            health.failed(None, at, 0.0);
            assert_eq!(health.room(4, at), 0);
            let until = health.resting_until(at).unwrap();
            rests.push((until - at).as_secs());
            at = until;
            assert_eq!(health.room(4, at), 1);
        }
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        health.worked();
        assert_eq!(health.room(4, at), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_asks_to_be_left_alone_is_left_alone_at_once() {
        let mut health = Health::default();
        let now = Instant::now();
        health.failed(Some(Duration::from_secs(90)), now, 0.0);
        assert_eq!(health.resting_until(now), Some(now + Duration::from_secs(90)));
        assert_eq!(health.room(4, now + Duration::from_secs(90)), 4);
    }
}
