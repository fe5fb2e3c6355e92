//! Upstreams.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};

use super::server_tls::certificates;
use super::{Context, or};
use crate::config::problem::Span;
use crate::config::raw::{
    RawBreaker, RawKind, RawPassword, RawSender, RawSmtp, RawTimeouts, RawUpstream, RawUpstreamTls, Section,
};
use crate::config::reader::At;
use crate::config::words::quote;
use crate::deliver::{BreakerConfig, SmtpConfig, Timeouts, UpstreamConfig, UpstreamKind, UpstreamTls};
use crate::ident::{SenderName, UpstreamName};
use crate::secret::Secret;

const MAX_CONNECTIONS: usize = 8;
const IDLE: Duration = Duration::from_mins(1);
const MESSAGES_PER_CONNECTION: u32 = 100;

/// The upstreams, in the order of the file: the order in which they are tried.
pub(super) fn upstreams(
    cx: &Context<'_>,
    section: &Section<RawUpstream>,
    senders: &Section<RawSender>,
) -> Vec<UpstreamConfig> {
    if section.is_empty {
        cx.report
            .error(&section.span, "there is no upstream, so nothing can be handed over")
            .help("add [upstreams.NAME] with host = \"smtp.your-provider.example\"");
    }
    let roots = Roots::default();
    let each = section.entries.iter().filter_map(|(name, raw)| upstream(cx, name, raw, senders, &roots));
    each.collect()
}

/// The certificates that this machine trusts, read when first needed.
#[derive(Default)]
struct Roots(OnceCell<Option<Arc<ClientConfig>>>);

