//! One attempt at one message: its routes in order, until one upstream has said something about the message itself.
//!
//! One copy is sent: the next route is asked only after an upstream that certainly does not have the message, never after
//! one that got all of it and gave no answer. And none is sent too late: everything before the message itself ends when
//! the life of the message ends, or when there would be no time left to record what came of it.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::breaker::Gate;
use super::reply::HandOver;
use super::route::{Letter, Renderer, Route, Routes};
use super::upstream::Ticket;
use crate::clock::{Clock, Timestamp};
use crate::defect::Panicked;
use crate::ident::UpstreamName;
use crate::mail::{Message, Recipient};
use crate::outcome::{Outcome, Reason, ReasonClass};
use crate::queue::{Claimed, Entry, Payload};

/// What an attempt starts with: the routes, and the ticket for the one to begin with.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) routes: Routes,
    pub(super) first: usize,
    pub(super) ticket: Option<Ticket>,
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
    /// An attempt that a defect of ours cut off.
    pub(super) fn after_defect(entry: &Entry, defect: Panicked) -> Self {
        Self::Tried {
            outcome: Outcome::Deferred(Reason::new(ReasonClass::Local, defect.to_string())),
            // Kept, because after an attempt without an answer it names the only upstream that may be asked.
            upstream: entry.upstream.clone(),
            not_before: None,
        }
    }
}

/// What every attempt works with.
pub(super) struct Means<'a> {
    pub(super) renderer: &'a dyn Renderer,
    pub(super) clock: Clock,
    /// What has not begun to send its message stops.
    pub(super) hurry: &'a CancellationToken,
}

/// Room between the end of an attempt and the end of its lease, to record the outcome.
const RECORDING: Duration = Duration::from_secs(30);

/// Why an attempt stopped before its message was sent.
#[derive(Debug, Clone, Copy)]
enum Stopped {
    /// It would come too late.
    Late,
    /// We are going down.
    Hurry,
}

/// Makes one attempt.
pub(super) async fn attempt(means: &Means<'_>, claimed: &Claimed, start: Start) -> Ended {
    let entry = claimed.entry();
    let (Payload::Mail { plan, message }, Recipient::Mail(recipient)) = (claimed.payload(), &entry.recipient)
    else {
        return no_route(entry, "no upstream takes text messages");
    };
    if start.routes.ways.is_empty() {
        return no_route(entry, "no upstream carries a sender that this category allows");
    }
    let message = Message::new(message.clone());
    let mut walk = Walk::new(means, claimed, &start.routes, start.first);
    let mut ticket = start.ticket;
    for route in start.routes.ways.iter().skip(start.first) {
        let Some(ticket) = walk.ticket_for(route, ticket.take()).await else { continue };
        let outgoing = match means.renderer.render(&message, plan, &route.sender) {
            Ok(outgoing) => outgoing,
            Err(reason) => {
                walk.stands_in_the_way(route, Trouble::Ours(reason));
                continue;
            }
        };
        let id = entry.id.to_string();
        let letter = Letter { outgoing: &outgoing, recipient, file_name: &id };
        match walk.hand_over(route, ticket, letter).await {
            Ok(handed) => {
                if let Some(ended) = walk.judge(route, handed) {
                    return ended;
                }
            }
            Err(stopped) => walk.stopped = Some(stopped),
        }
    }
    walk.end()
}

fn no_route(entry: &Entry, text: &str) -> Ended {
    Ended::Tried {
        outcome: Outcome::Deferred(Reason::new(ReasonClass::NoRoute, text)),
        // Kept, because after an attempt without an answer it names the only upstream that may be asked.
        upstream: entry.upstream.clone(),
        not_before: None,
    }
}

/// What stood in the way on a route that did not end the attempt. The later variant weighs more at the end.
#[derive(Debug, Clone)]
enum Trouble {
    /// The upstream can't carry what the message needs.
    Unfit(Reason),
    /// Rendering, or the sender: ours to mend.
    Ours(Reason),
    /// The upstream failed as a whole.
    Unavailable(Reason),
}

