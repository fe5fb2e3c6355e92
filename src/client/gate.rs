//! What keeps password guessing slow and cheap for us: a bounded number of argon2id checks at once, and a wait for
//! addresses that keep failing. What was checked successfully is remembered, under a key of this process: it opens the hash
//! that it was checked against and no other, so a reload that changes a password forgets the old one.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::LoginError;
use super::directory::verify;
use crate::secret::{Digest, LookupKey, RandomError, Secret, random};

/// Failures that cost nothing but the check itself: people mistype.
const FREE_FAILURES: u32 = 3;
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// A quiet time after which an address starts anew.
const FORGIVEN_AFTER: Duration = Duration::from_mins(15);
/// The most addresses remembered.
const ADDRESSES: usize = 10_000;
/// The most right passwords remembered: far more than there are clients, so that only old ones are ever many.
const PASSWORDS: usize = 10_000;

/// One per process; survives a reload.
#[derive(Debug)]
pub struct Gate {
    places: Arc<Semaphore>,
    key: LookupKey,
    failures: Mutex<HashMap<Digest, Failures>>,
    right: Mutex<HashSet<Digest>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Gate {
    /// A gate that lets `places` checks run at once.
    pub fn new(places: usize) -> Result<Self, RandomError> {
        Ok(Self {
            places: Arc::new(Semaphore::new(places)),
            key: LookupKey::new(&random()?),
            failures: Mutex::new(HashMap::new()),
            right: Mutex::new(HashSet::new()),
        })
    }

    /// Checks a user's password against a PHC string, or does the same work for nothing where there is none. Fast where
    /// that was right before.
    pub(super) async fn check(
        &self,
        from: Option<IpAddr>,
        user: &str,
        stored: Option<&str>,
        password: &Secret,
    ) -> Result<(), LoginError> {
        let proof = stored.map(|stored| {
            let parts = [user, stored, password.reveal()].map(str::as_bytes);
            self.key.digest("login", &parts)
        });
        if proof.is_some_and(|proof| self.right().contains(&proof)) {
            return Ok(());
        }
        self.check_slowly(from, stored.map(ToOwned::to_owned), password.clone()).await?;
        if let Some(proof) = proof {
            let mut right = self.right();
            if right.len() >= PASSWORDS {
                right.clear();
            }
            right.insert(proof);
        }
        Ok(())
    }

    async fn check_slowly(
        &self,
        from: Option<IpAddr>,
        stored: Option<String>,
        password: Secret,
    ) -> Result<(), LoginError> {
        let address = from.map(|address| self.address_key(address));
        if let Some(wait) = address.and_then(|address| self.wait_of(&address)) {
            return Err(LoginError::BackOff(wait));
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| LoginError::Busy)?;
        let check = tokio::task::spawn_blocking(move || {
            let fits = verify(stored.as_deref(), &password);
            drop(place);
            fits
        });
        if check.await.unwrap_or(false) {
            if let Some(address) = address {
                self.failures().remove(&address);
            }
            return Ok(());
        }
        if let Some(address) = address {
            self.count_failure(address);
        }
        Err(LoginError::Wrong)
    }

    /// One IPv4 address, or one /64 of IPv6: what one peer usually has.
    fn address_key(&self, address: IpAddr) -> Digest {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.key.digest("address", &[&v4.octets()]),
            IpAddr::V6(v6) => self.key.digest("address", &[&v6.octets()[..8]]),
        }
    }

    fn wait_of(&self, address: &Digest) -> Option<Duration> {
        let seen = *self.failures().get(address)?;
        let wait = wait_after(seen.count).checked_sub(seen.last.elapsed())?;
        (!wait.is_zero()).then_some(wait)
    }

    fn count_failure(&self, address: Digest) {
        let mut failures = self.failures();
        let now = Instant::now();
        if failures.len() >= ADDRESSES && !failures.contains_key(&address) {
            failures.retain(|_, seen| seen.last.elapsed() < FORGIVEN_AFTER);
            if failures.len() >= ADDRESSES
                && let Some(oldest) = failures.iter().min_by_key(|(_, seen)| seen.last).map(|(key, _)| *key)
            {
                failures.remove(&oldest);
            }
        }
        let seen = failures.entry(address).or_insert(Failures { count: 0, last: now });
        if seen.last.elapsed() >= FORGIVEN_AFTER {
            seen.count = 0;
        }
        seen.count = seen.count.saturating_add(1);
        seen.last = now;
    }

    fn right(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets no further check run.
    #[cfg(test)]
    pub(super) fn shut(&self) {
        self.places.close();
    }

    /// How many right passwords are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.right().len()
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait_after(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES) {
        None => Duration::ZERO,
        Some(over) => Duration::from_secs(1 << over.min(9)).min(LONGEST_WAIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_keeps_failing_waits_and_others_do_not() {
        let gate = Gate::new(1).unwrap();
        let bad: IpAddr = "192.0.2.1".parse().unwrap();
        let good: IpAddr = "192.0.2.2".parse().unwrap();
        for _ in 0..=FREE_FAILURES {
            gate.count_failure(gate.address_key(bad));
        }
        let blocked = gate.check_slowly(Some(bad), None, Secret::new("x")).await;
        assert_eq!(blocked, Err(LoginError::BackOff(Duration::from_secs(2))));
        assert_eq!(gate.wait_of(&gate.address_key(good)), None);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(gate.wait_of(&gate.address_key(bad)), None);
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let seconds: Vec<u64> = (0..14).map(|count| wait_after(count).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[tokio::test]
    async fn remembered_addresses_are_bounded() {
        let gate = Gate::new(1).unwrap();
        for number in 0..(u32::try_from(ADDRESSES).unwrap() + 50) {
            gate.count_failure(gate.address_key(IpAddr::V4(number.into())));
        }
        assert_eq!(gate.failures().len(), ADDRESSES);
    }
}
