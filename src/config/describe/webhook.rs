//! What is in force for webhooks and the audit trail.

use super::Text;
use crate::config::Config;
use crate::ident::BusinessName;
use crate::webhook::{Endpoint, RecipientForm};

/// `[webhooks.NAME]` and `[audit]`
pub(super) fn webhooks(text: &mut Text, config: &Config) {
    for endpoint in &config.webhooks.endpoints {
        self::endpoint(text, endpoint);
    }
    text.header("audit", "");
    text.duration("keep", config.audit.keep);
}

fn endpoint(text: &mut Text, endpoint: &Endpoint) {
    text.header("webhooks", endpoint.name().as_str());
    // What follows the host may be a secret.
    text.line(&format!("# url: {}", endpoint.target));
    text.line(&format!("# secret: {} key(s)", endpoint.keys.len()));
    text.list("events", endpoint.subscription.topics.iter().map(|topic| topic.as_str()));
    match &endpoint.subscription.businesses {
        Some(businesses) => text.list("businesses", businesses.iter().map(BusinessName::as_str)),
        None => text.line("# businesses: all"),
    }
    text.text(
        "recipient",
        match endpoint.recipient {
            RecipientForm::Full => "full",
            RecipientForm::Hash => "hash",
        },
    );
    text.list("allow_networks", &endpoint.guard.allowed);
    text.duration("timeout", endpoint.timeout);
    text.value("max_connections", endpoint.concurrency);
    text.value("backlog", endpoint.subscription.backlog);
    text.duration("keep", endpoint.keep);
}
