//! What the control interface shows: the JSON forms, shared with the command line.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CertificateView, KeysView, ReloadsView};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::ident::UpstreamName;
use crate::mail::Recipient;
use crate::metrics::{CategoryFlow, WouldRefuse};
use crate::outcome::Reason;
use crate::queue::{Depth, Entry, OpenBurst};

/// `GET /v1/status`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusView {
    /// The version of the daemon.
    pub version: String,
    /// The name of its machine.
    #[serde(default)]
    pub hostname: String,
    /// When it began (RFC 3339).
    pub started: String,
    /// How long it has been running.
    pub uptime_seconds: u64,
    /// Why it can't take mail now, or can't hand it over: what `/readyz` says.
    #[serde(default)]
    pub troubles: Vec<String>,
    /// How full the queue is.
    pub queue: Depth,
    /// How old the oldest waiting message is.
    pub oldest_seconds: Option<u64>,
    /// What happened in the last hour (or since the daemon began), by category.
    #[serde(default)]
    pub last_hour: Vec<FlowView>,
    /// The bursts that go on or still hold something, newest first.
    #[serde(default)]
    pub bursts: Vec<BurstView>,
    /// The upstreams, in the order in which they are tried.
    pub upstreams: Vec<UpstreamView>,
    /// The listeners.
    pub listeners: Vec<String>,
    /// The clients that are only observed: their mail is relayed whatever it is.
    pub observed: Vec<ObserveView>,
    /// What the SMS provider reported; `None` where no provider was told where to.
    pub reports: Option<ReportsView>,
    /// The foreign hosts that mail led to since the daemon began, by business, the most frequent first.
    #[serde(default)]
    pub foreign_hosts: Vec<ForeignHostView>,
    /// How the reloads went.
    #[serde(default)]
    pub reloads: ReloadsView,
    /// The certificate files in use.
    #[serde(default)]
    pub certificates: Vec<CertificateView>,
    /// The keys that the queue is sealed with.
    #[serde(default)]
    pub keys: KeysView,
}

/// A host that is not allowed for a business, to which mail led.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ForeignHostView {
    /// The business; `None`: it was not known.
    pub business: Option<String>,
    /// The host. Labels that may be tokens are `*`.
    pub host: String,
    /// What its links were last taken for: `disguised`, `token`, `action`, `foreign`, `redirect` or `foreign-image`.
    pub taken: String,
    /// In how many messages.
    pub messages: u64,
}

/// How many status callbacks came since the daemon began, by what became of them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ReportsView {
    /// They moved a text forward, or told what was known.
    pub applied: u64,
    /// They changed nothing: older news, or told before.
    pub stale: u64,
    /// They were about no text of the provider's.
    pub unknown: u64,
    /// Their signature was missing or wrong.
    pub forged: u64,
}

/// Many messages of one shape, held together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BurstView {
    /// Its name, for `queue list|release|remove --burst`.
    pub id: String,
    /// Who sent it.
    pub client: String,
    /// What it is.
    pub category: String,
    /// When its first message was accepted (RFC 3339).
    pub began: String,
    /// When its last one was (RFC 3339).
    pub last: String,
    /// Another one of its shape would still be held.
    pub goes_on: bool,
    /// How many messages were held in all.
    pub messages: u64,
    /// How many still are.
    pub held: u64,
}

impl BurstView {
    /// The form of a burst.
    pub fn of(burst: &OpenBurst) -> Self {
        Self {
            id: burst.id.to_string(),
            client: burst.client.to_string(),
            category: burst.category.to_string(),
            began: burst.began.to_rfc3339(),
            last: burst.last.to_rfc3339(),
            goes_on: burst.goes_on,
            messages: burst.messages,
            held: burst.held,
        }
    }
}

