//! One attempt at one message: its routes in order, until one upstream has said something about the message itself.
//!
//! One copy is sent: the next route is asked only after an upstream that certainly does not have the message, never after
//! one that got all of it and gave no answer. And none is sent too late: everything before the message itself ends when
//! the life of the message ends, or when there would be no time left to record what came of it.
//!
//! Before a text is posted, that is noted on stable storage. Without that note nothing is posted, and with it nothing is
//! posted again by itself, whatever happens to this process.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::parcel::{Parcel, Text};
use super::registry::Snapshot;
use super::route::{Letter, Outgoing, Renderer, Route, Routes};
use super::upstream::Ticket;
use super::walk::{Trouble, Walk};
use crate::clock::{Clock, Timestamp};
use crate::defect::Panicked;
use crate::ident::UpstreamName;
use crate::mail::{Address, Message, Recipient};
use crate::outcome::{Outcome, Reason, ReasonClass};
use crate::queue::{Claimed, Entry, Payload, Queue};
use crate::rewrite::Plan;

/// What an attempt starts with: the routes, and the ticket for the one to begin with.
pub(super) struct Start {
    routes: Routes,
    first: usize,
    ticket: Option<Ticket>,
    /// Of the same configuration as the routes.
    renderer: Arc<dyn Renderer>,
}

impl Start {
    pub(super) fn new(routes: Routes, snapshot: &Snapshot, first: usize, ticket: Option<Ticket>) -> Self {
        Self { routes, first, ticket, renderer: Arc::clone(&snapshot.renderer) }
    }
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Some upstream was asked, or none can be.
    Tried {
        outcome: Outcome,
        upstream: Option<UpstreamName>,
        /// When the breakers let the next attempt be made; `None` leaves it to the message's own clock.
        not_before: Option<Timestamp>,
    },
    /// Nobody was asked.
    NotTried {
        /// When it may be taken up again.
        again: Timestamp,
    },
}

impl Ended {
    /// An attempt that a defect of ours cut off. `posted`: after a text may have been posted.
    pub(super) fn after_defect(entry: &Entry, defect: Panicked, posted: &Posted) -> Self {
        let reason = Reason::new(ReasonClass::Local, defect.to_string());
        if let Some(upstream) = posted.to() {
            let outcome = Outcome::InDoubt(reason);
            return Self::Tried { outcome, upstream: Some(upstream), not_before: None };
        }
        Self::Tried {
            outcome: Outcome::Deferred(reason),
            // Kept, because after an attempt without an answer it names the only upstream that may be asked.
            upstream: entry.upstream.clone(),
            not_before: None,
        }
    }
}

/// What every attempt works with.
pub(super) struct Means<'a> {
    pub(super) queue: &'a Queue,
    pub(super) clock: Clock,
    /// What has not begun to send its message stops.
    pub(super) hurry: &'a CancellationToken,
    /// Outlives the attempt, should a defect cut it off.
    pub(super) posted: &'a Posted,
}

/// Whether a text may be with an upstream that was not heard of yet, and with which.
#[derive(Debug, Default)]
pub(super) struct Posted(Mutex<Option<UpstreamName>>);

impl Posted {
    /// The text is about to be posted there; `None`: it was heard of.
    pub(super) fn set(&self, to: Option<&UpstreamName>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = to.cloned();
    }

    fn to(&self) -> Option<UpstreamName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is to be handed over.
enum Cargo<'a> {
    Mail { message: Message, plan: &'a Plan, recipient: &'a Address },
    Text(Text<'a>),
}

impl<'a> Cargo<'a> {
    fn of(claimed: &'a Claimed) -> Option<Self> {
        let entry = claimed.entry();
        match (claimed.payload(), &entry.recipient) {
            (Payload::Mail { plan, message }, Recipient::Mail(recipient)) => {
                Some(Self::Mail { message: Message::new(message.clone()), plan, recipient })
            }
            (Payload::Sms { code, host, factor: _, origin_bound }, Recipient::Phone(to)) => {
                let attempt = entry.attempts.saturating_add(1);
                let (host, origin_bound, expires) = (host.as_str(), *origin_bound, entry.expires);
                Some(Self::Text(Text { id: entry.id, attempt, to, code, host, origin_bound, expires }))
            }
            (Payload::Mail { .. } | Payload::Sms { .. }, _) => None,
        }
    }

