//! `[listeners.NAME]` and `[clients.NAME]` as written.

use std::time::Duration;

use ipnet::IpNet;

use super::policy::PER_MINUTE_MOST;
use crate::client::PasswordHash;
use crate::clock::Timestamp;
use crate::config::problem::Span;
use crate::config::reader::{At, Table};
use crate::config::value::{self, Listen, Parsed, Wrong};
use crate::guard::links::LinkGuard;
use crate::guard::mail::NameGuard;
use crate::secret::Digest;
use crate::smtp::{BareLf, ListenerTls};

/// The most memory in KiB that checking one password may take: with a few at a time it must still fit.
const ARGON2_MEMORY_MOST: u32 = 256 << 10;

/// `[listeners.NAME]`
#[derive(Debug)]
pub(in crate::config) struct RawListener {
    pub(in crate::config) address: Option<At<Listen>>,
    pub(in crate::config) tls: Option<At<ListenerTls>>,
    pub(in crate::config) plaintext_auth: Option<At<Vec<At<IpNet>>>>,
    pub(in crate::config) bare_lf: Option<At<BareLf>>,
    pub(in crate::config) smtputf8: Option<At<bool>>,
}

impl RawListener {
    pub(super) fn read(table: Table<'_>) -> Self {
        let tls = [
            ("off", ListenerTls::Off),
            ("starttls", ListenerTls::StartTls),
            ("required", ListenerTls::Required),
            ("implicit", ListenerTls::Implicit),
        ];
        let bare_lf = [("normalize", BareLf::Normalize), ("refuse", BareLf::Refuse)];
        table.require("address", "write address = \"127.0.0.1:2525\"");
        let raw = Self {
            address: table.parsed("address", "an address and port", value::listen),
            tls: table.choice("tls", &tls),
            plaintext_auth: table.list("plaintext_auth", value::network),
            bare_lf: table.choice("bare_lf", &bare_lf),
            smtputf8: table.boolean("smtputf8"),
        };
        table.finish();
        raw
    }

    /// What is listened on where nothing is said.
    pub(in crate::config) fn default_listener() -> Self {
        Self {
            address: Some(At::default(Listen::loopback(2525))),
            tls: None,
            plaintext_auth: None,
            bare_lf: None,
            smtputf8: None,
        }
    }
}

/// `[clients.NAME]`
#[derive(Debug)]
pub(in crate::config) struct RawClient {
    pub(in crate::config) span: Span,
    pub(in crate::config) business: Option<At<String>>,
    pub(in crate::config) businesses: Option<At<Vec<At<String>>>>,
    pub(in crate::config) access: RawAccess,
    pub(in crate::config) categories: Option<At<Vec<At<String>>>>,
    pub(in crate::config) category: Option<At<String>>,
    pub(in crate::config) may_declare: Option<At<bool>>,
    pub(in crate::config) reports_to: Option<At<Vec<At<String>>>>,
    pub(in crate::config) observe_until: Option<At<Timestamp>>,
    pub(in crate::config) burst: RawBurst,
    pub(in crate::config) per_minute: Option<At<u32>>,
    pub(in crate::config) link_guard: Option<At<LinkGuard>>,
    pub(in crate::config) name_guard: Option<At<NameGuard>>,
    pub(in crate::config) sms_by_mail: Option<At<bool>>,
}

/// `[clients.NAME.burst]`
#[derive(Debug, Default)]
pub(in crate::config) struct RawBurst {
    pub(in crate::config) recipients: Option<At<u32>>,
    pub(in crate::config) within: Option<At<Duration>>,
}

/// The part of `[clients.NAME]` that says how it is known.
#[derive(Debug, Default)]
pub(in crate::config) struct RawAccess {
    pub(in crate::config) networks: Option<At<Vec<At<IpNet>>>>,
    pub(in crate::config) listeners: Option<At<Vec<At<String>>>>,
    pub(in crate::config) user: Option<At<String>>,
    pub(in crate::config) password_sha256: Option<At<PasswordHash>>,
    pub(in crate::config) password_argon2id: Option<At<PasswordHash>>,
    pub(in crate::config) certificates: Option<At<Vec<At<Digest>>>>,
    pub(in crate::config) token: Option<At<Digest>>,
    /// Whether any of these keys is there, right or wrong.
    pub(in crate::config) any: bool,
}

