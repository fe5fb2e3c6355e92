//! When the writer begins its next group. Pure; time comes in from outside.
//!
//! A commit costs its sync and every page that it touches, whether one message is in it or a hundred. Where the disk is
//! fast, groups begun as soon as possible stay small, and the processor writes the same pages over and over. So while much
//! goes on, groups begin at a steady pace, and each holds what came since the last one. A message that comes when little
//! goes on is never kept waiting.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// From the beginning of one group to that of the next, while much goes on: the most that a request waits for others.
const PACE: Duration = Duration::from_millis(6);

/// Much goes on when there were so many requests within a time: more than a few clients make that send one message after
/// the other.
const MANY: usize = 10;
const WITHIN: Duration = Duration::from_millis(8);

/// What the writer did in the last moments.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The groups of the last moments: when each began and how many requests it held.
    groups: VecDeque<(Instant, usize)>,
}

impl Pace {
    /// A group of so many requests begins.
    pub(super) fn begin(&mut self, now: Instant, requests: usize) {
        self.forget(now);
        self.groups.push_back((now, requests));
    }

    /// How long to let further requests come before the next group begins, of which `waiting` are there.
    pub(super) fn pause(&mut self, now: Instant, waiting: usize) -> Option<Duration> {
        self.forget(now);
        let (last, _) = *self.groups.back()?;
        let recent: usize = self.groups.iter().map(|(_, requests)| requests).sum();
        let left = (last + PACE).saturating_duration_since(now);
        (recent + waiting >= MANY && !left.is_zero()).then_some(left)
    }

    fn forget(&mut self, now: Instant) {
        while self.groups.front().is_some_and(|(begun, _)| *begun + WITHIN <= now) {
            self.groups.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_message_after_the_other_is_never_kept_waiting() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..100 {
            // A put, and a millisecond later its outcome.
            for pause in [1, 2] {
                assert_eq!(pace.pause(now, 1), None);
                pace.begin(now, 1);
                now += Duration::from_millis(pause);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_much_goes_on_groups_begin_at_a_steady_pace() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        pace.begin(now, 8);
        now += Duration::from_millis(1);
        assert_eq!(pace.pause(now, 1), None);
        assert_eq!(pace.pause(now, 2), Some(PACE.saturating_sub(Duration::from_millis(1))));
        now += PACE;
        assert_eq!(pace.pause(now, 20), None, "it has waited long enough");
        pace.begin(now, 20);
        now += WITHIN;
        assert_eq!(pace.pause(now, 1), None, "nothing goes on any more");
    }
}
