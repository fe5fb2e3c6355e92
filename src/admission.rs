//! What accept loops share: how many connections there may be, in all and from one address, and pauses where accepts fail.
//!
//! A place is held by a value and given back when that is dropped, however the session ends. How many there are may change
//! while some are held: nobody loses one.

mod trouble;

pub(crate) use trouble::Trouble;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places that some listeners share. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Admission(Arc<Mutex<Places>>);

#[derive(Debug)]
struct Places {
    most_in_all: usize,
    most_for_one: usize,
    in_all: usize,
    by_address: HashMap<IpAddr, usize>,
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
    admission: Admission,
    address: Option<IpAddr>,
}

impl Admission {
    /// So many places in all, and so many of them for one address.
    pub(crate) fn new(in_all: usize, for_one: usize) -> Self {
        Self(Arc::new(Mutex::new(Places {
            most_in_all: in_all,
            most_for_one: for_one,
            in_all: 0,
            by_address: HashMap::new(),
        })))
    }

    /// From now on there are so many places.
    pub(crate) fn resize(&self, in_all: usize, for_one: usize) {
        let mut places = self.places();
        (places.most_in_all, places.most_for_one) = (in_all, for_one);
    }

    /// A place for a connection, if there is one; without an address, it has no share that could be used up.
    pub(crate) fn admit(&self, address: Option<IpAddr>) -> Result<Place, Crowded> {
        let mut places = self.places();
        if places.in_all >= places.most_in_all {
            return Err(Crowded::InAll);
        }
        let address = address.map(whoever_owns);
        if let Some(key) = address {
            let most = places.most_for_one;
            let count = places.by_address.entry(key).or_default();
            if *count >= most {
                return Err(Crowded::FromThere);
            }
            *count += 1;
        }
        places.in_all += 1;
        Ok(Place { admission: self.clone(), address })
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.admission.places();
        places.in_all -= 1;
        let Some(key) = self.address else { return };
        if let Some(count) = places.by_address.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                places.by_address.remove(&key);
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
        assert_eq!(admission.places().by_address.len(), 1);
        let _mapped = (admit("::ffff:192.0.2.1").unwrap(), admit("192.0.2.1").unwrap());
        assert_eq!(admission.places().by_address.len(), 2);
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
    fn fewer_places_take_none_away_and_more_are_there_at_once() {
        let admission = Admission::new(2, 2);
        let admit = |text: &str| admission.admit(Some(text.parse().unwrap()));
        let (one, _two) = (admit("192.0.2.1").unwrap(), admit("192.0.2.1").unwrap());
        admission.resize(1, 1);
        assert_eq!(admit("192.0.2.2").unwrap_err(), Crowded::InAll);
        drop(one);
        assert_eq!(admit("192.0.2.2").unwrap_err(), Crowded::InAll);
        admission.resize(3, 1);
        assert_eq!(admit("192.0.2.1").unwrap_err(), Crowded::FromThere);
        assert!(admit("192.0.2.2").is_ok());
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
