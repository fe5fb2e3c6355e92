//! How upstreams stand, for `status`.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ident::UpstreamName;
use crate::outcome::Reason;

/// How an upstream stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: UpstreamName,
    /// Whether it is asked.
    pub breaker: BreakerStatus,
    /// Since when.
    pub since: Timestamp,
    /// What it failed with last, where it ever did.
    pub last_failure: Option<Reason>,
    /// Open connections, in use or not.
    pub connections: usize,
    /// Deliveries under way.
    pub in_flight: usize,
}

/// Whether an upstream is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum BreakerStatus {
    /// Mail flows.
    Closed,
    /// Not before this.
    Open {
        /// When it is asked again.
        until: Timestamp,
    },
    /// One message is finding out.
    Probing,
}