impl Trouble {
    fn weight(&self) -> u8 {
        match self {
            Self::Unfit(_) => 0,
            Self::Ours(_) => 1,
            Self::Unavailable(_) => 2,
        }
    }

    fn reason(&self) -> &Reason {
        match self {
            Self::Unfit(reason) | Self::Ours(reason) | Self::Unavailable(reason) => reason,
        }
    }
}

/// The way of one attempt along its routes.
struct Walk<'a> {
    means: &'a Means<'a>,
    claimed: &'a Claimed,
    routes: &'a Routes,
    trouble: Option<(Trouble, UpstreamName)>,
    /// Upstreams that said they can't, whatever the sender.
    done_with: Vec<UpstreamName>,
    /// Whether a route was left out because its breaker is open.
    skipped: bool,
    /// Why the sender it should have could not be used.
    not_preferred: Option<Reason>,
    stopped: Option<Stopped>,
}

impl<'a> Walk<'a> {
    fn new(means: &'a Means<'a>, claimed: &'a Claimed, routes: &'a Routes, first: usize) -> Self {
        Self {
            means,
            claimed,
            routes,
            trouble: None,
            done_with: Vec::new(),
            skipped: first > 0,
            not_preferred: None,
            stopped: None,
        }
    }

    async fn ticket_for(&mut self, route: &Route, ticket: Option<Ticket>) -> Option<Ticket> {
        if self.stopped.is_some() || self.done_with.contains(route.upstream.name()) {
            return None;
        }
        if ticket.is_some() {
            return ticket;
        }
        let class = self.claimed.entry().class;
        match self.before_sending(route, route.upstream.enter(class)).await {
            Ok(Ok(ticket)) => Some(ticket),
            Ok(Err(_blocked)) => {
                self.skipped = true;
                None
            }
            Err(stopped) => {
                self.stopped = Some(stopped);
                None
            }
        }
    }

    /// Hands it over. `Err` means that nothing was sent.
    async fn hand_over(
        &self,
        route: &Route,
        ticket: Ticket,
        letter: Letter<'_>,
    ) -> Result<HandOver, Stopped> {
        let handed = match self.before_sending(route, route.upstream.prepare(letter)).await? {
            Ok(prepared) => route.upstream.transmit(prepared, letter).await,
            Err(handed) => handed,
        };
        ticket.tell(&handed);
        Ok(handed)
    }

    async fn before_sending<T>(&self, route: &Route, work: impl Future<Output = T>) -> Result<T, Stopped> {
        let lease = self.claimed.lease().minus(route.upstream.transmit_limit() + RECORDING);
        let last = lease.min(self.claimed.entry().expires);
        if self.means.clock.now() >= last {
            return Err(Stopped::Late);
        }
        tokio::select! {
            biased;
            () = self.means.hurry.cancelled() => Err(Stopped::Hurry),
            done = tokio::time::timeout_at(self.means.clock.instant_of(last), work) => {
                done.map_err(|_| Stopped::Late)
            }
        }
    }

    /// What an upstream's answer makes of the attempt; `None` means that the next route is asked.
    fn judge(&mut self, route: &Route, handed: HandOver) -> Option<Ended> {
        let upstream = route.upstream.name();
        let outcome = match handed {
            HandOver::Accepted { reference } => {
                Outcome::HandedOver { reference, remark: self.change_of_sender(route) }
            }
            HandOver::Refused(reason) => Outcome::Refused(reason.at(upstream)),
            HandOver::Deferred(reason) => Outcome::Deferred(reason.at(upstream)),
            HandOver::InDoubt(reason) => Outcome::InDoubt(reason.at(upstream)),
            HandOver::Unavailable(reason, _) => {
                self.done_with.push(upstream.clone());
                self.stands_in_the_way(route, Trouble::Unavailable(reason));
                return None;
            }
            HandOver::Unfit(reason) => {
                self.done_with.push(upstream.clone());
                self.stands_in_the_way(route, Trouble::Unfit(reason));
                return None;
            }
            HandOver::SenderRefused(reason) => {
                self.stands_in_the_way(route, Trouble::Ours(reason));
                return None;
            }
        };
        Some(Ended::Tried { outcome, upstream: Some(upstream.clone()), not_before: None })
    }

