//! HTTP listeners. None that other machines reach is in plain text.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::listener::collide;
use super::{Context, SOCKET_PATH_MOST, or, server_tls};
use crate::config::problem::Span;
use crate::config::raw::{RawHttp, RawListener, Section};
use crate::config::reader::At;
use crate::config::value::Listen;
use crate::config::words::quote;
use crate::http::{Bind, Interface, ListenerConfig};
use crate::ident::ListenerName;
use crate::secret::Digest;

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8025);

/// Where metrics and health are found where nothing is said.
const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8026);

const SOCKET_MODE: u32 = 0o660;

/// The HTTP listeners, in the order of the file. `smtp` are those whose addresses are taken.
pub(super) fn listeners(
    cx: &Context<'_>,
    section: &Section<RawHttp>,
    smtp: &Section<RawListener>,
) -> Vec<ListenerConfig> {
    let taken = smtp.entries.iter().filter_map(|(name, raw)| match raw.address.as_ref()?.value {
        Listen::At(address) => Some((name.value.clone(), Bind::Tcp(address))),
        Listen::Systemd => None,
    });
    let mut taken: Vec<(String, Bind)> = taken.collect();
    taken.push(("control_socket".to_owned(), Bind::Unix(cx.places.control_socket.clone(), 0)));
    let mut listeners = Vec::new();
    for (name, raw) in &section.entries {
        let Some((bind, span)) = bind(cx, name, raw) else { continue };
        if let Some((other, _)) = taken.iter().find(|(_, taken)| clash(taken, &bind)) {
            let (message, help) = match &bind {
                Bind::Tcp(_) => (
                    format!("listener {} already listens on this address", quote(other)),
                    "give each listener an address or port of its own",
                ),
                Bind::Unix(..) | Bind::Systemd => {
                    (format!("{} already has this socket", quote(other)), "give each a path of its own")
                }
            };
            cx.report.error(&span, message).help(help);
        }
        taken.push((name.value.clone(), bind.clone()));
        let serves = serves(cx, raw, &bind);
        let tls = tls(cx, name, raw, &bind);
        let password = password(cx, name, raw, &bind, &serves);
        let client_ca = client_ca(cx, raw, tls, &serves);
        let name = ListenerName::new(&name.value);
        listeners.push(ListenerConfig { name, bind, tls, serves, password, client_ca });
    }
    listeners
}

/// Warns of listeners that other machines reach, where no certificate is configured.
pub(super) fn warn_self_signed(cx: &Context<'_>, section: &Section<RawHttp>) {
    for (name, raw) in section.entries.iter().filter(|(_, raw)| or(raw.tls.as_ref(), true)) {
        if let Some(address) = raw.address.as_ref().filter(|at| at.value.is_open()) {
            let message = format!(
                "listener {} would show other machines a self-signed certificate, which they can't verify",
                quote(&name.value)
            );
            cx.report.warning(&address.span, message).help("set certificate and key in [tls]");
        }
    }
}

/// Whether some listener serves `interface`. What is wrong counts as served: it has been reported.
pub(super) fn serve(section: &Section<RawHttp>, interface: Interface) -> bool {
    section.entries.iter().any(|(_, raw)| {
        raw.serves.as_ref().is_none_or(|list| list.value.iter().any(|at| at.value == interface))
    })
}

fn bind(cx: &Context<'_>, name: &At<String>, raw: &RawHttp) -> Option<(Bind, Span)> {
    match (&raw.socket, &raw.address) {
        (Some(socket), _) if raw.has_address => {
            cx.report
                .error(&socket.span, "`address` and `socket` exclude each other")
                .help("keep one of them, and make another listener for the other");
            None
        }
        (Some(socket), _) => {
            let path = cx.path(socket);
            check_socket(cx, socket, &path);
            let mode = or(raw.socket_mode.as_ref(), SOCKET_MODE);
            Some((Bind::Unix(path, mode), socket.span.clone()))
        }
        (None, Some(address)) => Some((bind_at(address.value), address.span.clone())),
        (None, None) if raw.has_address => None,
        (None, None) if is_admin_only(raw) => Some((Bind::Tcp(ADMIN_ADDRESS), name.span.clone())),
        (None, None) => Some((Bind::Tcp(ADDRESS), name.span.clone())),
    }
}

fn bind_at(listen: Listen) -> Bind {
    match listen {
        Listen::At(address) => Bind::Tcp(address),
        Listen::Systemd => Bind::Systemd,
    }
}

/// What stands where a socket is to be must be one: nothing else is ever replaced.
fn check_socket(cx: &Context<'_>, socket: &At<String>, path: &PathBuf) {
    use std::os::unix::fs::FileTypeExt as _;
    if path.as_os_str().len() > SOCKET_PATH_MOST {
        let message = "the path of this socket is longer than the 107 octets that the system takes";
        cx.report
            .error(&socket.span, message)
            .help("choose a shorter path, such as \"/run/authrelay/http.sock\"");
    }
    if std::fs::metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        let message = format!("{} is there already, and is no socket", path.display());
        cx.report.error(&socket.span, message).help("choose another path, or move that away");
    }
}

