//! The one budget of octets for all messages in memory, over all sessions.
//!
//! Nobody waits for it: what can't be had at once is refused, so two half-received messages never wait for each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The whole budget. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Mutex<Octets>>);

#[derive(Debug)]
struct Octets {
    most: usize,
    held: usize,
}

impl Budget {
    /// A budget of `octets`.
    pub(super) fn new(octets: usize) -> Self {
        Self(Arc::new(Mutex::new(Octets { most: octets, held: 0 })))
    }

    /// From now on it is of so many octets. What is held stays so.
    pub(super) fn resize(&self, octets: usize) {
        self.octets().most = octets;
    }

    /// A share that holds nothing yet.
    pub(super) fn share(&self) -> Share {
        Share { budget: self.clone(), held: 0 }
    }

    /// The octets nobody holds.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        let octets = self.octets();
        octets.most.saturating_sub(octets.held)
    }

    fn octets(&self) -> MutexGuard<'_, Octets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one message holds of the budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    held: usize,
}

impl Share {
    /// Takes `octets` more, all or nothing. `false`: there are not that many left.
    #[must_use]
    pub(super) fn grow(&mut self, octets: usize) -> bool {
        let mut all = self.budget.octets();
        let fits = all.held.checked_add(octets).is_some_and(|held| held <= all.most);
        if fits {
            all.held += octets;
            self.held += octets;
        }
        fits
    }

    /// Gives everything back.
    pub(super) fn release(&mut self) {
        self.budget.octets().held -= std::mem::take(&mut self.held);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_until_nothing_is_left_and_give_all_of_it_back() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (budget.share(), budget.share());
        assert!(one.grow(40) && two.grow(50) && one.grow(10));
        assert!(!two.grow(1));
        one.release();
        assert!(two.grow(50));
        drop(two);
        assert_eq!(budget.free(), 100);
    }

    #[test]
    fn a_smaller_budget_takes_nothing_away() {
        let budget = Budget::new(100);
        let mut one = budget.share();
        assert!(one.grow(80));
        budget.resize(50);
        let mut two = budget.share();
        assert!(!two.grow(1) && !one.grow(1));
        one.release();
        assert!(two.grow(50) && !two.grow(1));
        budget.resize(60);
        assert!(two.grow(10));
    }
}