    fn stands_in_the_way(&mut self, route: &Route, trouble: Trouble) {
        let upstream = route.upstream.name();
        if self.routes.preferred.as_ref() == Some(&route.sender) {
            self.not_preferred = Some(trouble.reason().clone().at(upstream));
        }
        if self.trouble.as_ref().is_none_or(|(known, _)| known.weight() <= trouble.weight()) {
            self.trouble = Some((trouble, upstream.clone()));
        }
    }

    /// Whether another sender was used than the one it should have had, and why.
    fn change_of_sender(&self, route: &Route) -> Option<Reason> {
        let preferred = self.routes.preferred.as_ref().filter(|name| **name != route.sender)?;
        let carried = self.routes.ways.iter().any(|way| way.sender == *preferred);
        let why = match &self.not_preferred {
            Some(reason) => reason.to_string(),
            None if carried => "its upstream is not asked at the moment".to_owned(),
            None => "no upstream carries it".to_owned(),
        };
        tracing::warn!(
            target: "authrelay::deliver",
            message = %self.claimed.entry().id,
            sender = %route.sender,
            instead_of = %preferred,
            reason = why,
            "handed over from another sender"
        );
        Some(Reason::new(ReasonClass::Sender, format!("from {}, not {preferred}: {why}", route.sender)))
    }

    /// The end after all routes were asked or left out.
    fn end(self) -> Ended {
        let now = self.means.clock.now();
        if let Some(Stopped::Late) = self.stopped {
            let text = match &self.trouble {
                Some((trouble, upstream)) => {
                    format!("no time left for an attempt; {}", trouble.reason().clone().at(upstream))
                }
                None => "no time left for an attempt".to_owned(),
            };
            let outcome = Outcome::Deferred(Reason::new(ReasonClass::Timeout, text));
            return Ended::Tried {
                outcome,
                upstream: self.claimed.entry().upstream.clone(),
                not_before: None,
            };
        }
        let Some((trouble, upstream)) = self.trouble else {
            let again = if self.stopped.is_some() { now } else { self.earliest().unwrap_or(now) };
            return Ended::NotTried { again };
        };
        let not_before = earliest(self.routes, self.means.clock);
        let outcome = match trouble {
            Trouble::Unavailable(reason) => Outcome::UpstreamUnavailable(reason.at(&upstream)),
            Trouble::Ours(reason) => Outcome::Deferred(reason.at(&upstream)),
            // One of those left out may be able to.
            Trouble::Unfit(reason) if self.skipped || self.stopped.is_some() => {
                Outcome::UpstreamUnavailable(reason.at(&upstream))
            }
            Trouble::Unfit(reason) => Outcome::Refused(reason.at(&upstream)),
        };
        Ended::Tried { outcome, upstream: Some(upstream), not_before }
    }

    fn earliest(&self) -> Option<Timestamp> {
        earliest(self.routes, self.means.clock)
    }
}

/// When the first of the routes' breakers lets somebody in; `None` when one of them is closed.
pub(super) fn earliest(routes: &Routes, clock: Clock) -> Option<Timestamp> {
    let now = Instant::now();
    let mut earliest: Option<Instant> = None;
    for way in &routes.ways {
        let at = match way.upstream.look() {
            Gate::Pass => return None,
            Gate::Probe => now,
            Gate::NotBefore(until) => until,
        };
        earliest = Some(earliest.map_or(at, |known| known.min(at)));
    }
    earliest.map(|at| clock.now().plus(at.saturating_duration_since(now)))
}
