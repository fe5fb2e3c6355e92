//! What accept loops share: how many connections there may be, in all and from one address, and pauses where accepts fail.
//!
//! A place is held by a value and given back when that is dropped, however the session ends.

mod trouble;

pub(crate) use trouble::Trouble;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places that some listeners share. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
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
pub(crate) enum Crowded {
    /// All places are taken.
    InAll,
    /// This address has its share.
    FromThere,
}

/// The place of one connection.
#[derive(Debug)]
pub(crate) struct Place {
    _one_of_all: OwnedSemaphorePermit,
    counted: Option<(Arc<Addresses>, IpAddr)>,
}

impl Admission {
    /// So many places in all, and so many of them for one address.
    pub(crate) fn new(in_all: usize, for_one: usize) -> Self {
        let addresses = Addresses { most: for_one, counts: Mutex::default() };
        Self {
            all: Arc::new(Semaphore::new(in_all.min(Semaphore::MAX_PERMITS))),
            addresses: Arc::new(addresses),
        }
    }

    /// A place for a connection, if there is one; without an address, it has no share that could be used up.
    pub(crate) fn admit(&self, address: Option<IpAddr>) -> Result<Place, Crowded> {
        let one_of_all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| Crowded::InAll)?;
        let Some(key) = address.map(whoever_owns) else {
            return Ok(Place { _one_of_all: one_of_all, counted: None });
        };
        let mut counts = self.addresses.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_default();
        if *count >= self.addresses.most {
            return Err(Crowded::FromThere);
        }
        *count += 1;
        Ok(Place { _one_of_all: one_of_all, counted: Some((Arc::clone(&self.addresses), key)) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((addresses, key)) = self.counted.take() else { return };
        let mut counts = addresses.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&key);
            }
        }
    }
}

/// What one customer of a network has: one IPv4 address, or a /64 of IPv6.
pub(crate) fn whoever_owns(address: IpAddr) -> IpAddr {
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
        let admission = Admission::new(3, 2);
        let admit = |text: &str| admission.admit(Some(text.parse().unwrap()));
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
        let admission = Admission::new(2, 1);
        let _one = admission.admit(Some("192.0.2.1".parse().unwrap())).unwrap();
        for _ in 0..5 {
            assert_eq!(admission.admit(Some("192.0.2.1".parse().unwrap())).unwrap_err(), Crowded::FromThere);
        }
        assert!(admission.admit(Some("192.0.2.2".parse().unwrap())).is_ok());
    }

    #[test]
    fn without_an_address_only_the_places_in_all_count() {
        let admission = Admission::new(3, 1);
        let places: Vec<Place> = (0..3).map(|_| admission.admit(None).unwrap()).collect();
        assert_eq!(admission.admit(None).unwrap_err(), Crowded::InAll);
        drop(places);
        assert!(admission.admit(Some("192.0.2.1".parse().unwrap())).is_ok());
    }
}
