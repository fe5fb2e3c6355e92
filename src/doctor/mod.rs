//! Looks at everything the relay depends on and says what is wrong and what to do: upstreams, their certificates and
//! logins, every sender at each of them, DNS records, Twilio's account, endpoints of webhooks, our own certificate, disk
//! and clock.
//!
//! Nothing is sent, and nothing is changed: [`examine`] asks, each module for one kind of thing, and gives [`Finding`]s. It trusts no
//! answer: what others say is cut, cleaned and never obeyed.

mod certificate;
mod dkim;
mod dmarc;
mod dns;
mod machine;
mod sender;
mod smtp;
mod spf;
mod twilio;
mod webhook;

pub use dns::Server as DnsServer;

use std::sync::Arc;

use serde::Serialize;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::Config;
use crate::deliver::{UpstreamConfig, UpstreamKind};
use crate::ident::SenderName;
use crate::rewrite::Sender;
use dns::Dns;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It can't be told from here.
    Note,
    /// It works, and will not for long or not for everybody.
    Warning,
    /// Mail or texts are not sent, or not accepted, because of this.
    Error,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// An upstream.
    Upstream,
    /// A sender, in the DNS.
    Sender,
    /// An endpoint of webhooks.
    Webhook,
    /// A listener of ours.
    Listener,
    /// Our own certificate.
    Certificate,
    /// The disk that messages are kept on.
    Disk,
    /// The machine's clock.
    Clock,
}

impl Area {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Sender => "sender",
            Self::Webhook => "webhook",
            Self::Listener => "listener",
            Self::Certificate => "certificate",
            Self::Disk => "disk",
            Self::Clock => "clock",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What it is about.
    pub area: Area,
    /// Which of them: the name in the configuration, or a path.
    pub subject: String,
    /// How grave it is.
    pub severity: Severity,
    /// What was found, in one line.
    pub message: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Finding {
    fn new(
        area: Area,
        subject: &(impl std::fmt::Display + ?Sized),
        severity: Severity,
        message: impl Into<String>,
    ) -> Self {
        Self { area, subject: subject.to_string(), severity, message: message.into(), advice: None }
    }

    fn ok(area: Area, subject: &(impl std::fmt::Display + ?Sized), message: impl Into<String>) -> Self {
        Self::new(area, subject, Severity::Ok, message)
    }

    fn note(area: Area, subject: &(impl std::fmt::Display + ?Sized), message: impl Into<String>) -> Self {
        Self::new(area, subject, Severity::Note, message)
    }

    fn warning(area: Area, subject: &(impl std::fmt::Display + ?Sized), message: impl Into<String>) -> Self {
        Self::new(area, subject, Severity::Warning, message)
    }

    fn error(area: Area, subject: &(impl std::fmt::Display + ?Sized), message: impl Into<String>) -> Self {
        Self::new(area, subject, Severity::Error, message)
    }

    fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// Looks at everything `config` depends on; upstreams, senders and webhooks all at once. In the order of the configuration.
pub async fn examine(config: Arc<Config>, dns: Option<DnsServer>, clock: Clock) -> Vec<Finding> {
    let mut work: JoinSet<(usize, Vec<Finding>)> = JoinSet::new();
    let mut parts = 0;
    let mut next = || {
        parts += 1;
        parts
    };
    for at in 0..config.deliver.upstreams.len() {
        let (config, part) = (Arc::clone(&config), next());
        work.spawn(async move { (part, upstream(&config, at, clock).await) });
    }
    match Dns::new(dns) {
        Ok(dns) => {
            let dns = Arc::new(dns);
            for sender in config.rewrite.senders.values().filter(|sender| is_mailed(&config, &sender.name)) {
                let (config, dns, part, sender) =
                    (Arc::clone(&config), Arc::clone(&dns), next(), Arc::clone(sender));
                work.spawn(async move { (part, sender::examine(&config.deliver, &sender, &dns).await) });
            }
        }
        Err(trouble) => {
            let finding = Finding::error(Area::Sender, "dns", trouble.to_string());
            let finding = finding.advise("see to /etc/resolv.conf, or name a server with --dns");
            let part = next();
            work.spawn(async move { (part, vec![finding]) });
        }
    }
    for endpoint in config.webhooks.endpoints.iter().map(Arc::clone) {
        let part = next();
        work.spawn(async move { (part, webhook::examine(&endpoint, clock).await) });
    }
    let part = next();
    work.spawn(async move { (part, machine::examine(&config, clock).await) });
    let mut found = Vec::new();
    while let Some(done) = work.join_next().await {
        // A part that failed by a defect of its own is told, not passed over.
        found.push(done.unwrap_or_else(|defect| (usize::MAX, vec![broken(&defect)])));
    }
    found.sort();
    found.into_iter().flat_map(|(_, findings)| findings).collect()
}

fn broken(defect: &tokio::task::JoinError) -> Finding {
    let how = if defect.is_panic() { "by a defect" } else { "early" };
    Finding::error(Area::Upstream, "check", format!("a part of this check ended {how}"))
}

async fn upstream(config: &Config, at: usize, clock: Clock) -> Vec<Finding> {
    let Some(upstream) = config.deliver.upstreams.get(at) else { return Vec::new() };
    match &upstream.kind {
        UpstreamKind::Smtp(smtp) => {
            let senders = carried(config, upstream);
            smtp::examine(upstream, smtp, &config.deliver.hostname, &senders, clock).await
        }
        UpstreamKind::Twilio(twilio) => twilio::examine(upstream, twilio, clock).await,
        UpstreamKind::Maildir { path } => vec![machine::folder(upstream, path, "mail")],
        UpstreamKind::Outbox { path } => {
            vec![machine::folder(upstream, path.parent().unwrap_or(path), "texts")]
        }
    }
}

/// The senders an upstream carries.
fn carried<'c>(config: &'c Config, upstream: &UpstreamConfig) -> Vec<&'c Arc<Sender>> {
    config.rewrite.senders.values().filter(|sender| upstream.may_carry(&sender.name)).collect()
}

/// Whether any of its mail leaves this machine.
fn is_mailed(config: &Config, sender: &SenderName) -> bool {
    config.deliver.carriers(sender).any(|upstream| matches!(upstream.kind, UpstreamKind::Smtp(_)))
}

/// What others say, made fit for a line.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

/// A number of days in words.
fn days(count: u64) -> String {
    match count {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        count => format!("{count} days"),
    }
}
