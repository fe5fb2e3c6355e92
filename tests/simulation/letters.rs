//! The letters of a world, the configuration they go through, and who writes them for an upstream.
//!
//! The way in is the real one: classified by the client's binding, planned, put. On the way out the sender's address carries
//! the number of the submission, so that an upstream knows from MAIL on what it is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use authrelay::clock::Timestamp;
use authrelay::deliver::{
    BreakerConfig, Config, InForce, Outgoing, Renderer, SmtpConfig, Timeouts, UpstreamConfig, UpstreamKind,
    UpstreamTls,
};
use authrelay::ident::{CategoryName, ClientName, MessageId, SenderName, UpstreamName};
use authrelay::mail::{Address, Envelope, Mailbox, Message, ReversePath};
use authrelay::outcome::Reason;
use authrelay::policy::{
    Action, BurstLimit, Category, Client, Origin, Policy, Recognition, SenderPolicy, classify,
    shipped_categories,
};
use authrelay::rewrite::{self, Plan, Planned, Sender, plan};

use crate::dice::Dice;
use crate::ledger::Book;
use crate::scenario::{KINDS, Kind, Scenario, Weather};
use crate::upstream::{Dialler, Provider};

/// From when on the invitations of a world are a burst.
pub const BURST: BurstLimit = BurstLimit { recipients: 20, within: Duration::from_mins(1) };

/// The bytes of a submission.
pub fn raw(scenario: &Scenario, serial: usize) -> Vec<u8> {
    let kind = scenario.kind_of(serial);
    format!(
        "From: {client} <app@app.example>\r\nTo: you\r\nSubject: {category} for you\r\nMessage-ID: <{serial}@app.example>\r\n\
         \r\nThe number that you have asked {client} for is {serial}.\r\n.If it was somebody else, do nothing.\r\n",
        client = kind.client,
        category = kind.category,
    )
    .into_bytes()
}

/// The submission that an address of MAIL carries.
pub fn serial_of(path: &str) -> Option<usize> {
    path.strip_prefix("FROM:<n")?.split_once('@')?.0.parse().ok()
}

/// Everything that plans letters.
pub struct Desk {
    policy: Arc<Policy>,
    rewrite: rewrite::Config,
}

impl Desk {
    /// The desk of every world.
    pub fn new() -> Self {
        let mut categories: BTreeMap<CategoryName, Arc<Category>> =
            shipped_categories().into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect();
        let mut clients = BTreeMap::new();
        for kind in &KINDS {
            categories.insert(kind.category.into(), Arc::new(category(kind)));
            let client = client(kind);
            clients.insert(client.name.clone(), Arc::new(client));
        }
        let policy = Policy {
            categories,
            clients,
            business_domains: BTreeMap::new(),
            rules: Vec::new(),
            recognition: Arc::new(Recognition::shipped().expect("the shipped recognition is sound")),
            declared_header: "X-Authrelay-Category".to_owned(),
        };
        Self { policy: Arc::new(policy), rewrite: rewriting() }
    }

    /// What messages are judged by.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy)
    }

    /// The retry clock of a category.
    pub fn retry(&self, kind: &Kind) -> Vec<Duration> {
        self.policy.retry_clock(&kind.category.into(), kind.class)
    }

    /// A submission of the scenario, planned.
    pub fn planned(&self, scenario: &Scenario, serial: usize, id: MessageId, accepted: Timestamp) -> Planned {
        let submission = authrelay::policy::Submission {
            id,
            accepted,
            client: ClientName::new(scenario.kind_of(serial).client),
            origin: Origin {
                listener: "main".into(),
                peer: None,
                helo: "app.example".to_owned(),
                protocol: "ESMTP",
            },
            envelope: Envelope {
                reverse_path: ReversePath::Null,
                recipients: scenario.submissions[serial]
                    .to
                    .iter()
                    .map(|to| Address::parse(to).unwrap())
                    .collect(),
            },
            message: Message::new(raw(scenario, serial)),
        };
        plan(&self.rewrite, classify(&self.policy, submission))
            .map_err(|(_, error)| error)
            .expect("it can be planned")
    }
}

