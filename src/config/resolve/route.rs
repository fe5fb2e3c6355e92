//! Whether what is accepted can be handed over: every sender in use needs an upstream that carries it, and an address
//! that a real upstream can send from.

use super::{Context, Sections};
use crate::config::problem::Span;
use crate::config::raw::{RawKind, RawUpstream};
use crate::config::reader::At;
use crate::config::words::quote;
use crate::ident::SenderName;

/// Checks every sender in use against the upstreams.
pub(super) fn check(cx: &Context<'_>, sections: &Sections, no_reply: Option<&SenderName>) {
    let upstreams = &sections.upstreams;
    if !upstreams.entries.is_empty() && upstreams.entries.iter().all(|(_, raw)| raw.kind().takes_texts()) {
        cx.report
            .error(&upstreams.span, "no upstream takes mail: all are for texts")
            .help("add [upstreams.NAME] with host = \"smtp.your-provider.example\", or kind = \"maildir\"");
        return;
    }
    let custom = sections.businesses.entries.iter().filter_map(|(_, raw)| raw.sender.as_ref());
    let used: Vec<&str> =
        no_reply.map(SenderName::as_str).into_iter().chain(custom.map(|at| at.value.as_str())).collect();
    for (name, raw) in &sections.senders.entries {
        if !used.contains(&name.value.as_str()) {
            if no_reply.is_none() {
                continue;
            }
            cx.report
                .warning(&name.span, format!("no mail goes out as sender {}", quote(&name.value)))
                .help("name it in [businesses.NAME] sender, or remove it");
            continue;
        }
        let carriers: Vec<&(At<String>, RawUpstream)> = sections
            .upstreams
            .entries
            .iter()
            .filter(|(_, upstream)| carries(upstream, &name.value))
            .collect();
        if carriers.is_empty() && !sections.upstreams.is_empty {
            let message = format!("no upstream carries sender {}", quote(&name.value));
            cx.report.error(&name.span, message).help("add it to the `senders` of an upstream");
        }
        let Some(from) = &raw.from else { continue };
        let domain = from.value.address.domain();
        if !is_routable(domain)
            && let Some((upstream, at)) = carriers.iter().find(|(_, raw)| raw.kind() == RawKind::Smtp)
        {
            unroutable(cx, name, &from.span, domain, (upstream, at));
        }
        if is_routable(domain) && !carriers.is_empty() && carriers.iter().all(|(_, raw)| only_default(raw)) {
            let message = format!(
                "mail of sender {} goes no further than a folder on this machine",
                quote(&name.value)
            );
            cx.report
                .warning(&name.span, message)
                .help("add [upstreams.NAME] with host = \"smtp.your-provider.example\"");
        }
    }
}

fn carries(upstream: &RawUpstream, sender: &str) -> bool {
    !upstream.kind().takes_texts()
        && upstream.senders.as_ref().is_none_or(|list| list.value.iter().any(|at| at.value == sender))
}

/// Whether this is the folder that stands for a missing section.
fn only_default(upstream: &RawUpstream) -> bool {
    upstream.span.is_none()
}

/// Whether mail from this domain means anything on another machine. Reserved domains such as `.example` pass: tests and
/// examples use them.
fn is_routable(domain: &str) -> bool {
    let last = domain.rsplit('.').next().unwrap_or(domain);
    domain.contains('.') && !["localhost", "localdomain", "invalid"].contains(&last)
}

fn unroutable(
    cx: &Context<'_>,
    name: &At<String>,
    from: &Span,
    domain: &str,
    upstream: (&At<String>, &RawUpstream),
) {
    let label = quote(&upstream.0.value);
    match from {
        Some(_) => cx
            .report
            .error(
                from,
                format!(
                    "{} means nothing to upstream {label}: it is no domain that mail can come from",
                    quote(domain)
                ),
            )
            .help("use a domain of your own, such as \"no-reply@acme.example\""),
        // The sender is the default one: what is wrong is that there is no other.
        None => cx
            .report
            .error(
                &upstream.1.span,
                format!(
                    "upstream {label} has nothing to send as: the default sender is at {}",
                    quote(domain)
                ),
            )
            .help(format!("add [senders.{}] from = \"Acme <no-reply@acme.example>\"", name.value)),
    }
}
