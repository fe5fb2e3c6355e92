//! A delivery over a store in memory, with upstreams that do what a test tells them to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::memory_store::MemoryStore;
use super::scripted_upstream::ScriptedUpstream;
use crate::clock::{Clock, Timestamp};
use crate::deliver::{
    BreakerConfig, Config, Delivery, InForce, Outgoing, Renderer, SmtpConfig, Timeouts, UpstreamConfig,
    UpstreamKind, UpstreamTls,
};
use crate::ident::{BusinessName, CategoryName, Class, ClientName, MessageId, SenderName, UpstreamName};
use crate::mail::{Address, Message, PhoneNumber, Recipient, ReversePath};
use crate::outcome::Reason;
use crate::policy::SenderPolicy;
use crate::queue::{Active, ActiveLimits, Entry, Payload, Queue, State};
use crate::rewrite::Plan;
use crate::secret::{LookupKey, Secret};
use crate::sms::Factor;

/// The bench.
pub(super) struct Bench {
    pub(super) store: Arc<MemoryStore>,
    pub(super) queue: Arc<Queue>,
    pub(super) active: Active,
    pub(super) config: Arc<Mutex<Arc<Config>>>,
    pub(super) shutdown: CancellationToken,
    pub(super) clock: Clock,
}

/// A business whose messages the renderer panics at.
pub(super) const DEFECT: &str = "defect";

/// The business's own sender where the plan names a business, then no-reply. Writes the message as it is. The senders'
/// domain shows of which configuration it is: that of `relay7.example` is `sender7.example`.
pub(in crate::deliver) struct TestRenderer {
    domain: String,
}

impl TestRenderer {
    pub(in crate::deliver) fn of(config: &Config) -> Arc<Self> {
        Arc::new(Self { domain: config.hostname.replace("relay", "sender") })
    }
}

impl Renderer for TestRenderer {
    fn senders(&self, plan: &Plan) -> Vec<SenderName> {
        let own = plan.business.iter().map(|business| SenderName::new(business.as_str()));
        own.chain([SenderName::new("no-reply")]).collect()
    }

    fn render(&self, message: &Message, plan: &Plan, sender: &SenderName) -> Result<Outgoing, Reason> {
        assert!(plan.business.as_ref().is_none_or(|name| name.as_str() != DEFECT), "a defect, for a test");
        let address = Address::parse(&format!("{sender}@{}", self.domain)).unwrap();
        Ok(Outgoing {
            reverse_path: ReversePath::Address(address),
            raw: message.raw().clone(),
            need: message.need(),
        })
    }
}

impl Bench {
    pub(super) fn new(upstreams: Vec<UpstreamConfig>, workers: usize) -> Self {
        Self::with_clock(upstreams, workers, Clock::System)
    }

    pub(super) fn with_clock(upstreams: Vec<UpstreamConfig>, workers: usize, clock: Clock) -> Self {
        let store = Arc::new(MemoryStore::new(clock));
        let active = Active::new(ActiveLimits::default());
        let key = LookupKey::new(&[7; 32]);
        let queue = Queue::new(Arc::clone(&store) as _, key, clock, active.clone());
        let config = Config { hostname: "relay.example".to_owned(), upstreams, workers };
        let config = Arc::new(Mutex::new(Arc::new(config)));
        Self { store, queue, active, config, shutdown: CancellationToken::new(), clock }
    }

    pub(super) fn start(&self) -> Delivery {
        let config = Arc::clone(&self.config);
        Delivery::start(
            Arc::clone(&self.queue),
            Arc::new(move || {
                let config = Arc::clone(&config.lock().unwrap());
                InForce { renderer: TestRenderer::of(&config), config }
            }),
            Arc::new(|_: &CategoryName, _: Class| vec![Duration::from_millis(50)]),
            self.clock,
            self.shutdown.clone(),
        )
    }

    /// A row in the store, which is not told.
    pub(super) fn store(&self, message: &Draft) -> MessageId {
        let (entry, payload) = message.build(self.clock.now());
        let id = entry.id;
        self.store.insert(entry, payload);
        id
    }

    /// A row that comes straight from memory.
    pub(super) fn offer(&self, message: &Draft) -> MessageId {
        let (entry, payload) = message.build(self.clock.now());
        let id = entry.id;
        let lease = self.clock.now().plus(Duration::from_mins(15));
        let claimed = self.store.insert_claimed(entry, payload, lease);
        self.queue.offer(claimed);
        id
    }

