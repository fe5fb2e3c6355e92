//! What the outbox of webhooks keeps: who is to be told of what, and what came of it.
//!
//! A notice is put into the outbox in the transaction of the change it tells of, so that neither is there without the
//! other. From there it is told at least once: it is forgotten only when its endpoint has taken it, or when it is given
//! up, which is counted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::event::{Notice, Topic};
use crate::ident::{BusinessName, EndpointName};
use crate::secret::Digest;

/// Who is to be told of what is happening now. Asked by the writer at every transaction, so that a changed configuration
/// counts from the next event on.
pub type CurrentAudience = Arc<dyn Fn() -> Arc<Audience> + Send + Sync>;

/// Everybody who is told of something.
#[derive(Debug, Clone, Default)]
pub struct Audience {
    /// By endpoint.
    pub subscriptions: Vec<Subscription>,
}

impl Audience {
    /// Nobody.
    pub fn nobody() -> CurrentAudience {
        let nobody = Arc::new(Self::default());
        Arc::new(move || Arc::clone(&nobody))
    }

    /// The subscriptions that such a notice is for.
    pub fn wanting(&self, topic: Topic, business: Option<&BusinessName>) -> Vec<&Subscription> {
        self.subscriptions.iter().filter(|subscription| subscription.wants(topic, business)).collect()
    }
}

/// What one endpoint is told of, and how much may wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// What it is told of.
    pub topics: Vec<Topic>,
    /// Only about messages on behalf of these; `None`: about everything, upstreams too.
    pub businesses: Option<Vec<BusinessName>>,
    /// How many notices may wait for it; more are dropped.
    pub backlog: u32,
}

impl Subscription {
    fn wants(&self, topic: Topic, business: Option<&BusinessName>) -> bool {
        let of_business = |known: &Vec<BusinessName>| business.is_some_and(|name| known.contains(name));
        self.topics.contains(&topic) && self.businesses.as_ref().is_none_or(of_business)
    }

    /// How many may wait before one of this topic is dropped. What anybody may cause as often as they like leaves most of
    /// the room to what really happened to a message.
    pub fn room_for(&self, topic: Topic) -> u32 {
        match topic {
            Topic::MessageRefused | Topic::SmsRefused => self.backlog.div_ceil(4),
            Topic::MessageReceived
            | Topic::MessageHandedOver
            | Topic::MessageFailed
            | Topic::MessageExpired
            | Topic::MessageSuppressed
            | Topic::MessageHeld
            | Topic::MessageReleased
            | Topic::MessageSuperseded
            | Topic::MessageRemoved
            | Topic::MessageUnknown
            | Topic::SmsAccepted
            | Topic::SmsSent
            | Topic::SmsDelivered
            | Topic::SmsFailed
            | Topic::SmsExpired
            | Topic::SmsSuppressed
            | Topic::SmsHeld
            | Topic::SmsReleased
            | Topic::SmsSuperseded
            | Topic::SmsRemoved
            | Topic::SmsUnknown
            | Topic::BurstHeld
            | Topic::UpstreamDown
            | Topic::UpstreamUp => self.backlog,
        }
    }
}

/// A notice that waits for its endpoint.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its place in the outbox.
    pub number: i64,
    /// How often it was tried.
    pub attempts: u32,
    /// What is told; `None` where it can't be opened any more.
    pub notice: Option<Notice>,
}

/// How an endpoint stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointState {
    /// Its name; the configuration may not have it any more.
    pub name: EndpointName,
    /// How many notices wait for it.
    pub waiting: u64,
    /// When the oldest of them happened.
    pub oldest: Option<Timestamp>,
    /// How many it has taken.
    pub delivered: u64,
    /// How many it will never be told: no room, too old, or tried in vain.
    pub dropped: u64,
    /// When it took the last one.
    pub last_delivered: Option<Timestamp>,
    /// When it did not, and why.
    pub last_failure: Option<(Timestamp, String)>,
    /// When it said that it is gone, and a keyed digest of how it was configured then.
    pub disabled: Option<(Timestamp, Digest)>,
}

/// What is changed in the outbox.
#[derive(Debug, Clone)]
pub enum OutboxChange {
    /// An endpoint has taken a notice: it is forgotten.
    Delivered {
        /// The notice.
        number: i64,
        /// When.
        at: Timestamp,
    },
    /// An endpoint did not take a notice.
    Failed {
        /// The notice.
        number: i64,
        /// When.
        at: Timestamp,
        /// Why, in our own words.
        error: String,
        /// After which pause it is tried again; `None`: not again, it is dropped.
        pause: Option<Duration>,
    },
    /// An endpoint says that it is gone: nothing is sent there until it is enabled or configured otherwise.
    Disable {
        /// Which one.
        endpoint: EndpointName,
        /// A keyed digest of how it is configured.
        configured: Digest,
        /// When.
        at: Timestamp,
        /// What it said.
        error: String,
    },
    /// An endpoint is to be told again, and what waits for another try is due at once.
    Enable {
        /// Which one.
        endpoint: EndpointName,
        /// When.
        at: Timestamp,
    },
    /// Drops what is too old, and forgets endpoints that are not there any more with all that waits for them. At most `limit`
    /// notices.
    Sweep {
        /// The endpoints there are, and when what is kept for each must have happened at the earliest.
        keep: Vec<(EndpointName, Timestamp)>,
        /// The most notices to drop.
        limit: usize,
    },
}

/// The outbox of webhooks, in a store.
#[async_trait]
pub trait Outbox: Store {
    /// What is due for an endpoint, the longest due first, at most `limit`.
    async fn due_notices(
        &self,
        endpoint: &EndpointName,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError>;

    /// When the next notice is due for an endpoint after `now`.
    async fn next_notice(
        &self,
        endpoint: &EndpointName,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError>;

    /// How the endpoints stand that were ever told of something.
    async fn endpoints(&self) -> Result<Vec<EndpointState>, StoreError>;

    /// Waits until something was put into the outbox, since the last time this was told. One caller at a time.
    async fn outbox_woken(&self);
}
