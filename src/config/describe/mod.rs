//! The configuration in force, defaults filled in, as text that could stand in a configuration file. Secrets are not
//! in it; addresses of the operator's own senders are, for the operator's own eyes.

mod links;
mod texts;
mod webhook;

use std::fmt::{Display, Write as _};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use crate::client::Access;
use crate::config::value::texts::show_limit;
use crate::config::value::{show_duration, show_size};
use crate::config::{Config, KeySource, LogFormat};
use crate::deliver::{SmtpConfig, UpstreamConfig, UpstreamKind, UpstreamTls};
use crate::ident::SenderName;
use crate::mail::Mailbox;
use crate::policy::{Action, Category, Client, SenderPolicy};
use crate::rewrite::{Business, Sender};
use crate::smtp::{BareLf, ListenAt, ListenerConfig, ListenerTls};

/// What is in force, as `authrelay check` prints it.
pub fn describe(config: &Config) -> String {
    let mut text = Text::default();
    top(&mut text, config);
    for listener in &config.listeners {
        self::listener(&mut text, listener);
    }
    texts::http(&mut text, &config.http);
    tls(&mut text, config);
    for access in &config.clients.clients {
        client(&mut text, access, config.policy.clients.get(&access.name).map(AsRef::as_ref));
        links::client(&mut text, config.mail_guard.of(&access.name));
        texts::client(&mut text, config, &access.name);
        if config.first_client.as_ref() == Some(&access.name) {
            let path = config.token_file();
            text.line(&format!("# token: made at first start in {}", path.display()));
        }
    }
    for (name, business) in &config.rewrite.businesses {
        let url = config.business_urls.get(name).map(|url| url.url.as_str());
        self::business(&mut text, name.as_str(), business, url);
        links::business(&mut text, config.mail_guard.businesses.get(name));
    }
    for sender in config.rewrite.senders.values() {
        self::sender(&mut text, sender);
    }
    for category in config.policy.categories.values() {
        self::category(&mut text, category);
    }
    for rule in &config.policy.rules {
        text.line("\n[[rules]]");
        text.text("name", &rule.name);
        text.text("category", rule.category.as_str());
        text.line("# its conditions are as in the file");
    }
    text.header("recognition", "");
    text.text("strictness", config.policy.recognition.strictness().name());
    match &config.recognition_directory {
        Some(directory) => text.path("directory", directory),
        None => text.line("# directory: none, the shipped files alone"),
    }
    for upstream in &config.deliver.upstreams {
        self::upstream(&mut text, upstream);
    }
    texts::otp(&mut text, config);
    webhook::webhooks(&mut text, config);
    queue(&mut text, config);
    limits(&mut text, config);
    text.header("log", "");
    text.text(
        "format",
        match config.log.format {
            LogFormat::Automatic => "auto",
            LogFormat::Journald => "journald",
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        },
    );
    text.text("level", &config.log.level.to_string().to_lowercase());
    text.0
}

fn top(text: &mut Text, config: &Config) {
    match &config.source {
        Some(source) => text.line(&format!("# {} with all defaults", source.display())),
        None => text.line("# the defaults: there is no configuration file"),
    }
    text.text("hostname", &config.hostname);
    text.path("state_directory", &config.state_directory);
    text.path("control_socket", &config.control_socket);
    text.text("no_reply", config.rewrite.no_reply.as_str());
    text.text("category_header", &config.policy.declared_header);
    text.value("received_names_client", config.rewrite.received_names_client);
    links::top(text, &config.mail_guard);
}

fn listener(text: &mut Text, listener: &ListenerConfig) {
    text.header("listeners", listener.name.as_str());
    match listener.at {
        ListenAt::Address(address) => text.text("address", &address.to_string()),
        ListenAt::Systemd => text.text("address", "systemd"),
    }
    text.text(
        "tls",
        match listener.tls {
            ListenerTls::Off => "off",
            ListenerTls::StartTls => "starttls",
            ListenerTls::Required => "required",
            ListenerTls::Implicit => "implicit",
        },
    );
    text.list("plaintext_auth", &listener.plaintext_auth);
    match listener.bare_lf {
        None => text.line("# bare_lf: \"normalize\" for known clients, \"refuse\" for others"),
        Some(BareLf::Normalize) => text.text("bare_lf", "normalize"),
        Some(BareLf::Refuse) => text.text("bare_lf", "refuse"),
    }
    text.value("smtputf8", listener.smtputf8);
}

