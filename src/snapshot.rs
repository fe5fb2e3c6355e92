//! The configuration in force, as one immutable value. Every transaction, attempt and request takes its own `Arc` of it
//! and keeps that to its end, so a reload never changes the rules in the middle of something.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::client::Directory;
use crate::config::Config;
use crate::ident::{BusinessName, CategoryName, Class, ClientName};
use crate::pipeline;
use crate::policy::{Action, Category, Client, Policy, SenderPolicy};

/// The client that test messages come from.
pub const TEST_CLIENT: &str = "authrelay:send-test";
/// The client that failure reports come from.
pub const REPORT_CLIENT: &str = "authrelay:report";
/// What a failure report is.
const REPORT_CATEGORY: &str = "authrelay:report";
const REPORT_LIFE: Duration = Duration::from_hours(24);

/// A configuration and what is made of it once.
#[derive(Debug)]
pub struct Snapshot {
    /// The configuration.
    pub config: Config,
    /// The part the pipeline decides by.
    pub pipeline: pipeline::Config,
    /// The clients.
    pub directory: Directory,
}

impl Snapshot {
    /// The snapshot of a configuration, with the clients that are ours.
    pub fn new(mut config: Config) -> Self {
        config.policy = Arc::new(with_our_own(&config));
        let pipeline = pipeline::Config {
            policy: Arc::clone(&config.policy),
            rewrite: Arc::clone(&config.rewrite),
            mail: Arc::clone(&config.mail_guard),
            sms: Arc::clone(&config.sms_guard),
            limits: config.queue.limits,
        };
        Self { directory: Directory::new(config.clients.clone()), pipeline, config }
    }
}

/// The policy with the clients and categories through which the daemon sends by itself. Their names hold a `:`, which
/// the configuration does not allow, and nothing gives access to them: no peer can be one of them.
fn with_our_own(config: &Config) -> Policy {
    let mut policy = Policy::clone(&config.policy);
    let category = Category {
        max_recipients: 1,
        ..Category::new(REPORT_CATEGORY, Action::Relay, SenderPolicy::NoReply, REPORT_LIFE, Class::Normal)
    };
    policy.categories.insert(category.name.clone(), Arc::new(category));
    let businesses = config.rewrite.businesses.keys().cloned().collect();
    let test = client(TEST_CLIENT, None, businesses);
    let report = client(REPORT_CLIENT, Some(CategoryName::new(REPORT_CATEGORY)), Vec::new());
    for client in [test, report] {
        policy.clients.insert(client.name.clone(), Arc::new(client));
    }
    policy
}

fn client(name: &str, bound_to: Option<CategoryName>, businesses: Vec<BusinessName>) -> Client {
    Client {
        name: ClientName::new(name),
        businesses,
        categories: None,
        may_declare: bound_to.is_none(),
        bound_to,
        reports_to: Vec::new(),
        observe_until: None,
        burst: None,
        per_minute: None,
    }
}

/// Where the snapshot in force is found. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Current(Arc<ArcSwap<Snapshot>>);

impl Current {
    /// Begins with `snapshot`.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(snapshot)))
    }

    /// The snapshot in force.
    pub fn get(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts another in force, for everything that begins from now on.
    pub fn replace(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
