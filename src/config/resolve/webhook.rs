//! Where events are told to.

use std::net::IpAddr;
use std::time::Duration;

use super::roots::Roots;
use super::{Context, Sections, or, secret};
use crate::config::raw::{RawWebhook, SIGNING_SECRET, Section};
use crate::config::reader::At;
use crate::config::value::web::HookUrl;
use crate::config::words::quote;
use crate::event::Topic;
use crate::ident::{BusinessName, EndpointName};
use crate::outbound::TlsClient;
use crate::queue::Subscription;
use crate::webhook::{Config, Endpoint, Guard, Network, RecipientForm, SigningKey, Target, refuses};

const TIMEOUT: Duration = Duration::from_secs(15);
const MAX_CONNECTIONS: usize = 4;
const BACKLOG: u32 = 100_000;
const KEEP: Duration = Duration::from_hours(4 * 24);

/// The endpoints, in the order of the file.
pub(super) fn webhooks(
    cx: &Context<'_>,
    section: Option<&Section<RawWebhook>>,
    sections: &Sections,
) -> Config {
    let roots = Roots::default();
    let each = section.iter().flat_map(|section| &section.entries);
    Config::new(each.filter_map(|(name, raw)| endpoint(cx, &name.value, raw, sections, &roots)).collect())
}

fn endpoint(
    cx: &Context<'_>,
    name: &str,
    raw: &RawWebhook,
    sections: &Sections,
    roots: &Roots,
) -> Option<Endpoint> {
    let keys = keys(cx, raw);
    let businesses = businesses(cx, raw, sections);
    let topics = topics(cx, raw);
    let url = raw.url.as_ref()?;
    let guard = guard(cx, url, raw);
    let tls = match (&raw.ca_file, url.value.url.scheme()) {
        (Some(ca_file), "http") => {
            cx.report
                .error(&ca_file.span, "`ca_file` has no effect without TLS")
                .help("remove it, or write https:// in url");
            None
        }
        (None, "http") => super::roots::none(cx, &url.span),
        (ca_file, _) => roots.client(cx, ca_file.as_ref(), &raw.span),
    };
    let backlog = or(raw.backlog.as_ref(), BACKLOG);
    Some(Endpoint {
        subscription: Subscription { endpoint: EndpointName::new(name), topics, businesses, backlog },
        target: Target::new(url.value.url.clone()),
        keys: keys?,
        recipient: or(raw.recipient.as_ref(), RecipientForm::Hash),
        guard,
        tls: TlsClient(tls?),
        timeout: or(raw.timeout.as_ref(), TIMEOUT),
        concurrency: or(raw.max_connections.as_ref(), MAX_CONNECTIONS),
        keep: or(raw.keep.as_ref(), KEEP),
    })
}

fn keys(cx: &Context<'_>, raw: &RawWebhook) -> Option<Vec<SigningKey>> {
    secret::place(cx, &raw.secret, &SIGNING_SECRET).ok()?;
    let (lines, span) = secret::read_lines(cx, &raw.secret, &SIGNING_SECRET)?;
    let mut keys = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        match SigningKey::parse(line.reveal()) {
            Ok(key) => keys.push(key),
            Err(problem) => {
                let which = if lines.len() == 1 { String::new() } else { format!(" in line {}", index + 1) };
                cx.report
                    .error(span, format!("no signing secret{which}: {problem}"))
                    .help("make one with: echo \"whsec_$(head -c 32 /dev/urandom | base64 -w 0)\"");
            }
        }
    }
    Some(keys)
}

fn businesses(cx: &Context<'_>, raw: &RawWebhook, sections: &Sections) -> Option<Vec<BusinessName>> {
    let list = raw.businesses.as_ref()?;
    if list.value.is_empty() {
        let help = "name some, or leave `businesses` out: then it is told of all";
        cx.report.error(&list.span, "no business at all, so nothing is ever told").help(help);
    }
    for at in &list.value {
        if !sections.businesses.names().any(|known| known == at.value) {
            let message = format!("there is no business {}", quote(&at.value));
            cx.report.unknown(&at.span, message, &at.value, sections.businesses.names());
        }
    }
    Some(list.value.iter().map(|at| BusinessName::new(&at.value)).collect())
}

fn topics(cx: &Context<'_>, raw: &RawWebhook) -> Vec<Topic> {
    let Some(list) = &raw.events else { return Topic::ALL.to_vec() };
    if list.value.is_empty() {
        let help = "name some, or leave `events` out: then it is told of all";
        cx.report.error(&list.span, "no event at all, so nothing is ever told").help(help);
    }
    let mut topics = Vec::new();
    for at in &list.value {
        let found = matching(&at.value);
        if found.is_empty() {
            let message = format!("there is no event {}", quote(&at.value));
            let known = Topic::ALL.iter().map(|topic| topic.as_str());
            cx.report.unknown(&at.span, message, &at.value, known);
        }
        topics.extend(found);
    }
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// One event, or all of a family: `message.*`.
fn matching(name: &str) -> Vec<Topic> {
    match name.strip_suffix('*') {
        Some(family) if family.ends_with('.') => {
            Topic::ALL.iter().copied().filter(|topic| topic.as_str().starts_with(family)).collect()
        }
        Some(_) | None => Topic::parse(name).into_iter().collect(),
    }
}

/// Which addresses requests may go to. What the address of the endpoint says by itself is judged now.
fn guard(cx: &Context<'_>, url: &At<HookUrl>, raw: &RawWebhook) -> Guard {
    let list = raw.allow_networks.as_ref();
    let allowed: Vec<_> = list.iter().flat_map(|list| &list.value).map(|at| at.value).collect();
    let network = if url.value.is_loopback() { Network::Loopback } else { Network::Public };
    if let (Network::Loopback, Some(list)) = (network, list) {
        cx.report
            .error(&list.span, "`allow_networks` has no effect: the endpoint is on this machine")
            .help("remove it");
    }
    let guard = Guard { network, allowed };
    let host = url.value.url.host_str().unwrap_or_default();
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>()
        && guard.check(address).is_err()
    {
        let why = refuses(address).unwrap_or("not allowed");
        cx.report
            .error(&url.span, format!("{address} is {why}, and webhooks do not go there by themselves"))
            .help(format!("if it is meant, write allow_networks = [\"{address}\"]"));
    }
    if url.value.url.scheme() == "http" && network == Network::Public {
        cx.report
            .error(
                &url.span,
                format!("what became of messages would cross the network to {} in plain text", quote(host)),
            )
            .help("write https://; http:// is for this machine itself");
    }
    guard
}