/// How one upstream does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpstreamView {
    /// Its name.
    pub name: String,
    /// What it is: `smtp`, `maildir`, `twilio` or `outbox`.
    pub kind: String,
    /// Where it is: `host:port`, a web address, a folder or a file.
    pub target: String,
    /// `up`, `down` or `probing`.
    pub state: String,
    /// Why it is down.
    pub reason: Option<String>,
    /// When it is asked again (RFC 3339).
    pub retry_at: Option<String>,
    /// Attempts under way.
    pub in_flight: usize,
    /// Connections that are open, in use or not.
    #[serde(default)]
    pub connections: usize,
    /// Since when its state is as it is (RFC 3339).
    #[serde(default)]
    pub since: String,
}

/// A client under observation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ObserveView {
    /// The client.
    pub client: String,
    /// Until when (RFC 3339).
    pub until: String,
    /// What it sent since the daemon began that enforcement would have refused, the most frequent first.
    #[serde(default)]
    pub would_refuse: Vec<WouldRefuseView>,
}

/// Messages that passed only because their client is observed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WouldRefuseView {
    /// What they are.
    pub category: String,
    /// What decided that.
    pub rule: String,
    /// How many, one for each recipient.
    pub messages: u64,
    /// When the last one came (RFC 3339).
    pub last: String,
    /// The id of that one.
    pub example: String,
}

impl WouldRefuseView {
    /// The form of what is known.
    pub fn of(seen: &WouldRefuse) -> Self {
        Self {
            category: seen.category.to_string(),
            rule: seen.rule.clone(),
            messages: seen.messages,
            last: Timestamp::from_millis(seen.last).to_rfc3339(),
            example: seen.example.to_string(),
        }
    }
}

/// What happened to messages of one category in the last hour.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FlowView {
    /// The category.
    pub category: String,
    /// Accepted and queued.
    pub received: u64,
    /// Handed over to an upstream.
    pub handed_over: u64,
    /// Not accepted.
    pub refused: u64,
    /// Accepted, and by policy not handed over.
    pub suppressed: u64,
    /// Accepted and held.
    pub held: u64,
    /// Attempts after which another one had to be made.
    pub deferred: u64,
    /// Failed, expired, or of unknown end.
    pub failed: u64,
    /// Half of those handed over took no longer than this after their acceptance.
    pub half_within_ms: Option<u64>,
    /// All of them took no longer than this.
    pub all_within_ms: Option<u64>,
}

impl FlowView {
    /// The form of a category's hour.
    pub fn of(flow: &CategoryFlow) -> Self {
        let millis = |took: Option<Duration>| took.and_then(|took| u64::try_from(took.as_millis()).ok());
        Self {
            category: flow.category.to_string(),
            received: flow.received,
            handed_over: flow.handed_over,
            refused: flow.refused,
            suppressed: flow.suppressed,
            held: flow.held,
            deferred: flow.deferred,
            failed: flow.failed,
            half_within_ms: millis(flow.half_within),
            all_within_ms: millis(flow.all_within),
        }
    }
}

/// `GET /v1/queue`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListView {
    /// The messages, newest first.
    pub messages: Vec<MessageView>,
}

/// `GET /v1/trace` and `GET /v1/queue/{id}`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TraceView {
    /// What is or was in the queue, newest first.
    pub messages: Vec<MessageView>,
    /// What happened, oldest first; refusals are here only.
    pub events: Vec<EventView>,
    /// Where a recipient was asked for: what its log lines are found by, as `to_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_key: Option<String>,
}

/// What became of an operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Acted {
    /// How many messages it was done to.
    pub done: usize,
    /// The states of those that did not allow it.
    pub not_allowed: Vec<String>,
}

