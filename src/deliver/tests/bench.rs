//! A delivery over a store in memory, with upstreams that do what a test tells them to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::memory_store::MemoryStore;
use super::scripted_upstream::ScriptedUpstream;
use crate::clock::Clock;
use crate::deliver::{
    BreakerConfig, Config, Delivery, Outgoing, Renderer, SmtpConfig, Timeouts, UpstreamConfig, UpstreamKind,
    UpstreamTls,
};
use crate::ident::{BusinessName, CategoryName, Class, ClientName, MessageId, SenderName, UpstreamName};
use crate::mail::{Address, Message, Recipient, ReversePath};
use crate::outcome::Reason;
use crate::policy::SenderPolicy;
use crate::queue::{Active, ActiveLimits, Entry, Payload, Queue, State};
use crate::rewrite::Plan;
use crate::secret::LookupKey;

/// The bench.
pub(super) struct Bench {
    pub(super) store: Arc<MemoryStore>,
    pub(super) queue: Arc<Queue>,
    pub(super) config: Arc<Mutex<Arc<Config>>>,
    pub(super) shutdown: CancellationToken,
}

/// A business whose messages the renderer panics at.
pub(super) const DEFECT: &str = "defect";

/// The business's own sender where the plan names a business, then no-reply. Writes the message as it is.
struct TestRenderer;

impl Renderer for TestRenderer {
    fn senders(&self, plan: &Plan) -> Vec<SenderName> {
        let own = plan.business.iter().map(|business| SenderName::new(business.as_str()));
        own.chain([SenderName::new("no-reply")]).collect()
    }

    fn render(&self, message: &Message, plan: &Plan, sender: &SenderName) -> Result<Outgoing, Reason> {
        assert!(plan.business.as_ref().is_none_or(|name| name.as_str() != DEFECT), "a defect, for a test");
        let address = Address::parse(&format!("{sender}@sender.example")).unwrap();
        Ok(Outgoing {
            reverse_path: ReversePath::Address(address),
            raw: message.raw().clone(),
            need: message.need(),
        })
    }
}

impl Bench {
    pub(super) fn new(upstreams: Vec<UpstreamConfig>, workers: usize) -> Self {
        let store = Arc::new(MemoryStore::default());
        let active = Active::new(ActiveLimits::default());
        let key = LookupKey::new(&[7; 32]);
        let queue = Queue::new(Arc::clone(&store) as _, key, Clock::System, active);
        let config = Config { hostname: "relay.example".to_owned(), upstreams, workers };
        let config = Arc::new(Mutex::new(Arc::new(config)));
        Self { store, queue, config, shutdown: CancellationToken::new() }
    }

    pub(super) fn start(&self) -> Delivery {
        let config = Arc::clone(&self.config);
        Delivery::start(
            Arc::clone(&self.queue),
            Arc::new(move || Arc::clone(&config.lock().unwrap())),
            Arc::new(TestRenderer),
            Arc::new(|_: &CategoryName, _: Class| vec![Duration::from_millis(50)]),
            Clock::System,
            self.shutdown.clone(),
        )
    }

    /// A row in the store, which is not told.
    pub(super) fn store(&self, message: &Draft) -> MessageId {
        let (entry, payload) = message.build();
        let id = entry.id;
        self.store.insert(entry, payload);
        id
    }

    /// A row that comes straight from memory.
    pub(super) fn offer(&self, message: &Draft) -> MessageId {
        let (entry, payload) = message.build();
        let id = entry.id;
        let lease = Clock::System.now().plus(Duration::from_mins(15));
        let claimed = self.store.insert_claimed(entry, payload, lease);
        self.queue.offer(claimed);
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
pub(super) struct Draft {
    pub(super) client: &'static str,
    pub(super) class: Class,
    pub(super) business: Option<&'static str>,
    pub(super) life: Duration,
    pub(super) in_doubt_at: Option<&'static str>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            client: "app",
            class: Class::Urgent,
            business: None,
            life: Duration::from_mins(10),
            in_doubt_at: None,
        }
    }
}

impl Draft {
    fn build(&self) -> (Entry, Payload) {
        let now = Clock::System.now();
        let id = MessageId::generate();
        let entry = Entry {
            id,
            submission: id,
            client: ClientName::new(self.client),
            business: self.business.map(BusinessName::new),
            category: CategoryName::new("signin"),
            rule: "test".to_owned(),
            class: self.class,
            recipient: Recipient::Mail(Address::parse(&format!("{}@example.com", self.client)).unwrap()),
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
