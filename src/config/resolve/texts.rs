//! What all parts of the configuration together mean for texts: who may ask for one, over which listener, which site it
//! names, and what it leaves by.
//!
//! Where nothing speaks of texts nothing is said about them, and no HTTP port is opened: a relay for mail alone has no
//! more doors than it needs.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::category::Categories;
use super::client::Clients;
use super::identity::Identities;
use super::{Context, Sections, code_mail, http, otp};
use crate::config::problem::Span;
use crate::config::raw::{
    Raw, RawCategory, RawClient, RawHttp, RawKind, RawOtp, RawServerTls, RawUpstream, Section,
};
use crate::config::reader::At;
use crate::config::words::quote;
use crate::guard::sms::Config as Guard;
use crate::http::{Interface, ListenerConfig};
use crate::ident::{BusinessName, ClientName};
use crate::otp::Config as Otp;
use crate::policy::Action;
use crate::sms::{self, Factor};

/// The part of the configuration that concerns texts.
pub(super) struct Texts {
    pub(super) http: Vec<ListenerConfig>,
    pub(super) otp: Arc<Otp>,
    pub(super) guard: Arc<Guard>,
    pub(super) first_client: Option<ClientName>,
}

/// Resolves them, and checks that everything a text needs is there.
pub(super) fn resolve(
    cx: &Context<'_>,
    raw: &Raw,
    sections: &Sections,
    (clients, categories, identities): (&Clients, &Categories, &Identities),
) -> Texts {
    let twilio = upstreams(sections, RawKind::Twilio).next();
    let otp = otp::resolve(cx, &raw.otp, &sections.clients, twilio.is_some());
    let guard = otp::guard(&raw.otp, twilio.is_some());
    let first_client = first_client(sections, raw.http.as_ref(), clients, identities, &otp);
    let may_ask: Vec<Asking<'_>> = sections.clients.entries.iter().flat_map(asking).collect();
    let over_http = may_ask.iter().any(|asking| asking.door == Door::Http) || first_client.is_some();
    let by_mail_alone = !over_http && !may_ask.is_empty();
    let called_back = twilio.is_some_and(|(_, raw)| raw.twilio.public_url.is_some());
    let spoken_of = twilio.is_some() || raw.otp.span.is_some();
    let default = if over_http || called_back || spoken_of && !by_mail_alone {
        Section::default_of([("http", RawHttp::default_listener())])
    } else {
        Section::empty()
    };
    let http = raw.http.as_ref().unwrap_or(&default);
    let listeners = http::listeners(cx, http, &sections.listeners);
    if !raw.tls.as_ref().is_some_and(RawServerTls::has_certificate) {
        http::warn_self_signed(cx, http);
    }
    for asking in &may_ask {
        check_asking(cx, asking, sections, http);
        check_categories(cx, asking, &otp);
    }
    check_hosts(cx, &may_ask, sections, (clients, identities), &otp);
    if let Some((name, _)) = twilio {
        check_money(cx, name, &raw.otp, &otp, !may_ask.is_empty());
    }
    check_upstreams(cx, sections, http);
    if !may_ask.is_empty() {
        check_actions(cx, raw.categories.as_ref(), categories, &otp);
    }
    Texts { http: listeners, otp: Arc::new(otp), guard: Arc::new(guard), first_client }
}

/// A client that may ask for texts.
struct Asking<'a> {
    name: &'a At<String>,
    raw: &'a RawClient,
    door: Door,
    /// Where that is said.
    span: &'a Span,
}

/// How a client asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    /// With a token.
    Http,
    /// By mail to the number.
    Mail,
}

fn asking((name, raw): &(At<String>, RawClient)) -> impl Iterator<Item = Asking<'_>> {
    let token = raw.access.token.as_ref().map(|at| (Door::Http, &at.span));
    let mail = code_mail::asked(raw).map(|at| (Door::Mail, &at.span));
    [token, mail].into_iter().flatten().map(move |(door, span)| Asking { name, raw, door, span })
}

fn upstreams(sections: &Sections, kind: RawKind) -> impl Iterator<Item = &(At<String>, RawUpstream)> {
    sections.upstreams.entries.iter().filter(move |(_, raw)| raw.kind() == kind)
}

