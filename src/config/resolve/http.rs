//! HTTP listeners. None that other machines reach is in plain text.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::listener::collide;
use super::{Context, SOCKET_PATH_MOST, or};
use crate::config::problem::Span;
use crate::config::raw::{RawHttp, RawListener, Section};
use crate::config::reader::At;
use crate::config::words::quote;
use crate::http::{Bind, Interface, ListenerConfig};
use crate::ident::ListenerName;

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8025);

const SOCKET_MODE: u32 = 0o660;

/// The HTTP listeners, in the order of the file. `smtp` are those whose addresses are taken.
pub(super) fn listeners(
    cx: &Context<'_>,
    section: &Section<RawHttp>,
    smtp: &Section<RawListener>,
) -> Vec<ListenerConfig> {
    let taken = smtp.entries.iter().filter_map(|(name, raw)| {
        let address = raw.address.as_ref()?.value;
        Some((name.value.clone(), Bind::Tcp(address)))
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
                Bind::Unix(..) => {
                    (format!("{} already has this socket", quote(other)), "give each a path of its own")
                }
            };
            cx.report.error(&span, message).help(help);
        }
        taken.push((name.value.clone(), bind.clone()));
        let serves = serves(cx, raw, &bind);
        let tls = tls(cx, name, raw, &bind);
        listeners.push(ListenerConfig { name: ListenerName::new(&name.value), bind, tls, serves });
    }
    listeners
}

/// Warns of listeners that other machines reach, where no certificate is configured.
pub(super) fn warn_self_signed(cx: &Context<'_>, section: &Section<RawHttp>) {
    for (name, raw) in section.entries.iter().filter(|(_, raw)| or(raw.tls.as_ref(), true)) {
        if let Some(address) = raw.address.as_ref().filter(|at| !at.value.ip().is_loopback()) {
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
        (None, Some(address)) => Some((Bind::Tcp(address.value), address.span.clone())),
        (None, None) if raw.has_address => None,
        (None, None) => Some((Bind::Tcp(ADDRESS), name.span.clone())),
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
            "name \"otp\" or \"callback\"; to have no HTTP at all, leave an empty [http] and no [http.NAME]",
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
    let open = matches!(bind, Bind::Tcp(address) if !address.ip().is_loopback());
    if open && serves.contains(&Interface::Otp) && serves.contains(&Interface::Callback) {
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
    let open = matches!(bind, Bind::Tcp(address) if !address.ip().is_loopback());
    let tls = or(raw.tls.as_ref(), open);
    if let Some(at) = raw.tls.as_ref().filter(|at| open && !at.value) {
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

fn clash(one: &Bind, other: &Bind) -> bool {
    match (one, other) {
        (Bind::Tcp(one), Bind::Tcp(other)) => collide(*one, *other),
        (Bind::Unix(one, _), Bind::Unix(other, _)) => one == other,
        (Bind::Tcp(_), Bind::Unix(..)) | (Bind::Unix(..), Bind::Tcp(_)) => false,
    }
}
