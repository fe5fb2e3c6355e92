//! How many messages a minute an upstream is given.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::ident::Class;

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<std::time::Instant>>;

/// The most messages a minute, spread over its seconds. Normal mail never takes the last quarter: however much of it
/// waits, an urgent message has its turn with the next one that comes.
#[derive(Debug)]
pub(super) struct Rate {
    all: Limiter,
    normal: Limiter,
}

impl Rate {
    /// `None` where the limit is zero, which is no limit anybody could mean.
    pub(super) fn new(per_minute: u32) -> Option<Self> {
        let all = NonZeroU32::new(per_minute)?;
        let share = super::normal_share(usize::try_from(per_minute).unwrap_or(usize::MAX));
        let normal = u32::try_from(share).ok().and_then(NonZeroU32::new).unwrap_or(all);
        Some(Self { all: limiter(all), normal: limiter(normal) })
    }

    /// Takes one message's turn, or says when there will be one.
    pub(super) fn take(&self, class: Class) -> Result<(), Instant> {
        if class == Class::Normal {
            check(&self.normal)?;
        }
        check(&self.all)
    }
}

fn limiter(per_minute: NonZeroU32) -> Limiter {
    let burst = NonZeroU32::new(per_minute.get() / 60).unwrap_or(NonZeroU32::MIN);
    RateLimiter::direct_with_clock(Quota::per_minute(per_minute).allow_burst(burst), TokioClock)
}

fn check(limiter: &Limiter) -> Result<(), Instant> {
    let now = Instant::now();
    limiter.check().map_err(|not_until| {
        let wait = not_until.earliest_possible().duration_since(now.into_std());
        // The limiter counts in nanoseconds, the timer in milliseconds.
        now + wait.max(Duration::from_millis(1))
    })
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
            match rate.take(Class::Urgent) {
                Ok(()) => taken += 1,
                Err(until) => tokio::time::sleep_until(until).await,
            }
        }
        assert!((119..=122).contains(&taken), "{taken}");
        assert!(Rate::new(0).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_normal_mail_leaves_a_quarter_to_urgent_mail() {
        let rate = Rate::new(60).unwrap();
        let start = Instant::now();
        let (mut normal, mut urgent) = (0, 0);
        while start.elapsed() < Duration::from_mins(2) {
            // Normal mail always asks first.
            while rate.take(Class::Normal).is_ok() {
                normal += 1;
            }
            while rate.take(Class::Urgent).is_ok() {
                urgent += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!((80..=91).contains(&normal) && urgent >= 29, "{normal} normal, {urgent} urgent");
        let only = Rate::new(1).unwrap();
        assert!(only.take(Class::Normal).is_ok(), "one a minute is for both");
    }
}
