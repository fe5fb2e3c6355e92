//! Time as the rest of the crate sees it.
//!
//! Everything stored is wall-clock time ([`Timestamp`], milliseconds since the Unix epoch), because it has to mean the
//! same after a restart. Everything waited for inside the process is tokio's monotonic time. [`Clock`] is the only
//! place that asks the system what time it is; a simulated clock follows tokio's paused time in tests.
//!
//! A machine's clock may be set back while the process runs. [`Clock::now`] does not follow: it goes on from what it
//! has shown, at the pace of the monotonic clock. Otherwise a code would live longer than its life by as much, and what
//! waits for its next attempt would wait as much longer. A step forward is followed: the time may have passed while the
//! machine was asleep. [`Clock::wall`] is what the machine shows, for what others compare with their own clocks.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Milliseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A point in time from milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This time plus `duration`, saturating at the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// This time minus `duration`, saturating at the beginning of time.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis))
    }

    /// How long from `earlier` to this time; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// How long until `later`; zero when it has passed.
    pub fn until(self, later: Self) -> Duration {
        later.since(self)
    }

    fn instant(self) -> Option<jiff::Timestamp> {
        jiff::Timestamp::from_millisecond(self.0).ok()
    }

    /// The time from the form of RFC 3339, or the beginning of a day in UTC from its date.
    pub fn parse(text: &str) -> Option<Self> {
        let at = text.parse::<jiff::Timestamp>().ok().or_else(|| {
            let day: jiff::civil::Date = text.parse().ok()?;
            jiff::tz::TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()
        })?;
        Some(Self(at.as_millisecond()))
    }

    /// The date in the form of RFC 5322 section 3.3, in UTC: `Mon, 23 Nov 2026 13:26:00 +0000`.
    pub fn to_rfc5322(self) -> String {
        self.instant().map_or_else(String::new, |at| at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string())
    }

    /// The date in the form of RFC 3339, in UTC, to the second.
    pub fn to_rfc3339(self) -> String {
        self.instant().map_or_else(String::new, |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Where the time comes from. Cheap to copy.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    /// The system's wall clock.
    #[default]
    System,
    /// A wall clock that stood at `start` when tokio's clock stood at `origin` and moves with it: in a test with
    /// paused time it moves only when the test lets it.
    Simulated {
        /// What the wall clock showed at `origin`.
        start: Timestamp,
        /// The monotonic instant that belongs to `start`.
        origin: Instant,
        /// By how many milliseconds somebody has set it forward since; less than zero: back.
        set_by: Option<&'static AtomicI64>,
    },
}

impl Clock {
    /// A clock that reads `start` now and moves with tokio's time from here.
    pub fn simulated(start: Timestamp) -> Self {
        Self::Simulated { start, origin: Instant::now(), set_by: None }
    }

    /// The same, and whoever holds `set_by` may set it while it runs, as an operator or a time server does.
    pub fn simulated_and_set(start: Timestamp, set_by: &'static AtomicI64) -> Self {
        Self::Simulated { start, origin: Instant::now(), set_by: Some(set_by) }
    }

    /// The time now. The system's never goes back while the process runs.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Steady::of_process().now(wall(), elapsed()),
            Self::Simulated { start, origin, set_by } => {
                let set_by = set_by.map_or(0, |millis| millis.load(Ordering::Relaxed));
                Timestamp(start.plus(origin.elapsed()).0.saturating_add(set_by))
            }
        }
    }

    /// What the machine's clock shows, whatever was done to it.
    pub fn wall(&self) -> Timestamp {
        match self {
            Self::System => wall(),
            Self::Simulated { .. } => self.now(),
        }
    }

    /// The monotonic instant at which the wall clock will show `at`; now, when that has passed.
    pub fn instant_of(&self, at: Timestamp) -> Instant {
        Instant::now() + self.now().until(at)
    }
}

/// A clock that follows another one forwards only.
struct Steady {
    /// The most that the other one was ahead of the monotonic clock, in milliseconds.
    ahead: AtomicI64,
}

impl Steady {
    const fn new() -> Self {
        Self { ahead: AtomicI64::new(i64::MIN) }
    }

    fn of_process() -> &'static Self {
        static STEADY: Steady = Steady::new();
        &STEADY
    }

    fn now(&self, shown: Timestamp, elapsed: Duration) -> Timestamp {
        let elapsed = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        let ahead = shown.0.saturating_sub(elapsed);
        let most = self.ahead.fetch_max(ahead, Ordering::AcqRel).max(ahead);
        Timestamp(most.saturating_add(elapsed))
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How long the process has been asking.
#[expect(clippy::disallowed_methods, reason = "it belongs to the system's clock, not to a test's")]
fn elapsed() -> Duration {
    static ORIGIN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    ORIGIN.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_mail_and_json_want_them() {
        let at = Timestamp::from_millis(1_795_440_360_000);
        assert_eq!(at.to_rfc5322(), "Mon, 23 Nov 2026 13:26:00 +0000");
        assert_eq!(at.to_rfc3339(), "2026-11-23T13:26:00Z");
    }

    #[test]
    fn times_are_read_with_and_without_their_time_of_day() {
        let millis = |text| Timestamp::parse(text).map(Timestamp::as_millis);
        assert_eq!(millis("2027-01-15T08:00:00Z"), Some(1_800_000_000_000));
        assert_eq!(millis("2027-01-15T09:00:00+01:00"), Some(1_800_000_000_000));
        assert_eq!(millis("2027-01-15"), Some(1_800_000_000_000 - 8 * 3_600_000));
        for text in ["", "yesterday", "2027-02-30"] {
            assert_eq!(millis(text), None, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_follows_paused_time() {
        let clock = Clock::simulated(Timestamp::from_millis(1_000));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), Timestamp::from_millis(6_000));
        assert_eq!(clock.now().since(Timestamp::from_millis(9_000)), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_is_set_back_is_not_followed_and_one_that_is_set_forward_is() {
        let steady = Steady::new();
        let now = |shown: i64, elapsed| {
            steady.now(Timestamp::from_millis(shown), Duration::from_millis(elapsed)).as_millis()
        };
        assert_eq!(now(1_000_000, 0), 1_000_000);
        assert_eq!(now(1_000_500, 500), 1_000_500);
        // Back by an hour, and on from there.
        assert_eq!(now(1_000_600 - 3_600_000, 600), 1_000_600);
        assert_eq!(now(1_000_900 - 3_600_000, 900), 1_000_900);
        // Right again, and then ahead.
        assert_eq!(now(1_001_000, 1_000), 1_001_000);
        assert_eq!(now(1_001_100 + 60_000, 1_100), 1_061_100);
        assert_eq!(now(1_001_200, 1_200), 1_061_200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_can_be_set_while_it_runs() {
        static SET_BY: AtomicI64 = AtomicI64::new(0);
        let clock = Clock::simulated_and_set(Timestamp::from_millis(1_000), &SET_BY);
        SET_BY.store(60_000, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), Timestamp::from_millis(66_000));
        SET_BY.store(-500, Ordering::Relaxed);
        assert_eq!(clock.now(), Timestamp::from_millis(5_500));
    }
}
