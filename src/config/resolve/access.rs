//! How each client is known. Nothing here lets in whoever can't be known: a network is checked for strangers, a listener
//! is enough only on the loopback, and no two clients can be taken for each other.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::network::{self, Purpose};
use super::{Context, Sections, listener};
use crate::client::{Access, Config, PasswordHash};
use crate::config::problem::Span;
use crate::config::raw::{RawAccess, RawClient, RawListener, RawServerTls, Section};
use crate::config::reader::At;
use crate::config::words::quote;
use crate::ident::{ClientName, ListenerName};
use crate::secret::Digest;
use crate::smtp::ListenerTls;

/// How all clients are known.
pub(super) fn resolve(cx: &Context<'_>, sections: &Sections, tls: Option<&RawServerTls>) -> Config {
    let clients = &sections.clients.entries;
    let access = clients.iter().map(|(name, raw)| access(cx, name, raw, sections)).collect();
    let by_certificate = clients.iter().any(|(_, raw)| raw.access.certificates.is_some());
    if let Some(client_ca) = tls.and_then(|tls| tls.client_ca.as_ref()).filter(|_| !by_certificate) {
        cx.report.warning(&client_ca.span, "no client is known by a certificate, so none is asked for").help(
            "set certificates_sha256 in [clients.NAME]; being signed by client_ca is not enough to be known",
        );
    }
    twins(cx, clients);
    check_networks(cx, sections);
    Config { clients: access }
}

fn access(cx: &Context<'_>, name: &At<String>, client: &RawClient, sections: &Sections) -> Access {
    let raw = &client.access;
    if !raw.any {
        cx.report
            .error(&client.span, format!("nobody can be known as client {}", quote(&name.value)))
            .help("set networks, listeners, password_sha256, certificates_sha256 or token_sha256; `authrelay client add` makes a password or a token");
    }
    for at in list(raw.listeners.as_ref()) {
        check_listener(cx, at, &sections.listeners);
    }
    let password = password(cx, raw, &sections.listeners);
    let user = raw.user.as_ref().map(|at| at.value.clone());
    if let Some(user) = &raw.user
        && raw.password_sha256.is_none()
        && raw.password_argon2id.is_none()
    {
        cx.report
            .error(&user.span, "a user without a password")
            .help("`authrelay client add NAME` makes one");
    }
    let no_tls = || sections.listeners.entries.iter().all(|(_, raw)| listener::tls(raw) == ListenerTls::Off);
    if let Some(certificates) = raw.certificates.as_ref().filter(|_| no_tls()) {
        cx.report
            .error(&certificates.span, "this client shows a certificate, and no listener has TLS")
            .help("set tls = \"starttls\" on a listener");
    }
    Access {
        name: ClientName::new(&name.value),
        networks: list(raw.networks.as_ref()).iter().map(|at| at.value).collect(),
        listeners: list(raw.listeners.as_ref()).iter().map(|at| ListenerName::new(&at.value)).collect(),
        user: password.is_some().then(|| user.unwrap_or_else(|| name.value.clone())),
        password,
        certificates: list(raw.certificates.as_ref()).iter().map(|at| at.value).collect(),
        token: raw.token.as_ref().map(|at| at.value),
    }
}

fn list<T>(at: Option<&At<Vec<At<T>>>>) -> &[At<T>] {
    at.map_or(&[], |at| &at.value)
}

fn password(cx: &Context<'_>, raw: &RawAccess, listeners: &Section<RawListener>) -> Option<PasswordHash> {
    if let (Some(_), Some(second)) = (&raw.password_sha256, &raw.password_argon2id) {
        cx.report
            .error(&second.span, "`password_sha256` and `password_argon2id` exclude each other")
            .help("keep one of them");
    }
    let password = raw.password_sha256.as_ref().or(raw.password_argon2id.as_ref())?;
    let can_log_in = |raw: &RawListener| {
        listener::tls(raw) != ListenerTls::Off || !list(raw.plaintext_auth.as_ref()).is_empty()
    };
    if !listeners.entries.iter().any(|(_, raw)| can_log_in(raw)) {
        cx.report
            .error(&password.span, "this client logs in with a password, and no listener takes one: none has TLS")
            .help("set tls = \"starttls\" on a listener, or plaintext_auth = [...] for the networks it may come from");
    }
    Some(password.value.clone())
}

fn check_listener(cx: &Context<'_>, at: &At<String>, listeners: &Section<RawListener>) {
    let Some((_, raw)) = listeners.entries.iter().find(|(name, _)| name.value == at.value) else {
        let message = format!("there is no listener {}", quote(&at.value));
        cx.report.unknown(&at.span, message, &at.value, listeners.names());
        return;
    };
    if let Some(address) = raw.address.as_ref().filter(|address| address.value.is_open()) {
        let message = format!(
            "whoever reaches listener {} would be this client: strangers could send through {}",
            quote(&at.value),
            address.value
        );
        cx.report
            .error(&at.span, message)
            .help("a listener is enough to be known by only on the loopback; elsewhere use networks, a password or a certificate");
    }
}

