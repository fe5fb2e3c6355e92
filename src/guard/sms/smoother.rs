//! Smooths requests inside this process, so that a burst ends here and not in the store.
//!
//! It guards no money: the store's counters do, and they hold whatever is forgotten here. So it may forget, but it must
//! never refuse wrongly and never grow: numbers are kept as keyed hashes of 8 octets, at most [`MOST_KEYS`] of them. When
//! that many are smoothed in one moment, further numbers pass until some are no longer needed.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use super::{Limit, Smoothing, What};
use crate::ident::ClientName;
use crate::mail::PhoneNumber;

/// The most keys of one kind that are remembered: about 2 MiB.
const MOST_KEYS: usize = 100_000;

/// A full table is searched for keys that are no longer needed at most this often; that takes about a millisecond.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// How many codes one number may get at once.
const NUMBER_BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// The longest pause that is kept.
const LONGEST_PAUSE: Duration = Duration::from_hours(24);

/// Smooths the requests of each client and for each number. Shared by all requests.
pub struct Smoother {
    hashes: RandomState,
    limiters: ArcSwap<Limiters>,
}

/// A request that came too soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests at once for one {}", .what.as_str())]
pub struct Refused {
    /// What there were too many of: [`What::Client`] or [`What::Number`].
    pub what: What,
    /// When the next one is let through.
    pub retry_after: Duration,
    /// What is let through in the long run.
    pub quota: Limit,
}

impl Smoother {
    /// A smoother that has seen nothing.
    pub fn new() -> Self {
        let limiters = ArcSwap::from_pointee(Limiters::new(Smoothing::default()));
        Self { hashes: RandomState::new(), limiters }
    }

    /// Lets a request through or refuses it; without a number, its client's pace alone counts. Where the settings are
    /// others than the last time, it starts anew.
    pub fn check(
        &self,
        config: &Smoothing,
        client: &ClientName,
        number: Option<&PhoneNumber>,
    ) -> Result<(), Refused> {
        if self.limiters.load().smoothing != *config {
            self.limiters.rcu(|present| {
                if present.smoothing == *config {
                    Arc::clone(present)
                } else {
                    Arc::new(Limiters::new(*config))
                }
            });
        }
        let limiters = self.limiters.load();
        // The client first: what it is refused must not count against the person's number.
        limiters.client.check(What::Client, self.key(client))?;
        number.map_or(Ok(()), |number| limiters.number.check(What::Number, self.key(number)))
    }

    /// How many clients and numbers are remembered.
    pub fn len(&self) -> usize {
        let limiters = self.limiters.load();
        limiters.client.len() + limiters.number.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn key(&self, of: impl Hash) -> u64 {
        self.hashes.hash_one(of)
    }
}

impl Default for Smoother {
    fn default() -> Self {
        Self::new()
    }
}

/// Both limiters, as one setting wants them.
struct Limiters {
    smoothing: Smoothing,
    client: Limiter,
    number: Limiter,
}

impl Limiters {
    fn new(smoothing: Smoothing) -> Self {
        let rate = NonZeroU32::new(smoothing.client_per_second);
        let burst = NonZeroU32::new(smoothing.client_burst).unwrap_or(NonZeroU32::MIN);
        let client = Limiter::new(
            rate.map(|rate| Quota::per_second(rate).allow_burst(burst)),
            Limit { most: smoothing.client_per_second, within: Duration::from_secs(1) },
        );
        let pause = smoothing.number_pause.min(LONGEST_PAUSE);
        let quota = Quota::with_period(pause).map(|quota| quota.allow_burst(NUMBER_BURST));
        Self { smoothing, client, number: Limiter::new(quota, Limit { most: 1, within: pause }) }
    }
}

/// A rate limiter by key; without one inside, everything passes.
struct Limiter {
    inner: Option<RateLimiter<u64, Bounded, Ticks, NoOpMiddleware<Nanos>>>,
    quota: Limit,
}

impl Limiter {
    fn new(quota: Option<Quota>, told: Limit) -> Self {
        let ticks = Ticks { origin: Instant::now() };
        let inner = quota.map(|quota| RateLimiter::new(quota, Bounded::new(ticks), ticks));
        Self { inner, quota: told }
    }

    fn check(&self, what: What, key: u64) -> Result<(), Refused> {
        let Some(inner) = &self.inner else { return Ok(()) };
        inner.check_key(&key).map_err(|until| {
            let retry_after = until.wait_time_from(inner.clock().now());
            Refused { what, retry_after, quota: self.quota }
        })
    }

    fn len(&self) -> usize {
        self.inner.as_ref().map_or(0, RateLimiter::len)
    }
}

/// The rate limiters' clock: tokio's, so that a test can pause it.
#[derive(Clone, Copy)]
struct Ticks {
    origin: Instant,
}

impl governor::clock::Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.origin.elapsed())
    }
}

/// The times at which keys are free again. Holds [`MOST_KEYS`] and no more.
struct Bounded {
    ticks: Ticks,
    table: Mutex<Table>,
}

struct Table {
    free_at: HashMap<u64, Nanos>,
    next_sweep: Nanos,
}

impl Bounded {
    fn new(ticks: Ticks) -> Self {
        let table = Table { free_at: HashMap::new(), next_sweep: Nanos::default() };
        Self { ticks, table: Mutex::new(table) }
    }
}

impl StateStore for Bounded {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = table.free_at.get_mut(key) {
            let (outcome, next) = decide(Some(*known))?;
            *known = next;
            return Ok(outcome);
        }
        let (outcome, next) = decide(None)?;
        if table.has_room(self.ticks) {
            table.free_at.insert(*key, next);
        }
        Ok(outcome)
    }
}