fn upstream(
    cx: &Context<'_>,
    name: &At<String>,
    raw: &RawUpstream,
    senders: &Section<RawSender>,
    roots: &Roots,
) -> Option<UpstreamConfig> {
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
    let kind = match raw.kind() {
        RawKind::Maildir => UpstreamKind::Maildir {
            path: match &raw.path {
                Some(path) => cx.path(path),
                None => cx.places.state_directory.join("maildir"),
            },
        },
        RawKind::Smtp => UpstreamKind::Smtp(smtp(cx, raw, roots)?),
    };
    let carries = raw.senders.as_ref();
    Some(UpstreamConfig {
        name: UpstreamName::new(&name.value),
        kind,
        carries: carries.map(|list| list.value.iter().map(|at| SenderName::new(&at.value)).collect()),
        max_connections: or(raw.max_connections.as_ref(), MAX_CONNECTIONS),
        messages_per_minute: raw.messages_per_minute.as_ref().map(|at| at.value),
        breaker: breaker(cx, &raw.breaker),
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
    let tls = tls(cx, raw, roots);
    let host = raw.host.as_ref()?;
    Some(SmtpConfig {
        host: host.value.clone(),
        port: raw.port.as_ref().map_or_else(|| default_port(raw), |at| at.value),
        tls: tls?,
        credentials,
        timeouts: timeouts(&raw.timeouts),
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

fn tls(cx: &Context<'_>, raw: &RawSmtp, roots: &Roots) -> Option<UpstreamTls> {
    check_port(cx, raw);
    match mode(raw) {
        RawUpstreamTls::Plain => {
            check_plain(cx, raw);
            Some(UpstreamTls::Plain)
        }
        RawUpstreamTls::StartTls => Some(UpstreamTls::StartTls(verifier(cx, raw, roots)?)),
        RawUpstreamTls::Implicit => Some(UpstreamTls::Implicit(verifier(cx, raw, roots)?)),
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
fn check_plain(cx: &Context<'_>, raw: &RawSmtp) {
    if let Some(ca_file) = &raw.ca_file {
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
    let RawPassword { file, env, credential, inline } = &raw.password;
    raw.user.is_some() || file.is_some() || env.is_some() || credential.is_some() || inline.is_some()
}

fn verifier(cx: &Context<'_>, raw: &RawSmtp, roots: &Roots) -> Option<Arc<ClientConfig>> {
    match &raw.ca_file {
        Some(path) => {
            let mut store = RootCertStore::empty();
            let (added, _) = store.add_parsable_certificates(certificates(cx, path)?);
            if added == 0 {
                cx.report.error(&path.span, "none of these certificates can be used as a root").maybe(None);
                return None;
            }
            Some(client_config(cx, store, &path.span)?)
        }
        None => {
            roots.0.get_or_init(|| of_system(cx, &raw.host.as_ref().and_then(|at| at.span.clone()))).clone()
        }
    }
}

fn of_system(cx: &Context<'_>, span: &Span) -> Option<Arc<ClientConfig>> {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        cx.report
            .error(span, "this machine trusts no certificates at all, so no upstream can be verified")
            .help("install the package ca-certificates, or set ca_file");
        return None;
    }
    client_config(cx, store, span)
}

fn client_config(cx: &Context<'_>, roots: RootCertStore, span: &Span) -> Option<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    match ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions() {
        Ok(builder) => Some(Arc::new(builder.with_root_certificates(roots).with_no_client_auth())),
        Err(problem) => {
            cx.report.error(span, format!("TLS can't be set up: {problem}"));
            None
        }
    }
}

fn credentials(cx: &Context<'_>, raw: &RawSmtp) -> Option<(String, Secret)> {
    let RawPassword { file, env, credential, inline } = &raw.password;
    let spans = [file.as_ref(), env.as_ref(), credential.as_ref()].into_iter().flatten().map(|at| &at.span);
    let spans: Vec<&Span> = spans.chain(inline.as_ref().map(|at| &at.span)).collect();
    if let [_, second, ..] = spans.as_slice() {
        cx.report
            .error(second, "there are two passwords")
            .help("keep one of password_file, password_env, password_credential, password");
        return None;
    }
    match (&raw.user, spans.first()) {
        (None, None) => return None,
        (Some(user), None) => {
            cx.report
                .error(&user.span, "a user without a password")
                .help("set password_file, password_env or password_credential");
            return None;
        }
        (None, Some(span)) => {
            cx.report.error(span, "a password without a user").help("set user");
            return None;
        }
        (Some(_), Some(_)) => {}
    }
    if let Some(inline) = inline {
        cx.report
            .warning(&inline.span, "this password is in the configuration itself")
            .help("keep it in a file of its own: password_file, password_env or password_credential");
    }
    let password = password(cx, &raw.password)?;
    raw.user.as_ref().map(|user| (user.value.clone(), password))
}

fn password(cx: &Context<'_>, raw: &RawPassword) -> Option<Secret> {
    let of_file = |read: Option<super::files::Read>, at: &At<String>| {
        let read = read?;
        let text = std::str::from_utf8(&read.bytes).ok().map(|text| text.trim_end_matches(['\r', '\n']));
        check_password(cx, text.map(Secret::new), &at.span)
    };
    if let Some(at) = &raw.file {
        of_file(cx.read_secret(at), at)
    } else if let Some(at) = &raw.credential {
        of_file(cx.read_credential(at), at)
    } else if let Some(at) = &raw.env {
        let value = cx.env.variable(&at.value);
        if value.is_none() {
            cx.report
                .error(&at.span, format!("the variable {} is not set", quote(&at.value)))
                .help("set it in the unit with EnvironmentFile=, or use password_credential");
        }
        check_password(cx, Some(value?), &at.span)
    } else {
        let at = raw.inline.as_ref()?;
        check_password(cx, Some(at.value.clone()), &at.span)
    }
}

fn check_password(cx: &Context<'_>, password: Option<Secret>, span: &Span) -> Option<Secret> {
    let fine =
        |secret: &Secret| !secret.reveal().is_empty() && !secret.reveal().chars().any(char::is_control);
    let password = password.filter(fine);
    if password.is_none() {
        cx.report
            .error(span, "this password is empty, has more than one line or is not UTF-8")
            .help("put the password alone into it, on one line");
    }
    password
}
