//! Whose name a message goes out under, and what its header then looks like. Pure but for the signing keys.
//!
//! [`plan`] is made once, at acceptance, and kept with the message; [`render`] writes the header for the sender that
//! belongs to the upstream of one attempt, and signs it. `plan` writes the header once for its first choice, so that a
//! message that can't be rewritten is refused while the client is still there to hear it. It doesn't sign: that never
//! depends on the message, and costs more than everything else here.
//!
//! What leaves has exactly one `From`, a header every reader finds the same end of, and the body as it came.

mod dkim;
mod mailbox;
mod plan;
mod received;
mod render;
#[cfg(test)]
mod testing;

pub use dkim::{DkimKey, DkimKeyError, GeneratedKey, KeyKind, SignError, generate_key};
pub use plan::{Plan, PlanError, Planned, plan, plan_for};
pub use render::{RenderError, Rendered, render};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ident::{BusinessName, SenderName};
use crate::mail::{Address, Mailbox};

/// Senders and businesses, as configured.
#[derive(Debug)]
pub struct Config {
    /// Our name in Received fields and Message-IDs.
    pub hostname: String,
    /// All senders, by name.
    pub senders: BTreeMap<SenderName, Arc<Sender>>,
    /// Which of them is no-reply.
    pub no_reply: SenderName,
    /// All businesses, by name.
    pub businesses: BTreeMap<BusinessName, Business>,
    /// The header field in which a category is declared; removed from every message.
    pub declared_header: String,
    /// Whether the Received field names the client's address.
    pub received_names_client: bool,
}

/// One sender identity.
#[derive(Debug)]
pub struct Sender {
    /// Its name in the configuration.
    pub name: SenderName,
    /// The header From.
    pub from: Mailbox,
    /// The envelope sender.
    pub return_path: Address,
    /// Whether a null reverse-path is replaced too. Off: `<>` stays `<>`.
    pub replace_null_reverse_path: bool,
    /// The keys to sign with; empty where the provider signs.
    pub dkim: Vec<DkimKey>,
}

/// What rewriting knows of a business.
#[derive(Clone, Debug)]
pub struct Business {
    /// Its own sender, where it has one.
    pub sender: Option<SenderName>,
    /// Its mail domains, in lower case: a Reply-To there (or in a subdomain) stays.
    pub domains: Vec<String>,
    /// The Reply-To to write instead of the message's own.
    pub reply_to: Option<Mailbox>,
}

impl Config {
    /// The senders `plan` allows, the preferred first.
    pub fn senders_for(&self, plan: &Plan) -> Vec<&Arc<Sender>> {
        let custom = match plan.sender {
            crate::policy::SenderPolicy::CustomElseNoReply => plan
                .business
                .as_ref()
                .and_then(|business| self.businesses.get(business))
                .and_then(|business| business.sender.as_ref()),
            crate::policy::SenderPolicy::NoReply => None,
        };
        let mut names: Vec<&SenderName> = custom.into_iter().chain([&self.no_reply]).collect();
        names.dedup();
        names.into_iter().filter_map(|name| self.senders.get(name)).collect()
    }
}
