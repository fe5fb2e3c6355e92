//! What is asked of a message after its category is known and before anything is kept of it. Pure.
//!
//! Guards look at what may go out: what is relayed, observed or held. What is refused anyway is not looked at, and what
//! is suppressed is answered as if it had been taken, so that nothing is asked of it.

use std::collections::BTreeMap;

use super::attachment::{self, Forbidden};
use super::links::{self, Domains, LinkGuard, Seen, Survey, Taken};
use super::names::{self, NameProblem};
use crate::ident::{BusinessName, CategoryName, ClientName};
use crate::policy::{Action, Classified, Policy, Text};

/// What is asked of messages. The default has nothing to compare links with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// How strict the link guard is where a client has no word of its own.
    pub link_guard: LinkGuard,
    /// The clients that have one.
    pub clients: BTreeMap<ClientName, ClientGuards>,
    /// Where the mail of each business may lead, where that is known.
    pub businesses: BTreeMap<BusinessName, Domains>,
}

/// What is asked of the messages of one client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientGuards {
    /// How strict the link guard is.
    pub links: LinkGuard,
    /// Whether names in invitations are looked at.
    pub names: NameGuard,
}

/// Whether names in invitations are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameGuard {
    /// They are.
    #[default]
    On,
    /// They are not.
    Off,
}

impl Config {
    /// What is asked of the messages of `client`.
    pub fn of(&self, client: &ClientName) -> ClientGuards {
        let global = ClientGuards { links: self.link_guard, ..ClientGuards::default() };
        self.clients.get(client).copied().unwrap_or(global)
    }

    /// Where a message may lead: what its business allows. Where it is not known for which of its client's businesses
    /// it is sent, what any of them allows: else to name no business would be a way past the guard.
    pub fn domains(&self, policy: &Policy, content: &Content<'_>) -> Option<Domains> {
        if let Some(business) = content.business {
            return self.businesses.get(business).cloned();
        }
        let client = policy.clients.get(content.client)?;
        let known: Vec<&Domains> =
            client.businesses.iter().filter_map(|name| self.businesses.get(name)).collect();
        (!known.is_empty()).then(|| Domains::union(known))
    }

    /// Where a message leads.
    pub fn survey(&self, policy: &Policy, content: &Content<'_>) -> Survey {
        let domains = self.domains(policy, content);
        links::survey(content.text, domains.as_ref(), &policy.recognition)
    }
}

/// What the guards look at: what a message says, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// Who sends it.
    pub client: &'a ClientName,
    /// On whose behalf.
    pub business: Option<&'a BusinessName>,
    /// What it is.
    pub category: &'a CategoryName,
    /// What it says.
    pub text: &'a Text,
}

impl<'a> Content<'a> {
    /// That of a classified message.
    pub fn of(classified: &'a Classified) -> Self {
        let verdict = classified.verdict();
        Self {
            client: &classified.submission().client,
            business: verdict.business.as_ref(),
            category: &verdict.category.name,
            text: classified.text(),
        }
    }
}

/// Why a message does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// Its category is refused, or is not in the client's list.
    Category,
    /// More recipients than its category may have.
    Recipients {
        /// How many it may have.
        most: usize,
    },
    /// Where it leads.
    Link(Seen),
    /// What stands in place of a name.
    Name(NameProblem),
    /// What it brings along.
    Attachment(Forbidden),
    /// It has more parts or links than are looked at, or parts that can't be read.
    Unread,
}

impl Objection {
    /// The guard that objects, as it stands in replies and on record; `None` where the category's own rule decided.
    pub fn guard(&self) -> Option<&'static str> {
        match self {
            Self::Category | Self::Recipients { .. } => None,
            Self::Link(_) => Some("guard:link"),
            Self::Name(_) => Some("guard:name"),
            Self::Attachment(_) => Some("guard:attachment"),
            Self::Unread => Some("guard:unread"),
        }
    }
}

/// A message that may go on, or not, and the foreign hosts that it leads to.
#[derive(Debug)]
pub struct Asked {
    /// The message.
    pub classified: Classified,
    /// What speaks against it.
    pub objection: Option<Objection>,
    /// The foreign hosts it leads to, and those it fetches pictures from.
    pub foreign: Vec<Seen>,
}

/// Asks everything of a classified message, the cheapest first.
pub fn allow(config: &Config, policy: &Policy, classified: Classified) -> Asked {
    let verdict = classified.verdict();
    let most = verdict.max_recipients();
    let objection = match verdict.action {
        Action::Refuse => Some(Objection::Category),
        _ if classified.submission().envelope.recipients.len() > most => Some(Objection::Recipients { most }),
        Action::Suppress => None,
        Action::Relay | Action::Hold => {
            let (objection, foreign) = inspect(config, policy, &Content::of(&classified));
            return Asked { classified, objection, foreign };
        }
    };
    Asked { classified, objection, foreign: Vec::new() }
}

/// Asks the guards alone: what speaks against the content, whatever is done with its category; and the foreign hosts.
pub fn inspect(config: &Config, policy: &Policy, content: &Content<'_>) -> (Option<Objection>, Vec<Seen>) {
    let text = content.text;
    if let Some(what) = text.enclosures.iter().find_map(attachment::forbidden) {
        return (Some(Objection::Attachment(what)), Vec::new());
    }
    if text.parts_left_out {
        return (Some(Objection::Unread), Vec::new());
    }
    let guards = config.of(content.client);
    let domains = config.domains(policy, content);
    let mut objection = None;
    let mut foreign = Vec::new();
    if guards.links != LinkGuard::Off {
        let survey = links::survey(text, domains.as_ref(), &policy.recognition);
        objection = survey.objection(guards.links).cloned().map(Objection::Link);
        foreign.extend(survey.links.into_iter().filter(|seen| is_told(seen.taken)));
        if text.unread && domains.is_some() && objection.is_none() {
            objection = Some(Objection::Unread);
        }
    }
    if guards.names == NameGuard::On && objection.is_none() {
        let problem = names::problem(text, content.category, domains.as_ref(), &policy.recognition);
        objection = problem.map(Objection::Name);
    }
    (objection, foreign)
}

/// What an administrator may want to allow.
fn is_told(taken: Taken) -> bool {
    taken.is_foreign() || taken == Taken::ForeignImage
}
