//! The configuration as written: every key of the format, with the place of every value. Here it is decided whether a
//! value is of the right kind and within its range; what the values mean together is decided in `resolve`.
//!
//! A value that is missing is `None`, and so is one that was wrong: that one has been reported.

mod access;
mod identity;
mod policy;
mod secret;
mod texts;
mod twilio;
mod upstream;
mod webhook;

pub(super) use access::{RawAccess, RawBurst, RawClient, RawListener};
pub(super) use identity::{RawBusiness, RawDkim, RawSender};
pub(super) use policy::{RawCategory, RawCondition, RawPart, RawRecognition, RawRule};
pub(super) use secret::{API_KEY_SECRET, AUTH_TOKEN, PASSWORD, RawSecret, SIGNING_SECRET, SecretKind};
pub(super) use texts::{RawHttp, RawOtp, RawTextLimits};
pub(super) use twilio::RawTwilio;
pub(super) use upstream::{RawBreaker, RawKind, RawSmtp, RawTimeouts, RawTls as RawUpstreamTls, RawUpstream};
pub(super) use webhook::{RawAudit, RawWebhook};

use std::time::Duration;

use tracing::Level;

use super::LogFormat;
use super::problem::{Report, Span};
use super::reader::{At, Table};
use super::value;
use crate::guard::links::LinkGuard;
use crate::mail::Address;

/// How strict the link guard is, as it is written.
pub(in crate::config) const LINK_GUARDS: [(&str, LinkGuard); 3] =
    [("on", LinkGuard::On), ("strict", LinkGuard::Strict), ("off", LinkGuard::Off)];

/// The longest duration that is taken for anything: what is longer is a mistake.
const YEAR: Duration = Duration::from_hours(366 * 24);

/// The whole file.
#[derive(Debug)]
pub(in crate::config) struct Raw {
    pub(in crate::config) top: RawTop,
    pub(in crate::config) tls: Option<RawServerTls>,
    pub(in crate::config) listeners: Option<Section<RawListener>>,
    pub(in crate::config) clients: Option<Section<RawClient>>,
    pub(in crate::config) businesses: Option<Section<RawBusiness>>,
    pub(in crate::config) senders: Option<Section<RawSender>>,
    pub(in crate::config) categories: Option<Section<RawCategory>>,
    pub(in crate::config) rules: Vec<RawRule>,
    pub(in crate::config) recognition: RawRecognition,
    pub(in crate::config) upstreams: Option<Section<RawUpstream>>,
    pub(in crate::config) http: Option<Section<RawHttp>>,
    pub(in crate::config) otp: RawOtp,
    pub(in crate::config) webhooks: Option<Section<RawWebhook>>,
    pub(in crate::config) audit: RawAudit,
    pub(in crate::config) queue: RawQueue,
    pub(in crate::config) limits: RawLimits,
    pub(in crate::config) log: RawLog,
}

impl Raw {
    /// Takes every key of the document; reports the ones that are none.
    pub(in crate::config) fn read(report: &Report, root: Table<'_>) -> Self {
        let raw = Self {
            top: RawTop::read(&root),
            tls: root.table("tls").map(RawServerTls::read),
            listeners: Section::read(&root, "listeners", RawListener::read),
            clients: Section::read(&root, "clients", RawClient::read),
            businesses: Section::read(&root, "businesses", RawBusiness::read),
            senders: Section::read(&root, "senders", RawSender::read),
            categories: Section::read(&root, "categories", RawCategory::read),
            rules: root.tables("rules").into_iter().map(|rule| RawRule::read(report, rule)).collect(),
            recognition: root.table("recognition").map(RawRecognition::read).unwrap_or_default(),
            upstreams: Section::read(&root, "upstreams", |table| RawUpstream::read(report, table)),
            http: Section::read(&root, "http", |table| RawHttp::read(report, table)),
            otp: root.table("otp").map(RawOtp::read).unwrap_or_default(),
            webhooks: Section::read(&root, "webhooks", RawWebhook::read),
            audit: root.table("audit").map(RawAudit::read).unwrap_or_default(),
            queue: root.table("queue").map(RawQueue::read).unwrap_or_default(),
            limits: root.table("limits").map(RawLimits::read).unwrap_or_default(),
            log: root.table("log").map(RawLog::read).unwrap_or_default(),
        };
        root.finish();
        raw
    }
}

