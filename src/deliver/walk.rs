//! The way of one attempt along its routes: each upstream is asked only after those before it certainly do not have the
//! message, and none too late.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::{Ended, Means};
use super::breaker::Gate;
use super::discretion::without_subject;
use super::parcel::Parcel;
use super::reply::HandOver;
use super::route::{Route, Routes};
use super::upstream::Ticket;
use crate::clock::{Clock, Timestamp};
use crate::ident::UpstreamName;
use crate::outcome::{Outcome, Reason, ReasonClass};
use crate::queue::{Claimed, Effect};

/// Room between the end of an attempt and the end of its lease, to record the outcome.
const RECORDING: Duration = Duration::from_secs(30);

/// Why an attempt stopped before its message was sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stopped {
    /// It would come too late.
    Late,
    /// We are going down.
    Hurry,
    /// That a text is about to be posted could not be noted.
    NotNoted,
}

/// The pause after that could not be noted.
const NOTING_PAUSE: Duration = Duration::from_secs(1);

/// What stood in the way on a route that did not end the attempt. The later variant weighs more at the end.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
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
pub(super) struct Walk<'a> {
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
    pub(super) fn new(means: &'a Means<'a>, claimed: &'a Claimed, routes: &'a Routes, first: usize) -> Self {
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

    pub(super) async fn ticket_for(&mut self, route: &Route, ticket: Option<Ticket>) -> Option<Ticket> {
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
    pub(super) async fn hand_over(
        &self,
        route: &Route,
        ticket: Ticket,
        parcel: Parcel<'_>,
    ) -> Result<HandOver, Stopped> {
        let prepared = match self.before_sending(route, route.upstream.prepare(parcel)).await? {
            Ok(prepared) => prepared,
            Err(handed) => {
                let handed = without_subject(handed, parcel);
                // What stands in the way of a text was found here: the upstream was not asked.
                if let Parcel::Letter(_) = parcel {
                    ticket.tell(&handed);
                }
                return Ok(handed);
            }
        };
        if route.upstream.twilio().is_some() {
            self.note_posting(route).await?;
            // It may have taken a while.
            self.before_sending(route, std::future::ready(())).await?;
            self.means.posted.set(Some(route.upstream.name()));
        }
        let handed = without_subject(route.upstream.transmit(prepared, parcel).await, parcel);
        self.means.posted.set(None);
        ticket.tell(&handed);
        Ok(handed)
    }

    /// Notes on stable storage that a text is about to be posted. What is noted is undone by settling or giving it back.
    async fn note_posting(&self, route: &Route) -> Result<(), Stopped> {
        match self.means.queue.mark(self.claimed, route.upstream.name()).await {
            Ok(Effect::Done) => Ok(()),
            Ok(effect) => {
                tracing::warn!(
                    target: "authrelay::deliver",
                    message = %self.claimed.entry().id,
                    ?effect,
                    "a text is somebody else's by now, and is not posted"
                );
                Err(Stopped::NotNoted)
            }
            Err(error) => {
                tracing::error!(
                    target: "authrelay::deliver",
                    message = %self.claimed.entry().id,
                    %error,
                    "a text is not posted, because that can't be noted"
                );
                Err(Stopped::NotNoted)
            }
        }
    }

    async fn before_sending<T>(&self, route: &Route, work: impl Future<Output = T>) -> Result<T, Stopped> {
        let lease = self.claimed.lease().minus(route.upstream.transmit_limit() + RECORDING);
        let last = lease.min(self.claimed.entry().expires.minus(route.upstream.least_life()));
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

    /// No route is asked any more.
    pub(super) fn stop(&mut self, stopped: Stopped) {
        self.stopped = Some(stopped);
    }

    /// What an upstream's answer makes of the attempt; `None` means that the next route is asked.
    pub(super) fn judge(&mut self, route: &Route, handed: HandOver) -> Option<Ended> {
        let upstream = route.upstream.name();
        let outcome = match handed {
            HandOver::Accepted { reference } => {
                Outcome::HandedOver { reference, remark: self.change_of_sender(route) }
            }
            HandOver::Taken { reference } => Outcome::Taken { reference },
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

    pub(super) fn stands_in_the_way(&mut self, route: &Route, trouble: Trouble) {
        let upstream = route.upstream.name();
        if route.sender.is_some() && self.routes.preferred == route.sender {
            self.not_preferred = Some(trouble.reason().clone().at(upstream));
        }
        if self.trouble.as_ref().is_none_or(|(known, _)| known.weight() <= trouble.weight()) {
            self.trouble = Some((trouble, upstream.clone()));
        }
    }

    /// Whether another sender was used than the one it should have had, and why.
    fn change_of_sender(&self, route: &Route) -> Option<Reason> {
        let sender = route.sender.as_ref()?;
        let preferred = self.routes.preferred.as_ref().filter(|name| *name != sender)?;
        let carried = self.routes.ways.iter().any(|way| way.sender.as_ref() == Some(preferred));
        let why = match &self.not_preferred {
            Some(reason) => reason.to_string(),
            None if carried => "its upstream is not asked at the moment".to_owned(),
            None => "no upstream carries it".to_owned(),
        };
        tracing::warn!(
            target: "authrelay::deliver",
            message = %self.claimed.entry().id,
            %sender,
            instead_of = %preferred,
            reason = why,
            "handed over from another sender"
        );
        Some(Reason::new(ReasonClass::Sender, format!("from {sender}, not {preferred}: {why}")))
    }

    /// The end after all routes were asked or left out.
    pub(super) fn end(self) -> Ended {
        let now = self.means.clock.now();
        if let Some(Stopped::Late) = self.stopped {
            // What kept it until now tells more than that it is late.
            let trouble = self.trouble.map(|(trouble, upstream)| trouble.reason().clone().at(&upstream));
            let before = || self.claimed.entry().reason.clone().filter(|reason| reason.upstream.is_some());
            let reason = match trouble.or_else(before) {
                Some(last) => Reason::quoting(ReasonClass::Timeout, "no time left for an attempt; ", &last),
                None => Reason::new(ReasonClass::Timeout, "no time left for an attempt"),
            };
            let outcome = Outcome::Deferred(reason);
            return Ended::Tried {
                outcome,
                upstream: self.claimed.entry().upstream.clone(),
                not_before: None,
            };
        }
        let Some((trouble, upstream)) = self.trouble else {
            let again = match self.stopped {
                Some(Stopped::NotNoted) => now.plus(NOTING_PAUSE),
                Some(Stopped::Hurry | Stopped::Late) => now,
                None => self.earliest().unwrap_or(now),
            };
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