/// One message to one recipient.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MessageView {
    /// Its id.
    pub id: String,
    /// The id its client was told.
    pub submission: String,
    /// Where it stands.
    pub state: String,
    /// What it is.
    pub category: String,
    /// What decided that.
    pub rule: String,
    /// Its lane.
    pub class: String,
    /// Who handed it in.
    pub client: String,
    /// On whose behalf.
    pub business: Option<String>,
    /// For whom: masked, unless the whole was asked for; `(forgotten)` once a text has ended.
    pub to: String,
    /// When it was accepted (RFC 3339).
    pub accepted: String,
    /// After this it is not sent (RFC 3339).
    pub expires: String,
    /// Its next attempt (RFC 3339), while it waits.
    pub next_attempt: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// How many of them got no answer after everything was sent: it may have arrived.
    pub in_doubt: u32,
    /// Why it waits or ended.
    pub reason: Option<String>,
    /// The upstream asked last.
    pub upstream: Option<String>,
    /// The upstream's own reference: what to search for over there.
    pub reference: Option<String>,
    /// The application's own Message-ID, where the whole was asked for.
    pub application_id: Option<String>,
}

impl MessageView {
    /// The form of a row; with the whole address where `whole` is set.
    pub fn of(entry: &Entry, whole: bool) -> Self {
        let waits = entry.state == crate::queue::State::Queued;
        Self {
            id: entry.id.to_string(),
            submission: entry.submission.to_string(),
            state: entry.state.as_str().to_owned(),
            category: entry.category.to_string(),
            rule: entry.rule.clone(),
            class: entry.class.to_string(),
            client: entry.client.to_string(),
            business: entry.business.as_ref().map(ToString::to_string),
            to: address(&entry.recipient, whole),
            accepted: entry.accepted.to_rfc3339(),
            expires: entry.expires.to_rfc3339(),
            next_attempt: waits.then(|| entry.next_attempt.to_rfc3339()),
            attempts: entry.attempts,
            in_doubt: entry.in_doubt,
            reason: entry.reason.as_ref().map(ToString::to_string),
            upstream: entry.upstream.as_ref().map(ToString::to_string),
            reference: entry.reference.clone(),
            application_id: if whole { entry.application_id.clone() } else { None },
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventView {
    /// When (RFC 3339).
    pub at: String,
    /// What.
    pub event: String,
    /// The message.
    pub message: String,
    /// The id its client was told.
    pub submission: String,
    /// What it is.
    pub category: String,
    /// What decided that.
    pub rule: String,
    /// Who handed it in.
    pub client: String,
    /// For whom.
    pub to: String,
    /// Attempts made by then.
    pub attempts: u32,
    /// Why; without the name of `upstream`.
    pub reason: Option<String>,
    /// Which kind of thing stood in the way.
    pub class: Option<String>,
    /// The upstream.
    pub upstream: Option<String>,
    /// The upstream's reference.
    pub reference: Option<String>,
    /// The burst, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<String>,
    /// How long after acceptance.
    pub after_ms: u64,
}

impl EventView {
    /// The form of an event; with the whole address where `whole` is set.
    pub fn of(event: &Event, whole: bool) -> Self {
        let about = &event.subject;
        Self {
            at: event.at.to_rfc3339(),
            event: event.kind.as_str().to_owned(),
            message: about.message.to_string(),
            submission: about.submission.to_string(),
            category: about.category.to_string(),
            rule: about.rule.clone(),
            client: about.client.to_string(),
            to: address(&about.recipient, whole),
            attempts: event.attempts,
            reason: event.reason.as_ref().map(|reason| without(reason, event.upstream.as_ref())),
            class: event.reason.as_ref().map(|reason| reason.class.as_str().to_owned()),
            upstream: event.upstream.as_ref().map(ToString::to_string),
            reference: event.reference.clone(),
            burst: event.burst.as_ref().map(ToString::to_string),
            after_ms: u64::try_from(event.at.since(about.accepted).as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The reason without the upstream that is told beside it.
fn without(reason: &Reason, upstream: Option<&UpstreamName>) -> String {
    let own = reason.upstream.clone().filter(|own| Some(own) != upstream);
    Reason { upstream: own, ..reason.clone() }.to_string()
}

fn address(recipient: &Recipient, whole: bool) -> String {
    match recipient {
        Recipient::Mail(_) | Recipient::Phone(_) if whole => recipient.as_str().to_owned(),
        Recipient::Mail(_) | Recipient::Phone(_) | Recipient::Forgotten => recipient.masked(),
    }
}
