//! The HTTP endpoint that takes one-time codes for phones. Knows nothing of queue and configuration: it asks a small
//! [`Handler`].

mod body;
mod fields;
mod openapi;
mod refusal;
mod routes;

pub use openapi::document;
pub use routes::router;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::ident::{ClientName, MessageId};
use crate::phone::Country;
use crate::secret::Secret;
use crate::sms::{CodeRule, Factor};

/// How codes are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether codes that let a person in are taken.
    pub primary: bool,
    /// Whether codes that come on top of a password are taken.
    pub secondary: bool,
    /// Which codes are taken.
    pub code: CodeRule,
    /// The country by which national numbers are read.
    pub default_country: Option<Country>,
    /// Whether texts are in the origin-bound form.
    pub origin_bound: bool,
    /// Who may send codes by mail; `None`: nobody.
    pub by_mail: Option<ByMail>,
}

impl Config {
    /// Whether codes for this factor are taken.
    pub fn takes(&self, factor: Factor) -> bool {
        match factor {
            Factor::Primary => self.primary,
            Factor::Secondary => self.secondary,
        }
    }
}

/// How codes are taken that come as mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByMail {
    /// The domain behind the number, in lower case: `+12025550100@sms.relay.example`.
    pub domain: String,
    /// The clients that may, and what all their codes are for.
    pub clients: BTreeMap<ClientName, Factor>,
}

/// What the endpoint asks of the rest. A future of it may be dropped before its end, when a request takes too long.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Whose token it is.
    fn client_of(&self, token: &Secret) -> Option<ClientName>;

    /// Takes a code. When this returns, it is on stable storage.
    async fn submit(&self, client: &ClientName, request: Request) -> Result<Accepted, Refusal>;

    /// How a code of this client stands.
    async fn status(&self, client: &ClientName, id: MessageId) -> Result<View, Refusal>;

    /// Whether the person used the code.
    async fn feedback(&self, client: &ClientName, id: MessageId, used: bool) -> Result<(), Refusal>;
}

/// A request for a code, as it came: its form is right, its meaning is not checked yet.
#[derive(Debug)]
pub struct Request {
    /// The number as written.
    pub to: Secret,
    /// The code.
    pub code: Secret,
    /// For which business, where the client said so.
    pub business: Option<String>,
    /// For which factor.
    pub factor: Factor,
    /// How long the code is good.
    pub expires_in: Option<Duration>,
    /// The application's own reference.
    pub reference: Option<String>,
    /// The `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).
    pub idempotency_key: Option<Secret>,
}

/// A code that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: MessageId,
    /// Where it stands.
    pub status: Status,
    /// After this it is not sent.
    pub expires: Timestamp,
}

/// Where a code stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Stored; will be sent.
    Queued,
    /// The provider took it.
    HandedOver,
    /// It was sent and no answer came; the provider's word is awaited.
    InDoubt,
    /// The provider says that it arrived.
    Delivered,
    /// It will not arrive.
    Failed,
    /// Its life ended before it could be sent.
    Expired,
    /// A newer code took its place.
    Superseded,
    /// By policy not sent: a test number.
    Suppressed,
    /// An operator removed it.
    Removed,
    /// Nobody knows whether it arrived, and it won't be sent again.
    Unknown,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::HandedOver,
        Self::InDoubt,
        Self::Delivered,
        Self::Failed,
        Self::Expired,
        Self::Superseded,
        Self::Suppressed,
        Self::Removed,
        Self::Unknown,
    ];

    /// Its name as clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::HandedOver => "handed-over",
            Self::InDoubt => "in-doubt",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Suppressed => "suppressed",
            Self::Removed => "removed",
            Self::Unknown => "unknown",
        }
    }
}

/// All that a client may see of its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its id.
    pub id: MessageId,
    /// Where it stands.
    pub status: Status,
    /// When it was taken.
    pub created: Timestamp,
    /// After this it is not sent.
    pub expires: Timestamp,
    /// The application's own reference.
    pub reference: Option<String>,
    /// Why it waits or failed, scrubbed.
    pub reason: Option<String>,
}

/// Why a request is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The kind: it has a stable name and a status.
    pub kind: RefusalKind,
    /// The field at fault, as a JSON Pointer (RFC 6901) into the body, such as `/to`.
    pub pointer: Option<&'static str>,
    /// What is wrong this time, and what to do. Never the code or the whole number.
    pub detail: String,
    /// The limit that was met.
    pub limit: Option<LimitMet>,
    /// The id under which it is recorded, where it is.
    pub id: Option<MessageId>,
}

/// A limit that was met, for `Retry-After` and the `RateLimit` fields (draft-ietf-httpapi-ratelimit-headers).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitMet {
    /// Its name.
    pub name: &'static str,
    /// The most.
    pub quota: u32,
    /// Within this time.
    pub window: Duration,
    /// When it is worth trying again.
    pub retry_after: Duration,
}

/// The kinds of refusals by policy and of our own faults, in the order of the path of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// No such code, or not this client's.
    NotFound,
    /// The factor is not switched on.
    FactorOff,
    /// The client may not send codes of this category.
    CategoryNotAllowed,
    /// The business is unknown, not this client's, or not said and not the only one.
    Business,
    /// The number can't be read.
    Number,
    /// The code is not as configured.
    Code,
    /// The life asked for is longer than the category's.
    Expiry,
    /// The number's country is not in the list.
    Country,
    /// The number is in a premium, shared-cost or unknown range.
    NumberRange,
    /// Too few codes of this country are used.
    Conversion,
    /// Too many requests of this client in this moment.
    Rate,
    /// Too many codes for this number.
    NumberLimit,
    /// Too many codes for numbers like this.
    PrefixLimit,
    /// Too many codes of this client.
    ClientLimit,
    /// Too many codes of this business.
    BusinessLimit,
    /// Too many codes in all.
    TotalLimit,
    /// The `Idempotency-Key` came with another body before.
    IdempotencyMismatch,
    /// The store can't take it now: our own fault.
    Store,
}
