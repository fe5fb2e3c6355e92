//! What the control interface asks of the daemon.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::keys::Keys;
use super::logging;
use super::{
    CertificateStatus, HttpListener, LastReload, ReloadCause, ReloadError, ReloadStatus, Reloaded, Reloads,
};
use crate::admin::{
    CertificateView, ClientsView, Daemon, ForeignHostView, KeysView, LogView, ObserveView, Problem,
    ReloadView, ReloadsView, ReportsView, SendTest, SendTestCode, Sent, SetLog, UpstreamView, WebhookTested,
    WebhookView, WouldRefuseView,
};
use crate::callback::Handler as _;
use crate::certificate;
use crate::clock::{Clock, Timestamp};
use crate::conduct::Conduct;
use crate::config::{Config, help_with};
use crate::deliver::{self, BreakerStatus, UpstreamKind, UpstreamStatus};
use crate::guard::Content;
use crate::guard::links::Taken;
use crate::guard::seen::Counted;
use crate::ident::{BusinessName, CategoryName, ClientName, EndpointName, ListenerName, MessageId};
use crate::mail::{Envelope, Message, ReversePath};
use crate::metrics::{CategoryFlow, Messages};
use crate::otp::{Handler as _, Request, Status};
use crate::phone::Country;
use crate::pipeline::{self, Pipeline};
use crate::policy::{Client, Origin, Submission, Text, TextLimits};
use crate::queue::Entry;
use crate::reception::{Codes, ReportCounts, Reports};
use crate::secret::{RandomError, Secret, random};
use crate::sms::CodeRule;
use crate::snapshot::{Current, TEST_CLIENT};
use crate::webhook::{EndpointStatus, Monitor, Standing};

/// The daemon as the control interface sees it.
pub(super) struct View {
    pub(super) current: Current,
    pub(super) delivery: deliver::Monitor,
    pub(super) smtp: Vec<String>,
    pub(super) http: Vec<HttpListener>,
    pub(super) messages: Arc<Messages>,
    pub(super) pipeline: Pipeline,
    pub(super) codes: Arc<Codes>,
    pub(super) reports: Arc<Reports>,
    pub(super) conduct: Arc<Conduct>,
    pub(super) webhooks: Monitor,
    pub(super) reloads: Reloads,
    pub(super) keys: Keys,
    pub(super) clock: Clock,
    pub(super) started: Timestamp,
}

#[async_trait]
impl Daemon for View {
    fn upstreams(&self) -> Vec<UpstreamView> {
        let config = Arc::clone(&self.current.get().config.deliver);
        let target = |name| config.upstreams.iter().find(|upstream| upstream.name == name).map(|up| &up.kind);
        let view = |status: UpstreamStatus| upstream_view(&status, target(status.name.clone()));
        self.delivery.status().upstreams.into_iter().map(view).collect()
    }

    fn listeners(&self) -> Vec<String> {
        let config = &self.current.get().config.http;
        // What is found there follows the configuration.
        let as_now = |bound: &HttpListener| {
            let now = config.iter().find(|listener| listener.name == bound.name);
            let serves = now.map_or(&bound.serves, |now| &now.serves).clone();
            HttpListener { serves, ..bound.clone() }.to_string()
        };
        self.smtp.iter().cloned().chain(self.http.iter().map(as_now)).collect()
    }

    fn observed(&self) -> Vec<ObserveView> {
        let (snapshot, now) = (self.current.get(), self.clock.now());
        let clients = snapshot.pipeline.policy.clients.values();
        let observed =
            clients.filter_map(|client| Some((client, client.observe_until.filter(|until| *until > now)?)));
        let all = self.messages.would_refuse();
        let would_refuse = |name: &ClientName| {
            all.iter().filter(|seen| seen.client == *name).map(WouldRefuseView::of).collect()
        };
        let view = |(client, until): (&Arc<Client>, Timestamp)| ObserveView {
            client: client.name.to_string(),
            until: until.to_rfc3339(),
            would_refuse: would_refuse(&client.name),
        };
        observed.map(view).collect()
    }

    fn hostname(&self) -> String {
        self.current.get().config.hostname.clone()
    }

    fn last_hour(&self) -> Vec<CategoryFlow> {
        self.messages.last_hour(self.clock.now().as_millis())
    }