    /// A text that awaits its provider's report: of `upstream`, under `reference` where its answer is known.
    pub(super) fn awaited(&self, message: &Draft, upstream: &str, reference: Option<&str>) -> MessageId {
        let (mut entry, payload) = message.build(self.clock.now());
        entry.state = State::AwaitingReport;
        entry.attempts = 1;
        entry.in_doubt = u32::from(reference.is_none());
        entry.upstream = Some(UpstreamName::new(upstream));
        entry.reference = reference.map(str::to_owned);
        let id = entry.id;
        self.store.insert_awaited(entry, payload);
        id
    }

    /// Says that something was stored.
    pub(super) async fn tell(&self) {
        self.queue.operate(MessageId::generate(), crate::queue::Operation::Retry).await.unwrap();
    }

    pub(super) async fn until_state(&self, id: MessageId, state: State) -> Entry {
        self.store.until(|entries| entries.iter().any(|entry| entry.id == id && entry.state == state)).await;
        self.store.entry(id)
    }
}

/// What a test says of a message.
#[derive(Clone)]
pub(in crate::deliver) struct Draft {
    pub(super) client: &'static str,
    pub(super) class: Class,
    pub(super) business: Option<&'static str>,
    pub(super) life: Duration,
    pub(super) in_doubt_at: Option<&'static str>,
    /// A text with this code for this phone, instead of a mail.
    pub(super) text: Option<(&'static str, &'static str)>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            client: "app",
            class: Class::Urgent,
            business: None,
            life: Duration::from_mins(10),
            in_doubt_at: None,
            text: None,
        }
    }
}

impl Draft {
    /// A text with this code for a phone.
    pub(in crate::deliver) fn text(code: &'static str) -> Self {
        Self { text: Some((code, "+12025550100")), ..Self::default() }
    }

    pub(in crate::deliver) fn entry(&self) -> Entry {
        self.build(Clock::System.now()).0
    }

    fn build(&self, now: Timestamp) -> (Entry, Payload) {
        let id = MessageId::generate();
        let entry = Entry {
            id,
            submission: id,
            client: ClientName::new(self.client),
            business: self.business.map(BusinessName::new),
            category: CategoryName::new("signin"),
            rule: "test".to_owned(),
            class: self.class,
            recipient: match self.text {
                Some((_, to)) => Recipient::Phone(PhoneNumber::parse(to).unwrap()),
                None => Recipient::Mail(Address::parse(&format!("{}@example.com", self.client)).unwrap()),
            },
            application_id: None,
            report_to: None,
            accepted: now,
            expires: now.plus(self.life),
            next_attempt: now,
            attempts: 0,
            in_doubt: u32::from(self.in_doubt_at.is_some()),
            state: State::Queued,
            reason: None,
            upstream: self.in_doubt_at.map(UpstreamName::new),
            reference: None,
        };
        if let Some((code, _)) = self.text {
            let (code, host) = (Secret::new(code), "example.com".to_owned());
            return (entry, Payload::Sms { code, host, factor: Factor::Primary, origin_bound: false });
        }
        let plan = Plan {
            category: entry.category.clone(),
            business: entry.business.clone(),
            sender: SenderPolicy::CustomElseNoReply,
            reverse_path: ReversePath::Null,
            received: String::new(),
            date: None,
            message_id: None,
            auto_submitted: false,
        };
        let message = format!("From: a@example.com\r\nMessage-ID: <{id}@example.com>\r\n\r\nhello\r\n");
        (entry, Payload::Mail { plan, message: message.into_bytes().into() })
    }
}

/// An upstream for the server at hand. Its breaker is quick.
pub(super) fn upstream(name: &str, server: &ScriptedUpstream, carries: Option<&[&str]>) -> UpstreamConfig {
    UpstreamConfig {
        name: UpstreamName::new(name),
        kind: UpstreamKind::Smtp(SmtpConfig {
            host: "127.0.0.1".to_owned(),
            port: server.address.port(),
            tls: UpstreamTls::Plain,
            credentials: None,
            timeouts: Timeouts::default(),
            idle: Duration::from_mins(1),
            messages_per_connection: 1_000_000,
        }),
        carries: carries.map(|names| names.iter().map(SenderName::new).collect()),
        max_connections: 8,
        messages_per_minute: None,
        breaker: BreakerConfig {
            failures: 3,
            shortest: Duration::from_millis(40),
            longest: Duration::from_millis(160),
        },
    }
}
