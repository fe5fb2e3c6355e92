//! Clients: what each may send. How each is known is in `access`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::category::Categories;
use super::{Context, Sections, access, identity, or, rule};
use crate::client;
use crate::clock::Timestamp;
use crate::config::raw::{RawBurst, RawClient, RawServerTls};
use crate::config::reader::At;
use crate::config::value::show_duration;
use crate::config::words::quote;
use crate::ident::{BusinessName, CategoryName, ClientName};
use crate::policy::{Action, BurstLimit, Client};

/// To observe for longer than this is not to observe any more.
const OBSERVE_MOST: Duration = Duration::from_hours(92 * 24);

/// Clients, as the stages want them.
pub(super) struct Clients {
    pub(super) access: client::Config,
    pub(super) policy: BTreeMap<ClientName, Arc<Client>>,
}

/// Resolves the section.
pub(super) fn resolve(
    cx: &Context<'_>,
    sections: &Sections,
    categories: &Categories,
    tls: Option<&RawServerTls>,
) -> Clients {
    let section = &sections.clients;
    if section.is_empty {
        cx.report
            .warning(&section.span, "there is no client, so nobody may send")
            .help("`authrelay client add NAME` makes one");
    }
    let policy = section.entries.iter().map(|(name, raw)| {
        let client = client(cx, name, raw, sections, categories);
        (client.name.clone(), Arc::new(client))
    });
    Clients { policy: policy.collect(), access: access::resolve(cx, sections, tls) }
}

fn client(
    cx: &Context<'_>,
    name: &At<String>,
    raw: &RawClient,
    sections: &Sections,
    categories: &Categories,
) -> Client {
    if let Some(list) = raw.categories.as_ref().filter(|list| list.value.is_empty()) {
        cx.report
            .error(&list.span, "this client may send no category at all, so nothing it sends would go out")
            .help("name the categories it may send, or remove `categories`: it may send all then");
    }
    let listed = raw.categories.as_ref().map(|list| list_of(cx, &list.value, categories));
    let bound = raw.category.as_ref().filter(|at| rule::known(cx, at, categories));
    if let Some((bound, list)) = bound.zip(raw.categories.as_ref())
        && !list.value.iter().any(|at| at.value == bound.value)
    {
        let message = format!(
            "everything this client sends is {}, which is not in its `categories`",
            quote(&bound.value)
        );
        cx.report.error(&bound.span, message).help("add it to `categories`, or remove `categories`");
    }
    let declares = raw.may_declare.as_ref().filter(|at| at.value);
    if let (Some(_), Some(declares)) = (bound, declares) {
        cx.report
            .error(
                &declares.span,
                "`may_declare` has no effect beside `category`: everything this client sends has that one",
            )
            .help("keep one of the two");
    }
    if let Some(until) = &raw.observe_until {
        check_observe(cx, until);
    }
    Client {
        name: ClientName::new(&name.value),
        businesses: businesses(cx, raw, sections),
        categories: listed,
        bound_to: bound.map(|at| CategoryName::new(&at.value)),
        may_declare: declares.is_some(),
        reports_to: raw.reports_to.iter().flat_map(|at| &at.value).map(|at| at.value.clone()).collect(),
        observe_until: raw.observe_until.as_ref().map(|at| at.value),
        burst: burst(cx, &raw.burst),
        per_minute: raw.per_minute.as_ref().and_then(|at| NonZeroU32::new(at.value)),
    }
}

/// From when on it is a burst; no recipients switch that off.
fn burst(cx: &Context<'_>, raw: &RawBurst) -> Option<BurstLimit> {
    let shipped = BurstLimit::default();
    if let Some(one) = raw.recipients.as_ref().filter(|at| at.value == 1) {
        let message = "every message would be a burst";
        cx.report.error(&one.span, message).help("write 2 or more, or 0 to hold no bursts");
    }
    let recipients = or(raw.recipients.as_ref(), shipped.recipients);
    let within = or(raw.within.as_ref(), shipped.within);
    (recipients > 0).then_some(BurstLimit { recipients, within })
}

fn list_of(cx: &Context<'_>, list: &[At<String>], categories: &Categories) -> Vec<CategoryName> {
    let mut names = Vec::new();
    for at in list.iter().filter(|at| rule::known(cx, at, categories)) {
        let refused =
            categories.get(at.value.as_str()).is_some_and(|category| category.action == Action::Refuse);
        if refused {
            let message = format!("{} is refused from every client", quote(&at.value));
            cx.report
                .warning(&at.span, message)
                .help(format!("to relay it: [categories.{}] action = \"relay\"", at.value));
        }
        names.push(CategoryName::new(&at.value));
    }
    names
}

fn check_observe(cx: &Context<'_>, until: &At<Timestamp>) {
    let left = cx.env.now.until(until.value);
    if left.is_zero() {
        cx.report
            .warning(
                &until.span,
                "this has passed: the client is no longer observed, what is not allowed is refused",
            )
            .help("remove observe_until");
    } else if left > OBSERVE_MOST {
        let message =
            format!("for more than {} everything this client sends goes out", show_duration(OBSERVE_MOST));
        cx.report
            .warning(&until.span, message)
            .help("observe for a few weeks, then look at what would have been refused");
    }
}

/// The businesses a client speaks for: those it names, else the only one there is.
fn businesses(cx: &Context<'_>, raw: &RawClient, sections: &Sections) -> Vec<BusinessName> {
    let named: Vec<&At<String>> = match (&raw.business, &raw.businesses) {
        (Some(one), Some(_)) => {
            cx.report
                .error(&one.span, "`business` and `businesses` exclude each other")
                .help("keep one of them");
            return Vec::new();
        }
        (Some(one), None) => vec![one],
        (None, Some(several)) => several.value.iter().collect(),
        (None, None) => return the_only_one(cx, raw, sections),
    };
    for at in &named {
        check_business(cx, at, named.len(), sections);
    }
    named.into_iter().map(|at| BusinessName::new(&at.value)).collect()
}

fn the_only_one(cx: &Context<'_>, raw: &RawClient, sections: &Sections) -> Vec<BusinessName> {
    let all: Vec<&str> = sections.businesses.names().collect();
    match all.as_slice() {
        [] => Vec::new(),
        [only] => vec![BusinessName::new(only)],
        [..] => {
            cx.report
                .error(&raw.span, "this client does not say for which business it sends, and there are several")
                .help("write business = \"NAME\", or businesses = [...] to find it by the domain of the header From");
            Vec::new()
        }
    }
}

fn check_business(cx: &Context<'_>, at: &At<String>, how_many: usize, sections: &Sections) {
    let found = sections.businesses.entries.iter().find(|(name, _)| name.value == at.value);
    match found {
        None => {
            let message = format!("there is no business {}", quote(&at.value));
            cx.report.unknown(&at.span, message, &at.value, sections.businesses.names());
        }
        Some((_, business)) if how_many > 1 && identity::domains(business).is_empty() => {
            let message = format!(
                "business {} has no domain, so no message of this client is ever its",
                quote(&at.value)
            );
            cx.report.error(&at.span, message).help(format!("set `domains` in [businesses.{}]", at.value));
        }
        Some(_) => {}
    }
}
