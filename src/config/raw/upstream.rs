//! `[upstreams.NAME]` as written.

use std::time::Duration;

use super::secret::{PASSWORD, RawSecret};
use super::twilio::{RawTwilio, TWILIO_KEYS};
use crate::config::problem::{Report, Span};
use crate::config::reader::{At, Table};
use crate::config::value;
use crate::config::words::quote;

const SECOND: Duration = Duration::from_secs(1);

/// `[upstreams.NAME]`
#[derive(Debug)]
pub(in crate::config) struct RawUpstream {
    pub(in crate::config) span: Span,
    pub(in crate::config) kind: Option<At<RawKind>>,
    pub(in crate::config) path: Option<At<String>>,
    pub(in crate::config) ca_file: Option<At<String>>,
    pub(in crate::config) smtp: RawSmtp,
    pub(in crate::config) twilio: RawTwilio,
    pub(in crate::config) timeouts: RawTimeouts,
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
    Outbox,
    Twilio,
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
    pub(in crate::config) user: Option<At<String>>,
    pub(in crate::config) password: RawSecret,
    pub(in crate::config) idle: Option<At<Duration>>,
    pub(in crate::config) messages_per_connection: Option<At<u32>>,
}

/// `timeouts`
#[derive(Debug, Default)]
pub(in crate::config) struct RawTimeouts {
    pub(in crate::config) connect: Option<At<Duration>>,
    pub(in crate::config) command: Option<At<Duration>>,
    pub(in crate::config) data: Option<At<Duration>>,
    pub(in crate::config) answer: Option<At<Duration>>,
}

/// `breaker`
#[derive(Debug, Default)]
pub(in crate::config) struct RawBreaker {
    pub(in crate::config) failures: Option<At<u32>>,
    pub(in crate::config) shortest: Option<At<Duration>>,
    pub(in crate::config) longest: Option<At<Duration>>,
}

/// The keys that mean something only for some kinds, `kind = "twilio"` alone left out.
const KEYS_OF: [(&str, &[RawKind]); 18] = [
    ("path", &[RawKind::Maildir, RawKind::Outbox]),
    ("senders", &[RawKind::Smtp, RawKind::Maildir]),
    ("ca_file", &[RawKind::Smtp, RawKind::Twilio]),
    ("timeouts", &[RawKind::Smtp, RawKind::Twilio]),
    ("timeouts.connect", &[RawKind::Smtp, RawKind::Twilio]),
    ("timeouts.command", &[RawKind::Smtp]),
    ("timeouts.data", &[RawKind::Smtp]),
    ("host", &[RawKind::Smtp]),
    ("port", &[RawKind::Smtp]),
    ("tls", &[RawKind::Smtp]),
    ("plaintext_allowed", &[RawKind::Smtp]),
    ("user", &[RawKind::Smtp]),
    ("password", &[RawKind::Smtp]),
    ("password_file", &[RawKind::Smtp]),
    ("password_env", &[RawKind::Smtp]),
    ("password_credential", &[RawKind::Smtp]),
    ("idle", &[RawKind::Smtp]),
    ("messages_per_connection", &[RawKind::Smtp]),
];

impl RawKind {
    /// Whether it takes texts; the others take mail.
    pub(in crate::config) fn takes_texts(self) -> bool {
        match self {
            Self::Outbox | Self::Twilio => true,
            Self::Smtp | Self::Maildir => false,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Maildir => "maildir",
            Self::Outbox => "outbox",
            Self::Twilio => "twilio",
        }
    }
}

impl RawUpstream {
    pub(super) fn read(report: &Report, table: Table<'_>) -> Self {
        let kinds = [RawKind::Smtp, RawKind::Maildir, RawKind::Outbox, RawKind::Twilio];
        let kind = table.choice("kind", &kinds.map(|kind| (kind.as_str(), kind)));
        let is = kind.as_ref().map_or(RawKind::Smtp, |kind| kind.value);
        let raw = Self {
            span: table.span().clone(),
            kind,
            path: table.text("path"),
            ca_file: table.text("ca_file"),
            smtp: RawSmtp::read(&table),
            twilio: RawTwilio::read(report, &table),
            timeouts: table
                .table("timeouts")
                .map(|inner| RawTimeouts::read(report, inner, is))
                .unwrap_or_default(),
            senders: table.names("senders"),
            max_connections: table.integer("max_connections", 1, 1000),
            messages_per_minute: table.integer("messages_per_minute", 1, 1_000_000),
            breaker: table.table("breaker").map(RawBreaker::read).unwrap_or_default(),
        };
        match is {
            RawKind::Smtp => table.require("host", "the name of your provider's SMTP server"),
            RawKind::Twilio => RawTwilio::require(&table),
            RawKind::Maildir | RawKind::Outbox => {}
        }
        refuse_foreign(report, &table, "", is);
        table.finish();
        raw
    }

    /// What it is; an SMTP server where nothing is said.
    pub(in crate::config) fn kind(&self) -> RawKind {
        self.kind.as_ref().map_or(RawKind::Smtp, |kind| kind.value)
    }

    /// Where mail or texts go where nothing is said: a folder, or a file, in the state directory.
    pub(in crate::config) fn default_upstream(kind: RawKind) -> Self {
        Self {
            span: None,
            kind: Some(At::default(kind)),
            path: None,
            ca_file: None,
            smtp: RawSmtp::default(),
            twilio: RawTwilio::default(),
            timeouts: RawTimeouts::default(),
            senders: None,
            max_connections: None,
            messages_per_minute: None,
            breaker: RawBreaker::default(),
        }
    }
}

/// Reports the keys of `table` that mean something for other kinds only. `prefix` is what the table is called, with a
/// dot.
fn refuse_foreign(report: &Report, table: &Table<'_>, prefix: &str, kind: RawKind) {
    for key in table.keys() {
        let name = format!("{prefix}{}", key.value);
        let listed = KEYS_OF.iter().find(|(key, _)| *key == name).map(|(_, kinds)| *kinds);
        let of_twilio: Option<&[RawKind]> =
            TWILIO_KEYS.contains(&name.as_str()).then_some(&[RawKind::Twilio]);
        let Some(kinds) = listed.or(of_twilio).filter(|kinds| !kinds.contains(&kind)) else { continue };
        let kinds: Vec<String> = kinds.iter().map(|kind| format!("\"{}\"", kind.as_str())).collect();
        let message = format!("{} belongs to kind = {}", quote(&name), kinds.join(" or "));
        report.error(&key.span, message).maybe(None);
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
            user: table.text("user"),
            password: RawSecret::read(table, &PASSWORD),
            idle: table.duration("idle", SECOND, SECOND * 3600),
            messages_per_connection: table.integer("messages_per_connection", 1, 1_000_000),
        }
    }
}

impl RawTimeouts {
    fn read(report: &Report, table: Table<'_>, kind: RawKind) -> Self {
        let step = |key: &str| table.duration(key, SECOND, SECOND * 600);
        let raw = Self {
            connect: step("connect"),
            command: step("command"),
            data: step("data"),
            answer: step("answer"),
        };
        // Where the whole table is another kind's, that is said once.
        if matches!(kind, RawKind::Smtp | RawKind::Twilio) {
            refuse_foreign(report, &table, "timeouts.", kind);
        }
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
