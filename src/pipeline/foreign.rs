//! What is told of the content of messages: to the client that is refused, to the log, and to the memory of foreign
//! hosts. Hosts are named, as `guard::links` lets them be shown; addresses never.

use crate::guard::links::{Seen, Taken};
use crate::guard::names::NameProblem;
use crate::guard::seen::ForeignHosts;
use crate::guard::{Asked, Objection};
use crate::ident::{BusinessName, ClientName, MessageId};

/// Hosts that one log line names.
const LOGGED: usize = 5;

/// The foreign hosts of one message.
pub(super) struct Foreign {
    id: MessageId,
    client: ClientName,
    business: Option<BusinessName>,
    hosts: Vec<Seen>,
    goes_on: bool,
}

impl Foreign {
    pub(super) fn of(asked: &Asked) -> Self {
        let (submission, verdict) = (asked.classified.submission(), asked.classified.verdict());
        Self {
            id: submission.id,
            client: submission.client.clone(),
            business: verdict.business.clone(),
            hosts: asked.foreign.clone(),
            goes_on: asked.objection.is_none(),
        }
    }

    /// Remembers them; of a message that goes on, one log line names the links among them.
    pub(super) fn note(&self, all: &ForeignHosts) {
        all.note(self.business.as_ref(), &self.hosts);
        let links = self.hosts.iter().filter(|seen| seen.taken.is_foreign());
        let names: Vec<&str> = links.take(LOGGED).map(|seen| seen.host.as_str()).collect();
        if self.goes_on && !names.is_empty() {
            let (id, client, hosts) = (self.id, &self.client, names.join(" "));
            tracing::info!(target: "authrelay::guard", %id, %client, hosts, "foreign links");
        }
    }
}

/// What the client is told of an objection to the content; `None` where it is none to the content.
pub(super) fn told(why: &Objection) -> Option<String> {
    Some(match why {
        Objection::Category | Objection::Recipients { .. } => return None,
        Objection::Link(Seen { host, taken, .. }) => link(host, *taken),
        Objection::Name(NameProblem::Link(host)) => {
            format!("the invitation has {host} where a person's or team's name stands")
        }
        Objection::Name(NameProblem::Phone) => {
            "the invitation has a phone number where a person's or team's name stands".to_owned()
        }
        Objection::Name(NameProblem::Long) => {
            "the invitation has a long text where a person's or team's name stands".to_owned()
        }
        Objection::Attachment(what) => format!("{what} is attached, which authentication mail never has"),
        Objection::Unread => "not all parts and links of the message can be looked at".to_owned(),
    })
}

fn link(host: &str, taken: Taken) -> String {
    match taken {
        Taken::Script => format!("a link begins with {host}"),
        Taken::Disguised => format!("a link to {host} pretends to be one of the allowed link domains"),
        Taken::Token => format!("a link to {host} carries a token, and is not in the allowed link domains"),
        Taken::Action => {
            format!("the link to follow leads to {host}, which is not in the allowed link domains")
        }
        Taken::Redirect => format!("a link sends on to {host}, which is not in the allowed link domains"),
        Taken::Foreign
        | Taken::App
        | Taken::ForeignImage
        | Taken::Image
        | Taken::Tracking
        | Taken::Own
        | Taken::Unknown => format!("a link leads to {host}, which is not in the allowed link domains"),
    }
}
