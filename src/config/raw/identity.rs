//! `[businesses.NAME]` and `[senders.NAME]` as written.

use crate::config::reader::{At, Table};
use crate::config::value;
use crate::mail::{Address, Mailbox};

/// `[businesses.NAME]`
#[derive(Debug)]
pub(in crate::config) struct RawBusiness {
    /// The web address and its host.
    pub(in crate::config) url: Option<At<(String, String)>>,
    /// Whether `url` is there, right or wrong.
    pub(in crate::config) has_url: bool,
    pub(in crate::config) domains: Option<At<Vec<At<String>>>>,
    pub(in crate::config) allowed_link_domains: Option<At<Vec<At<String>>>>,
    pub(in crate::config) tracking_domains: Option<At<Vec<At<String>>>>,
    pub(in crate::config) image_domains: Option<At<Vec<At<String>>>>,
    pub(in crate::config) sender: Option<At<String>>,
    pub(in crate::config) reply_to: Option<At<Mailbox>>,
}

impl RawBusiness {
    pub(super) fn read(table: Table<'_>) -> Self {
        let raw = Self {
            has_url: table.has("url"),
            url: table.parsed("url", "a web address", value::web::url),
            domains: table.list("domains", value::host_name),
            allowed_link_domains: table.list("allowed_link_domains", value::web::link_domain),
            tracking_domains: table.list("tracking_domains", value::web::link_domain),
            image_domains: table.list("image_domains", value::web::link_domain),
            sender: table.text("sender"),
            reply_to: table.parsed("reply_to", "a mail address", value::mailbox),
        };
        table.finish();
        raw
    }
}

/// `[senders.NAME]`
#[derive(Debug)]
pub(in crate::config) struct RawSender {
    pub(in crate::config) from: Option<At<Mailbox>>,
    pub(in crate::config) return_path: Option<At<Address>>,
    /// Whether a null reverse-path is replaced.
    pub(in crate::config) null_reverse_path: Option<At<bool>>,
    pub(in crate::config) dkim: Vec<RawDkim>,
}

/// One entry of `dkim`.
#[derive(Debug)]
pub(in crate::config) struct RawDkim {
    pub(in crate::config) domain: Option<At<String>>,
    pub(in crate::config) selector: Option<At<String>>,
    pub(in crate::config) key_file: Option<At<String>>,
}

impl RawSender {
    pub(super) fn read(table: Table<'_>) -> Self {
        table.require("from", "write from = \"Acme <no-reply@acme.example>\"");
        let raw = Self {
            from: table.parsed("from", "a mail address", value::mailbox),
            return_path: table.parsed("return_path", "a mail address", value::address),
            null_reverse_path: table.choice("null_reverse_path", &[("keep", false), ("replace", true)]),
            dkim: table.tables("dkim").into_iter().map(RawDkim::read).collect(),
        };
        table.finish();
        raw
    }

    /// Whose name mail goes out under where nothing is said. Good for this machine only.
    pub(in crate::config) fn default_sender() -> Self {
        let from = value::mailbox("no-reply@localhost").ok().map(At::default);
        Self { from, return_path: None, null_reverse_path: None, dkim: Vec::new() }
    }
}

impl RawDkim {
    fn read(table: Table<'_>) -> Self {
        table.require("selector", "the name under which the public key stands in the DNS");
        table.require("key_file", "`authrelay keygen` makes one");
        let raw = Self {
            domain: table.parsed("domain", "a domain", value::host_name),
            selector: table.parsed("selector", "a selector", value::selector),
            key_file: table.text("key_file"),
        };
        table.finish();
        raw
    }
}
