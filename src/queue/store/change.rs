//! The changes that a store is asked to make, and what became of each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::outbox::OutboxChange;
use crate::clock::Timestamp;
use crate::event::{Event, UpstreamNews};
use crate::ident::{BurstId, ClientName, MessageId, UpstreamName};
use crate::outcome::{Reason, ReasonClass};
use crate::policy::BurstLimit;
use crate::queue::{Idempotency, NewEntry, Payload, Settlement, State};
use crate::secret::Digest;

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
    /// may still ask for stay. At most `limit` rows of each. What was decided of them goes into the archive.
    Prune {
        /// Ended before this.
        before: Timestamp,
        /// The archive keeps what was decided since then; `None`: it keeps nothing.
        archive: Option<Timestamp>,
        /// The most rows of each kind to delete.
        limit: usize,
    },
    /// Tell those who want to know how an upstream does.
    Announce(Box<UpstreamNews>),
    /// Something in the outbox of webhooks.
    Outbox(Box<OutboxChange>),
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
#[derive(Clone, Debug)]
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
    /// The same, although the guards object to what it says: that goes on record.
    Force,
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

/// Why a put or an operation was recorded, for the events the store writes itself.
pub(in crate::queue) fn operator_reason(operation: Operation) -> Reason {
    let text = match operation {
        Operation::Retry => "retried by an operator",
        Operation::Hold => "held by an operator",
        Operation::Release => "released by an operator",
        Operation::Force => "released by an operator in spite of the guards",
        Operation::Remove => "removed by an operator",
    };
    Reason::new(ReasonClass::Operator, text)
}
