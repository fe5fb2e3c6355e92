//! How many messages a minute an upstream is given.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// The most messages a minute, spread over its seconds.
#[derive(Debug)]
pub(super) struct Rate(RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<std::time::Instant>>);

impl Rate {
    /// `None` where the limit is zero, which is no limit anybody could mean.
    pub(super) fn new(per_minute: u32) -> Option<Self> {
        let per_minute = NonZeroU32::new(per_minute)?;
        let burst = NonZeroU32::new((per_minute.get() / 60).max(1))?;
        let quota = Quota::per_minute(per_minute).allow_burst(burst);
        Some(Self(RateLimiter::direct_with_clock(quota, TokioClock)))
    }

    /// Takes one message's turn, or says when there will be one.
    pub(super) fn take(&self) -> Result<(), Instant> {
        let now = Instant::now();
        self.0.check().map_err(|not_until| {
            let wait = not_until.earliest_possible().duration_since(now.into_std());
            // The limiter counts in nanoseconds, the timer in milliseconds.
            now + wait.max(Duration::from_millis(1))
        })
    }
}

/// Tokio's clock, so that a test with paused time moves the limiter too.
#[derive(Debug, Clone, Copy)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        Instant::now().into_std()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_minute_holds_no_more_than_its_messages_and_a_second_of_burst() {
        let rate = Rate::new(120).unwrap();
        let start = Instant::now();
        let mut taken = 0;
        while start.elapsed() < Duration::from_mins(1) {
            match rate.take() {
                Ok(()) => taken += 1,
                Err(until) => tokio::time::sleep_until(until).await,
            }
        }
        assert!((119..=122).contains(&taken), "{taken}");
        assert!(Rate::new(0).is_none());
    }
}