    fn no_route(&self) -> &'static str {
        match self {
            Self::Mail { .. } => "no upstream carries a sender that this category allows",
            Self::Text(_) => "no upstream takes text messages",
        }
    }
}

/// Makes one attempt.
pub(super) async fn attempt(means: &Means<'_>, claimed: &Claimed, start: Start) -> Ended {
    let entry = claimed.entry();
    let Some(cargo) = Cargo::of(claimed) else {
        return no_route(entry, "what is to be sent does not fit its recipient");
    };
    if start.routes.ways.is_empty() {
        return no_route(entry, cargo.no_route());
    }
    let renderer = &*start.renderer;
    let mut walk = Walk::new(means, claimed, &start.routes, start.first);
    let mut ticket = start.ticket;
    for route in start.routes.ways.iter().skip(start.first) {
        let Some(ticket) = walk.ticket_for(route, ticket.take()).await else { continue };
        let handed = match &cargo {
            Cargo::Text(text) => walk.hand_over(route, ticket, Parcel::Text(*text)).await,
            Cargo::Mail { message, plan, recipient } => match render(renderer, message, plan, route) {
                Ok(outgoing) => {
                    let id = entry.id.to_string();
                    let letter = Letter { outgoing: &outgoing, recipient, file_name: &id };
                    walk.hand_over(route, ticket, Parcel::Letter(letter)).await
                }
                Err(reason) => {
                    walk.stands_in_the_way(route, Trouble::Ours(reason));
                    continue;
                }
            },
        };
        match handed {
            Ok(handed) => {
                if let Some(ended) = walk.judge(route, handed) {
                    return ended;
                }
            }
            Err(stopped) => walk.stop(stopped),
        }
    }
    walk.end()
}

fn render(
    renderer: &dyn Renderer,
    message: &Message,
    plan: &Plan,
    route: &Route,
) -> Result<Outgoing, Reason> {
    let no_sender = || Reason::new(ReasonClass::Local, "a mail needs a sender");
    renderer.render(message, plan, route.sender.as_ref().ok_or_else(no_sender)?)
}

fn no_route(entry: &Entry, text: &str) -> Ended {
    Ended::Tried {
        outcome: Outcome::Deferred(Reason::new(ReasonClass::NoRoute, text)),
        // Kept, because after an attempt without an answer it names the only upstream that may be asked.
        upstream: entry.upstream.clone(),
        not_before: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defect::survive;
    use crate::deliver::tests::bench::Draft;

    async fn defect() -> Panicked {
        let broken = async { panic!("a defect, for a test") };
        survive::<()>(broken).await.unwrap_err()
    }

    #[tokio::test]
    async fn after_a_defect_a_text_that_may_be_posted_is_in_doubt_and_any_other_is_tried_again() {
        let entry = Draft::text("739182").entry();
        let (posted, one) = (Posted::default(), UpstreamName::new("one"));
        let Ended::Tried { outcome, upstream, .. } = Ended::after_defect(&entry, defect().await, &posted)
        else {
            panic!("not tried")
        };
        assert!(matches!(outcome, Outcome::Deferred(_)) && upstream.is_none(), "{outcome:?}");
        posted.set(Some(&one));
        let Ended::Tried { outcome, upstream, .. } = Ended::after_defect(&entry, defect().await, &posted)
        else {
            panic!("not tried")
        };
        assert!(matches!(outcome, Outcome::InDoubt(_)), "{outcome:?}");
        assert_eq!(upstream, Some(one));
    }
}
