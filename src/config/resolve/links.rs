//! Where the mail of each business may lead, and how strict the guards are with each client.

use super::{Context, Sections, identity, or};
use crate::config::raw::{RawBusiness, RawClient};
use crate::config::reader::At;
use crate::guard::links::{Domains, LinkGuard};
use crate::guard::mail::{ClientGuards, Config, NameGuard};
use crate::ident::{BusinessName, ClientName};

/// Resolves what concerns the guards of content.
pub(super) fn resolve(cx: &Context<'_>, link_guard: Option<&At<LinkGuard>>, sections: &Sections) -> Config {
    warn_off(cx, link_guard);
    let global = or(link_guard, LinkGuard::default());
    let clients = sections.clients.entries.iter();
    let businesses = sections.businesses.entries.iter();
    Config {
        link_guard: global,
        clients: clients.map(|(name, raw)| (ClientName::new(&name.value), client(cx, raw, global))).collect(),
        businesses: businesses
            .filter_map(|(name, raw)| Some((BusinessName::new(&name.value), domains(raw)?)))
            .collect(),
    }
}

fn client(cx: &Context<'_>, raw: &RawClient, global: LinkGuard) -> ClientGuards {
    warn_off(cx, raw.link_guard.as_ref());
    if let Some(at) = raw.name_guard.as_ref().filter(|at| at.value == NameGuard::Off) {
        cx.report
            .warning(&at.span, "links and phone numbers in the names of people and teams go out with this client's invitations")
            .help("keep it on where anybody can choose such a name");
    }
    ClientGuards {
        links: or(raw.link_guard.as_ref(), global),
        names: or(raw.name_guard.as_ref(), NameGuard::On),
    }
}

fn warn_off(cx: &Context<'_>, link_guard: Option<&At<LinkGuard>>) {
    if let Some(at) = link_guard.filter(|at| at.value == LinkGuard::Off) {
        cx.report
            .warning(&at.span, "where links lead is not looked at: mail that leads to strangers goes out")
            .help("set allowed_link_domains in [businesses.NAME] instead; `authrelay explain FILE` says to what");
    }
}

/// Where a business's mail may lead: as listed, else the host of its web address and its mail domains. `None` where
/// nothing says it: mail domains alone do not tell where its applications are.
fn domains(raw: &RawBusiness) -> Option<Domains> {
    let list = |at: &Option<At<Vec<At<String>>>>| -> Vec<String> {
        at.iter().flat_map(|at| &at.value).map(|at| at.value.clone()).collect()
    };
    let allowed = match (&raw.allowed_link_domains, &raw.url) {
        (Some(_), _) => list(&raw.allowed_link_domains),
        (None, Some(url)) => {
            let host = url.value.1.strip_prefix("www.").unwrap_or(&url.value.1).to_owned();
            let mut allowed = vec![host];
            allowed.extend(identity::domains(raw).into_iter().map(|domain| domain.value));
            allowed.dedup();
            allowed
        }
        (None, None) => return None,
    };
    Some(Domains { allowed, tracking: list(&raw.tracking_domains), images: list(&raw.image_domains) })
}