/// Reports what two clients are known by.
fn twins(cx: &Context<'_>, clients: &[(At<String>, RawClient)]) {
    let mut users: Seen<String> = Seen::new(cx, "user");
    let mut networks: Seen<IpNet> = Seen::new(cx, "network");
    let mut listeners: Seen<String> = Seen::new(cx, "listener");
    let mut certificates: Seen<[u8; 32]> = Seen::new(cx, "certificate");
    let mut tokens: Seen<[u8; 32]> = Seen::new(cx, "token");
    for (name, client) in clients {
        let raw = &client.access;
        let password = raw.password_sha256.as_ref().or(raw.password_argon2id.as_ref());
        if let Some(password) = password {
            let (user, span) =
                raw.user.as_ref().map_or((&name.value, &password.span), |user| (&user.value, &user.span));
            users.add(&name.value, user.clone(), span);
        }
        for at in list(raw.networks.as_ref()) {
            networks.add(&name.value, at.value, &at.span);
        }
        for at in list(raw.listeners.as_ref()) {
            listeners.add(&name.value, at.value.clone(), &at.span);
        }
        for at in list(raw.certificates.as_ref()) {
            certificates.add(&name.value, *Digest::as_bytes(&at.value), &at.span);
        }
        if let Some(at) = &raw.token {
            tokens.add(&name.value, *Digest::as_bytes(&at.value), &at.span);
        }
    }
}

/// What clients are known by, and whose it is.
struct Seen<'a, K> {
    cx: &'a Context<'a>,
    what: &'static str,
    owners: BTreeMap<K, String>,
}

impl<'a, K: Ord> Seen<'a, K> {
    fn new(cx: &'a Context<'a>, what: &'static str) -> Self {
        Self { cx, what, owners: BTreeMap::new() }
    }

    fn add(&mut self, client: &str, key: K, span: &Span) {
        let Some(owner) = self.owners.insert(key, client.to_owned()) else { return };
        let message = if owner == client {
            format!("this {} is here twice", self.what)
        } else {
            format!("client {} is known by this {} already", quote(&owner), self.what)
        };
        self.cx.report.error(span, message).help("what a client is known by must be its alone");
    }
}

fn check_networks(cx: &Context<'_>, sections: &Sections) {
    let clients = &sections.clients.entries;
    let all: Vec<At<IpNet>> =
        clients.iter().flat_map(|(_, client)| list(client.access.networks.as_ref())).cloned().collect();
    network::check(cx, &all, Purpose::Client);
    overlaps(cx, clients);
    let addresses: Vec<_> = sections
        .listeners
        .entries
        .iter()
        .filter_map(|(_, raw)| raw.address.as_ref())
        .map(|at| at.value)
        .collect();
    let open = addresses.iter().any(|address| address.is_open());
    for (name, client) in clients {
        let networks = list(client.access.networks.as_ref());
        let loopback = networks.iter().find(|net| network::is_loopback(&net.value));
        if let Some(net) = loopback.filter(|_| open) {
            let message = format!(
                "a proxy or port forward on this machine makes everybody client {}",
                quote(&name.value)
            );
            cx.report.warning(&net.span, message).help(
                "listeners are open to other machines, and what comes through HAProxy, stunnel, ssh or a container's port looks like loopback; give this client a password if there is one",
            );
        }
        let elsewhere = networks.first().filter(|net| !network::is_stranger_land(&net.value));
        if let (false, None, Some(net)) = (open, loopback, elsewhere) {
            let message = format!(
                "client {} is on another machine, and every listener is on the loopback",
                quote(&name.value)
            );
            cx.report.warning(&net.span, message).help(
                "it can't connect; through a proxy on this machine it would look like loopback. Listen on an address that it can reach",
            );
        }
    }
}

/// Warns where one client's network lies in another's.
fn overlaps(cx: &Context<'_>, clients: &[(At<String>, RawClient)]) {
    let all: Vec<(&At<String>, &At<IpNet>)> = clients
        .iter()
        .flat_map(|(name, raw)| list(raw.access.networks.as_ref()).iter().map(move |at| (name, at)))
        .filter(|(_, at)| !network::is_stranger_land(&at.value))
        .collect();
    for (name, inner) in &all {
        let around = all.iter().find(|(other, outer)| {
            other.value != name.value && outer.value != inner.value && outer.value.contains(&inner.value)
        });
        let Some((other, outer)) = around else { continue };
        let (inner_net, outer_net) = (inner.value.to_string(), outer.value.to_string());
        let message =
            format!("{} lies in {} of client {}", quote(&inner_net), quote(&outer_net), quote(&other.value));
        let help = format!("a program there is client {}: the smaller network decides", quote(&name.value));
        cx.report.warning(&inner.span, message).help(help);
    }
}
