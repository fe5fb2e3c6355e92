//! What keeps password guessing slow and cheap for us: a bounded number of argon2id checks at once, and a wait for
//! addresses and for user names that keep failing, so that neither many names from one address nor one name from many
//! addresses gets far. A name that nobody has waits like any other, so a wait tells nothing. What was checked successfully
//! is remembered, under a key of this process, and waits for nothing: guessing locks out nobody who is logged in
//! regularly. It opens the hash that it was checked against and no other, so a reload that changes a password forgets the
//! old one.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::LoginError;
use super::directory::verify;
use super::patience::Patience;
use crate::secret::{Digest, LookupKey, RandomError, Secret, random};

/// Failures from one address that cost nothing but the check itself: people mistype.
const FREE_FROM_ADDRESS: u32 = 3;
const LONGEST_WAIT_OF_ADDRESS: Duration = Duration::from_mins(5);
/// Failures of one user that cost nothing. More, and a shorter wait: others may cause it.
const FREE_OF_USER: u32 = 10;
const LONGEST_WAIT_OF_USER: Duration = Duration::from_secs(30);
/// The most right passwords remembered: far more than there are clients, so that only old ones are ever many.
const PASSWORDS: usize = 10_000;

/// One per process; survives a reload.
#[derive(Debug)]
pub struct Gate {
    places: Arc<Semaphore>,
    key: LookupKey,
    addresses: Patience,
    users: Patience,
    right: Mutex<HashSet<Digest>>,
}

impl Gate {
    /// A gate that lets `places` checks run at once.
    pub fn new(places: usize) -> Result<Self, RandomError> {
        Ok(Self {
            places: Arc::new(Semaphore::new(places)),
            key: LookupKey::new(&random()?),
            addresses: Patience::new(FREE_FROM_ADDRESS, LONGEST_WAIT_OF_ADDRESS),
            users: Patience::new(FREE_OF_USER, LONGEST_WAIT_OF_USER),
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
        self.check_slowly(from, user, stored.map(ToOwned::to_owned), password.clone()).await?;
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
        user: &str,
        stored: Option<String>,
        password: Secret,
    ) -> Result<(), LoginError> {
        let address = from.map(|address| self.address_key(address));
        let user = self.key.digest("user", &[user.as_bytes()]);
        let waits = [address.and_then(|address| self.addresses.wait(&address)), self.users.wait(&user)];
        if let Some(wait) = waits.into_iter().flatten().max() {
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
                self.addresses.forgive(&address);
            }
            self.users.forgive(&user);
            return Ok(());
        }
        if let Some(address) = address {
            self.addresses.count(address);
        }
        self.users.count(user);
        Err(LoginError::Wrong)
    }

    /// One IPv4 address, or one /64 of IPv6: what one peer usually has.
    fn address_key(&self, address: IpAddr) -> Digest {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.key.digest("address", &[&v4.octets()]),
            IpAddr::V6(v6) => self.key.digest("address", &[&v6.octets()[..8]]),
        }
    }

    fn right(&self) -> MutexGuard<'_, HashSet<Digest>> {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: LoginError = LoginError::Wrong;

    /// Presents a wrong password, for nobody's hash.
    async fn guess(gate: &Gate, from: &str, user: &str) -> LoginError {
        let from = from.parse().ok();
        gate.check(from, user, None, &Secret::new("x")).await.unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_keeps_failing_waits_whatever_name_it_tries_and_others_do_not() {
        let gate = Gate::new(1).unwrap();
        for number in 0..=FREE_FROM_ADDRESS {
            assert_eq!(guess(&gate, "192.0.2.1", &format!("user{number}")).await, WRONG);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let wait = LoginError::BackOff(Duration::from_secs(1));
        assert_eq!(guess(&gate, "192.0.2.1", "another").await, wait);
        assert_eq!(guess(&gate, "192.0.2.2", "another").await, WRONG);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(guess(&gate, "192.0.2.1", "another").await, WRONG);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_guessed_at_from_everywhere_waits_and_others_do_not() {
        let gate = Gate::new(1).unwrap();
        let mut waited = 0;
        for number in 0..100 {
            match guess(&gate, &format!("192.0.2.{number}"), "helpdesk").await {
                LoginError::BackOff(_) => waited += 1,
                error => assert_eq!(error, WRONG),
            }
        }
        assert_eq!(waited, 90);
        assert_eq!(guess(&gate, "198.51.100.1", "shop").await, WRONG);
        // The wait has a bound, because others cause it.
        tokio::time::advance(LONGEST_WAIT_OF_USER).await;
        assert_eq!(guess(&gate, "198.51.100.2", "helpdesk").await, WRONG);
    }
}
