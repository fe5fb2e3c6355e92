//! The audit trail: what was decided of each message, by which rule, and what became of it. No address is in it, only the
//! key by which a recipient is found.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::{Event, Kind};
use crate::ident::{BusinessName, CategoryName, ClientName, MessageId, UpstreamName};
use crate::outcome::Reason;
use crate::secret::Digest;

/// What was decided of one message to one recipient, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The message.
    pub id: MessageId,
    /// The id the client was given.
    pub submission: MessageId,
    /// When it was decided.
    pub at: Timestamp,
    /// Who handed it to us.
    pub client: ClientName,
    /// On whose behalf.
    pub business: Option<BusinessName>,
    /// What it is.
    pub category: CategoryName,
    /// What decided that.
    pub rule: String,
    /// The key of its recipient.
    pub recipient_key: Digest,
    /// What happened to it, in order: the first says what was decided, the last how it stands or ended. Attempts after
    /// which there was another are only counted.
    pub steps: Vec<Step>,
}

/// One thing that happened to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What.
    pub kind: Kind,
    /// When.
    pub at: Timestamp,
    /// How many attempts were made by then.
    pub attempts: u32,
    /// Why, where there is a why.
    pub reason: Option<Reason>,
    /// The upstream, where one was involved.
    pub upstream: Option<UpstreamName>,
    /// Its reference.
    pub reference: Option<String>,
}

impl Decision {
    /// The decision on a message from its events, in order; `None` where there are none.
    pub fn of(recipient_key: Digest, events: Vec<Event>) -> Option<Self> {
        let about = events.first()?.subject.clone();
        let at = events.first()?.at;
        let told = events.into_iter().filter(|event| event.kind != Kind::Deferred);
        let step = |event: Event| Step {
            kind: event.kind,
            at: event.at,
            attempts: event.attempts,
            reason: event.reason,
            upstream: event.upstream,
            reference: event.reference,
        };
        Some(Self {
            id: about.message,
            submission: about.submission,
            at,
            client: about.client,
            business: about.business,
            category: about.category,
            rule: about.rule,
            recipient_key,
            steps: told.map(step).collect(),
        })
    }
}

/// Which decisions to read.
#[derive(Debug, Clone, Copy)]
pub struct DecisionQuery {
    /// Made then or later.
    pub since: Timestamp,
    /// Made before this.
    pub until: Timestamp,
    /// Behind this one; `None`: from the first.
    pub after: Option<DecisionPlace>,
    /// At most so many.
    pub limit: usize,
}

/// The place of a decision among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DecisionPlace {
    /// When it was made.
    pub at: Timestamp,
    /// Which of those of the same time.
    pub shelf: Shelf,
    /// Its number there.
    pub number: i64,
}

/// Where the record of a decision is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shelf {
    /// The record of the message is gone.
    Archive,
    /// Beside the message.
    Record,
}
