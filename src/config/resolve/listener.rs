//! Listeners.

use std::net::SocketAddr;

use super::network::{self, Purpose};
use super::{Context, or};
use crate::config::problem::Span;
use crate::config::raw::{RawListener, RawServerTls, Section};
use crate::config::reader::At;
use crate::config::value::Listen;
use crate::config::words::quote;
use crate::ident::ListenerName;
use crate::smtp::{ListenAt, ListenerConfig, ListenerTls};

/// The listeners, in the order of the file.
pub(super) fn listeners(cx: &Context<'_>, section: &Section<RawListener>) -> Vec<ListenerConfig> {
    if section.is_empty {
        cx.report
            .error(&section.span, "there is no listener")
            .help("add [listeners.smtp] address = \"127.0.0.1:2525\"");
    }
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    let mut listeners = Vec::new();
    for (name, raw) in &section.entries {
        let Some(address) = &raw.address else { continue };
        if let Listen::At(at) = address.value {
            if let Some((other, _)) = taken.iter().find(|(_, taken)| collide(*taken, at)) {
                let message = format!("listener {} already listens on this address", quote(other));
                cx.report
                    .error(&address.span, message)
                    .help("give each listener an address or port of its own");
            }
            taken.push((&name.value, at));
        }
        listeners.push(listener(cx, name, raw, address.value));
    }
    listeners
}

/// Warns of listeners that other machines reach, where no certificate is configured.
pub(super) fn warn_self_signed(
    cx: &Context<'_>,
    section: &Section<RawListener>,
    server: Option<&RawServerTls>,
) {
    if server.is_some_and(RawServerTls::has_certificate) {
        return;
    }
    for (name, raw) in section.entries.iter().filter(|(_, raw)| tls(raw) != ListenerTls::Off) {
        if let Some(address) = raw.address.as_ref().filter(|at| at.value.is_open()) {
            let message = format!(
                "listener {} would show other machines a self-signed certificate, which they can't verify",
                quote(&name.value)
            );
            cx.report.warning(&address.span, message).help("set certificate and key in [tls]");
        }
    }
}

/// How a listener is encrypted.
pub(super) fn tls(raw: &RawListener) -> ListenerTls {
    or(raw.tls.as_ref(), ListenerTls::StartTls)
}

fn listener(cx: &Context<'_>, name: &At<String>, raw: &RawListener, listen: Listen) -> ListenerConfig {
    let tls = tls(raw);
    let plaintext_auth = raw.plaintext_auth.as_ref().map_or(&[][..], |nets| &nets.value);
    network::check(cx, plaintext_auth, Purpose::PlaintextAuth);
    let span: Span = raw.plaintext_auth.as_ref().and_then(|nets| nets.span.clone());
    let always_encrypted = match tls {
        ListenerTls::Required | ListenerTls::Implicit => true,
        ListenerTls::Off | ListenerTls::StartTls => false,
    };
    if always_encrypted && !plaintext_auth.is_empty() {
        cx.report
            .error(&span, "`plaintext_auth` contradicts `tls`: nothing is in plain text on this listener")
            .help("remove plaintext_auth, or set tls = \"starttls\"");
    }
    let at = match listen {
        Listen::At(address) => ListenAt::Address(address),
        Listen::Systemd => ListenAt::Systemd,
    };
    if tls != ListenerTls::Implicit && matches!(listen, Listen::At(address) if address.port() == 465) {
        let at = raw.address.as_ref().and_then(|at| at.span.clone());
        cx.report
            .warning(&at, "clients expect TLS from the first byte on port 465")
            .help("set tls = \"implicit\"");
    }
    ListenerConfig {
        name: ListenerName::new(&name.value),
        at,
        tls,
        plaintext_auth: plaintext_auth.iter().map(|net| net.value).collect(),
        bare_lf: raw.bare_lf.as_ref().map(|at| at.value),
        smtputf8: or(raw.smtputf8.as_ref(), false),
    }
}

/// Whether the system would refuse to bind both. Port 0 means any free one.
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_family = one.is_ipv4() == other.is_ipv4();
    let covers = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_family && covers
}
