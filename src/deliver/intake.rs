//! When the next messages of a lane are claimed from the store, and how many. Pure; time comes in from outside.
//!
//! Three things are balanced: workers must not run dry, a backlog stays on disk, and a message of a client that nobody
//! knows of yet is found soon even while those of another fill the memory.

use std::time::Duration;

use tokio::time::Instant;

use super::registry::Readiness;

/// How often the store is looked at for other clients' messages while enough are in memory.
const DISCOVERY: Duration = Duration::from_secs(1);

/// How many are claimed then.
const DISCOVERED: usize = 16;

/// The pause after a claim that should have found something and did not.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of one lane of the store.
#[derive(Debug)]
pub(super) struct Intake {
    /// When the store has something to claim, as far as known.
    due: Option<Instant>,
    last: Option<Instant>,
    under_way: bool,
    /// Something was put into the store while a claim was under way.
    told: bool,
    /// There was something to claim, but no room for it.
    starved: bool,
}

impl Intake {
    /// At the start nothing is known, so it looks at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { due: Some(now), last: None, under_way: false, told: false, starved: false }
    }

    /// Something in the store may be due at `at`.
    pub(super) fn may_be_due(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
        self.told = true;
    }

    /// A message left the memory.
    pub(super) fn room_was_made(&mut self, now: Instant) {
        if std::mem::take(&mut self.starved) {
            self.due = Some(now);
        }
    }

    /// When the next claim is to be made, given how many messages are `waiting` in memory and how many are `enough`.
    pub(super) fn next(&self, waiting: usize, enough: usize, readiness: Readiness) -> Option<Instant> {
        let due = self.due.filter(|_| !self.under_way)?;
        let unhurried = match self.last {
            Some(last) if waiting >= enough => due.max(last + DISCOVERY),
            Some(_) | None => due,
        };
        Some(match readiness {
            Readiness::Flowing | Readiness::ProbeWanted => unhurried,
            Readiness::Blocked(until) => unhurried.max(until),
        })
    }

    /// How many to claim then. While every upstream is down, the one that is to find out.
    pub(super) fn amount(waiting: usize, enough: usize, readiness: Readiness) -> usize {
        match readiness {
            Readiness::ProbeWanted => 1,
            Readiness::Flowing | Readiness::Blocked(_) => {
                enough.saturating_mul(2).saturating_sub(waiting).max(DISCOVERED)
            }
        }
    }

    /// A claim begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.under_way = true;
        self.told = false;
        self.last = Some(now);
    }

    /// A claim of `asked` messages brought `got`, and the store is due again at `next`.
    pub(super) fn end(&mut self, now: Instant, asked: usize, got: usize, next: Option<Instant>) {
        self.under_way = false;
        self.due = if self.told || got >= asked { Some(now) } else { next };
        self.starved = false;
        if got == 0 && self.due.is_some_and(|due| due <= now) && !self.told {
            self.starved = true;
            self.due = Some(now + PAUSE);
        }
    }

    /// A claim failed.
    pub(super) fn failed(&mut self, now: Instant) {
        self.under_way = false;
        self.due = Some(now + PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOWING: Readiness = Readiness::Flowing;

    #[tokio::test(start_paused = true)]
    async fn while_all_upstreams_are_down_nothing_is_taken_up_and_then_one() {
        let now = Instant::now();
        let intake = Intake::new(now);
        let until = now + Duration::from_secs(4);
        assert_eq!(intake.next(0, 64, Readiness::Blocked(until)), Some(until));
        assert_eq!(intake.next(0, 64, Readiness::ProbeWanted), Some(now));
        assert_eq!(Intake::amount(0, 64, Readiness::ProbeWanted), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_backlog_is_claimed_in_pieces_and_others_are_looked_for_once_a_second() {
        let now = Instant::now();
        let mut intake = Intake::new(now);
        assert_eq!(Intake::amount(0, 64, FLOWING), 128);
        intake.begin(now);
        assert_eq!(intake.next(0, 64, FLOWING), None);
        intake.end(now, 128, 128, None);
        assert_eq!(intake.next(63, 64, FLOWING), Some(now));
        assert_eq!(intake.next(64, 64, FLOWING), Some(now + DISCOVERY));
        assert_eq!(Intake::amount(500, 64, FLOWING), DISCOVERED);
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_store_is_left_alone_until_somebody_tells() {
        let now = Instant::now();
        let mut intake = Intake::new(now);
        intake.begin(now);
        intake.end(now, 128, 0, None);
        assert_eq!(intake.next(0, 64, FLOWING), None);
        intake.may_be_due(now);
        assert_eq!(intake.next(0, 64, FLOWING), Some(now));
        // Told while a claim is under way: it may not have seen what was put.
        intake.begin(now);
        intake.may_be_due(now);
        intake.end(now, 128, 0, None);
        assert_eq!(intake.next(0, 64, FLOWING), Some(now));
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_without_room_waits_for_room_and_never_spins() {
        let now = Instant::now();
        let mut intake = Intake::new(now);
        intake.begin(now);
        intake.end(now, 128, 0, Some(now));
        assert_eq!(intake.next(0, 64, FLOWING), Some(now + PAUSE));
        intake.room_was_made(now);
        assert_eq!(intake.next(0, 64, FLOWING), Some(now));
    }
}