/// `[KEY.NAME]`: tables that the administrator names, in the order of the file.
#[derive(Debug)]
pub(in crate::config) struct Section<T> {
    pub(in crate::config) span: Span,
    pub(in crate::config) entries: Vec<(At<String>, T)>,
    /// Whether nothing at all stands in it; what was wrong and is not among the entries counts too.
    pub(in crate::config) is_empty: bool,
}

impl<T> Section<T> {
    fn read(root: &Table<'_>, key: &str, mut read: impl FnMut(Table<'_>) -> T) -> Option<Self> {
        let table = root.table(key)?;
        let entries = table.named_tables().into_iter().map(|(name, entry)| (name, read(entry))).collect();
        Some(Self { span: table.span().clone(), entries, is_empty: table.keys().is_empty() })
    }

    /// A section that stands in no file.
    pub(in crate::config) fn default_of<const N: usize>(entries: [(&str, T); N]) -> Self {
        let entries = entries.map(|(name, entry)| (At::default(name.to_owned()), entry));
        Self { span: None, entries: Vec::from(entries), is_empty: false }
    }

    /// Whether it stands in no file.
    pub(in crate::config) fn is_default(&self) -> bool {
        self.span.is_none()
    }

    /// A section without entries.
    pub(in crate::config) fn empty() -> Self {
        Self { span: None, entries: Vec::new(), is_empty: true }
    }

    /// The names of its entries.
    pub(in crate::config) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.value.as_str())
    }
}

/// The keys above the first table.
#[derive(Debug)]
pub(in crate::config) struct RawTop {
    pub(in crate::config) hostname: Option<At<String>>,
    pub(in crate::config) state_directory: Option<At<String>>,
    pub(in crate::config) control_socket: Option<At<String>>,
    pub(in crate::config) no_reply: Option<At<String>>,
    pub(in crate::config) category_header: Option<At<String>>,
    pub(in crate::config) received_names_client: Option<At<bool>>,
    pub(in crate::config) link_guard: Option<At<LinkGuard>>,
}

impl RawTop {
    fn read(root: &Table<'_>) -> Self {
        Self {
            hostname: root.parsed("hostname", "a host name", value::host_name),
            state_directory: root.text("state_directory"),
            control_socket: root.text("control_socket"),
            no_reply: root.text("no_reply"),
            category_header: root.parsed("category_header", "the name of a header field", value::header_name),
            received_names_client: root.boolean("received_names_client"),
            link_guard: root.choice("link_guard", &LINK_GUARDS),
        }
    }

    /// Only what says where the daemon is found.
    pub(in crate::config) fn read_places(root: &Table<'_>) -> (Option<At<String>>, Option<At<String>>) {
        (root.text("state_directory"), root.text("control_socket"))
    }
}

/// `[tls]`
#[derive(Debug)]
pub(in crate::config) struct RawServerTls {
    pub(in crate::config) span: Span,
    pub(in crate::config) certificate: Option<At<String>>,
    pub(in crate::config) key: Option<At<String>>,
    pub(in crate::config) client_ca: Option<At<String>>,
}

impl RawServerTls {
    fn read(table: Table<'_>) -> Self {
        let raw = Self {
            span: table.span().clone(),
            certificate: table.text("certificate"),
            key: table.text("key"),
            client_ca: table.text("client_ca"),
        };
        table.finish();
        raw
    }
}

impl RawServerTls {
    /// Whether a certificate is configured, right or wrong.
    pub(in crate::config) fn has_certificate(&self) -> bool {
        self.certificate.is_some() || self.key.is_some()
    }
}

/// `[queue]`
#[derive(Debug, Default)]
pub(in crate::config) struct RawQueue {
    pub(in crate::config) path: Option<At<String>>,
    pub(in crate::config) key_file: Option<At<String>>,
    pub(in crate::config) key_credential: Option<At<String>>,
    pub(in crate::config) history: Option<At<Duration>>,
    pub(in crate::config) active_messages: Option<At<usize>>,
    pub(in crate::config) active_bytes: Option<At<usize>>,
    pub(in crate::config) workers: Option<At<usize>>,
    pub(in crate::config) bounces: Option<At<Address>>,
    pub(in crate::config) dedupe: Option<At<Duration>>,
    pub(in crate::config) backlog: Option<At<u64>>,
    pub(in crate::config) disk_reserve: Option<At<usize>>,
    pub(in crate::config) inode_reserve: Option<At<u64>>,
}

