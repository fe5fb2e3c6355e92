//! What is told, in JSON: `{"type", "timestamp", "data"}`. Never a code, a link, a subject or anything else of a message.

use serde::Serialize;

use super::{Endpoint, RecipientForm};
use crate::clock::Timestamp;
use crate::event::{Event, Notice, Topic, UpstreamNews};
use crate::ident::{BurstId, BusinessName, CategoryName, ClientName, MessageId, UpstreamName};
use crate::mail::Recipient;
use crate::outcome::Reason;

/// The type of a test.
const TEST: &str = "webhook.test";

#[derive(Serialize)]
struct Body<'a, T> {
    r#type: &'a str,
    timestamp: String,
    data: T,
}

#[derive(Serialize)]
struct AboutMessage<'a> {
    id: MessageId,
    submission: MessageId,
    client: &'a ClientName,
    #[serde(skip_serializing_if = "Option::is_none")]
    business: Option<&'a BusinessName>,
    category: &'a CategoryName,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient_hash: Option<String>,
    /// The application's own Message-ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a str>,
    /// What the application called its code.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    accepted: String,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a UpstreamName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_reference: Option<&'a str>,
    /// The burst, for `authrelay queue release --burst`.
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<&'a BurstId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Why<'a>>,
}

#[derive(Serialize)]
struct AboutUpstream<'a> {
    upstream: &'a UpstreamName,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Why<'a>>,
}

#[derive(Serialize)]
struct Why<'a> {
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    text: &'a str,
}

impl<'a> Why<'a> {
    fn of(reason: Option<&'a Reason>) -> Option<Self> {
        reason.map(|reason| Self { class: reason.class.as_str(), code: reason.code, text: &reason.text })
    }
}

/// What an endpoint is told of a notice.
pub(super) fn body(notice: &Notice, endpoint: &Endpoint) -> Result<Vec<u8>, serde_json::Error> {
    // Nothing is in the outbox that has no topic.
    let name = notice.topic().map_or("", Topic::as_str);
    match notice {
        Notice::Event(event) => write(name, event.at, message(event, endpoint)),
        Notice::Upstream(UpstreamNews { at, upstream, reason, .. }) => {
            write(name, *at, AboutUpstream { upstream, reason: Why::of(reason.as_ref()) })
        }
    }
}

/// What an endpoint is told in a test.
pub(super) fn test(at: Timestamp, endpoint: &Endpoint) -> Result<Vec<u8>, serde_json::Error> {
    write(TEST, at, serde_json::json!({ "endpoint": endpoint.name() }))
}

fn write(name: &str, at: Timestamp, data: impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Body { r#type: name, timestamp: at.to_rfc3339(), data })
}

fn message<'a>(event: &'a Event, endpoint: &Endpoint) -> AboutMessage<'a> {
    let about = &event.subject;
    let (message_id, reference) = match &about.recipient {
        Recipient::Mail(_) => (about.application_id.as_deref(), None),
        Recipient::Phone(_) | Recipient::Forgotten => (None, about.application_id.as_deref()),
    };
    let (recipient, recipient_hash) = match (&about.recipient, endpoint.recipient) {
        (Recipient::Forgotten, _) => (None, None),
        (known, RecipientForm::Full) => (Some(known.as_str()), None),
        (known, RecipientForm::Hash) => {
            let newest = endpoint.keys.first();
            (None, newest.map(|key| key.recipient_hash(&known.lookup_form())))
        }
    };
    AboutMessage {
        id: about.message,
        submission: about.submission,
        client: &about.client,
        business: about.business.as_ref(),
        category: &about.category,
        recipient,
        recipient_hash,
        message_id,
        reference,
        accepted: about.accepted.to_rfc3339(),
        attempts: event.attempts,
        upstream: event.upstream.as_ref(),
        upstream_reference: event.reference.as_deref(),
        burst: event.burst.as_ref(),
        reason: Why::of(event.reason.as_ref()),
    }
}
