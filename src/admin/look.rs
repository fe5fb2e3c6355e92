//! What is looked at: the state of the daemon, what waits, and what became of a message. The command line and the status
//! page both get it from here, so that they never say different things.

use super::view::FlowView;
use super::watch::Check;
use super::{
    BurstView, Control, EventView, ListView, MOST_ROWS, MessageView, Problem, StatusView, TraceView,
};
use crate::ident::MessageId;
use crate::mail::{Address, Recipient};
use crate::phone::{self, Country, PhoneError};
use crate::queue::{History, Query, Queue};
use crate::secret::Digest;

/// The state of everything.
pub(super) async fn status(control: &Control) -> Result<StatusView, Problem> {
    let now = control.clock.now();
    let daemon = &control.daemon;
    let started = daemon.started();
    let queue = control.queue.depth().await?;
    let bursts = control.queue.open_bursts().await?;
    let troubles = control.watch.readiness().await.iter().filter_map(Check::trouble).collect();
    Ok(StatusView {
        troubles,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: daemon.hostname(),
        started: started.to_rfc3339(),
        uptime_seconds: now.since(started).as_secs(),
        oldest_seconds: queue.oldest.map(|oldest| now.since(oldest).as_secs()),
        queue,
        last_hour: daemon.last_hour().iter().map(FlowView::of).collect(),
        bursts: bursts.iter().map(BurstView::of).collect(),
        upstreams: daemon.upstreams(),
        listeners: daemon.listeners(),
        observed: daemon.observed(),
        reports: daemon.reports(),
        foreign_hosts: daemon.foreign_hosts(),
        reloads: daemon.reloads(),
        certificates: daemon.certificates(),
        keys: daemon.keys(),
    })
}

/// Rows of the queue, newest first; with whole addresses where `whole` is set.
pub(super) async fn list(queue: &Queue, wanted: Query, whole: bool) -> Result<ListView, Problem> {
    let found = queue.find(wanted).await?;
    Ok(ListView { messages: found.iter().map(|entry| MessageView::of(entry, whole)).collect() })
}

/// The latest things that happened to any message, newest first, with masked addresses.
pub(super) async fn latest(queue: &Queue, most: u32) -> Result<Vec<EventView>, Problem> {
    let found = queue.history(History::Latest(most)).await?;
    Ok(found.iter().rev().map(|event| EventView::of(event, false)).collect())
}

/// What is looked for.
pub(super) enum Target {
    /// A message, or a submission.
    Id(MessageId),
    /// Everything for a recipient.
    Recipient(Recipient),
    /// Everything for the recipient with this key.
    Key(Digest),
}

impl Target {
    pub(super) fn parse(text: &str, country: Option<Country>) -> Result<Self, Problem> {
        match text.trim().parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => parse_recipient(text, country).map(Self::Recipient),
        }
    }
}

/// Reads a recipient as an operator writes it: a mail address, or a phone number in any form. Its text is never quoted.
pub fn parse_recipient(text: &str, country: Option<Country>) -> Result<Recipient, Problem> {
    let text = text.trim();
    if text.contains('@') {
        return match Address::parse(text) {
            Ok(address) => Ok(Recipient::Mail(address)),
            Err(_) => Err(Problem::invalid("this is not a mail address")),
        };
    }
    match phone::parse(text, country) {
        Ok(dialled) => Ok(Recipient::Phone(dialled.number)),
        Err(PhoneError::NoCountry) => {
            let hint = "this is a phone number without its country: write it like +12025550100, or set default_country";
            Err(Problem::invalid(hint))
        }
        Err(PhoneError::Shape) => {
            Err(Problem::invalid("this is not a message id, not a mail address and not a phone number"))
        }
    }
}

/// What is known of a message or a recipient; 404 where nothing is.
pub(super) async fn traced(queue: &Queue, target: Target, whole: bool) -> Result<TraceView, Problem> {
    let by_key =
        |key| (Query { recipient_key: Some(key), limit: 20, ..Query::default() }, History::Recipient(key));
    let mut to_key = None;
    let (query, history) = match &target {
        Target::Id(id) => (Query { id: Some(*id), limit: MOST_ROWS, ..Query::default() }, History::Id(*id)),
        Target::Recipient(recipient) => {
            to_key = Some(queue.search_key(recipient));
            by_key(queue.recipient_key(recipient))
        }
        Target::Key(key) => by_key(*key),
    };
    let found = queue.find(query).await?;
    let events = queue.history(history).await?;
    if found.is_empty() && events.is_empty() {
        return Err(Problem::not_found("nothing is known of this id or recipient"));
    }
    if let Target::Key(_) = target {
        let recipients = found.iter().map(|entry| &entry.recipient);
        let all = recipients.chain(events.iter().map(|event| &event.subject.recipient));
        let known = all.into_iter().find(|recipient| **recipient != Recipient::Forgotten);
        to_key = known.map(|recipient| queue.search_key(recipient));
    }
    Ok(TraceView {
        messages: found.iter().map(|entry| MessageView::of(entry, whole)).collect(),
        events: events.iter().map(|event| EventView::of(event, whole)).collect(),
        to_key,
    })
}
