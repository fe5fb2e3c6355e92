//! Tells others of events, by Standard Webhooks 1.0: signed requests out of the store's outbox.
//!
//! In the order in which a notice meets them: [`Webhooks`] (`dispatch`) takes what is due for an endpoint, `body` says it
//! in JSON, `signature` signs it, `guard` sees to it that it goes nowhere it must not go, `post` sends it, and `health`
//! and `schedule` say when the next one goes there. `probe` goes as far as the handshake, for `check --live`.
//!
//! What must hold: a notice is told at least once or counted as dropped; notices about one message are told in their
//! order; nothing is sent in the clear beyond this machine, and nothing to an address of a private network that the
//! configuration does not allow; no answer of an endpoint but 2xx counts, and none is followed elsewhere.

mod body;
mod dispatch;
mod guard;
mod health;
mod lane;
mod monitor;
mod post;
mod probe;
mod schedule;
mod signature;

pub use dispatch::{CurrentConfig, Webhooks};
pub use guard::{Forbidden, Guard, Network, refuses};
pub use monitor::{EndpointStatus, Monitor, Standing, Tested};
pub use probe::{Obstacle, probe_endpoint};
pub use signature::{KeyError, SigningKey, sign};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use crate::ident::EndpointName;
use crate::outbound::TlsClient;
use crate::queue::{Audience, Subscription};

/// The endpoints, as configured.
#[derive(Debug, Default)]
pub struct Config {
    /// In the order of the file.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// What each of them is told of.
    pub audience: Arc<Audience>,
}

impl Config {
    /// These endpoints.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        let subscriptions = endpoints.iter().map(|endpoint| endpoint.subscription.clone()).collect();
        let endpoints = endpoints.into_iter().map(Arc::new).collect();
        Self { endpoints, audience: Arc::new(Audience { subscriptions }) }
    }

    fn endpoint(&self, name: &EndpointName) -> Option<&Arc<Endpoint>> {
        self.endpoints.iter().find(|endpoint| *endpoint.name() == *name)
    }
}

/// Where events are told to.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name, what it is told of, and how much may wait for it.
    pub subscription: Subscription,
    /// Where it is.
    pub target: Target,
    /// What requests are signed with, the newest first; never empty.
    pub keys: Vec<SigningKey>,
    /// How a recipient is told.
    pub recipient: RecipientForm,
    /// Which addresses requests may go to.
    pub guard: Guard,
    /// TLS, with the roots that are trusted.
    pub tls: TlsClient,
    /// How long one request may take, from connecting to the answer.
    pub timeout: Duration,
    /// The most requests at once.
    pub concurrency: usize,
    /// How long a notice may wait.
    pub keep: Duration,
}

impl Endpoint {
    /// Its name.
    pub fn name(&self) -> &EndpointName {
        &self.subscription.endpoint
    }
}

/// How a recipient is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientForm {
    /// The whole address or number.
    Full,
    /// A hash under the endpoint's newest key.
    Hash,
}

/// The address of an endpoint. What follows the host may be a secret, and is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Url);

impl Target {
    /// The endpoint at this address.
    pub fn new(url: Url) -> Self {
        Self(url)
    }

    /// Its host, without the brackets of an address.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The address itself. For requests only.
    fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.origin().ascii_serialization())?;
        let bare = self.0.path() == "/" && self.0.query().is_none();
        f.write_str(if bare { "" } else { "/..." })
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
