//! How many connections there may be: in all, and from one address.
//!
//! A place is held by a value and given back when that is dropped, however the session ends.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Limits;

/// The places of all listeners together. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    all: Arc<Semaphore>,
    addresses: Arc<Addresses>,
}

#[derive(Debug)]
struct Addresses {
    most: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// Why a connection gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crowded {
    /// All places are taken.
    InAll,
    /// This address has its share.
    FromThere,
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place {
    _one_of_all: OwnedSemaphorePermit,
    addresses: Arc<Addresses>,
    key: IpAddr,
}

impl Admission {
    /// The places that the limits give.
    pub(super) fn new(limits: &Limits) -> Self {
        let addresses = Addresses { most: limits.connections_per_address, counts: Mutex::default() };
        Self {
            all: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
            addresses: Arc::new(addresses),
        }
    }

    /// A place for a connection from `address`, if there is one.
    pub(super) fn admit(&self, address: IpAddr) -> Result<Place, Crowded> {
        let one_of_all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| Crowded::InAll)?;
        let key = whoever_owns(address);
        let mut counts = self.addresses.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_default();
        if *count >= self.addresses.most {
            return Err(Crowded::FromThere);
        }
        *count += 1;
        Ok(Place { _one_of_all: one_of_all, addresses: Arc::clone(&self.addresses), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// What one customer of a network has: one IPv4 address, or a /64 of IPv6.
pub(super) fn whoever_owns(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_address() {
        let limits = Limits { connections: 3, connections_per_address: 2, ..Limits::default() };
        let admission = Admission::new(&limits);
        let admit = |text: &str| admission.admit(text.parse().unwrap());
        let one = admit("2001:db8::1").unwrap();
        let _two = admit("2001:db8::ffff:2").unwrap();
        assert_eq!(admit("2001:db8::3").unwrap_err(), Crowded::FromThere);
        let three = admit("192.0.2.1").unwrap();
        assert_eq!(admit("192.0.2.2").unwrap_err(), Crowded::InAll);
        drop(three);
        drop(one);
        assert!(admit("2001:db8::3").is_ok());
        assert_eq!(admission.addresses.counts.lock().unwrap().len(), 1);
        let _mapped = (admit("::ffff:192.0.2.1").unwrap(), admit("192.0.2.1").unwrap());
        assert_eq!(admission.addresses.counts.lock().unwrap().len(), 2);
    }

    #[test]
    fn an_address_that_is_refused_takes_no_place() {
        let limits = Limits { connections: 2, connections_per_address: 1, ..Limits::default() };
        let admission = Admission::new(&limits);
        let _one = admission.admit("192.0.2.1".parse().unwrap()).unwrap();
        for _ in 0..5 {
            assert_eq!(admission.admit("192.0.2.1".parse().unwrap()).unwrap_err(), Crowded::FromThere);
        }
        assert!(admission.admit("192.0.2.2".parse().unwrap()).is_ok());
    }
}
