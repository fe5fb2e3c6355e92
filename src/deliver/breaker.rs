//! The breaker of one upstream: whether it may be asked now. Pure; time comes in from outside.
//!
//! Closed means mail flows. When the upstream fails as a whole the breaker opens for a while, then lets exactly one
//! message through as a probe: its answer closes the breaker, or opens it for twice as long. So a backlog of any size
//! costs a failing upstream one attempt per opening.

use std::time::Duration;

use tokio::time::Instant;

use super::BreakerConfig;
use super::reply::Trip;

/// What the breaker says to one who wants to ask the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Go on.
    Pass,
    /// Go on, as the one probe.
    Probe,
    /// Not before this.
    NotBefore(Instant),
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// Mail flows.
    Closed,
    /// Nobody asks the upstream before this.
    Open(Instant),
    /// One message is asking.
    Probing,
}

/// The breaker of one upstream.
#[derive(Debug)]
pub(super) struct Breaker {
    config: BreakerConfig,
    position: Position,
    /// Failures since it last worked, while closed.
    failures: u32,
    /// Openings since it last worked.
    openings: u32,
}

/// How long others wait while a probe is under way, at most.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

impl Breaker {
    pub(super) fn new(config: BreakerConfig) -> Self {
        Self { config, position: Position::Closed, failures: 0, openings: 0 }
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// What [`Breaker::enter`] would say now.
    pub(super) fn look(&self, now: Instant) -> Gate {
        match self.position {
            Position::Closed => Gate::Pass,
            Position::Open(until) if until <= now => Gate::Probe,
            Position::Open(until) => Gate::NotBefore(until),
            Position::Probing => {
                Gate::NotBefore(now + self.interval(0.0).min(PROBE_PATIENCE).max(self.config.shortest))
            }
        }
    }

    /// Lets one in, or not. Whoever got [`Gate::Probe`] must tell how it ended: `worked`, `failed` or `abandoned`.
    pub(super) fn enter(&mut self, now: Instant) -> Gate {
        let gate = self.look(now);
        if gate == Gate::Probe {
            self.position = Position::Probing;
        }
        gate
    }

    /// The upstream answered: it works, whatever it said about the one message. Returns whether this closed the breaker.
    pub(super) fn worked(&mut self) -> bool {
        let was_open = self.position != Position::Closed;
        self.position = Position::Closed;
        self.failures = 0;
        self.openings = 0;
        was_open
    }

    /// The upstream failed one that had been let in through `gate`. `jitter` is in 0..=1 and lengthens the opening by
    /// up to a quarter. Returns whether this opened the breaker.
    ///
    /// Attempts that were under way when it opened say nothing new: while it is open or probing, only the probe counts.
    pub(super) fn failed(&mut self, gate: Gate, trip: Trip, now: Instant, jitter: f64) -> bool {
        let opens = match (self.position, gate) {
            (Position::Probing, Gate::Probe) => true,
            (Position::Closed, _) => {
                self.failures = self.failures.saturating_add(1);
                match trip {
                    Trip::AtOnce | Trip::For(_) => true,
                    Trip::Counted => self.failures >= self.config.failures,
                }
            }
            (Position::Open(_) | Position::Probing, _) => false,
        };
        if opens {
            self.openings = self.openings.saturating_add(1);
            self.failures = 0;
            let least = match trip {
                Trip::For(least) => least,
                Trip::AtOnce | Trip::Counted => Duration::ZERO,
            };
            self.position = Position::Open(now + self.interval(jitter).max(least));
        }
        opens
    }

    /// The probe ended without an answer of the upstream, and without its fault: the next one may try.
    pub(super) fn abandoned(&mut self, now: Instant) {
        if self.position == Position::Probing {
            self.position = Position::Open(now);
        }
    }

    fn interval(&self, jitter: f64) -> Duration {
        let doublings = self.openings.saturating_sub(1).min(30);
        let base = self.config.shortest.saturating_mul(1 << doublings).min(self.config.longest);
        (base + base.mul_f64(jitter.clamp(0.0, 1.0) / 4.0)).min(self.config.longest.max(self.config.shortest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORTEST: Duration = Duration::from_secs(1);

    fn breaker() -> Breaker {
        Breaker::new(BreakerConfig { failures: 3, shortest: SHORTEST, longest: Duration::from_secs(10) })
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_to_connect_opens_at_once_and_replies_after_some_in_a_row() {
        let now = Instant::now();
        let mut at_once = breaker();
        assert!(at_once.failed(Gate::Pass, Trip::AtOnce, now, 0.0));
        assert_eq!(at_once.look(now), Gate::NotBefore(now + SHORTEST));

        let mut counted = breaker();
        assert!(!counted.failed(Gate::Pass, Trip::Counted, now, 0.0));
        assert!(!counted.failed(Gate::Pass, Trip::Counted, now, 0.0));
        counted.worked();
        assert!(!counted.failed(Gate::Pass, Trip::Counted, now, 0.0));
        assert!(!counted.failed(Gate::Pass, Trip::Counted, now, 0.0));
        assert_eq!(counted.look(now), Gate::Pass);
        assert!(counted.failed(Gate::Pass, Trip::Counted, now, 0.0));
        assert_eq!(counted.look(now), Gate::NotBefore(now + SHORTEST));
    }

    #[tokio::test(start_paused = true)]
    async fn what_asks_for_a_longer_pause_gets_it() {
        let (now, long) = (Instant::now(), Duration::from_mins(15));
        let mut breaker = breaker();
        assert!(breaker.failed(Gate::Pass, Trip::For(long), now, 0.0));
        assert_eq!(breaker.look(now), Gate::NotBefore(now + long));
        tokio::time::advance(long).await;
        assert_eq!(breaker.enter(Instant::now()), Gate::Probe);
        assert!(breaker.failed(Gate::Probe, Trip::For(Duration::ZERO), Instant::now(), 0.0));
        assert_eq!(breaker.look(Instant::now()), Gate::NotBefore(Instant::now() + 2 * SHORTEST));
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_goes_through_and_its_end_decides() {
        let mut breaker = breaker();
        breaker.failed(Gate::Pass, Trip::AtOnce, Instant::now(), 0.0);
        let mut seconds = Vec::new();
        for _ in 0..6 {
            let Position::Open(until) = breaker.position() else { panic!("not open") };
            seconds.push((until - Instant::now()).as_secs());
            tokio::time::advance(until - Instant::now()).await;
            assert_eq!(breaker.enter(Instant::now()), Gate::Probe);
            for _ in 0..10_000 {
                assert!(matches!(breaker.enter(Instant::now()), Gate::NotBefore(_)));
            }
            // What was under way before it opened changes nothing.
            assert!(!breaker.failed(Gate::Pass, Trip::AtOnce, Instant::now(), 0.0));
            assert!(breaker.failed(Gate::Probe, Trip::Counted, Instant::now(), 0.0));
        }
        assert_eq!(seconds, [1, 2, 4, 8, 10, 10]);

        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(breaker.enter(Instant::now()), Gate::Probe);
        breaker.abandoned(Instant::now());
        assert_eq!(breaker.enter(Instant::now()), Gate::Probe);
        assert!(breaker.worked());
        assert_eq!(breaker.enter(Instant::now()), Gate::Pass);
        breaker.failed(Gate::Pass, Trip::AtOnce, Instant::now(), 0.0);
        assert_eq!(breaker.look(Instant::now()), Gate::NotBefore(Instant::now() + SHORTEST));
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_lengthens_but_never_beyond_the_longest() {
        let now = Instant::now();
        let mut breaker = breaker();
        breaker.failed(Gate::Pass, Trip::AtOnce, now, 1.0);
        assert_eq!(breaker.look(now), Gate::NotBefore(now + Duration::from_millis(1250)));
        for _ in 0..6 {
            let Position::Open(until) = breaker.position() else { panic!("not open") };
            tokio::time::advance(until - Instant::now()).await;
            breaker.enter(Instant::now());
            breaker.failed(Gate::Probe, Trip::AtOnce, Instant::now(), 1.0);
        }
        let Position::Open(until) = breaker.position() else { panic!("not open") };
        assert_eq!(until - Instant::now(), Duration::from_secs(10));
    }
}