fn tls(text: &mut Text, config: &Config) {
    let Some(tls) = &config.tls else {
        let directory = config.tls_directory();
        text.line(&format!(
            "\n# [tls]: a self-signed certificate, made at first start in {}",
            directory.display()
        ));
        return;
    };
    text.header("tls", "");
    text.path("certificate", &tls.certificate);
    text.path("key", &tls.key);
    if let Some(client_ca) = &tls.client_ca {
        text.path("client_ca", client_ca);
    }
}

fn client(text: &mut Text, access: &Access, policy: Option<&Client>) {
    text.header("clients", access.name.as_str());
    if let Some(policy) = policy {
        match policy.businesses.as_slice() {
            [] => text.line("# business: none"),
            [only] => text.text("business", only.as_str()),
            several => text.list("businesses", several),
        }
    }
    if !access.networks.is_empty() {
        text.list("networks", &access.networks);
    }
    if !access.listeners.is_empty() {
        text.list("listeners", &access.listeners);
    }
    if let Some(user) = &access.user {
        text.text("user", user);
        text.line("# password: set");
    }
    if !access.certificates.is_empty() {
        text.list("certificates_sha256", access.certificates.iter().map(crate::secret::Digest::to_hex));
    }
    if access.token.is_some() {
        text.line("# token: set");
    }
    let Some(policy) = policy else { return };
    match (&policy.bound_to, &policy.categories) {
        (Some(bound), _) => text.text("category", bound.as_str()),
        (None, Some(categories)) => text.list("categories", categories),
        (None, None) => text.line("# categories: all"),
    }
    text.value("may_declare", policy.may_declare);
    text.list("reports_to", &policy.reports_to);
    if let Some(until) = policy.observe_until {
        text.value("observe_until", until.to_rfc3339());
    }
    match policy.burst {
        Some(burst) => {
            let within = quoted(&show_duration(burst.within));
            text.value("burst", format!("{{ recipients = {}, within = {within} }}", burst.recipients));
        }
        None => text.value("burst", "{ recipients = 0 }"),
    }
    pace(text, policy.per_minute);
}

fn business(text: &mut Text, name: &str, business: &Business, url: Option<&str>) {
    text.header("businesses", name);
    if let Some(url) = url {
        text.text("url", url);
    }
    text.list("domains", &business.domains);
    match &business.sender {
        Some(sender) => text.text("sender", sender.as_str()),
        None => text.line("# sender: no-reply"),
    }
    if let Some(reply_to) = &business.reply_to {
        text.text("reply_to", &mailbox(reply_to));
    }
}

fn sender(text: &mut Text, sender: &Sender) {
    text.header("senders", sender.name.as_str());
    text.text("from", &mailbox(&sender.from));
    text.text("return_path", sender.return_path.as_str());
    text.text("null_reverse_path", if sender.replace_null_reverse_path { "replace" } else { "keep" });
    match sender.dkim.len() {
        0 => text.line("# dkim: not signed here"),
        keys => text.line(&format!("# dkim: signed with {keys} key(s)")),
    }
}

fn category(text: &mut Text, category: &Category) {
    text.header("categories", category.name.as_str());
    let action = match category.action {
        Action::Relay => "relay",
        Action::Refuse => "refuse",
        Action::Suppress => "suppress",
        Action::Hold => "hold",
    };
    text.text("action", action);
    let sender = match category.sender {
        SenderPolicy::CustomElseNoReply => "custom",
        SenderPolicy::NoReply => "no-reply",
    };
    text.text("sender", sender);
    text.duration("life", category.life);
    text.text("class", category.class.as_str());
    text.list("retry", category.retry.iter().copied().map(show_duration));
    text.value("max_recipients", category.max_recipients);
    text.duration("settle", category.settle);
    text.value("supersede", category.supersede);
    text.list("per_recipient", category.per_recipient.iter().map(show_limit));
    pace(text, category.per_minute);
}

fn pace(text: &mut Text, per_minute: Option<NonZeroU32>) {
    match per_minute {
        Some(pace) => text.value("per_minute", pace),
        None => text.line("# per_minute: no limit"),
    }
}

fn upstream(text: &mut Text, upstream: &UpstreamConfig) {
    text.header("upstreams", upstream.name.as_str());
    match &upstream.kind {
        UpstreamKind::Maildir { path } => {
            text.text("kind", "maildir");
            text.path("path", path);
        }
        UpstreamKind::Smtp(smtp) => self::smtp(text, smtp),
        UpstreamKind::Outbox { path } => {
            text.text("kind", "outbox");
            text.path("path", path);
        }
        UpstreamKind::Twilio(twilio) => texts::twilio(text, twilio),
    }
    match (&upstream.carries, &upstream.kind) {
        (_, UpstreamKind::Outbox { .. } | UpstreamKind::Twilio(_)) => {}
        (Some(senders), _) => text.list("senders", senders.iter().map(SenderName::as_str)),
        (None, _) => text.line("# senders: all"),
    }
    text.value("max_connections", upstream.max_connections);
    match upstream.messages_per_minute {
        Some(rate) => text.value("messages_per_minute", rate),
        None => text.line("# messages_per_minute: no limit"),
    }
    text.value("breaker.failures", upstream.breaker.failures);
    text.duration("breaker.shortest", upstream.breaker.shortest);
    text.duration("breaker.longest", upstream.breaker.longest);
}

