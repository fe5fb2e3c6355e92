//! The keys of `kind = "twilio"` in `[upstreams.NAME]`, as written.

use super::secret::{API_KEY_SECRET, AUTH_TOKEN, RawSecret};
use crate::config::problem::Report;
use crate::config::reader::{At, Table};
use crate::config::value::texts::{
    account_sid, api_key_sid, from, from_or_service, label, messaging_service_sid, prefix,
};
use crate::config::value::web::{BaseUrl, base_url};
use crate::deliver::TwilioFrom;

/// The keys that mean something only for `kind = "twilio"`.
pub(super) const TWILIO_KEYS: [&str; 22] = [
    "account_sid",
    "auth_token",
    "auth_token_file",
    "auth_token_env",
    "auth_token_credential",
    "api_key_sid",
    "api_key_secret",
    "api_key_secret_file",
    "api_key_secret_env",
    "api_key_secret_credential",
    "from",
    "messaging_service_sid",
    "from_by_prefix",
    "region",
    "edge",
    "base_url",
    "public_url",
    "risk_check",
    "discard_content",
    "obfuscate_address",
    "feedback",
    "timeouts.answer",
];

/// The keys of `kind = "twilio"`.
#[derive(Debug, Default)]
pub(in crate::config) struct RawTwilio {
    pub(in crate::config) account_sid: Option<At<String>>,
    pub(in crate::config) auth_token: RawSecret,
    pub(in crate::config) api_key_sid: Option<At<String>>,
    pub(in crate::config) api_key_secret: RawSecret,
    pub(in crate::config) from: Option<At<TwilioFrom>>,
    pub(in crate::config) messaging_service_sid: Option<At<String>>,
    pub(in crate::config) from_by_prefix: Vec<(String, TwilioFrom)>,
    pub(in crate::config) region: Option<At<String>>,
    pub(in crate::config) edge: Option<At<String>>,
    pub(in crate::config) base_url: Option<At<BaseUrl>>,
    pub(in crate::config) public_url: Option<At<BaseUrl>>,
    pub(in crate::config) risk_check: Option<At<bool>>,
    pub(in crate::config) discard_content: Option<At<bool>>,
    pub(in crate::config) obfuscate_address: Option<At<bool>>,
    pub(in crate::config) feedback: Option<At<bool>>,
    /// Whether `api_key_sid` is there, right or wrong.
    pub(in crate::config) has_api_key: bool,
}

impl RawTwilio {
    pub(super) fn read(report: &Report, table: &Table<'_>) -> Self {
        let url = |key: &str| table.parsed(key, "a web address", base_url);
        Self {
            account_sid: table.hidden("account_sid", account_sid),
            auth_token: RawSecret::read(table, &AUTH_TOKEN),
            has_api_key: table.has("api_key_sid"),
            api_key_sid: table.hidden("api_key_sid", api_key_sid),
            api_key_secret: RawSecret::read(table, &API_KEY_SECRET),
            from: table.parsed("from", "a sender", from),
            messaging_service_sid: table.parsed("messaging_service_sid", "a SID", messaging_service_sid),
            from_by_prefix: by_prefix(report, table),
            region: table.parsed("region", "a region", label),
            edge: table.parsed("edge", "an edge location", label),
            base_url: url("base_url"),
            public_url: url("public_url"),
            risk_check: table.boolean("risk_check"),
            discard_content: table.boolean("discard_content"),
            obfuscate_address: table.boolean("obfuscate_address"),
            feedback: table.boolean("feedback"),
        }
    }

    /// Reports what must be there and is not.
    pub(super) fn require(table: &Table<'_>) {
        table.require("account_sid", "AC and 32 hexadecimal digits; it stands in the Twilio Console");
        let logins: Vec<&str> =
            AUTH_TOKEN.keys.into_iter().chain(API_KEY_SECRET.keys).chain(["api_key_sid"]).collect();
        table.require_any(
            &logins,
            &["auth_token", "api_key_sid"],
            "set auth_token_file, auth_token_env or auth_token_credential; or api_key_sid and its secret",
        );
        table.require_any(
            &["from", "messaging_service_sid"],
            &["from", "messaging_service_sid"],
            "write from = \"+12025550100\", a number of your account, or messaging_service_sid = \"MG...\"",
        );
    }
}

/// `from_by_prefix`, the prefixes in alphabetical order.
fn by_prefix(report: &Report, table: &Table<'_>) -> Vec<(String, TwilioFrom)> {
    let Some(inner) = table.table("from_by_prefix") else { return Vec::new() };
    let mut found = Vec::new();
    for key in inner.keys() {
        let from = inner.parsed(&key.value, "a sender", from_or_service);
        match prefix(&key.value) {
            Ok(()) => found.extend(from.map(|from| (key.value, from.value))),
            Err(wrong) => report.error(&key.span, wrong.message).maybe(wrong.help),
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}