impl Table {
    /// Whether one more key may be kept; keys that are free by now are forgotten for it.
    fn has_room(&mut self, ticks: Ticks) -> bool {
        let now = ticks.now();
        if self.free_at.len() >= MOST_KEYS && now >= self.next_sweep {
            self.next_sweep = now + Nanos::from(SWEEP_PAUSE);
            self.free_at.retain(|_, free_at| *free_at > now);
            self.free_at.shrink_to_fit();
        }
        self.free_at.len() < MOST_KEYS
    }
}

impl governor::state::keyed::ShrinkableKeyedStateStore<u64> for Bounded {
    fn retain_recent(&self, drop_below: Nanos) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.free_at.retain(|_, free_at| *free_at > drop_below);
    }

    fn len(&self) -> usize {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).free_at.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str) -> ClientName {
        ClientName::new(name)
    }

    fn number(index: u64) -> PhoneNumber {
        PhoneNumber::parse(&format!("+1202{index:07}")).unwrap()
    }

    fn numbers_only(pause: Duration) -> Smoothing {
        Smoothing { client_per_second: 0, client_burst: 0, number_pause: pause }
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_gets_two_at_once_and_then_one_each_pause() {
        let (smoother, config) = (Smoother::new(), Smoothing::default());
        let check = |of: u64| smoother.check(&config, &client("shop"), Some(&number(of)));
        assert_eq!((check(1), check(1)), (Ok(()), Ok(())));
        let refused = check(1).unwrap_err();
        let quota = Limit { most: 1, within: Duration::from_secs(5) };
        assert_eq!(refused, Refused { what: What::Number, retry_after: Duration::from_secs(5), quota });
        assert_eq!(check(2), Ok(()), "another number is not touched by it");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(check(1).unwrap_err().retry_after, Duration::from_secs(3));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(check(1), Ok(()));
        assert!(check(1).is_err());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!((check(1), check(1)), (Ok(()), Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_gets_its_burst_and_then_its_rate() {
        let (smoother, config) = (Smoother::new(), Smoothing::default());
        let through = |name: &str, from: u64| {
            (from..from + 1_000)
                .take_while(|index| smoother.check(&config, &client(name), Some(&number(*index))).is_ok())
                .count()
        };
        assert_eq!(through("shop", 0), 100);
        assert_eq!(through("bank", 1_000), 100, "another client has its own");
        let refused = smoother.check(&config, &client("shop"), Some(&number(5_000))).unwrap_err();
        let quota = Limit { most: 20, within: Duration::from_secs(1) };
        assert_eq!(refused, Refused { what: What::Client, retry_after: Duration::from_millis(50), quota });
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(through("shop", 2_000), 20);
        assert_eq!(smoother.check(&config, &client("bank"), Some(&number(5_000))), Ok(()));
        assert_eq!(
            smoother.check(&config, &client("bank"), Some(&number(5_000))),
            Ok(()),
            "what a client was refused did not count against the number"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn other_settings_hold_at_once_and_none_smooth_nothing() {
        let smoother = Smoother::new();
        let longer = numbers_only(Duration::from_mins(1));
        for config in [numbers_only(Duration::from_secs(5)), longer] {
            for expected in [true, true, false] {
                assert_eq!(smoother.check(&config, &client("shop"), Some(&number(1))).is_ok(), expected);
            }
        }
        let off = numbers_only(Duration::ZERO);
        for _ in 0..1_000 {
            assert_eq!(smoother.check(&off, &client("shop"), Some(&number(1))), Ok(()));
        }
        let extreme =
            Smoothing { client_per_second: u32::MAX, client_burst: u32::MAX, number_pause: Duration::MAX };
        assert_eq!(smoother.check(&extreme, &client("shop"), Some(&number(1))), Ok(()));
        assert!(smoother.check(&numbers_only(Duration::MAX), &client("shop"), Some(&number(1))).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_table_refuses_nobody_wrongly_and_does_not_grow() {
        let (smoother, config) = (Smoother::new(), numbers_only(Duration::from_mins(1)));
        let check = |of: u64| smoother.check(&config, &client("shop"), Some(&number(of)));
        let most = MOST_KEYS as u64;
        assert!((0..2 * most).all(|index| check(index).is_ok()));
        assert_eq!(smoother.len(), MOST_KEYS);
        assert_eq!(check(7), Ok(()), "the second for a number that is remembered");
        assert_eq!(check(7).unwrap_err().what, What::Number, "the third, though the table is full");
        for _ in 0..10 {
            assert_eq!(check(2 * most), Ok(()), "a number for which there was no room");
        }
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(check(2 * most), Ok(()));
        assert_eq!(smoother.len(), 2, "number 7 and the new one; the rest is free and forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_million_numbers_over_time_stay_bounded() {
        let (smoother, config) = (Smoother::new(), numbers_only(Duration::from_secs(5)));
        for index in 0..1_000_000 {
            assert_eq!(smoother.check(&config, &client("shop"), Some(&number(index))), Ok(()));
            if index % 10_000 == 0 {
                tokio::time::advance(Duration::from_millis(300)).await;
                assert!(smoother.len() <= MOST_KEYS);
            }
        }
        assert!(smoother.len() <= MOST_KEYS, "{}", smoother.len());
    }

    #[test]
    fn threads_share_one_number_fairly() {
        let (smoother, config) = (Smoother::new(), numbers_only(Duration::from_hours(1)));
        let through: usize = std::thread::scope(|scope| {
            let one = || {
                (0..1_000).filter(|_| smoother.check(&config, &client("a"), Some(&number(1))).is_ok()).count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(through, 2);
    }
}
