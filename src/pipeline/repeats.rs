//! Which idempotency keys the store is known to hold. A request that comes again is answered by the store with what
//! became of the first, so it is not refused for coming soon after it.
//!
//! Memory is bounded, and what is forgotten here costs a client a `Retry-After` at most: the store is what remembers.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::secret::Digest;

/// How many keys one generation holds; there are two.
const GENERATION: usize = 10_000;

/// The keys of the latest requests.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Digest>,
    old: HashSet<Digest>,
}

impl Repeats {
    /// Whether the store holds this key.
    pub(super) fn holds(&self, key: &Digest) -> bool {
        let both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        both.young.contains(key) || both.old.contains(key)
    }

    /// The store holds this key now.
    pub(super) fn add(&self, key: Digest) {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if both.young.len() >= GENERATION {
            both.old = std::mem::take(&mut both.young);
        }
        both.young.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_keys_are_held_and_memory_is_bounded() {
        let repeats = Repeats::default();
        let key = |number: usize| Digest::sha256(&number.to_be_bytes());
        for number in 0..5 * GENERATION {
            assert!(!repeats.holds(&key(number)));
            repeats.add(key(number));
        }
        assert!((4 * GENERATION..5 * GENERATION).all(|number| repeats.holds(&key(number))));
        let both = repeats.0.lock().unwrap();
        assert!(both.young.len() + both.old.len() <= 2 * GENERATION);
    }
}
