//! The HTTP endpoint that the SMS provider calls to say what became of a text. Nothing it is told is believed without
//! the provider's signature.

mod routes;
mod signature;

pub use routes::router;

use async_trait::async_trait;

use crate::ident::{MessageId, UpstreamName};
use crate::secret::Secret;

/// What the endpoint asks of the rest.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// The upstreams that may call, each with what its signature is made of.
    fn callers(&self) -> Vec<Caller>;

    /// A report whose signature is right.
    async fn report(&self, report: Report) -> Verdict;

    /// A call that was not believed.
    fn forged(&self);
}

/// An upstream that may call.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its name.
    pub upstream: UpstreamName,
    /// The address under which it calls us, as it knows it: `https://relay.example`, no `/` at the end.
    pub public_url: String,
    /// The key it signs with.
    pub auth_token: Secret,
}

/// What the provider says about one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who says so: more than one where upstreams of one account share the key.
    pub upstreams: Vec<UpstreamName>,
    /// The message, as named in the address that it called.
    pub id: MessageId,
    /// The attempt, as named there.
    pub attempt: u32,
    /// The provider's own id of the text.
    pub sid: String,
    /// The provider's status, such as `delivered`.
    pub status: String,
    /// The provider's error code.
    pub error_code: Option<u32>,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It moved the message forward, or told what was known.
    Applied,
    /// It changed nothing: older news, or told before.
    Stale,
    /// There is no such message, or it is not this upstream's.
    Unknown,
    /// The store can't take it now; the provider may call again.
    Unavailable,
}

/// The path of the callback.
pub const PATH: &str = "/v1/twilio/status";
