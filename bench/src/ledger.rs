//! When each message was accepted and when it arrived at the sink, by its number, on one clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// One measurement's record. Times are nanoseconds since its start, 0 for never.
pub struct Ledger {
    start: Instant,
    begun: Vec<AtomicU64>,
    accepted: Vec<AtomicU64>,
    arrived: Vec<AtomicU64>,
    next: AtomicUsize,
    arrivals: AtomicUsize,
    repeats: AtomicUsize,
    last_arrival: AtomicU64,
    changed: Notify,
}

/// What happened to one message.
#[derive(Debug, Clone, Copy)]
pub struct Passage {
    /// From the connection attempt to `250`.
    pub to_accept: Duration,
    /// From `250` to the sink's `250`; 0 where the sink was first.
    pub to_hand_over: Option<Duration>,
}

impl Ledger {
    /// Room for this many messages.
    pub fn new(messages: usize) -> Arc<Self> {
        let times = || (0..messages).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self {
            start: Instant::now(),
            begun: times(),
            accepted: times(),
            arrived: times(),
            next: AtomicUsize::new(0),
            arrivals: AtomicUsize::new(0),
            repeats: AtomicUsize::new(0),
            last_arrival: AtomicU64::new(0),
            changed: Notify::new(),
        })
    }

    /// The number of the next message; none when the room is used up.
    pub fn next(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.begun.len()).then_some(number as u64)
    }

    /// Nanoseconds since the start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// A message was begun at one time and accepted at another.
    pub fn accepted(&self, number: u64, begun: u64, accepted: u64) {
        self.begun[number as usize].store(begun, Ordering::Relaxed);
        self.accepted[number as usize].store(accepted, Ordering::Release);
    }

    /// A message is at the sink now.
    pub fn arrived(&self, number: u64) {
        let now = self.now();
        let Some(place) = self.arrived.get(number as usize) else { return };
        if place.swap(now, Ordering::AcqRel) == 0 {
            self.arrivals.fetch_add(1, Ordering::AcqRel);
            self.last_arrival.fetch_max(now, Ordering::AcqRel);
        } else {
            self.repeats.fetch_add(1, Ordering::AcqRel);
        }
        self.changed.notify_waiters();
    }

    /// How many messages are at the sink.
    pub fn arrivals(&self) -> usize {
        self.arrivals.load(Ordering::Acquire)
    }

    /// How many came more than once.
    pub fn repeats(&self) -> usize {
        self.repeats.load(Ordering::Acquire)
    }

    /// When the last message arrived.
    pub fn last_arrival(&self) -> u64 {
        self.last_arrival.load(Ordering::Acquire)
    }

    /// Waits until this many have arrived. False when that takes longer than `patience`.
    pub async fn wait_for(&self, messages: usize, patience: Duration) -> bool {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if self.arrivals() >= messages {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, waiting).await.is_ok()
    }

    /// Waits until one message has arrived.
    pub async fn wait_for_one(&self, number: u64, patience: Duration) -> bool {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if self.arrived[number as usize].load(Ordering::Acquire) != 0 {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, waiting).await.is_ok()
    }

    /// What happened to a message that was accepted.
    pub fn passage(&self, number: u64) -> Option<Passage> {
        let read = |times: &[AtomicU64]| times[number as usize].load(Ordering::Acquire);
        let (begun, accepted, arrived) = (read(&self.begun), read(&self.accepted), read(&self.arrived));
        let to_hand_over = (arrived != 0).then(|| Duration::from_nanos(arrived.saturating_sub(accepted)));
        (accepted != 0).then(|| Passage {
            to_accept: Duration::from_nanos(accepted.saturating_sub(begun)),
            to_hand_over,
        })
    }
}
