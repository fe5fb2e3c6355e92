//! What a store of the queue must do. Batch-shaped: whatever belongs together is one list of changes in ONE transaction,
//! and the events that tell of a change are rows of the same transaction.
//!
//! A store writes an event for every change of state by itself ([`Applied::events`] gives them back for the log), so no
//! caller can forget one.

pub mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Awaited, Claimed, Entry, Idempotency, NewEntry, Payload, Settlement, State};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::ident::{BurstId, CategoryName, Class, ClientName, MessageId, UpstreamName};
use crate::outcome::Reason;
use crate::policy::BurstLimit;
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
    /// It was closed.
    #[error("the queue's store is closed")]
    Closed,
}

/// One change. A list of them is applied as one transaction: all or none.
#[derive(Debug)]
pub enum Change {
    /// Store a submission: one row a recipient, the body once.
    Put(Box<Put>),
    /// Record what an attempt made of a claimed message.
    Settle(Box<Settle>),
    /// Note, before anything is sent, that an attempt is being made which must not be repeated after a crash.
    Mark {
        /// The message.
        id: MessageId,
        /// Its lease.
        lease: Timestamp,
        /// Who is about to be sent it: whose word counts after a crash.
        upstream: UpstreamName,
    },
    /// Give a claimed message back without an attempt having been made.
    GiveBack {
        /// The message.
        id: MessageId,
        /// Its lease.
        lease: Timestamp,
        /// Not to be claimed before this.
        next_attempt: Timestamp,
        /// Why it waits; `None` leaves what was known before.
        reason: Option<Reason>,
    },
    /// An operator's hand.
    Operate {
        /// The message.
        id: MessageId,
        /// What to do.
        operation: Operation,
        /// When.
        at: Timestamp,
    },
    /// An operator's hand on what a burst holds: to release or to remove it. At most `limit` rows.
    OperateBurst {
        /// The burst.
        burst: BurstId,
        /// What to do.
        operation: Operation,
        /// When.
        at: Timestamp,
        /// The most rows.
        limit: usize,
    },
    /// End what has expired by `now`: queued rows expire, held rows are suppressed, payloads of suppressed rows are
    /// erased, texts without their provider's word stay handed over or unknown. At most `limit` rows.
    Expire {
        /// The time to compare with.
        now: Timestamp,
        /// The most rows to end.
        limit: usize,
    },
    /// What a provider says became of a text.
    Report(Box<Report>),
    /// The provider had nothing to say when it was asked: not to be asked before `until`. Counts one poll.
    Postpone {
        /// The message.
        id: MessageId,
        /// Not before this; `None`: not again.
        until: Option<Timestamp>,
    },
    /// Note, once, whether a client's code was used, and count up counters of it.
    Feedback {
        /// The message.
        id: MessageId,
        /// Whose it has to be.
        client: ClientName,
        /// Whether the code was used.
        used: bool,
        /// To be counted up where this is the first word on it.
        counters: Vec<Counter>,
    },
    /// Store events that belong to no row, such as a refusal, each with the key of its recipient.
    Record(Vec<(Digest, Event)>),
    /// Delete ended rows and events older than `before`, and whatever else is over by now. Rows that a repeated request
    /// may still ask for stay. At most `limit` rows of each.
    Prune {
        /// Ended before this.
        before: Timestamp,
        /// The most rows of each kind to delete.
        limit: usize,
    },
}

/// A submission to be stored.
#[derive(Debug)]
pub struct Put {
    /// One row a recipient. At least one.
    pub entries: Vec<NewEntry>,
    /// What is handed over. A mail's bytes are stored once.
    pub payload: Payload,
    /// Find an equal submission stored since the given time, and store nothing if there is one that waits or was
    /// handed over.
    pub dedupe: Option<(Digest, Timestamp)>,
    /// Its rows wait to be seen among others of their shape. Only for rows that are to be sent, and are not leased.
    pub settling: Option<Settling>,
    /// Counters to check and count up; one at its limit refuses the whole put.
    pub counters: Vec<Counter>,
    /// What the request is known by if it is repeated: the same key is stored once.
    pub idempotency: Option<Idempotency>,
    /// Store the rows as claimed with this lease, because a worker takes them straight from memory.
    pub lease: Option<Timestamp>,
}

