//! The configuration of webhooks and of the audit trail: what is in force where nothing is said, and that no secret is
//! ever shown.
#![expect(clippy::panic, reason = "tests, and the helpers under them")]

use std::time::Duration;

use authrelay::config::{Config, describe};
use authrelay::event::Topic;
use authrelay::webhook::{Endpoint, Network, RecipientForm};

use crate::Machine;

const HOOK: &str = "[webhooks.crm]\nurl = 'https://hooks.acme.example/t0ken?k=hunter2'\n";

fn config(machine: &Machine, text: &str) -> Config {
    let mail = "[upstreams.mail]\nkind = 'maildir'\n";
    machine.load(&format!("{mail}{text}")).unwrap_or_else(|errors| panic!("{errors}")).config
}

/// What the reference says of webhooks is what is in force where nothing is said.
pub fn assert_reference(machine: &Machine, reference: &Config) {
    let brief = config(machine, &format!("{HOOK}secret_file = 'webhook.secret'\n"));
    let settings = |config: &Config| {
        let endpoint: &Endpoint = &config.webhooks.endpoints[0];
        let bounds = (endpoint.timeout, endpoint.concurrency, endpoint.keep, endpoint.subscription.backlog);
        (bounds, endpoint.recipient, endpoint.guard.clone(), endpoint.subscription.topics.clone())
    };
    assert_eq!(settings(reference), settings(&brief));
    assert_eq!(reference.audit, brief.audit);
    assert_eq!(reference.webhooks.endpoints[0].keys.len(), 2);
}

#[test]
fn a_webhook_is_what_its_lines_say() {
    let machine = Machine::new();
    let lines = "secret_file = 'webhook.secret'\nevents = ['sms.*', 'burst.held']\nrecipient = 'full'\n\
                 allow_networks = ['10.0.0.0/8']\n[webhooks.local]\nurl = 'http://localhost:9000/'\n\
                 secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'\n[audit]\nkeep = '0s'\n";
    let config = config(&machine, &format!("{HOOK}{lines}"));
    let [crm, local] = config.webhooks.endpoints.as_slice() else { panic!("two endpoints") };
    assert_eq!((crm.recipient, local.recipient), (RecipientForm::Full, RecipientForm::Hash));
    assert_eq!((crm.guard.network, local.guard.network), (Network::Public, Network::Loopback));
    assert_eq!(crm.subscription.topics.len(), 13);
    assert_eq!(local.subscription.topics, Topic::ALL);
    assert_eq!(config.audit.archive(machine.env.now), None);
    assert_eq!(config.audit.keep, Duration::ZERO);
    let shown = format!("{}{config:?}", describe(&config));
    assert!(shown.contains("# url: https://hooks.acme.example/...\n"), "{shown}");
    for secret in ["hunter2", "t0ken", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
