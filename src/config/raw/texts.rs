//! `[http.NAME]` and `[otp]` as written.

use std::time::Duration;

use super::access::sha256;
use crate::config::problem::{Report, Span};
use crate::config::reader::{At, Table};
use crate::config::value::texts::{country, limit, mode, number};
use crate::config::value::{self, Listen, Parsed, Wrong};
use crate::config::words::{help_with, quote};
use crate::guard::sms::Limit;
use crate::http::Interface;
use crate::mail::PhoneNumber;
use crate::phone::Country;
use crate::secret::Digest;

/// `[http.NAME]`
#[derive(Debug)]
pub(in crate::config) struct RawHttp {
    pub(in crate::config) address: Option<At<Listen>>,
    pub(in crate::config) socket: Option<At<String>>,
    pub(in crate::config) socket_mode: Option<At<u32>>,
    /// Whether it speaks TLS.
    pub(in crate::config) tls: Option<At<bool>>,
    pub(in crate::config) serves: Option<At<Vec<At<Interface>>>>,
    pub(in crate::config) password_sha256: Option<At<Digest>>,
    pub(in crate::config) client_ca: Option<At<String>>,
    /// Whether `address` is there, right or wrong.
    pub(in crate::config) has_address: bool,
}

impl RawHttp {
    pub(super) fn read(report: &Report, table: Table<'_>) -> Self {
        let raw = Self {
            has_address: table.has("address"),
            address: table.parsed("address", "an address and port", value::listen),
            socket: table.text("socket"),
            socket_mode: table.parsed("socket_mode", "a file mode in quotes", mode),
            tls: table.choice("tls", &[("off", false), ("on", true)]),
            serves: table.list("serves", interface),
            password_sha256: table.hidden("password_sha256", admin_password),
            client_ca: table.text("client_ca"),
        };
        if let Some(mode) = raw.socket_mode.as_ref().filter(|_| !table.has("socket")) {
            report.error(&mode.span, "`socket_mode` has no effect without `socket`").help("set socket");
        }
        table.finish();
        raw
    }

    /// What is listened on where nothing is said.
    pub(in crate::config) fn default_listener() -> Self {
        Self {
            address: None,
            socket: None,
            socket_mode: None,
            tls: None,
            serves: None,
            password_sha256: None,
            client_ca: None,
            has_address: false,
        }
    }
}

fn interface(text: &str) -> Parsed<Interface> {
    match text {
        "otp" => Ok(Interface::Otp),
        "callback" => Ok(Interface::Callback),
        "admin" => Ok(Interface::Admin),
        _ => Err(Wrong {
            message: format!("there is no interface {}", quote(text)),
            help: help_with(text, &["otp", "callback", "admin"]),
        }),
    }
}

fn admin_password(text: &str) -> Parsed<Digest> {
    sha256(text).map_err(|wrong| {
        wrong.help("make a password with `openssl rand -hex 32`, and its digest with `printf %s PASSWORD | sha256sum`")
    })
}

/// `[otp]`
#[derive(Debug, Default)]
pub(in crate::config) struct RawOtp {
    /// Where it stands; `None` where it is not there.
    pub(in crate::config) span: Span,
    pub(in crate::config) primary: Option<At<bool>>,
    pub(in crate::config) secondary: Option<At<bool>>,
    pub(in crate::config) code_shortest: Option<At<usize>>,
    pub(in crate::config) code_longest: Option<At<usize>>,
    pub(in crate::config) code_letters: Option<At<bool>>,
    pub(in crate::config) default_country: Option<At<Country>>,
    pub(in crate::config) origin_bound: Option<At<bool>>,
    pub(in crate::config) mail_domain: Option<At<String>>,
    pub(in crate::config) countries: Option<At<Vec<At<Country>>>>,
    pub(in crate::config) test_numbers: Option<At<Vec<At<PhoneNumber>>>>,
    pub(in crate::config) limits: RawTextLimits,
}

/// The part of `[otp]` that says how much is too much.
#[derive(Debug, Default)]
pub(in crate::config) struct RawTextLimits {
    pub(in crate::config) per_number: Option<At<Vec<At<Limit>>>>,
    pub(in crate::config) per_prefix: Option<At<Vec<At<Limit>>>>,
    pub(in crate::config) per_client: Option<At<Vec<At<Limit>>>>,
    pub(in crate::config) per_business: Option<At<Vec<At<Limit>>>>,
    pub(in crate::config) in_all: Option<At<Vec<At<Limit>>>>,
    pub(in crate::config) client_rate: Option<At<u32>>,
    pub(in crate::config) client_burst: Option<At<u32>>,
    pub(in crate::config) number_pause: Option<At<Duration>>,
    pub(in crate::config) conversion_countries: Option<At<Vec<At<Country>>>>,
    pub(in crate::config) conversion_least: Option<At<u32>>,
}

impl RawOtp {
    pub(super) fn read(table: Table<'_>) -> Self {
        let raw = Self {
            span: table.span().clone(),
            primary: table.boolean("primary"),
            secondary: table.boolean("secondary"),
            code_shortest: table.integer("code_shortest", 4, 10),
            code_longest: table.integer("code_longest", 4, 10),
            code_letters: table.boolean("code_letters"),
            default_country: table.parsed("default_country", "a country", country),
            origin_bound: table.boolean("origin_bound"),
            mail_domain: table.parsed("mail_domain", "a domain", value::host_name),
            countries: table.list("countries", country),
            test_numbers: table.list("test_numbers", number),
            limits: RawTextLimits::read(&table),
        };
        table.finish();
        raw
    }
}

impl RawTextLimits {
    fn read(table: &Table<'_>) -> Self {
        Self {
            per_number: table.list("per_number", limit),
            per_prefix: table.list("per_prefix", limit),
            per_client: table.list("per_client", limit),
            per_business: table.list("per_business", limit),
            in_all: table.list("in_all", limit),
            client_rate: table.integer("client_rate", 1, 10_000),
            client_burst: table.integer("client_burst", 1, 100_000),
            number_pause: table.duration("number_pause", Duration::ZERO, Duration::from_hours(1)),
            conversion_countries: table.list("conversion_countries", country),
            conversion_least: table.integer("conversion_least", 1, 100),
        }
    }
}
