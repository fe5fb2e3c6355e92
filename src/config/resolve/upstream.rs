//! Upstreams.

use std::collections::HashSet;
use std::time::Duration;

use super::roots::Roots;
use super::{Context, Sections, or, secret, twilio};
use crate::config::problem::Span;
use crate::config::raw::{
    PASSWORD, RawBreaker, RawKind, RawSender, RawSmtp, RawTimeouts, RawUpstream, RawUpstreamTls, Section,
};
use crate::config::reader::At;
use crate::config::words::quote;
use crate::deliver::{BreakerConfig, SmtpConfig, Timeouts, UpstreamConfig, UpstreamKind, UpstreamTls};
use crate::ident::{SenderName, UpstreamName};
use crate::mail::PhoneNumber;
use crate::secret::Secret;

const MAX_CONNECTIONS: usize = 8;
const IDLE: Duration = Duration::from_mins(1);
const MESSAGES_PER_CONNECTION: u32 = 100;

/// The upstreams, in the order of the file: the order in which they are tried. No text goes to the numbers in `never`.
pub(super) fn upstreams(
    cx: &Context<'_>,
    sections: &Sections,
    never: &HashSet<PhoneNumber>,
) -> Vec<UpstreamConfig> {
    let (section, senders) = (&sections.upstreams, &sections.senders);
    if section.is_empty {
        cx.report
            .error(&section.span, "there is no upstream, so nothing can be handed over")
            .help("add [upstreams.NAME] with host = \"smtp.your-provider.example\"");
    }
    let roots = Roots::default();
    let each = section.entries.iter().filter_map(|(name, raw)| {
        check_senders(cx, raw, senders);
        let carries = raw.senders.as_ref();
        let carries = carries.map(|list| list.value.iter().map(|at| SenderName::new(&at.value)).collect());
        Some(UpstreamConfig {
            name: UpstreamName::new(&name.value),
            kind: kind(cx, raw, &roots, never)?,
            // What takes texts carries no mail.
            carries: if raw.kind().takes_texts() { Some(Vec::new()) } else { carries },
            max_connections: or(raw.max_connections.as_ref(), MAX_CONNECTIONS),
            messages_per_minute: raw.messages_per_minute.as_ref().map(|at| at.value),
            breaker: breaker(cx, &raw.breaker),
        })
    });
    each.collect()
}

fn check_senders(cx: &Context<'_>, raw: &RawUpstream, senders: &Section<RawSender>) {
    for at in raw.senders.iter().flat_map(|list| &list.value) {
        if !senders.names().any(|sender| sender == at.value) {
            let message = format!("there is no sender {}", quote(&at.value));
            cx.report.unknown(&at.span, message, &at.value, senders.names());
        }
    }
    if let Some(list) = raw.senders.as_ref().filter(|list| list.value.is_empty()) {
        cx.report
            .error(&list.span, "an upstream that carries no sender is of no use")
            .help("remove `senders`: it carries all then");
    }
}

fn kind(
    cx: &Context<'_>,
    raw: &RawUpstream,
    roots: &Roots,
    never: &HashSet<PhoneNumber>,
) -> Option<UpstreamKind> {
    let path = |default: &str| match &raw.path {
        Some(path) => cx.path(path),
        None => cx.places.state_directory.join(default),
    };
    Some(match raw.kind() {
        RawKind::Maildir => UpstreamKind::Maildir { path: path("maildir") },
        RawKind::Outbox => UpstreamKind::Outbox { path: path("outbox.jsonl") },
        RawKind::Smtp => UpstreamKind::Smtp(smtp(cx, raw, roots)?),
        RawKind::Twilio => UpstreamKind::Twilio(Box::new(twilio::resolve(cx, raw, roots, never.clone())?)),
    })
}

fn breaker(cx: &Context<'_>, raw: &RawBreaker) -> BreakerConfig {
    let default = BreakerConfig::default();
    let breaker = BreakerConfig {
        failures: or(raw.failures.as_ref(), default.failures),
        shortest: or(raw.shortest.as_ref(), default.shortest),
        longest: or(raw.longest.as_ref(), default.longest),
    };
    if let Some(at) = raw.longest.as_ref().or(raw.shortest.as_ref())
        && breaker.longest < breaker.shortest
    {
        cx.report.error(&at.span, "`longest` is shorter than `shortest`").maybe(None);
    }
    breaker
}