/// The client that is there where none is configured gets a token of its own at first start, for trying out: not where
/// texts cost money, and not where nothing could become of a text.
fn first_client(
    sections: &Sections,
    http: Option<&Section<RawHttp>>,
    clients: &Clients,
    identities: &Identities,
    otp: &Otp,
) -> Option<ClientName> {
    let free = upstreams(sections, RawKind::Twilio).next().is_none();
    let leaves = upstreams(sections, RawKind::Outbox).next().is_some();
    let served = http.is_none_or(|http| http::serve(http, Interface::Otp));
    if !(sections.clients.is_default() && free && leaves && served) {
        return None;
    }
    let client = clients.policy.values().next()?;
    let has_host = |business: &BusinessName| {
        let url = identities.urls.get(business);
        url.is_some_and(|url| sms::check_host(&url.host, otp.code, otp.origin_bound).is_ok())
    };
    client.businesses.iter().all(has_host).then(|| client.name.clone())
}

/// A client that may ask needs a listener to ask at, and a way out for what it asks for.
fn check_asking(cx: &Context<'_>, asking: &Asking<'_>, sections: &Sections, http: &Section<RawHttp>) {
    let name = quote(&asking.name.value);
    if asking.door == Door::Http && !http::serve(http, Interface::Otp) {
        cx.report
            .error(asking.span, format!("client {name} has a token, and no HTTP listener takes codes"))
            .help("add [http.NAME] with serves = [\"otp\"]");
    }
    let takes_texts = |(_, raw): &&(At<String>, RawUpstream)| raw.kind().takes_texts();
    if !sections.upstreams.entries.iter().any(|entry| takes_texts(&entry)) {
        if !sections.upstreams.is_empty {
            cx.report
                .error(asking.span, format!("client {name} may ask for texts, and no upstream takes them"))
                .help("add [upstreams.NAME] with kind = \"twilio\", or kind = \"outbox\" to try it out");
        }
    } else if sections.upstreams.is_default() {
        cx.report
            .warning(asking.span, format!("texts of client {name} go no further than a file on this machine"))
            .help("add [upstreams.NAME] with kind = \"twilio\"");
    }
}

/// Warns of a client whose list of categories holds none that a text can have.
fn check_categories(cx: &Context<'_>, asking: &Asking<'_>, otp: &Otp) {
    let list = asking.raw.categories.as_ref().filter(|list| !list.value.is_empty());
    // Of mail it is said where the client is bound.
    let Some(list) = list.filter(|_| asking.door == Door::Http) else { return };
    let on: Vec<&str> = factors(otp).filter(|(_, on)| *on).map(|(factor, _)| factor.category()).collect();
    if !on.is_empty() && !list.value.iter().any(|at| on.contains(&at.value.as_str())) {
        let wanted: Vec<String> = on.iter().map(|name| format!("\"{name}\"")).collect();
        let message = format!(
            "client {} has a token, and may send no category that codes have",
            quote(&asking.name.value)
        );
        cx.report.warning(&list.span, message).help(format!("add {}", wanted.join(" or ")));
    }
}

fn factors(otp: &Otp) -> impl Iterator<Item = (Factor, bool)> {
    [(Factor::Primary, otp.primary), (Factor::Secondary, otp.secondary)].into_iter()
}

