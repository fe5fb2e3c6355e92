//! How many messages a minute an upstream is given.
//!
//! A turn of normal mail must be free in its share and in the whole at once, and is taken in both or in none. That is why
//! the counting is done here: a limiter of its own for each would lose turns in the one whenever the other says no.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::ident::Class;

/// The most messages a minute, spread over its seconds. Normal mail never takes the last quarter: however much of it
/// waits, an urgent message has its turn with the next one that comes.
#[derive(Debug)]
pub(super) struct Rate(Mutex<Shares>);

#[derive(Debug)]
struct Shares {
    all: Share,
    normal: Share,
}

/// The generic cell rate algorithm: the time at which all turns taken so far would be used up at an even pace.
#[derive(Debug)]
struct Share {
    pause: Duration,
    /// How far that time may lie ahead: a second's turns may come at once.
    ahead: Duration,
    used_up: Instant,
}

impl Rate {
    /// `None` where the limit is zero, which is no limit anybody could mean.
    pub(super) fn new(per_minute: u32) -> Option<Self> {
        let all = NonZeroU32::new(per_minute)?;
        let share = super::normal_share(usize::try_from(per_minute).unwrap_or(usize::MAX));
        let normal = u32::try_from(share).ok().and_then(NonZeroU32::new).unwrap_or(all);
        Some(Self(Mutex::new(Shares { all: Share::new(all), normal: Share::new(normal) })))
    }

    /// Takes one message's turn, or says when there will be one.
    pub(super) fn take(&self, class: Class) -> Result<(), Instant> {
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let free = match class {
            Class::Urgent => shares.all.free_at(),
            Class::Normal => shares.all.free_at().max(shares.normal.free_at()),
        };
        if free > now {
            // The timer counts in milliseconds.
            return Err(free.max(now + Duration::from_millis(1)));
        }
        shares.all.take(now);
        if class == Class::Normal {
            shares.normal.take(now);
        }
        Ok(())
    }
}

impl Share {
    fn new(per_minute: NonZeroU32) -> Self {
        let pause = Duration::from_mins(1) / per_minute.get();
        let burst = (per_minute.get() / 60).max(1);
        Self { pause, ahead: pause * (burst - 1), used_up: Instant::now() }
    }

    fn free_at(&self) -> Instant {
        self.used_up.checked_sub(self.ahead).unwrap_or(self.used_up)
    }

    fn take(&mut self, now: Instant) {
        self.used_up = self.used_up.max(now) + self.pause;
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
        // Urgent mail without end leaves every second turn, and normal mail without end a quarter.
        assert!((55..=91).contains(&normal) && urgent >= 29, "{normal} normal, {urgent} urgent");
        let only = Rate::new(1).unwrap();
        assert!(only.take(Class::Normal).is_ok(), "one a minute is for both");
    }
}