fn smtp(text: &mut Text, smtp: &SmtpConfig) {
    text.text("kind", "smtp");
    text.text("host", &smtp.host);
    text.value("port", smtp.port);
    let tls = match &smtp.tls {
        UpstreamTls::StartTls(_) => "starttls",
        UpstreamTls::Implicit(_) => "implicit",
        UpstreamTls::Plain => "plain",
        UpstreamTls::ByDialler(_) => "by-dialler",
    };
    text.text("tls", tls);
    match &smtp.credentials {
        Some((user, _)) => {
            text.text("user", user);
            text.line("# password: set");
        }
        None => text.line("# no AUTH"),
    }
    text.duration("idle", smtp.idle);
    text.value("messages_per_connection", smtp.messages_per_connection);
    text.duration("timeouts.connect", smtp.timeouts.connect);
    text.duration("timeouts.command", smtp.timeouts.command);
    text.duration("timeouts.data", smtp.timeouts.data);
}

fn queue(text: &mut Text, config: &Config) {
    let queue = &config.queue;
    text.header("queue", "");
    text.path("path", &queue.path);
    match &queue.key {
        KeySource::File(path) => text.path("key_file", path),
        KeySource::MadeAtFirstStart(path) => {
            let path = path.display();
            text.line(&format!("# key: made at first start in {path}; it does not protect a stolen disk"));
        }
    }
    text.duration("history", queue.history);
    text.value("active_messages", queue.active.messages);
    text.size("active_bytes", queue.active.bytes);
    text.value("workers", config.deliver.workers);
    text.duration("dedupe", queue.limits.dedupe);
    text.value("backlog", queue.limits.backlog);
    text.size("disk_reserve", usize::try_from(queue.reserve.bytes).unwrap_or(usize::MAX));
    text.value("inode_reserve", queue.reserve.inodes);
    match &queue.bounces {
        Some(address) => text.text("bounces", address.as_str()),
        None => text.line("# bounces: none are sent"),
    }
}

fn limits(text: &mut Text, config: &Config) {
    let limits = &config.smtp.limits;
    text.header("limits", "");
    text.size("message_size", limits.message_size);
    text.size("header_size", limits.header_size);
    text.size("line_length", limits.line_length);
    text.value("recipients", limits.recipients);
    text.value("errors", limits.errors);
    text.value("auth_failures", limits.auth_failures);
    text.value("messages_per_connection", limits.messages_per_connection);
    text.value("connections", limits.connections);
    text.value("connections_per_address", limits.connections_per_address);
    text.duration("idle", limits.idle);
    text.duration("session", limits.session);
    text.duration("handshake", limits.handshake);
    text.value("minimum_rate", limits.minimum_rate);
    text.size("memory", limits.memory);
}

fn mailbox(mailbox: &Mailbox) -> String {
    match &mailbox.name {
        Some(name) => format!("{name} <{}>", mailbox.address.as_str()),
        None => mailbox.address.as_str().to_owned(),
    }
}

/// TOML being written, line by line.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn header(&mut self, section: &str, name: &str) {
        let dot = if name.is_empty() { "" } else { "." };
        // A name with a dot in it has to be quoted.
        let name = if name.contains('.') { quoted(name) } else { name.to_owned() };
        self.line(&format!("\n[{section}{dot}{name}]"));
    }

    fn value(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn text(&mut self, key: &str, text: &str) {
        self.value(key, quoted(text));
    }

    fn path(&mut self, key: &str, path: &Path) {
        self.text(key, &path.display().to_string());
    }

    fn duration(&mut self, key: &str, duration: Duration) {
        self.text(key, &show_duration(duration));
    }

    fn size(&mut self, key: &str, bytes: usize) {
        self.text(key, &show_size(bytes));
    }

    fn list<T: Display>(&mut self, key: &str, items: impl IntoIterator<Item = T>) {
        let items: Vec<String> = items.into_iter().map(|item| quoted(&item.to_string())).collect();
        self.value(key, format!("[{}]", items.join(", ")));
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
