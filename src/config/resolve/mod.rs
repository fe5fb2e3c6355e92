//! What the values mean together. Each section has its own file here; all of them report what is wrong and go on, so
//! that one reading finds everything. A value that could not be made is left out, which is safe only because a
//! configuration with an error is never used.

mod access;
mod category;
mod client;
mod code_mail;
mod files;
mod http;
mod identity;
mod links;
mod listener;
mod network;
mod otp;
mod queue;
mod recognition;
mod roots;
mod route;
mod rule;
mod secret;
mod server_tls;
mod texts;
mod twilio;
mod upstream;
mod webhook;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use super::problem::Report;
use super::raw::{
    Raw, RawBusiness, RawClient, RawKind, RawLimits, RawListener, RawLog, RawSender, RawUpstream, Section,
};
use super::reader::At;
use super::value;
use super::{AuditConfig, Config, Environment, LogConfig, LogFormat, Places};
use crate::policy::Policy;
use crate::smtp::Limits;
use crate::{deliver, rewrite, smtp};

/// The sender that is no-reply where nothing else is said.
const NO_REPLY: &str = "no-reply";

const CATEGORY_HEADER: &str = "X-Authrelay-Category";

/// How long decisions are kept.
const AUDIT: Duration = Duration::from_hours(90 * 24);

/// The most octets of a socket's path: what the kernel takes, less its closing NUL.
const SOCKET_PATH_MOST: usize = 107;

/// What every section is resolved with.
struct Context<'a> {
    report: &'a Report,
    env: &'a Environment,
    /// The folder that relative paths start from.
    base: PathBuf,
    hostname: String,
    places: Places,
    /// The secrets that a reload does not read again.
    fixed_secrets: RefCell<Vec<String>>,
}

/// The sections of the file, or what stands for them when they are missing.
struct Sections {
    listeners: Section<RawListener>,
    clients: Section<RawClient>,
    businesses: Section<RawBusiness>,
    senders: Section<RawSender>,
    upstreams: Section<RawUpstream>,
}

/// Makes the configuration; `None` when something was so wrong that there is none. What was wrong is in `report`.
pub(super) fn resolve(
    mut raw: Raw,
    source: Option<&Path>,
    env: &Environment,
    report: &Report,
) -> Option<Config> {
    let cx = context(&raw, source, env, report);
    let sections = Sections::take(&mut raw);
    let (limits, listeners) = (limits(&cx, &raw.limits), listener::listeners(&cx, &sections.listeners));
    let tls = raw.tls.as_ref().and_then(|tls| server_tls::files(&cx, tls));
    listener::warn_self_signed(&cx, &sections.listeners, raw.tls.as_ref());
    let identities = identity::resolve(&cx, &sections.senders, &sections.businesses);
    let no_reply = identity::no_reply(&cx, raw.top.no_reply.as_ref(), &sections.senders);
    let categories = category::categories(&cx, raw.categories.as_ref(), limits.recipients);
    let rules = rule::rules(&cx, std::mem::take(&mut raw.rules), &categories);
    let clients = client::resolve(&cx, &sections, &categories, raw.tls.as_ref());
    let upstreams = upstream::upstreams(&cx, &sections, &otp::test_numbers(&raw.otp));
    route::check(&cx, &sections, no_reply.as_ref());
    let mail_guard = links::resolve(&cx, raw.top.link_guard.as_ref(), &sections);
    let texts = texts::resolve(&cx, &raw, &sections, (&clients, &categories, &identities));
    let webhooks = webhook::webhooks(&cx, raw.webhooks.as_ref(), &sections);
    let queue = queue::queue(&cx, &raw.queue);
    let declared_header = text_or(raw.top.category_header.as_ref(), CATEGORY_HEADER);
    // Reading the recognition takes longer than all else together.
    if report.has_errors() {
        return None;
    }
    let policy = Policy {
        categories,
        clients: clients.policy,
        business_domains: identities.domains,
        rules,
        recognition: recognition::recognition(&cx, &raw.recognition)?,
        declared_header: declared_header.clone(),
    };
    let received_names_client = or(raw.top.received_names_client.as_ref(), false);
    let (senders, businesses) = (identities.senders, identities.businesses);
    let (hostname, no_reply) = (cx.hostname.clone(), no_reply?);
    let rewrite =
        rewrite::Config { hostname, senders, no_reply, businesses, declared_header, received_names_client };
    let recognition_directory = raw.recognition.directory.as_ref().map(|path| cx.path(path));
    let Context { hostname, places, fixed_secrets, .. } = cx;
    Some(Config {
        source: source.map(Path::to_owned),
        hostname: hostname.clone(),
        state_directory: places.state_directory,
        control_socket: places.control_socket,
        listeners,
        smtp: smtp::Config { hostname: hostname.clone(), limits },
        tls,
        clients: clients.access,
        policy: Arc::new(policy),
        recognition_directory,
        rewrite: Arc::new(rewrite),
        deliver: Arc::new(deliver::Config { hostname, upstreams, workers: queue::workers(&raw.queue) }),
        queue,
        http: texts.http,
        otp: texts.otp,
        mail_guard: Arc::new(mail_guard),
        sms_guard: texts.guard,
        first_client: texts.first_client,
        business_urls: identities.urls,
        webhooks: Arc::new(webhooks),
        audit: AuditConfig { keep: or(raw.audit.keep.as_ref(), AUDIT) },
        log: log(&raw.log),
        fixed_secrets: fixed_secrets.into_inner(),
    })
}

