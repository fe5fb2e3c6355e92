//! The one list of what can happen to a message. Log lines, the audit trail and webhooks all start here.
//!
//! An event about a message is stored in the same transaction as the change it tells of (`queue::Store`), and logged
//! after the commit. Nothing in a log line is secret: addresses are masked, and there is no subject, code or link in an
//! event at all.

mod notice;

pub use notice::{Notice, Topic, UpstreamNews, UpstreamTurn};

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::clock::Timestamp;
use crate::ident::{BurstId, BusinessName, CategoryName, ClientName, MessageId, UpstreamName};
use crate::mail::{Address, Recipient};
use crate::outcome::Reason;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Accepted and stored: the client got its `250`.
    Received,
    /// Not accepted: the client got a 5xx by policy, or a 4xx at a limit.
    Refused,
    /// Accepted, recorded, and by policy not handed over.
    Suppressed,
    /// Accepted and kept for an operator.
    Held,
    /// An operator let it go.
    Released,
    /// An attempt did not succeed; there will be another.
    Deferred,
    /// The upstream took it.
    HandedOver,
    /// The upstream refused it for good.
    Failed,
    /// Its life ended before it could be handed over.
    Expired,
    /// A newer message of the same shape took its place.
    Superseded,
    /// An operator removed it.
    Removed,
    /// It was sent, no answer came, and it won't be sent again.
    Unknown,
    /// The provider says that it arrived.
    Delivered,
    /// It made a burst of many like it, which are held now; told once a burst.
    BurstHeld,
}

impl Kind {
    /// The name used in logs, webhooks and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Refused => "refused",
            Self::Suppressed => "suppressed",
            Self::Held => "held",
            Self::Released => "released",
            Self::Deferred => "deferred",
            Self::HandedOver => "handed-over",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Removed => "removed",
            Self::Unknown => "unknown",
            Self::Delivered => "delivered",
            Self::BurstHeld => "burst-held",
        }
    }
}

/// One thing that happened to one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The event's own identifier: stays the same however often it is told.
    pub id: MessageId,
    /// What happened.
    pub kind: Kind,
    /// When.
    pub at: Timestamp,
    /// The message.
    pub subject: About,
    /// How many attempts were made so far.
    pub attempts: u32,
    /// Why, where there is a why.
    pub reason: Option<Reason>,
    /// The upstream, where one was involved.
    pub upstream: Option<UpstreamName>,
    /// The upstream's reference, once it was handed over.
    pub reference: Option<String>,
    /// The burst, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<BurstId>,
}

/// Which message an event is about: all that may be told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The message to this recipient.
    pub message: MessageId,
    /// The id the client was given: the same for all recipients of one submission.
    pub submission: MessageId,
    /// Who handed it to us.
    pub client: ClientName,
    /// On whose behalf.
    pub business: Option<BusinessName>,
    /// What it is.
    pub category: CategoryName,
    /// What decided that: a rule's name, a recognition rule, `client-binding`, `declared`.
    pub rule: String,
    /// The recipient. Sealed in the store; its Debug form and log lines show it masked.
    pub recipient: Recipient,
    /// The application's own Message-ID, or the `reference` it gave.
    pub application_id: Option<String>,
    /// Who gets a report if it fails, where that is its envelope sender.
    pub report_to: Option<Address>,
    /// When it was accepted.
    pub accepted: Timestamp,
}

/// Who sees every event once it is committed. Like the log there is one for the whole process: events come out of the
/// depth of the store too, and none may be missed.
pub trait Witness: Send + Sync {
    /// Something happened. Must not wait.
    fn saw(&self, event: &Event);

    /// What log lines about a recipient are found by: a keyed digest, the same on every day.
    fn search_key(&self, recipient: &Recipient) -> String;
}

static WITNESS: OnceLock<Arc<dyn Witness>> = OnceLock::new();

/// Names the process's witness. The first one stays.
pub fn be_seen_by(witness: Arc<dyn Witness>) {
    let _ = WITNESS.set(witness);
}

impl Event {
    /// An event of `kind` about a message, with a fresh id and nothing else said yet.
    pub fn new(kind: Kind, at: Timestamp, subject: About) -> Self {
        Self {
            id: MessageId::generate(),
            kind,
            at,
            subject,
            attempts: 0,
            reason: None,
            upstream: None,
            reference: None,
            burst: None,
        }
    }

    /// The same event with its reason.
    #[must_use]
    pub fn because(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Writes the event as one structured log line, and shows it to the [`Witness`]. To be called once for each event,
    /// after the commit that holds it. A field that has nothing to say is left out.
    pub fn log(&self) {
        let about = &self.subject;
        let witness = WITNESS.get();
        let to_key = witness.map(|witness| witness.search_key(&about.recipient));
        if let Some(witness) = witness {
            witness.saw(self);
        }
        let entry = (about.message != about.submission).then(|| tracing::field::display(about.message));
        let reason = self.reason.as_ref().map(tracing::field::display);
        let age = u64::try_from(self.at.since(about.accepted).as_millis()).unwrap_or(u64::MAX);
        macro_rules! line {
            ($level:ident) => {
                $level!(
                    target: "authrelay::event",
                    id = %about.submission,
                    entry,
                    client = %about.client,
                    business = about.business.as_ref().map(BusinessName::as_str),
                    category = %about.category,
                    rule = about.rule,
                    to = about.recipient.masked(),
                    to_key,
                    attempts = self.attempts,
                    age_ms = age,
                    upstream = self.upstream.as_ref().map(UpstreamName::as_str),
                    reference = self.reference.as_deref(),
                    burst = self.burst.as_ref().map(BurstId::as_str),
                    class = self.reason.as_ref().map(|reason| reason.class.as_str()),
                    reason,
                    "{}",
                    self.kind.as_str()
                )
            };
        }
        match self.kind {
            Kind::Failed | Kind::Expired | Kind::Unknown | Kind::Deferred | Kind::BurstHeld => {
                line!(warn);
            }
            Kind::Received
            | Kind::Refused
            | Kind::Suppressed
            | Kind::Held
            | Kind::Released
            | Kind::HandedOver
            | Kind::Superseded
            | Kind::Removed
            | Kind::Delivered => line!(info),
        }
    }
}