    fn reports(&self) -> Option<ReportsView> {
        if self.reports.callers().is_empty() {
            return None;
        }
        let ReportCounts { applied, stale, unknown, forged } = self.reports.counts();
        Some(ReportsView { applied, stale, unknown, forged })
    }

    fn foreign_hosts(&self) -> Vec<ForeignHostView> {
        let word = |taken: Taken| {
            serde_json::to_value(taken).ok().and_then(|word| word.as_str().map(ToOwned::to_owned))
        };
        let view = |counted: Counted| ForeignHostView {
            business: counted.business.map(|business| business.to_string()),
            host: counted.host,
            taken: word(counted.taken).unwrap_or_default(),
            messages: counted.messages,
        };
        self.pipeline.foreign_hosts().into_iter().map(view).collect()
    }

    fn log(&self) -> LogView {
        let levels = logging::levels();
        let all =
            levels.as_ref().map_or_else(|| "off".to_owned(), |levels| levels.all.to_string().to_lowercase());
        let modules = levels.into_iter().flat_map(|levels| levels.modules);
        let modules = modules.map(|(module, level)| format!("{module}={}", level.to_string().to_lowercase()));
        LogView { all, modules: modules.collect() }
    }

    fn set_log(&self, wanted: &SetLog) -> Result<(), Problem> {
        let levels: Result<Vec<_>, _> = wanted.levels.iter().map(|level| logging::parse(level)).collect();
        let levels = levels.map_err(|why| Problem::invalid(&why))?;
        if wanted.reset {
            logging::reset();
        }
        for (module, level) in levels {
            logging::set(module, level);
        }
        Ok(())
    }

    async fn webhooks(&self) -> Result<Vec<WebhookView>, Problem> {
        let status = self.webhooks.status().await?;
        Ok(status.iter().map(webhook_view).collect())
    }

    async fn test_webhook(&self, name: &EndpointName) -> Result<WebhookTested, Problem> {
        let tested = self.webhooks.test(name).await.ok_or_else(no_webhook)?;
        let milliseconds = u64::try_from(tested.took.as_millis()).unwrap_or(u64::MAX);
        Ok(WebhookTested { taken: tested.taken, detail: tested.detail, milliseconds })
    }

    async fn enable_webhook(&self, name: &EndpointName) -> Result<(), Problem> {
        if self.webhooks.enable(name).await? { Ok(()) } else { Err(no_webhook()) }
    }

    fn clients(&self) -> ClientsView {
        let snapshot = self.current.get();
        // Those with a `:` in their names are our own.
        let configured = snapshot.pipeline.policy.clients.keys().filter(|name| !name.as_str().contains(':'));
        ClientsView::of(self.conduct.record(), configured.cloned())
    }

    fn default_country(&self) -> Option<Country> {
        self.current.get().config.otp.default_country
    }

    fn objection(&self, row: &Entry, message: &Bytes) -> Option<String> {
        let snapshot = self.current.get();
        let text = Text::of(&Message::new(message.clone()), &TextLimits::default());
        let business = row.business.as_ref();
        let content = Content { client: &row.client, business, category: &row.category, text: &text };
        let (rule, why) = pipeline::objection(&snapshot.pipeline, &content)?;
        Some(format!("{why} (rule {rule})"))
    }

    fn started(&self) -> Timestamp {
        self.started
    }

    fn reloads(&self) -> ReloadsView {
        reloads_view(self.reloads.status())
    }

    fn certificates(&self) -> Vec<CertificateView> {
        certificate_views(&self.reloads.certificates(), self.clock.now())
    }

    fn keys(&self) -> KeysView {
        self.keys.view()
    }

    async fn reload(&self) -> ReloadView {
        match self.reloads.reload(ReloadCause::Command).await {
            Ok(done) => reload_view(done, self.clock.now()),
            Err(error) => ReloadView {
                in_force: false,
                error: Some(error.to_string()),
                config_error: matches!(error, ReloadError::Config(_)),
                ..ReloadView::default()
            },
        }
    }