/// Every text names a site, and is one segment with the longest code.
fn check_hosts(
    cx: &Context<'_>,
    may_ask: &[Asking<'_>],
    sections: &Sections,
    (clients, identities): (&Clients, &Identities),
    otp: &Otp,
) {
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    for asking in may_ask {
        let businesses = clients.policy.get(asking.name.value.as_str()).map(|client| &client.businesses);
        needed.extend(businesses.into_iter().flatten().map(BusinessName::as_str));
        let costs_money = upstreams(sections, RawKind::Twilio).next().is_some();
        if sections.businesses.entries.is_empty() && costs_money {
            let message = format!(
                "client {} has no business, so there is no site for a text to name",
                quote(&asking.name.value)
            );
            cx.report
                .error(asking.span, message)
                .help("add [businesses.NAME] with url = \"https://example.com\"");
        }
    }
    for (name, raw) in &sections.businesses.entries {
        if !needed.contains(name.value.as_str()) {
            continue;
        }
        match (identities.urls.get(name.value.as_str()), &raw.url) {
            (Some(url), Some(at)) => {
                if let Err(problem) = sms::check_host(&url.host, otp.code, otp.origin_bound) {
                    let length = url.host.len();
                    let message = format!(
                        "a text can't name {}, which has {length} characters: {problem}",
                        quote(&url.host)
                    );
                    cx.report.error(&at.span, message).help("use the address of a site with a shorter name");
                }
            }
            (_, _) if !raw.has_url => {
                let message = format!(
                    "business {} has no `url`, and clients ask for texts in its name",
                    quote(&name.value)
                );
                cx.report
                    .error(&name.span, message)
                    .help("set url = \"https://example.com\": a text says which site its code is for");
            }
            (_, _) => {}
        }
    }
}

/// Warns where Twilio is there and nothing would go to it, or too much could.
fn check_money(cx: &Context<'_>, twilio: &At<String>, raw: &RawOtp, otp: &Otp, asked: bool) {
    let label = quote(&twilio.value);
    let list = raw.countries.as_ref();
    let span = list.map_or(&twilio.span, |list| &list.span);
    // A list of which nothing is right has been reported.
    if list.is_none_or(|list| list.value.is_empty() && !cx.report.has_error_in(&list.span)) {
        cx.report
            .warning(span, format!("no country is allowed, so nothing goes to upstream {label}"))
            .help("name the countries of your users in [otp]: countries = [\"DE\", \"FR\"]");
    }
    if !otp.primary && !otp.secondary {
        let span = raw.primary.as_ref().or(raw.secondary.as_ref()).map_or(&twilio.span, |at| &at.span);
        cx.report
            .warning(span, "neither factor is switched on, so no code is taken")
            .help("set primary = true or secondary = true in [otp]");
    }
    if !asked {
        cx.report
            .warning(&twilio.span, "no client has a token, so nobody can ask for a text")
            .help("`authrelay client add NAME --otp` makes one");
    }
    if let Some(all) = raw.limits.in_all.as_ref().filter(|list| list.value.is_empty()) {
        cx.report
            .warning(&all.span, "nothing bounds how many texts are paid for in all")
            .help("write the most that a day may have, such as in_all = [\"10000/1d\"]");
    }
}

/// Callbacks need a listener, and a file that takes everything leaves nothing to what stands behind it.
fn check_upstreams(cx: &Context<'_>, sections: &Sections, http: &Section<RawHttp>) {
    for (name, raw) in upstreams(sections, RawKind::Twilio) {
        if let Some(public) = &raw.twilio.public_url
            && !http::serve(http, Interface::Callback)
        {
            let message = format!("no HTTP listener takes the calls to {}", quote(&public.value.text));
            cx.report.error(&public.span, message).help(
                "add [http.NAME] with serves = [\"callback\"], or remove public_url: Twilio is asked then",
            );
        }
        let before = |other: &At<String>| other.span.as_ref().map(|span| span.start);
        let outbox = upstreams(sections, RawKind::Outbox).find(|(outbox, _)| before(outbox) < before(name));
        if let Some((outbox, _)) = outbox {
            let message = format!(
                "upstream {} takes every text before {} is asked",
                quote(&outbox.value),
                quote(&name.value)
            );
            cx.report.warning(&outbox.span, message).help("remove it, or write it after the other");
        }
    }
}

/// Warns of a factor that is switched on and whose category is not relayed.
fn check_actions(
    cx: &Context<'_>,
    section: Option<&Section<RawCategory>>,
    categories: &Categories,
    otp: &Otp,
) {
    for (factor, _) in factors(otp).filter(|(_, on)| *on) {
        let name = factor.category();
        let relayed = categories.get(name).is_none_or(|category| category.action == Action::Relay);
        let entry = section.and_then(|section| section.entries.iter().find(|(at, _)| at.value == name));
        if let (false, Some((_, raw))) = (relayed, entry) {
            let span = raw.action.as_ref().map_or(&None, |at| &at.span);
            let message = format!(
                "codes of the {} factor are of category {}, which is not relayed: none is taken",
                factor.as_str(),
                quote(name)
            );
            cx.report.warning(span, message).help(format!("set {} = false in [otp]", factor.as_str()));
        }
    }
}
