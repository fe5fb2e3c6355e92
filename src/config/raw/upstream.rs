//! `[upstreams.NAME]` as written.

use std::time::Duration;

use crate::config::problem::{Report, Span};
use crate::config::reader::{At, Table};
use crate::config::value;
use crate::config::words::quote;
use crate::secret::Secret;

const SECOND: Duration = Duration::from_secs(1);

/// `[upstreams.NAME]`
#[derive(Debug)]
pub(in crate::config) struct RawUpstream {
    pub(in crate::config) span: Span,
    pub(in crate::config) kind: Option<At<RawKind>>,
    pub(in crate::config) path: Option<At<String>>,
    pub(in crate::config) smtp: RawSmtp,
    pub(in crate::config) senders: Option<At<Vec<At<String>>>>,
    pub(in crate::config) max_connections: Option<At<usize>>,
    pub(in crate::config) messages_per_minute: Option<At<u32>>,
    pub(in crate::config) breaker: RawBreaker,
}

/// `kind`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum RawKind {
    Smtp,
    Maildir,
}

/// `tls`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum RawTls {
    StartTls,
    Implicit,
    Plain,
}

/// The keys of `kind = "smtp"`.
#[derive(Debug, Default)]
pub(in crate::config) struct RawSmtp {
    pub(in crate::config) host: Option<At<String>>,
    pub(in crate::config) port: Option<At<u16>>,
    pub(in crate::config) tls: Option<At<RawTls>>,
    pub(in crate::config) plaintext_allowed: Option<At<bool>>,
    pub(in crate::config) ca_file: Option<At<String>>,
    pub(in crate::config) user: Option<At<String>>,
    pub(in crate::config) password: RawPassword,
    pub(in crate::config) idle: Option<At<Duration>>,
    pub(in crate::config) messages_per_connection: Option<At<u32>>,
    pub(in crate::config) timeouts: RawTimeouts,
}

/// Where a password comes from.
#[derive(Debug, Default)]
pub(in crate::config) struct RawPassword {
    pub(in crate::config) file: Option<At<String>>,
    pub(in crate::config) env: Option<At<String>>,
    pub(in crate::config) credential: Option<At<String>>,
    pub(in crate::config) inline: Option<At<Secret>>,
}

/// `timeouts`
#[derive(Debug, Default)]
pub(in crate::config) struct RawTimeouts {
    pub(in crate::config) connect: Option<At<Duration>>,
    pub(in crate::config) command: Option<At<Duration>>,
    pub(in crate::config) data: Option<At<Duration>>,
}

/// `breaker`
#[derive(Debug, Default)]
pub(in crate::config) struct RawBreaker {
    pub(in crate::config) failures: Option<At<u32>>,
    pub(in crate::config) shortest: Option<At<Duration>>,
    pub(in crate::config) longest: Option<At<Duration>>,
}

/// The keys that mean something only for `kind = "smtp"`.
const SMTP_KEYS: [&str; 13] = [
    "host",
    "port",
    "tls",
    "plaintext_allowed",
    "ca_file",
    "user",
    "password",
    "password_file",
    "password_env",
    "password_credential",
    "idle",
    "messages_per_connection",
    "timeouts",
];

impl RawUpstream {
    pub(super) fn read(report: &Report, table: Table<'_>) -> Self {
        let raw = Self {
            span: table.span().clone(),
            kind: table.choice("kind", &[("smtp", RawKind::Smtp), ("maildir", RawKind::Maildir)]),
            path: table.text("path"),
            smtp: RawSmtp::read(&table),
            senders: table.names("senders"),
            max_connections: table.integer("max_connections", 1, 1000),
            messages_per_minute: table.integer("messages_per_minute", 1, 1_000_000),
            breaker: table.table("breaker").map(RawBreaker::read).unwrap_or_default(),
        };
        if raw.kind() == RawKind::Smtp {
            table.require("host", "the name of your provider's SMTP server");
        }
        let foreign: &[&str] = match raw.kind() {
            RawKind::Smtp => &["path"],
            RawKind::Maildir => &SMTP_KEYS,
        };
        let other = match raw.kind() {
            RawKind::Smtp => "maildir",
            RawKind::Maildir => "smtp",
        };
        for key in table.keys().iter().filter(|key| foreign.contains(&key.value.as_str())) {
            report.error(&key.span, format!("{} belongs to kind = \"{other}\"", quote(&key.value)));
        }
        table.finish();
        raw
    }

    /// What it is; an SMTP server where nothing is said.
    pub(in crate::config) fn kind(&self) -> RawKind {
        self.kind.as_ref().map_or(RawKind::Smtp, |kind| kind.value)
    }

    /// Where mail goes where nothing is said: a folder in the state directory.
    pub(in crate::config) fn default_upstream() -> Self {
        Self {
            span: None,
            kind: Some(At::default(RawKind::Maildir)),
            path: None,
            smtp: RawSmtp::default(),
            senders: None,
            max_connections: None,
            messages_per_minute: None,
            breaker: RawBreaker::default(),
        }
    }
}

impl RawSmtp {
    fn read(table: &Table<'_>) -> Self {
        let tls = [("starttls", RawTls::StartTls), ("implicit", RawTls::Implicit), ("plain", RawTls::Plain)];
        Self {
            host: table.parsed("host", "a host name", value::host),
            port: table.integer("port", 1, 65_535),
            tls: table.choice("tls", &tls),
            plaintext_allowed: table.boolean("plaintext_allowed"),
            ca_file: table.text("ca_file"),
            user: table.text("user"),
            password: RawPassword {
                file: table.text("password_file"),
                env: table.text("password_env"),
                credential: table.text("password_credential"),
                inline: table.secret("password"),
            },
            idle: table.duration("idle", SECOND, SECOND * 3600),
            messages_per_connection: table.integer("messages_per_connection", 1, 1_000_000),
            timeouts: table.table("timeouts").map(RawTimeouts::read).unwrap_or_default(),
        }
    }
}

impl RawTimeouts {
    fn read(table: Table<'_>) -> Self {
        let step = |key: &str| table.duration(key, SECOND, SECOND * 600);
        let raw = Self { connect: step("connect"), command: step("command"), data: step("data") };
        table.finish();
        raw
    }
}

impl RawBreaker {
    fn read(table: Table<'_>) -> Self {
        let raw = Self {
            failures: table.integer("failures", 1, 1000),
            shortest: table.duration("shortest", SECOND, SECOND * 3600),
            longest: table.duration("longest", SECOND, SECOND * 86_400),
        };
        table.finish();
        raw
    }
}
