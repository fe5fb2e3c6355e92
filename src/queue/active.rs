//! The active set: the messages a worker has in memory. Bounded in messages and in bytes; everything else waits in the
//! store. Normal mail never takes the last quarter.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ident::Class;

/// How large the active set may be.
#[derive(Debug, Clone, Copy)]
pub struct ActiveLimits {
    /// The most messages.
    pub messages: usize,
    /// The most bytes of payload.
    pub bytes: usize,
}

impl Default for ActiveLimits {
    fn default() -> Self {
        Self { messages: 1000, bytes: 32 << 20 }
    }
}

/// Room for one message in the active set; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    _message: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// The active set's room. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Active {
    limits: ActiveLimits,
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Active {
    /// An empty active set.
    pub fn new(limits: ActiveLimits) -> Self {
        Self {
            limits,
            messages: Arc::new(Semaphore::new(limits.messages)),
            bytes: Arc::new(Semaphore::new(limits.bytes.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Room for one message of about `weight` bytes, if there is any for its lane now. A message heavier than the whole
    /// set takes all of it.
    pub fn reserve(&self, class: Class, weight: usize) -> Option<Slot> {
        let (messages, bytes) = self.room(class);
        let weight = weight.min(self.limits.bytes);
        if messages == 0 || bytes < weight.min(share(class, self.limits.bytes)) {
            return None;
        }
        let message = Arc::clone(&self.messages).try_acquire_owned().ok()?;
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(weight).ok()?;
        Some(Slot { _message: message, _bytes: bytes })
    }

    /// How many messages and bytes a lane may still take.
    pub fn room(&self, class: Class) -> (usize, usize) {
        let left = |all: usize, available: usize| available.saturating_sub(all - share(class, all));
        (
            left(self.limits.messages, self.messages.available_permits()),
            left(self.limits.bytes, self.bytes.available_permits()),
        )
    }
}

fn share(class: Class, all: usize) -> usize {
    match class {
        Class::Urgent => all,
        Class::Normal => all - all / 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_mail_never_takes_the_last_quarter() {
        let active = Active::new(ActiveLimits { messages: 8, bytes: 800 });
        let normal: Vec<Slot> = std::iter::from_fn(|| active.reserve(Class::Normal, 10)).collect();
        assert_eq!(normal.len(), 6);
        let urgent: Vec<Slot> = std::iter::from_fn(|| active.reserve(Class::Urgent, 10)).collect();
        assert_eq!(urgent.len(), 2);
        drop(normal);
        assert!(active.reserve(Class::Normal, 10).is_some());
    }

    #[test]
    fn a_message_larger_than_the_set_still_gets_its_turn() {
        let active = Active::new(ActiveLimits { messages: 8, bytes: 100 });
        let slot = active.reserve(Class::Urgent, 5000);
        assert!(slot.is_some());
        assert!(active.reserve(Class::Urgent, 1).is_none());
    }
}