fn serves(cx: &Context<'_>, raw: &RawHttp, bind: &Bind) -> Vec<Interface> {
    let Some(list) = &raw.serves else {
        return warn_public(cx, raw, bind, vec![Interface::Otp, Interface::Callback]);
    };
    if list.value.is_empty() {
        cx.report.error(&list.span, "this listener serves nothing").help(
            "name \"otp\", \"callback\" or \"admin\"; to have no HTTP at all, leave an empty [http] and no [http.NAME]",
        );
    }
    let mut serves: Vec<Interface> = Vec::new();
    for at in &list.value {
        if serves.contains(&at.value) {
            cx.report.error(&at.span, "this interface is here twice").help("remove one of the two");
        } else {
            serves.push(at.value);
        }
    }
    warn_public(cx, raw, bind, serves)
}

/// Warns where what applications need stands beside what the provider needs, open to other machines.
fn warn_public(cx: &Context<'_>, raw: &RawHttp, bind: &Bind, serves: Vec<Interface>) -> Vec<Interface> {
    // Without TLS, the start takes a unit's sockets only where they are on this machine.
    let here = *bind == Bind::Systemd && raw.tls.as_ref().is_some_and(|at| !at.value);
    if is_open(bind) && !here && serves.contains(&Interface::Otp) && serves.contains(&Interface::Callback) {
        let span = raw.serves.as_ref().map(|at| &at.span).or(raw.address.as_ref().map(|at| &at.span));
        cx.report
            .warning(
                span.unwrap_or(&None),
                "both interfaces are open to other machines here, and only the callback ever needs to be public",
            )
            .help("make two listeners: one with serves = [\"callback\"] for the provider, one with serves = [\"otp\"] for your applications");
    }
    serves
}

fn tls(cx: &Context<'_>, name: &At<String>, raw: &RawHttp, bind: &Bind) -> bool {
    let tls = or(raw.tls.as_ref(), is_open(bind));
    // Of the sockets of a unit this is said when they are seen, at the start.
    let known = matches!(bind, Bind::Tcp(_)) && is_open(bind);
    if let Some(at) = raw.tls.as_ref().filter(|at| known && !at.value) {
        let message = format!(
            "codes and tokens would cross the network to listener {} in plain text",
            quote(&name.value)
        );
        cx.report
            .error(&at.span, message)
            .help("set tls = \"on\"; plain text is for the loopback and for sockets, such as behind a proxy on this machine");
    }
    tls
}

fn is_admin_only(raw: &RawHttp) -> bool {
    raw.serves.as_ref().is_some_and(|list| {
        !list.value.is_empty() && list.value.iter().all(|at| at.value == Interface::Admin)
    })
}

/// The authorities whose certificates let callers in to the admin interface.
fn client_ca(cx: &Context<'_>, raw: &RawHttp, tls: bool, serves: &[Interface]) -> Option<PathBuf> {
    let at = raw.client_ca.as_ref()?;
    server_tls::authorities(cx, at);
    if !serves.contains(&Interface::Admin) {
        cx.report
            .error(&at.span, "`client_ca` has no effect without \"admin\" in `serves`")
            .help("remove it; applications have tokens, and the callback is signed");
    } else if !tls {
        cx.report
            .error(&at.span, "without TLS nobody can show a certificate, so that nobody could come in")
            .help("set tls = \"on\", or remove client_ca");
    }
    Some(cx.path(at))
}

/// What other machines reach of the admin interface has a password, or asks for certificates.
fn password(
    cx: &Context<'_>,
    name: &At<String>,
    raw: &RawHttp,
    bind: &Bind,
    serves: &[Interface],
) -> Option<Digest> {
    let is_admin = serves.contains(&Interface::Admin);
    let open = is_open(bind);
    match &raw.password_sha256 {
        Some(at) if !is_admin => {
            cx.report
                .error(&at.span, "`password_sha256` has no effect without \"admin\" in `serves`")
                .help("remove it; applications have tokens, and the callback is signed");
        }
        None if is_admin && open && raw.client_ca.is_none() => {
            let span = raw.serves.as_ref().map_or(&name.span, |at| &at.span);
            let message = format!(
                "listener {} would show metrics and status page to every machine that reaches it",
                quote(&name.value)
            );
            cx.report
                .error(span, message)
                .help("set password_sha256 or client_ca, or listen on 127.0.0.1 or a socket; `openssl rand -hex 32` makes a password, `printf %s PASSWORD | sha256sum` its digest");
        }
        Some(_) | None => {}
    }
    raw.password_sha256.as_ref().map(|at| at.value)
}

fn clash(one: &Bind, other: &Bind) -> bool {
    match (one, other) {
        (Bind::Tcp(one), Bind::Tcp(other)) => collide(*one, *other),
        (Bind::Unix(one, _), Bind::Unix(other, _)) => one == other,
        // What systemd hands over is told apart by its name.
        (Bind::Tcp(_), Bind::Unix(..))
        | (Bind::Unix(..), Bind::Tcp(_))
        | (Bind::Systemd, _)
        | (_, Bind::Systemd) => false,
    }
}

/// Whether other machines may reach it. The sockets of a unit are taken for ones that they do.
fn is_open(bind: &Bind) -> bool {
    match bind {
        Bind::Tcp(address) => !address.ip().is_loopback(),
        Bind::Unix(..) => false,
        Bind::Systemd => true,
    }
}
