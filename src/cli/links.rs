//! Where a message leads and what the guards made of it, and the lines that mend it: for `explain` and `status`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::admin::ForeignHostView;
use crate::guard::Content;
use crate::guard::links::{Domains, LinkGuard, Seen, Survey, Taken};
use crate::pipeline;
use crate::policy::Classified;

/// The links of a message as `explain` shows them.
#[derive(Debug, Serialize)]
pub(super) struct Links {
    link_guard: &'static str,
    business: Option<String>,
    /// What is allowed already: what is to be written is the whole list.
    #[serde(skip)]
    allowed: Domains,
    #[serde(flatten)]
    survey: Survey,
}

impl Links {
    pub(super) fn of(stages: &pipeline::Config, classified: &Classified) -> Self {
        let content = Content::of(classified);
        let guard = stages.mail.of(content.client).links;
        let domains = stages.mail.domains(&stages.policy, &content);
        Self {
            link_guard: match guard {
                LinkGuard::On => "on",
                LinkGuard::Strict => "strict",
                LinkGuard::Off => "off",
            },
            business: classified.verdict().business.as_ref().map(ToString::to_string),
            allowed: domains.unwrap_or_default(),
            survey: stages.mail.survey(&stages.policy, &content),
        }
    }

    pub(super) fn print(&self) {
        let nothing = "; compared with nothing: no url and no allowed_link_domains is known for it";
        let compared = if self.survey.compared { "" } else { nothing };
        say!("links      link_guard = \"{}\"{compared}", self.link_guard);
        for Seen { host, taken, count } in &self.survey.links {
            say!("           {count:3} x {host:34} {}", words(*taken));
        }
    }

    /// The lines that would let the message's foreign links out, where they are the business's own after all.
    pub(super) fn print_mend(&self) {
        let hosts = |wanted: fn(Taken) -> bool| -> Vec<&str> {
            let seen = self.survey.links.iter().filter(|seen| wanted(seen.taken) && seen.host.contains('.'));
            let mut hosts: Vec<&str> = seen.map(|seen| seen.host.trim_start_matches("*.")).collect();
            hosts.sort_unstable();
            hosts.dedup();
            hosts
        };
        let business = self.business.as_deref().unwrap_or("NAME");
        let (links, images) = (hosts(Taken::is_foreign), hosts(|taken| taken == Taken::ForeignImage));
        if !links.is_empty() || !images.is_empty() {
            say!("mend       only where these are the business's own or its providers':");
            say!("             [businesses.{business}]");
        }
        if !links.is_empty() {
            let list = quoted(&self.allowed.allowed, &links);
            say!("             allowed_link_domains = [{list}]   # tracking_domains, if it counts clicks");
        }
        if !images.is_empty() {
            say!("             image_domains = [{}]", quoted(&self.allowed.images, &images));
        }
    }
}

/// What is allowed, and what was seen, as the items of a TOML list.
fn quoted(allowed: &[String], seen: &[&str]) -> String {
    let all = allowed.iter().map(String::as_str).chain(seen.iter().copied());
    all.map(|host| format!("{host:?}")).collect::<Vec<_>>().join(", ")
}

fn words(taken: Taken) -> &'static str {
    match taken {
        Taken::Script => "runs something or opens a file: refused",
        Taken::Disguised => "foreign, and pretends to be the business's own: refused",
        Taken::Token => "foreign, and carries a token: refused",
        Taken::Action => "foreign, and is what the message asks to follow: refused",
        Taken::Foreign => "foreign: flagged, refused where link_guard is \"strict\"",
        Taken::Redirect => "foreign, inside a link of the business's own: flagged, refused where \"strict\"",
        Taken::App => "opens an application",
        Taken::ForeignImage => "pictures from elsewhere: flagged",
        Taken::Image => "pictures",
        Taken::Tracking => "in tracking_domains",
        Taken::Own => "the business's own",
        Taken::Unknown => "not compared",
    }
}

/// What `status` proposes.
pub(super) fn print_foreign(hosts: &[ForeignHostView]) {
    const SHOWN: usize = 20;
    if hosts.is_empty() {
        return;
    }
    say!(
        "foreign hosts that mail led to (what is your own belongs into allowed_link_domains, tracking_domains or image_domains):"
    );
    for ForeignHostView { business, host, taken, messages } in hosts.iter().take(SHOWN) {
        let business = business.as_deref().unwrap_or("no business");
        say!(
            "  {business}: {host} ({taken}, {})",
            super::plural(usize::try_from(*messages).unwrap_or(usize::MAX), "message")
        );
    }
    if hosts.len() > SHOWN {
        say!("  and {} more (status --json)", hosts.len() - SHOWN);
    }
    print_proposal(&hosts[..hosts.len().min(SHOWN)]);
}

/// The lines to paste, for each business the hosts of links and those of pictures. What a message pretended to be is not
/// among them.
fn print_proposal(hosts: &[ForeignHostView]) {
    let mut tables: BTreeMap<&str, [BTreeSet<&str>; 2]> = BTreeMap::new();
    for ForeignHostView { business, host, taken, messages: _ } in hosts {
        let Some(business) = business.as_deref().filter(|_| taken != "disguised") else { continue };
        let host = host.trim_start_matches("*.");
        if host.contains('.') {
            tables.entry(business).or_default()[usize::from(taken == "foreign-image")].insert(host);
        }
    }
    if tables.is_empty() {
        return;
    }
    say!(
        "to allow them, strike out what is not the business's own or its providers' and add the rest to the lists it has:"
    );
    for (business, [links, images]) in tables {
        say!("  [businesses.{business}]");
        for (key, hosts) in [("allowed_link_domains", links), ("image_domains", images)] {
            if !hosts.is_empty() {
                say!("  {key} = [{}]", quoted(&[], &hosts.into_iter().collect::<Vec<_>>()));
            }
        }
    }
}
