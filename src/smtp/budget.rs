//! The one budget of octets for all messages in memory, over all sessions.
//!
//! Nobody waits for it: what can't be had at once is refused, so two half-received messages never wait for each other.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The whole budget. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    /// A budget of `octets`.
    pub(super) fn new(octets: usize) -> Self {
        Self(Arc::new(Semaphore::new(octets.min(Semaphore::MAX_PERMITS))))
    }

    /// A share that holds nothing yet.
    pub(super) fn share(&self) -> Share {
        Share { budget: self.clone(), held: None }
    }

    /// The octets nobody holds.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.0.available_permits()
    }
}

/// What one message holds of the budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Takes `octets` more, all or nothing. `false`: there are not that many left.
    #[must_use]
    pub(super) fn grow(&mut self, octets: usize) -> bool {
        let Some(more) = u32::try_from(octets)
            .ok()
            .and_then(|count| Arc::clone(&self.budget.0).try_acquire_many_owned(count).ok())
        else {
            return false;
        };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        true
    }

    /// Gives everything back.
    pub(super) fn release(&mut self) {
        self.held = None;
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
}
