//! `[webhooks.NAME]` and `[audit]` as written.

use std::time::Duration;

use ipnet::IpNet;

use super::YEAR;
use super::secret::{RawSecret, SIGNING_SECRET};
use crate::config::problem::Span;
use crate::config::reader::{At, Table};
use crate::config::value;
use crate::config::value::web::{HookUrl, hook_url};
use crate::webhook::RecipientForm;

/// `[webhooks.NAME]`
#[derive(Debug)]
pub(in crate::config) struct RawWebhook {
    pub(in crate::config) span: Span,
    pub(in crate::config) url: Option<At<HookUrl>>,
    pub(in crate::config) secret: RawSecret,
    pub(in crate::config) events: Option<At<Vec<At<String>>>>,
    pub(in crate::config) businesses: Option<At<Vec<At<String>>>>,
    pub(in crate::config) recipient: Option<At<RecipientForm>>,
    pub(in crate::config) allow_networks: Option<At<Vec<At<IpNet>>>>,
    pub(in crate::config) ca_file: Option<At<String>>,
    pub(in crate::config) timeout: Option<At<Duration>>,
    pub(in crate::config) max_connections: Option<At<usize>>,
    pub(in crate::config) backlog: Option<At<u32>>,
    pub(in crate::config) keep: Option<At<Duration>>,
}

impl RawWebhook {
    pub(super) fn read(table: Table<'_>) -> Self {
        table.require("url", "write url = \"https://hooks.acme.example/authrelay\"");
        let [file, env, credential, _] = SIGNING_SECRET.keys;
        table.require_any(
            &SIGNING_SECRET.keys,
            &[file],
            &format!("set {file}, {env} or {credential}; the secret is whsec_ and base64 of 24 to 64 bytes"),
        );
        let forms = [("full", RecipientForm::Full), ("hash", RecipientForm::Hash)];
        let raw = Self {
            span: table.span().clone(),
            url: table.hidden("url", hook_url),
            secret: RawSecret::read(&table, &SIGNING_SECRET),
            events: table.names("events"),
            businesses: table.names("businesses"),
            recipient: table.choice("recipient", &forms),
            allow_networks: table.list("allow_networks", value::network),
            ca_file: table.text("ca_file"),
            timeout: table.duration("timeout", Duration::from_secs(1), Duration::from_secs(30)),
            max_connections: table.integer("max_connections", 1, 64),
            backlog: table.integer("backlog", 100, 1_000_000),
            keep: table.duration("keep", Duration::from_mins(10), Duration::from_hours(30 * 24)),
        };
        table.finish();
        raw
    }
}

/// `[audit]`
#[derive(Debug, Default)]
pub(in crate::config) struct RawAudit {
    pub(in crate::config) keep: Option<At<Duration>>,
}

impl RawAudit {
    pub(super) fn read(table: Table<'_>) -> Self {
        let raw = Self { keep: table.duration("keep", Duration::ZERO, YEAR * 10) };
        table.finish();
        raw
    }
}