fn category(kind: &Kind) -> Category {
    Category {
        settle: kind.settle,
        supersede: kind.supersede,
        ..Category::new(kind.category, kind.action, SenderPolicy::NoReply, kind.life, kind.class)
    }
}

fn client(kind: &Kind) -> Client {
    Client {
        name: ClientName::new(kind.client),
        businesses: Vec::new(),
        categories: None,
        bound_to: Some(kind.category.into()),
        may_declare: false,
        reports_to: Vec::new(),
        observe_until: None,
        burst: (kind.action == Action::Relay).then_some(BURST),
        per_minute: None,
    }
}

fn rewriting() -> rewrite::Config {
    let no_reply = Sender {
        name: "no-reply".into(),
        from: Mailbox::parse("no-reply@relay.example").unwrap(),
        return_path: Address::parse("bounces@relay.example").unwrap(),
        replace_null_reverse_path: true,
        dkim: Vec::new(),
    };
    rewrite::Config {
        hostname: "relay.example".to_owned(),
        no_reply: no_reply.name.clone(),
        senders: BTreeMap::from([(no_reply.name.clone(), Arc::new(no_reply))]),
        businesses: BTreeMap::new(),
        declared_header: "X-Authrelay-Category".to_owned(),
        received_names_client: false,
    }
}

/// Writes a letter as it came.
struct Writer;

impl Renderer for Writer {
    fn senders(&self, _plan: &Plan) -> Vec<SenderName> {
        vec!["no-reply".into()]
    }

    fn render(&self, message: &Message, _plan: &Plan, _sender: &SenderName) -> Result<Outgoing, Reason> {
        let id = message.values("Message-ID").next().unwrap_or_default();
        let serial: String = id.iter().map(|byte| char::from(*byte)).filter(char::is_ascii_digit).collect();
        let address = Address::parse(&format!("n{serial}@relay.example")).unwrap();
        Ok(Outgoing {
            reverse_path: ReversePath::Address(address),
            raw: message.raw().clone(),
            need: message.need(),
        })
    }
}

/// A configuration of the delivery: number 0 is the one that a world begins with.
pub fn in_force(number: u64, scenario: &Arc<Scenario>, book: &Book) -> InForce {
    let mut dice = Dice::of(scenario.seed, "configuration", &[number]);
    let mut names = vec!["alpha", "beta"];
    if number > 0 {
        if dice.percent(50) {
            names.reverse();
        }
        if dice.percent(25) {
            names.pop();
        }
        if dice.percent(20) {
            names.push("gamma");
        }
    }
    let calm = scenario.weather == Weather::Calm;
    let upstreams = names
        .into_iter()
        .map(|name| {
            let most = if calm { 16 } else { usize::try_from(dice.between(2, 8)).unwrap_or(2) };
            let rate =
                (!calm && dice.percent(15)).then(|| u32::try_from(dice.between(60, 600)).unwrap_or(60));
            let provider = Provider::new(name, most, scenario, book);
            upstream(name, most, rate, UpstreamTls::ByDialler(Arc::new(Dialler(provider))))
        })
        .collect();
    let config = Config { hostname: "relay.example".to_owned(), upstreams, workers: scenario.workers };
    InForce { config: Arc::new(config), renderer: Arc::new(Writer) }
}

fn upstream(name: &str, most: usize, rate: Option<u32>, tls: UpstreamTls) -> UpstreamConfig {
    UpstreamConfig {
        name: UpstreamName::new(name),
        kind: UpstreamKind::Smtp(SmtpConfig {
            host: format!("{name}.example"),
            port: 25,
            tls,
            credentials: None,
            timeouts: Timeouts::default(),
            idle: Duration::from_mins(1),
            messages_per_connection: 20,
        }),
        carries: None,
        max_connections: most,
        messages_per_minute: rate,
        breaker: BreakerConfig::default(),
    }
}
