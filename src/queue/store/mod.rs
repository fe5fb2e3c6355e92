//! What a store of the queue must do. Batch-shaped: whatever belongs together is one list of changes in ONE transaction,
//! and the events that tell of a change are rows of the same transaction.
//!
//! A store writes an event for every change of state by itself ([`Applied::events`] gives them back for the log), so no
//! caller can forget one.

mod change;
pub mod decision;
pub mod outbox;
pub mod sqlite;

pub(super) use change::operator_reason;
pub use change::{Applied, Change, Counter, Effect, News, Operation, Put, Report, Settle, Settling};

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::decision::{Decision, DecisionPlace, DecisionQuery};
use super::{Awaited, Claimed, Entry, State};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::ident::{BurstId, CategoryName, Class, ClientName, MessageId, UpstreamName};
use crate::secret::Digest;

/// Why a store could not do as told. Nothing of the change was made, unless it says otherwise.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No space left.
    #[error("no space left for the queue")]
    Full,
    /// The disk or the database failed. The fate of a commit under way is not known.
    #[error("the queue's store failed: {0}")]
    Failed(String),
    /// A newer version of the program wrote this store.
    #[error(
        "the queue was written by a newer version (schema {found}, this one knows {known}): \
         install that version again, or start with another state directory"
    )]
    NewerSchema {
        /// The schema version found.
        found: i64,
        /// The newest one this program knows.
        known: i64,
    },
    /// The store can't be opened or read as what it should be.
    #[error("{0}")]
    Unreadable(String),
    /// The store is damaged; what it says tells what can be done.
    #[error("{0}")]
    Damaged(String),
    /// It was closed.
    #[error("the queue's store is closed")]
    Closed,
}

/// A burst that goes on, or still holds something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBurst {
    /// Its name.
    pub id: BurstId,
    /// Who sent it.
    pub client: ClientName,
    /// What it is.
    pub category: CategoryName,
    /// When its first message was accepted.
    pub began: Timestamp,
    /// When its last one was.
    pub last: Timestamp,
    /// Another one of its shape would still be held.
    pub goes_on: bool,
    /// How many messages were held in all.
    pub messages: u64,
    /// How many still are.
    pub held: u64,
}

/// A request for work.
#[derive(Debug, Clone, Copy)]
pub struct ClaimRequest {
    /// The lane.
    pub class: Class,
    /// The most messages.
    pub messages: usize,
    /// The most bytes of payload; the first message is given whatever its size.
    pub bytes: usize,
    /// Now.
    pub now: Timestamp,
    /// How long the lease lasts.
    pub lease: Duration,
}

/// Which rows to find.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// With this id, or belonging to the submission with this id.
    pub id: Option<MessageId>,
    /// For the recipient with this key.
    pub recipient_key: Option<Digest>,
    /// In this state.
    pub state: Option<State>,
    /// Of this client.
    pub client: Option<ClientName>,
    /// That are or were held in this burst.
    pub burst: Option<BurstId>,
    /// The most rows, newest first.
    pub limit: usize,
}

/// Whose events to read.
#[derive(Debug, Clone, Copy)]
pub enum History {
    /// Of the message with this id, or of the submission with it.
    Id(MessageId),
    /// Of everything for the recipient with this key: the latest, at most a thousand.
    Recipient(Digest),
    /// The latest events of all messages, at most so many.
    Latest(u32),
}

/// How full the queue is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    /// Urgent messages waiting or being attempted.
    pub urgent: u64,
    /// Normal messages waiting or being attempted.
    pub normal: u64,
    /// Held for an operator.
    pub held: u64,
    /// Suppressed and still releasable.
    pub suppressed: u64,
    /// When the oldest waiting message was accepted.
    pub oldest: Option<Timestamp>,
    /// The same of the urgent ones alone.
    #[serde(default)]
    pub oldest_urgent: Option<Timestamp>,
    /// The same of the normal ones alone.
    #[serde(default)]
    pub oldest_normal: Option<Timestamp>,
}

/// A durable store of the queue.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Applies `changes` as one transaction and returns one [`Applied`] each, in order, once they are on stable
    /// storage. Transactions of several callers may share one commit.
    ///
    /// A change that does not apply (a lost lease, a limit, a missing row) is no error: it is told in its `Effect`, and the others
    /// are made.
    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Applied>, StoreError>;

    /// Hands out waiting messages that are due, taking turns between clients, and leases them.
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError>;

    /// When the next waiting message of a lane is due; `None` when none waits.
    async fn next_due(&self, class: Class) -> Result<Option<Timestamp>, StoreError>;

    /// When the next `Change::Expire` will find something; `None` when nothing can expire.
    async fn next_expiry(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Texts whose provider is due to be asked what became of them, at most `limit`, the longest due first.
    async fn due_reports(&self, now: Timestamp, limit: usize) -> Result<Vec<Awaited>, StoreError>;

    /// Waits until a text has come to await its provider's report, since the last time this was told. One caller at a
    /// time.
    async fn reports_woken(&self);

    /// When the next provider is due to be asked; `None` when none is.
    async fn next_report(&self) -> Result<Option<Timestamp>, StoreError>;

    /// How far counters have come, by key and start of the window; 0 for those never counted.
    async fn amounts(&self, of: Vec<(Digest, Timestamp)>) -> Result<Vec<u64>, StoreError>;

    /// Rows, newest first. Reads alongside writers.
    async fn find(&self, query: Query) -> Result<Vec<Entry>, StoreError>;

    /// The bursts that go on or still hold something, newest first: at most a hundred.
    async fn open_bursts(&self, now: Timestamp) -> Result<Vec<OpenBurst>, StoreError>;

    /// The stored bytes of a mail, where they are still kept.
    async fn message(&self, id: MessageId) -> Result<Option<Bytes>, StoreError>;

    /// The events of a message and its submission, of everything for one recipient, or the latest of all, oldest first.
    async fn history(&self, of: History) -> Result<Vec<Event>, StoreError>;

    /// What was decided of messages, in the order in which it was decided; `None` where a record can't be opened.
    async fn decisions(
        &self,
        query: DecisionQuery,
    ) -> Result<Vec<(DecisionPlace, Option<Decision>)>, StoreError>;

    /// The upstreams that were last told to be down, by the names they had.
    async fn upstreams_down(&self) -> Result<Vec<UpstreamName>, StoreError>;

    /// How full the queue is.
    async fn depth(&self) -> Result<Depth, StoreError>;

    /// Waits for what is under way, then closes. Later calls answer [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}
