//! One row of the queue: one message to one recipient.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Counter, State};
use crate::clock::Timestamp;
use crate::event::About;
use crate::ident::{BusinessName, CategoryName, Class, ClientName, MessageId, UpstreamName};
use crate::mail::{Address, Recipient};
use crate::outcome::Reason;
use crate::rewrite::Plan;
use crate::secret::{Digest, Secret};
use crate::sms::Factor;

/// Everything about a queued message but what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its own id.
    pub id: MessageId,
    /// The id the client was told; shared by all recipients of one submission, and equal to `id` for the first.
    pub submission: MessageId,
    /// Who handed it to us.
    pub client: ClientName,
    /// On whose behalf.
    pub business: Option<BusinessName>,
    /// What it is.
    pub category: CategoryName,
    /// What decided that.
    pub rule: String,
    /// Its lane.
    pub class: Class,
    /// For whom. Sealed in the store.
    pub recipient: Recipient,
    /// The application's own Message-ID or `reference`. Sealed in the store.
    pub application_id: Option<String>,
    /// Who gets a report if it fails, where that is its envelope sender. Sealed in the store.
    pub report_to: Option<Address>,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// After this it is not sent.
    pub expires: Timestamp,
    /// Not before this.
    pub next_attempt: Timestamp,
    /// Attempts made.
    pub attempts: u32,
    /// How many of them ended without an answer after everything was sent.
    pub in_doubt: u32,
    /// Where it stands.
    pub state: State,
    /// Why it waits or ended.
    pub reason: Option<Reason>,
    /// The upstream of the last attempt. After an attempt in doubt the only one that may be asked again.
    pub upstream: Option<UpstreamName>,
    /// The upstream's reference once handed over.
    pub reference: Option<String>,
}

impl Entry {
    /// What an event may tell of this message.
    pub fn about(&self) -> About {
        About {
            message: self.id,
            submission: self.submission,
            client: self.client.clone(),
            business: self.business.clone(),
            category: self.category.clone(),
            rule: self.rule.clone(),
            recipient: self.recipient.clone(),
            application_id: self.application_id.clone(),
            report_to: self.report_to.clone(),
            accepted: self.accepted,
        }
    }
}

/// What is handed over. Sealed in the store, and erased there once it can no longer be sent.
#[derive(Clone, Debug)]
pub enum Payload {
    /// A mail.
    Mail {
        /// How to write it.
        plan: Plan,
        /// Its bytes as received. Stored once for all recipients of a submission.
        message: Bytes,
    },
    /// A one-time code for a phone. The text is made from these, never stored.
    Sms {
        /// The code.
        code: Secret,
        /// The host named in the text.
        host: String,
        /// For which factor.
        factor: Factor,
        /// Whether the text is in the origin-bound form.
        origin_bound: bool,
    },
}

impl Payload {
    /// About how many bytes it keeps in memory, with its row.
    pub fn weight(&self) -> usize {
        match self {
            Self::Mail { message, .. } => message.len() + 1024,
            Self::Sms { .. } => 1024,
        }
    }
}

/// A row to be stored.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// The row; its `state` is `Queued`, `Held` or `Suppressed`.
    pub entry: Entry,
    /// The HMAC by which the recipient's messages are found.
    pub recipient_key: Digest,
    /// Older waiting rows with the same key end as superseded.
    pub supersede_key: Option<Digest>,
}

/// A message a worker holds. Made by the queue alone: from a store's claim, or straight after a put.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub(super) entry: Entry,
    pub(super) payload: Payload,
    pub(super) lease: Timestamp,
}

impl Claimed {
    /// One for a store that a test of another module brings along.
    #[cfg(test)]
    pub(crate) fn new(entry: Entry, payload: Payload, lease: Timestamp) -> Self {
        Self { entry, payload, lease }
    }

    /// The row.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// What is to be handed over.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// When the lease ends. It also names the lease: a worker whose lease was taken over can't settle.
    pub fn lease(&self) -> Timestamp {
        self.lease
    }

    /// About how many bytes it keeps in memory.
    pub fn weight(&self) -> usize {
        self.payload.weight()
    }
}

/// A text whose provider owes a report.
#[derive(Clone, Debug)]
pub struct Awaited {
    /// The row; its `reference` is the provider's id of it, or `None` where no answer came.
    pub entry: Entry,
    /// What was sent.
    pub payload: Payload,
    /// How often the provider was asked.
    pub polls: u32,
}

/// A code to be stored.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// The row; its `state` is `Queued` or `Suppressed`, its `recipient` a phone.
    pub entry: Entry,
    /// What is sent.
    pub payload: Payload,
    /// What the request is known by if it is repeated.
    pub idempotency: Option<Idempotency>,
    /// Counters to check and count up; one at its limit refuses the code.
    pub counters: Vec<Counter>,
}

/// What a repeated request is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client and its key, as a keyed digest.
    pub key: Digest,
    /// Everything else in the request, as a keyed digest.
    pub fingerprint: Digest,
    /// When it may be forgotten.
    pub until: Timestamp,
}