/// Where the daemon is found.
pub(super) fn places(
    source: Option<&Path>,
    env: &Environment,
    state_directory: Option<&At<String>>,
    control_socket: Option<&At<String>>,
) -> Places {
    let base = base(source);
    let state_directory = state_directory
        .map_or_else(|| env.default_state_directory(source), |directory| base.join(&directory.value));
    let control_socket = control_socket.map_or_else(
        || env.default_control_socket(source, &state_directory),
        |socket| base.join(&socket.value),
    );
    Places { state_directory, control_socket }
}

impl Sections {
    fn take(raw: &mut Raw) -> Self {
        let listener = || Section::default_of([("smtp", RawListener::default_listener())]);
        let client = || Section::default_of([("local", RawClient::default_client())]);
        let sender = || Section::default_of([(NO_REPLY, RawSender::default_sender())]);
        let upstream = || {
            Section::default_of([
                ("local-maildir", RawUpstream::default_upstream(RawKind::Maildir)),
                ("local-outbox", RawUpstream::default_upstream(RawKind::Outbox)),
            ])
        };
        Self {
            listeners: raw.listeners.take().unwrap_or_else(listener),
            clients: raw.clients.take().unwrap_or_else(client),
            businesses: raw.businesses.take().unwrap_or_else(Section::empty),
            senders: raw.senders.take().unwrap_or_else(sender),
            upstreams: raw.upstreams.take().unwrap_or_else(upstream),
        }
    }
}

impl Context<'_> {
    /// A path of the file: relative ones start from the file's folder.
    fn path(&self, path: &At<String>) -> PathBuf {
        self.base.join(&path.value)
    }

    /// Notes a secret that this process has once and for all, and where it is said.
    fn is_fixed(&self, key: &str, at: &At<String>) {
        let line = self.report.line(&at.span).map(|line| format!("line {line}: ")).unwrap_or_default();
        self.fixed_secrets.borrow_mut().push(format!("{line}{key} = \"{}\"", at.value));
    }
}

fn context<'a>(raw: &Raw, source: Option<&Path>, env: &'a Environment, report: &'a Report) -> Context<'a> {
    let places = places(source, env, raw.top.state_directory.as_ref(), raw.top.control_socket.as_ref());
    if places.control_socket.as_os_str().len() > SOCKET_PATH_MOST {
        let span = raw.top.control_socket.as_ref().or(raw.top.state_directory.as_ref());
        let message = "the path of the control socket is longer than the 107 octets that the system takes";
        report
            .error(&span.and_then(|at| at.span.clone()), message)
            .help("set control_socket to a shorter path, such as \"/run/authrelay/control.sock\"");
    }
    check_socket(raw, &places.control_socket, report);
    let of_host = || env.hostname.as_deref().and_then(|name| value::host_name(name).ok());
    let hostname = raw.top.hostname.as_ref().map(|at| at.value.clone()).or_else(of_host);
    Context {
        report,
        env,
        base: base(source),
        hostname: hostname.unwrap_or_else(|| "localhost".to_owned()),
        places,
        fixed_secrets: RefCell::default(),
    }
}

/// What stands where the control socket is to be must be one: nothing else is ever replaced.
fn check_socket(raw: &Raw, path: &Path, report: &Report) {
    use std::os::unix::fs::FileTypeExt as _;
    if std::fs::metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        let span = raw.top.control_socket.as_ref().and_then(|at| at.span.clone());
        let message = format!("{} is there already, and is no socket", path.display());
        report.error(&span, message).help("set control_socket to another path, or move that away");
    }
}

fn base(source: Option<&Path>) -> PathBuf {
    source.and_then(Path::parent).map(Path::to_owned).unwrap_or_default()
}

fn limits(cx: &Context<'_>, raw: &RawLimits) -> Limits {
    let default = Limits::default();
    let limits = Limits {
        message_size: or(raw.message_size.as_ref(), default.message_size),
        header_size: or(raw.header_size.as_ref(), default.header_size),
        line_length: or(raw.line_length.as_ref(), default.line_length),
        recipients: or(raw.recipients.as_ref(), default.recipients),
        errors: or(raw.errors.as_ref(), default.errors),
        auth_failures: or(raw.auth_failures.as_ref(), default.auth_failures),
        messages_per_connection: or(raw.messages_per_connection.as_ref(), default.messages_per_connection),
        connections: or(raw.connections.as_ref(), default.connections),
        connections_per_address: or(raw.connections_per_address.as_ref(), default.connections_per_address),
        idle: or(raw.idle.as_ref(), default.idle),
        session: or(raw.session.as_ref(), default.session),
        handshake: or(raw.handshake.as_ref(), default.handshake),
        minimum_rate: or(raw.minimum_rate.as_ref(), default.minimum_rate),
        memory: or(raw.memory.as_ref(), default.memory),
    };
    if limits.memory < limits.message_size {
        let span = [raw.memory.as_ref(), raw.message_size.as_ref()].into_iter().flatten().next();
        cx.report
            .error(
                &span.and_then(|at| at.span.clone()),
                "`memory` is less than `message_size`: no message of that size could ever come in",
            )
            .help("`memory` is for all messages that come in at once; let it hold many");
    }
    if limits.session < limits.idle
        && let Some(at) = raw.session.as_ref().or(raw.idle.as_ref())
    {
        cx.report
            .error(&at.span, "`session` is shorter than `idle`")
            .help("a session lasts longer than one pause in it");
    }
    limits
}

fn log(raw: &RawLog) -> LogConfig {
    LogConfig {
        format: or(raw.format.as_ref(), LogFormat::Automatic),
        level: or(raw.level.as_ref(), Level::INFO),
    }
}

fn or<T: Copy>(at: Option<&At<T>>, default: T) -> T {
    at.map_or(default, |at| at.value)
}

fn text_or(at: Option<&At<String>>, default: &str) -> String {
    at.map_or_else(|| default.to_owned(), |at| at.value.clone())
}