    async fn send_test(&self, test: SendTest) -> Result<Sent, Problem> {
        let snapshot = self.current.get();
        check_names(&test, &snapshot.config)?;
        let id = MessageId::generate();
        let submission = Submission {
            id,
            accepted: self.clock.now(),
            client: ClientName::new(TEST_CLIENT),
            origin: Origin {
                listener: ListenerName::new("control"),
                peer: None,
                helo: "localhost".to_owned(),
                protocol: "SMTP",
            },
            message: test_message(&test, &snapshot.config, id),
            envelope: Envelope { reverse_path: ReversePath::Null, recipients: vec![test.to] },
        };
        let reply = self.pipeline.accept(&snapshot.pipeline, submission).await;
        let accepted = reply.is_positive();
        Ok(Sent { id: accepted.then(|| id.to_string()), reply: reply.to_string(), accepted })
    }

    async fn send_test_code(&self, test: SendTestCode) -> Result<Sent, Problem> {
        let snapshot = self.current.get();
        let business = test.business.as_ref();
        business.map_or(Ok(()), |business| check_business(business, &snapshot.config))?;
        let Ok(code) = random_code(snapshot.config.otp.code) else {
            return Err(Problem::unavailable("the system gave no random number"));
        };
        let request = Request {
            to: test.to,
            code,
            business: test.business.map(|business| business.to_string()),
            factor: test.factor,
            expires_in: None,
            reference: None,
            idempotency_key: None,
        };
        match self.codes.submit(&ClientName::new(TEST_CLIENT), request).await {
            Ok(taken) => {
                let (id, until) = (taken.id.to_string(), taken.expires.to_rfc3339());
                let reply = match taken.status {
                    Status::Suppressed => format!("accepted as {id}, and not sent: it is a test number"),
                    Status::Queued
                    | Status::HandedOver
                    | Status::InDoubt
                    | Status::Delivered
                    | Status::Failed
                    | Status::Expired
                    | Status::Superseded
                    | Status::Removed
                    | Status::Unknown => format!("accepted as {id}, sent until {until}"),
                };
                Ok(Sent { id: Some(id), reply, accepted: true })
            }
            Err(refusal) => {
                let id = refusal.id.map(|id| id.to_string());
                Ok(Sent { id, reply: format!("refused: {}", refusal.detail), accepted: false })
            }
        }
    }
}

fn reload_view(done: Reloaded, now: Timestamp) -> ReloadView {
    ReloadView {
        in_force: true,
        error: None,
        config_error: false,
        source: done.source.map(|path| path.display().to_string()),
        warnings: done.warnings.iter().map(ToString::to_string).collect(),
        restart: done.restart,
        fixed_secrets: done.fixed_secrets,
        certificates: certificate_views(&done.certificates, now),
        milliseconds: u64::try_from(done.took.as_millis()).unwrap_or(u64::MAX),
    }
}

fn reloads_view(status: ReloadStatus) -> ReloadsView {
    let (last, refused) = match status.last {
        None => (None, None),
        Some(LastReload { at, cause: _, error }) => (Some(at.to_rfc3339()), error),
    };
    ReloadsView {
        in_force_since: status.in_force_since.to_rfc3339(),
        succeeded: status.succeeded,
        failed: status.failed,
        last,
        refused,
        picked_up: status.picked_up,
        not_picked_up: status.not_picked_up,
    }
}

fn certificate_views(files: &[CertificateStatus], now: Timestamp) -> Vec<CertificateView> {
    let view = |file: &CertificateStatus| CertificateView {
        path: file.path.display().to_string(),
        expires: file.expires.map(Timestamp::to_rfc3339),
        warning: file.expires.and_then(|end| certificate::warning(end, now)),
    };
    files.iter().map(view).collect()
}

/// Six digits, or as near to that as the configuration takes.
fn random_code(rule: CodeRule) -> Result<Secret, RandomError> {
    let length = 6.clamp(rule.shortest, rule.longest.max(rule.shortest));
    let bytes: [u8; 16] = random()?;
    // Digits only: letters are never demanded. 256 is no multiple of 10, which for a code that opens nothing is fine.
    Ok(Secret::new(bytes.iter().take(length).map(|byte| char::from(b'0' + byte % 10)).collect::<String>()))
}

/// What is asked for must be configured; a wrong name would go out as something else.
fn check_names(test: &SendTest, config: &Config) -> Result<(), Problem> {
    // The categories of our own have a `:` in their names.
    let categories = config.policy.categories.keys().map(CategoryName::as_str);
    check_name("category", test.category.as_str(), categories.filter(|name| !name.contains(':')))?;
    test.business.as_ref().map_or(Ok(()), |business| check_business(business, config))
}