impl RawClient {
    pub(super) fn read(table: Table<'_>) -> Self {
        let raw = Self {
            span: table.span().clone(),
            business: table.text("business"),
            businesses: table.names("businesses"),
            access: RawAccess::read(&table),
            categories: table.names("categories"),
            category: table.text("category"),
            may_declare: table.boolean("may_declare"),
            reports_to: table.list("reports_to", value::host_name),
            observe_until: table.until("observe_until"),
            burst: table.table("burst").map(RawBurst::read).unwrap_or_default(),
            per_minute: table.integer("per_minute", 0, PER_MINUTE_MOST),
            link_guard: table.choice("link_guard", &super::LINK_GUARDS),
            name_guard: table.choice("name_guard", &[("on", NameGuard::On), ("off", NameGuard::Off)]),
            sms_by_mail: table.boolean("sms_by_mail"),
        };
        table.finish();
        raw
    }

    /// Who may send where nothing is said: programs on this machine.
    pub(in crate::config) fn default_client() -> Self {
        let loopback = ["127.0.0.0/8", "::1/128"].into_iter().filter_map(|net| net.parse().ok());
        let networks = loopback.map(At::default).collect();
        Self {
            span: None,
            business: None,
            businesses: None,
            access: RawAccess { networks: Some(At::default(networks)), any: true, ..RawAccess::default() },
            categories: None,
            category: None,
            may_declare: None,
            reports_to: None,
            observe_until: None,
            burst: RawBurst::default(),
            per_minute: None,
            link_guard: None,
            name_guard: None,
            sms_by_mail: None,
        }
    }
}

impl RawBurst {
    fn read(table: Table<'_>) -> Self {
        let raw = Self {
            recipients: table.integer("recipients", 0, 100_000),
            within: table.duration("within", Duration::from_secs(1), Duration::from_hours(1)),
        };
        table.finish();
        raw
    }
}

impl RawAccess {
    fn read(table: &Table<'_>) -> Self {
        let keys = [
            "networks",
            "listeners",
            "password_sha256",
            "password_argon2id",
            "certificates_sha256",
            "token_sha256",
        ];
        Self {
            networks: table.list("networks", value::network),
            listeners: table.names("listeners"),
            user: table.parsed("user", "a user name", user),
            password_sha256: table.hidden("password_sha256", password_sha256),
            password_argon2id: table.hidden("password_argon2id", argon2id),
            certificates: table.list("certificates_sha256", fingerprint),
            token: table.hidden("token_sha256", token_sha256),
            any: keys.into_iter().any(|key| table.has(key)),
        }
    }
}

fn user(text: &str) -> Parsed<String> {
    if (1..=255).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(Wrong::from("a user name has 1 to 255 octets and no control characters".to_owned()))
}

fn password_sha256(text: &str) -> Parsed<PasswordHash> {
    let help = "`authrelay client add NAME` makes a password and its digest";
    sha256(text).map(PasswordHash::Sha256).map_err(|wrong| wrong.help(help))
}

fn token_sha256(text: &str) -> Parsed<Digest> {
    sha256(text).map_err(|wrong| wrong.help("`authrelay client add NAME --otp` makes a token and its digest"))
}

pub(super) fn sha256(text: &str) -> Parsed<Digest> {
    let digits = format!(
        "a SHA-256 digest has 64 hexadecimal digits, this text has {} characters",
        text.chars().count()
    );
    Digest::from_hex(text).ok_or_else(|| Wrong::from(digits))
}

fn argon2id(text: &str) -> Parsed<PasswordHash> {
    let help = "`argon2 \"$(openssl rand -hex 16)\" -id -e` makes one of the password on its standard input";
    let wrong = |message: &str| Wrong::from(message.to_owned()).help(help);
    let hash = argon2::PasswordHash::new(text)
        .map_err(|_| wrong("not a password hash of the form $argon2id$..."))?;
    if hash.algorithm.as_str() != "argon2id" || hash.salt.is_none() || hash.hash.is_none() {
        return Err(wrong("not a whole password hash of the form $argon2id$..."));
    }
    let params = argon2::Params::try_from(&hash)
        .map_err(|_| wrong("the parameters of this hash are not argon2id's"))?;
    if params.m_cost() > ARGON2_MEMORY_MOST || params.t_cost() > 20 || params.p_cost() > 16 {
        return Err(wrong("checking this hash would cost too much: at most m=262144 (256 MiB), t=20, p=16"));
    }
    Ok(PasswordHash::Argon2id(text.to_owned()))
}

/// With or without colons, as `openssl x509 -fingerprint -sha256` prints it.
fn fingerprint(text: &str) -> Parsed<Digest> {
    let digits = text.replace(':', "");
    let wrong = || {
        Wrong::not(text, "a SHA-256 fingerprint")
            .help("`openssl x509 -noout -fingerprint -sha256 -in FILE` prints it")
    };
    Digest::from_hex(&digits).ok_or_else(wrong)
}