fn smtp(cx: &Context<'_>, upstream: &RawUpstream, roots: &Roots) -> Option<SmtpConfig> {
    let raw = &upstream.smtp;
    let credentials = credentials(cx, raw);
    let tls = tls(cx, upstream, roots);
    let host = raw.host.as_ref()?;
    Some(SmtpConfig {
        host: host.value.clone(),
        port: raw.port.as_ref().map_or_else(|| default_port(raw), |at| at.value),
        tls: tls?,
        credentials,
        timeouts: timeouts(&upstream.timeouts),
        idle: or(raw.idle.as_ref(), IDLE),
        messages_per_connection: or(raw.messages_per_connection.as_ref(), MESSAGES_PER_CONNECTION),
    })
}

fn timeouts(raw: &RawTimeouts) -> Timeouts {
    let default = Timeouts::default();
    Timeouts {
        connect: or(raw.connect.as_ref(), default.connect),
        command: or(raw.command.as_ref(), default.command),
        data: or(raw.data.as_ref(), default.data),
    }
}

fn mode(raw: &RawSmtp) -> RawUpstreamTls {
    or(raw.tls.as_ref(), RawUpstreamTls::StartTls)
}

fn default_port(raw: &RawSmtp) -> u16 {
    match mode(raw) {
        RawUpstreamTls::StartTls => 587,
        RawUpstreamTls::Implicit => 465,
        RawUpstreamTls::Plain => 25,
    }
}

fn tls(cx: &Context<'_>, upstream: &RawUpstream, roots: &Roots) -> Option<UpstreamTls> {
    let raw = &upstream.smtp;
    check_port(cx, raw);
    let span = raw.host.as_ref().and_then(|at| at.span.clone());
    let verifier = || roots.client(cx, upstream.ca_file.as_ref(), &span);
    match mode(raw) {
        RawUpstreamTls::Plain => {
            check_plain(cx, raw, upstream.ca_file.as_ref());
            Some(UpstreamTls::Plain)
        }
        RawUpstreamTls::StartTls => Some(UpstreamTls::StartTls(verifier()?)),
        RawUpstreamTls::Implicit => Some(UpstreamTls::Implicit(verifier()?)),
    }
}

fn check_port(cx: &Context<'_>, raw: &RawSmtp) {
    let Some(port) = &raw.port else { return };
    let usual = match (port.value, mode(raw)) {
        (465, RawUpstreamTls::StartTls) => "`tls = \"implicit\"`: on port 465 TLS begins with the first byte",
        (587 | 25, RawUpstreamTls::Implicit) => {
            "`tls = \"starttls\"`: on ports 587 and 25 a connection begins in plain text"
        }
        _ => return,
    };
    cx.report.warning(&port.span, "this port and `tls` rarely go together").help(format!("perhaps {usual}"));
}

/// Plain text is for the loopback, or by the operator's explicit word, and never for a password.
fn check_plain(cx: &Context<'_>, raw: &RawSmtp, ca_file: Option<&At<String>>) {
    if let Some(ca_file) = ca_file {
        cx.report
            .error(&ca_file.span, "`ca_file` has no effect without TLS")
            .help("remove it, or set tls = \"starttls\"");
    }
    let Some(host) = raw.host.as_ref().filter(|host| !is_loopback(&host.value)) else { return };
    let span = raw.tls.as_ref().map_or(&host.span, |at| &at.span);
    if has_credentials(raw) {
        cx.report
            .error(span, format!("the password would cross the network to {} in plain text", quote(&host.value)))
            .help("set tls = \"starttls\" or \"implicit\"; without TLS there is no AUTH but to this machine itself");
    } else if !raw.plaintext_allowed.as_ref().is_some_and(|at| at.value) {
        cx.report
            .error(span, format!("codes and links would cross the network to {} in plain text", quote(&host.value)))
            .help("set tls = \"starttls\" or \"implicit\"; if the network itself is safe, plaintext_allowed = true");
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn has_credentials(raw: &RawSmtp) -> bool {
    raw.user.is_some() || !raw.password.spans().is_empty()
}

fn credentials(cx: &Context<'_>, raw: &RawSmtp) -> Option<(String, Secret)> {
    let place: Option<&Span> = secret::place(cx, &raw.password, &PASSWORD).ok()?;
    match (&raw.user, place) {
        (None, None) => None,
        (Some(user), None) => {
            cx.report
                .error(&user.span, "a user without a password")
                .help("set password_file, password_env or password_credential");
            None
        }
        (None, Some(span)) => {
            cx.report.error(span, "a password without a user").help("set user");
            None
        }
        (Some(user), Some(_)) => Some((user.value.clone(), secret::read(cx, &raw.password, &PASSWORD)?)),
    }
}