/// How the rows of a put are seen among others of their shape.
///
/// Rows with `next_attempt` in the future wait; while rows of the shape come to new recipients, those that were not
/// attempted yet are put off to `settle` from then, but never past `burst.within` from their acceptance. Once there are
/// `burst.recipients` within that time they are a burst: what was not attempted is held, and so is what comes until the
/// shape was quiet for that long.
#[derive(Debug, Clone)]
pub struct Settling {
    /// The client, the category and the shape, as a keyed digest.
    pub shape: Digest,
    /// How long a row waits after it, or another one of its shape, came.
    pub settle: Duration,
    /// What a burst is.
    pub burst: BurstLimit,
    /// What the burst is called if this put completes one.
    pub id: BurstId,
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

/// What a provider says became of a text.
#[derive(Debug, Clone)]
pub struct Report {
    /// The message.
    pub id: MessageId,
    /// The upstream that says so; a row that went another way is not its to speak of.
    pub upstream: UpstreamName,
    /// The attempt it speaks of; an older one than the row's last changes nothing.
    pub attempt: u32,
    /// The provider's own id of the text.
    pub reference: String,
    /// What became of it.
    pub news: News,
    /// When we heard.
    pub at: Timestamp,
}

/// What became of a text. Later variants never give way to earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The provider has it and works on it.
    Underway,
    /// It did not arrive, and another try is worth it: made once, within its life.
    Retry(Reason),
    /// It did not arrive and will not.
    Failed(Reason),
    /// It arrived.
    Delivered,
}

/// One counter that guards money or people.
#[derive(Debug, Clone)]
pub struct Counter {
    /// What it counts, as a keyed digest.
    pub key: Digest,
    /// The window it belongs to, by its start.
    pub window_start: Timestamp,
    /// When the counter may be forgotten.
    pub window_end: Timestamp,
    /// How much to add.
    pub amount: u32,
    /// The most it may reach.
    pub limit: u32,
}

/// The end of one attempt.
#[derive(Debug)]
pub struct Settle {
    /// The message.
    pub id: MessageId,
    /// The lease under which the attempt was made.
    pub lease: Timestamp,
    /// The upstream that was asked.
    pub upstream: Option<UpstreamName>,
    /// What follows.
    pub settlement: Settlement,
    /// When.
    pub at: Timestamp,
}

/// What an operator may do to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Try a queued one now.
    Retry,
    /// Hold a queued one.
    Hold,
    /// Let a held or suppressed one go.
    Release,
    /// End it.
    Remove,
}

/// What became of one change, and the events that were stored with it.
#[derive(Debug, Default)]
pub struct Applied {
    /// What became of it.
    pub result: Effect,
    /// The events, as stored, for the log.
    pub events: Vec<Event>,
    /// A row that had to wait for this one became due: whoever looks for work should look again.
    pub wakes: bool,
}

/// What became of one change.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// It was made; so many rows changed.
    #[default]
    Done,
    /// The put was made, but these of its rows are not leased although it asked for that: each has to wait until an
    /// older message, which it supersedes, is done being handed over. They are claimed like any other later.
    Waiting(Vec<MessageId>),
    /// The put was made, and its rows are held as part of this burst.
    Held(BurstId),
    /// So many rows were changed by an `Expire`, a `Prune` or an `OperateBurst`; as many as the limit means there may be more.
    Rows(usize),
    /// Nothing was stored: an equal submission is there already.
    Duplicate(MessageId),
    /// Nothing was stored: the counter at this index is at its limit.
    OverLimit(usize),
    /// Nothing was stored: the same request is stored already, under this id.
    Repeated(MessageId),
    /// Nothing was stored: the same key came with another request before.
    Mismatch,
    /// Nothing changed: it was known before, or later news are known.
    Stale,
    /// Nothing changed: the lease is not the row's any more.
    LostLease,
    /// Nothing changed: there is no such row.
    NotFound,
    /// Nothing changed: the row's state does not allow it.
    NotAllowed(State),
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

    /// The events of a message and its submission, or of everything for one recipient, oldest first.
    async fn history(&self, of: History) -> Result<Vec<Event>, StoreError>;

    /// How full the queue is.
    async fn depth(&self) -> Result<Depth, StoreError>;

    /// Waits for what is under way, then closes. Later calls answer [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}

/// Why a put or an operation was recorded, for the events the store writes itself.
pub(super) fn operator_reason(operation: Operation) -> Reason {
    let text = match operation {
        Operation::Retry => "retried by an operator",
        Operation::Hold => "held by an operator",
        Operation::Release => "released by an operator",
        Operation::Remove => "removed by an operator",
    };
    Reason::new(crate::outcome::ReasonClass::Operator, text)
}