fn check_business(business: &BusinessName, config: &Config) -> Result<(), Problem> {
    check_name("business", business.as_str(), config.rewrite.businesses.keys().map(BusinessName::as_str))
}

fn check_name<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> Result<(), Problem> {
    let known: Vec<&str> = known.collect();
    if known.contains(&name) {
        return Ok(());
    }
    let help = help_with(name, &known).map(|help| format!("; {help}")).unwrap_or_default();
    let shown: String = name.chars().take(60).filter(|c| !c.is_control()).collect();
    Err(Problem::invalid(&format!("there is no {what} `{shown}`{help}")))
}

/// What a person who gets it can understand, and what makes the pipeline treat it as `test.category`.
fn test_message(test: &SendTest, config: &Config, id: MessageId) -> Message {
    // The business of a message is found by the domain of its From.
    let found = test.business.as_ref().and_then(|name| config.rewrite.businesses.get(name));
    let domain = found.and_then(|business| business.domains.first()).map_or("localhost", String::as_str);
    let declared_header = &config.policy.declared_header;
    let business = test.business.as_ref().map(|name| format!(" for {name}")).unwrap_or_default();
    Message::new(
        format!(
            "{declared_header}: {}\r\n\
             From: <authrelay@{domain}>\r\n\
             To: <{}>\r\n\
             Subject: authrelay test message\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=us-ascii\r\n\
             \r\n\
             This is a test message{business}. It was sent by an administrator to see whether\r\n\
             sign-in mail arrives, and needs no action.\r\n\
             \r\n\
             Its id is {id}.\r\n",
            test.category,
            test.to.as_str(),
        )
        .into_bytes(),
    )
}

fn no_webhook() -> Problem {
    Problem::not_found("there is no webhook with this name; `authrelay webhook list` lists them")
}

fn webhook_view(status: &EndpointStatus) -> WebhookView {
    let (state, at) = match status.standing {
        Standing::Active => ("active", None),
        Standing::Resting(until) => ("resting", Some(until)),
        Standing::Disabled(since) => ("disabled", Some(since)),
    };
    let known = status.state.as_ref();
    let shown = |at: Option<Timestamp>| at.map(Timestamp::to_rfc3339);
    WebhookView {
        name: status.endpoint.name().to_string(),
        target: status.endpoint.target.to_string(),
        state: state.to_owned(),
        since_or_until: shown(at),
        waiting: known.map_or(0, |known| known.waiting),
        oldest: shown(known.and_then(|known| known.oldest)),
        delivered: known.map_or(0, |known| known.delivered),
        dropped: known.map_or(0, |known| known.dropped),
        last_delivered: shown(known.and_then(|known| known.last_delivered)),
        last_failed: shown(known.and_then(|known| known.last_failure.as_ref()).map(|(at, _)| *at)),
        last_error: known.and_then(|known| known.last_failure.as_ref()).map(|(_, error)| error.clone()),
    }
}

fn upstream_view(status: &UpstreamStatus, kind: Option<&UpstreamKind>) -> UpstreamView {
    let (kind, target) = match kind {
        Some(UpstreamKind::Maildir { path }) => ("maildir", path.display().to_string()),
        Some(UpstreamKind::Smtp(smtp)) => ("smtp", format!("{}:{}", smtp.host, smtp.port)),
        Some(UpstreamKind::Outbox { path }) => ("outbox", path.display().to_string()),
        Some(UpstreamKind::Twilio(twilio)) => ("twilio", twilio.base_url.clone()),
        None => ("", String::new()),
    };
    let (state, retry_at) = match status.breaker {
        BreakerStatus::Closed => ("up", None),
        BreakerStatus::Open { until } => ("down", Some(until.to_rfc3339())),
        BreakerStatus::Probing => ("probing", None),
    };
    let down = state != "up";
    UpstreamView {
        name: status.name.to_string(),
        kind: kind.to_owned(),
        target,
        state: state.to_owned(),
        reason: status.last_failure.as_ref().filter(|_| down).map(ToString::to_string),
        retry_at,
        in_flight: status.in_flight,
        connections: status.connections,
        since: status.since.to_rfc3339(),
    }
}