impl RawQueue {
    fn read(table: Table<'_>) -> Self {
        let raw = Self {
            path: table.text("path"),
            key_file: table.text("key_file"),
            key_credential: table.text("key_credential"),
            history: table.duration("history", Duration::from_hours(1), YEAR * 10),
            active_messages: table.integer("active_messages", 4, 1_000_000),
            active_bytes: table.size("active_bytes", 1 << 20, 64 << 30),
            workers: table.integer("workers", 4, 10_000),
            bounces: table.parsed("bounces", "a mail address", value::address),
            dedupe: table.duration("dedupe", Duration::ZERO, Duration::from_hours(1)),
            backlog: table.integer("backlog", 1, 100_000_000),
            disk_reserve: table.size("disk_reserve", 0, 1 << 50),
            inode_reserve: table.integer("inode_reserve", 0, 1_000_000_000),
        };
        table.finish();
        raw
    }
}

/// `[limits]`
#[derive(Debug, Default)]
pub(in crate::config) struct RawLimits {
    pub(in crate::config) message_size: Option<At<usize>>,
    pub(in crate::config) header_size: Option<At<usize>>,
    pub(in crate::config) line_length: Option<At<usize>>,
    pub(in crate::config) recipients: Option<At<usize>>,
    pub(in crate::config) errors: Option<At<u32>>,
    pub(in crate::config) auth_failures: Option<At<u32>>,
    pub(in crate::config) messages_per_connection: Option<At<u32>>,
    pub(in crate::config) connections: Option<At<usize>>,
    pub(in crate::config) connections_per_address: Option<At<usize>>,
    pub(in crate::config) idle: Option<At<Duration>>,
    pub(in crate::config) session: Option<At<Duration>>,
    pub(in crate::config) handshake: Option<At<Duration>>,
    pub(in crate::config) minimum_rate: Option<At<u32>>,
    pub(in crate::config) memory: Option<At<usize>>,
}

impl RawLimits {
    fn read(table: Table<'_>) -> Self {
        let second = Duration::from_secs(1);
        let raw = Self {
            message_size: table.size("message_size", 1 << 10, 10 << 20),
            header_size: table.size("header_size", 1 << 10, 1 << 20),
            line_length: table.size("line_length", 1000, 64 << 10),
            recipients: table.integer("recipients", 1, 1000),
            errors: table.integer("errors", 1, 10_000),
            auth_failures: table.integer("auth_failures", 1, 100),
            messages_per_connection: table.integer("messages_per_connection", 1, 1_000_000),
            connections: table.integer("connections", 1, 100_000),
            connections_per_address: table.integer("connections_per_address", 1, 100_000),
            idle: table.duration("idle", second, second * 3600),
            session: table.duration("session", second * 10, second * 86_400),
            handshake: table.duration("handshake", second, second * 300),
            minimum_rate: table.integer("minimum_rate", 0, 1 << 20),
            memory: table.size("memory", 1 << 20, 64 << 30),
        };
        table.finish();
        raw
    }
}

/// The forms of log lines, as they are written.
pub(in crate::config) const FORMATS: [(&str, LogFormat); 4] = [
    ("auto", LogFormat::Automatic),
    ("text", LogFormat::Text),
    ("json", LogFormat::Json),
    ("journald", LogFormat::Journald),
];

/// `[log]`
#[derive(Debug, Default)]
pub(in crate::config) struct RawLog {
    pub(in crate::config) format: Option<At<LogFormat>>,
    pub(in crate::config) level: Option<At<Level>>,
}

impl RawLog {
    fn read(table: Table<'_>) -> Self {
        let levels = [
            ("error", Level::ERROR),
            ("warn", Level::WARN),
            ("info", Level::INFO),
            ("debug", Level::DEBUG),
            ("trace", Level::TRACE),
        ];
        let raw = Self { format: table.choice("format", &FORMATS), level: table.choice("level", &levels) };
        table.finish();
        raw
    }
}
