//! One upstream while the daemon runs: who is let in when (breaker, connections, rate), and how it stands.
//!
//! Whoever wants to hand something over needs a [`Ticket`] first. It holds room for one delivery, and tells the breaker
//! how it ended; a probe that is dropped without an answer lets the next one try.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::breaker::{Breaker, Gate, Position};
use super::connection::Connection;
use super::herald::Herald;
use super::outbox::Outbox;
use super::parcel::{Carries, Parcel};
use super::rate::Rate;
use super::reply::HandOver;
use super::smtp::SmtpUpstream;
use super::status::{BreakerStatus, UpstreamStatus};
use super::tally::Tally;
use super::twilio::{self, Twilio};
use super::{UpstreamConfig, UpstreamKind, maildir};
use crate::clock::{Clock, Timestamp};
use crate::event::UpstreamTurn;
use crate::ident::{Class, SenderName, UpstreamName};
use crate::outcome::{Reason, ReasonClass};

/// One upstream: its configuration, and everything that lives longer than one attempt.
#[derive(Debug)]
pub struct Upstream {
    config: UpstreamConfig,
    hostname: String,
    transport: Transport,
    gate: Mutex<GateState>,
    /// Room for deliveries, and the part of it that normal mail may take.
    room: Arc<Semaphore>,
    normal_room: Arc<Semaphore>,
    rate: Option<Rate>,
    tally: Tally,
    changed: Arc<Notify>,
    herald: Herald,
    clock: Clock,
}

#[derive(Debug)]
enum Transport {
    Maildir(std::path::PathBuf),
    Smtp(Box<SmtpUpstream>),
    Outbox(Outbox),
    Twilio(Box<Twilio>),
}

#[derive(Debug)]
struct GateState {
    breaker: Breaker,
    since: Timestamp,
    last: Option<Reason>,
}

/// What was prepared, and only waits for the message itself.
pub(super) enum Prepared {
    Folder,
    Connection(Box<Connection>),
    /// A text as it is sent.
    Text(Zeroizing<String>),
}

/// Whether one may hand something over now.
#[derive(Debug)]
pub(super) enum Admission {
    /// Yes.
    In(Ticket),
    /// All room is taken.
    Full,
    /// Its rate allows the next one then.
    RateUntil(Instant),
    /// Its breaker is open, or a probe is under way.
    Blocked(Instant),
}

impl Upstream {
    /// An upstream nobody has asked yet. `hostname` is our name in EHLO and in the names of files.
    pub fn new(config: UpstreamConfig, hostname: String, clock: Clock) -> Arc<Self> {
        Self::with_notify(config, hostname, clock, Arc::default(), Herald::default())
    }

    /// The same, telling `changed` whenever room was given back or the breaker may have moved, and `herald` when it opened
    /// or closed.
    pub(super) fn with_notify(
        config: UpstreamConfig,
        hostname: String,
        clock: Clock,
        changed: Arc<Notify>,
        herald: Herald,
    ) -> Arc<Self> {
        let room = config.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let transport = match &config.kind {
            UpstreamKind::Maildir { path } => Transport::Maildir(path.clone()),
            UpstreamKind::Outbox { path } => Transport::Outbox(Outbox::new(path.clone())),
            UpstreamKind::Twilio(twilio) => Transport::Twilio(Box::new(Twilio::new((**twilio).clone()))),
            UpstreamKind::Smtp(smtp) => {
                Transport::Smtp(Box::new(SmtpUpstream::new(smtp.clone(), hostname.clone())))
            }
        };
        let gate = GateState { breaker: Breaker::new(config.breaker), since: clock.now(), last: None };
        Arc::new(Self {
            rate: config.messages_per_minute.and_then(Rate::new),
            config,
            hostname,
            transport,
            gate: Mutex::new(gate),
            room: Arc::new(Semaphore::new(room)),
            normal_room: Arc::new(Semaphore::new(super::normal_share(room))),
            tally: Tally::default(),
            changed,
            herald,
            clock,
        })
    }

    /// Its name.
    pub fn name(&self) -> &UpstreamName {
        &self.config.name
    }

    /// Whether it carries `sender`.
    pub fn carries(&self, sender: &SenderName) -> bool {
        self.config.may_carry(sender)
    }

    /// Whether it carries mail or texts.
    pub(super) fn cargo(&self) -> Carries {
        self.config.kind.carries()
    }

    /// Hands one thing over, outside of any queue: no breaker, rate or limit of connections is asked or told.
    pub async fn hand_over<'a>(&self, parcel: impl Into<Parcel<'a>>) -> HandOver {
        let parcel = parcel.into();
        match self.prepare(parcel).await {
            Ok(prepared) => self.transmit(prepared, parcel).await,
            Err(hand_over) => hand_over,
        }
    }

    /// How it stands.
    pub fn status(&self) -> UpstreamStatus {
        let gate = self.gate();
        let now = Instant::now();
        let breaker = match gate.breaker.position() {
            Position::Closed => BreakerStatus::Closed,
            Position::Open(until) => {
                BreakerStatus::Open { until: self.clock.now().plus(until.saturating_duration_since(now)) }
            }
            Position::Probing => BreakerStatus::Probing,
        };
        let room = self.config.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        UpstreamStatus {
            name: self.config.name.clone(),
            breaker,
            since: gate.since,
            last_failure: gate.last.clone(),
            connections: match &self.transport {
                // What a request goes over is the HTTP client's.
                Transport::Maildir(_) | Transport::Outbox(_) | Transport::Twilio(_) => 0,
                Transport::Smtp(smtp) => smtp.connections(),
            },
            in_flight: room.saturating_sub(self.room.available_permits()),
        }
    }

    /// What it made of what it was handed.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Everything that can be done without sending anything of the message. May be dropped at any moment.
    pub(super) async fn prepare(&self, parcel: Parcel<'_>) -> Result<Prepared, HandOver> {
        match (&self.transport, parcel) {
            (Transport::Maildir(_), Parcel::Letter(_)) => Ok(Prepared::Folder),
            (Transport::Smtp(smtp), Parcel::Letter(letter)) => {
                smtp.prepare(letter).await.map(|connection| Prepared::Connection(Box::new(connection)))
            }
            (Transport::Outbox(_), Parcel::Text(text)) => twilio::write(text).map(Prepared::Text),
            (Transport::Twilio(twilio), Parcel::Text(text)) => {
                twilio.check(text)?;
                twilio::write(text).map(Prepared::Text)
            }
            (Transport::Maildir(_) | Transport::Smtp(_), Parcel::Text(_))
            | (Transport::Outbox(_) | Transport::Twilio(_), Parcel::Letter(_)) => Err(HandOver::Unfit(
                Reason::new(ReasonClass::Capability, "mail and texts have upstreams of their own"),
            )),
        }
    }

    /// The message itself. Must be waited for.
    pub(super) async fn transmit(&self, prepared: Prepared, parcel: Parcel<'_>) -> HandOver {
        match (&self.transport, prepared, parcel) {
            (Transport::Smtp(smtp), Prepared::Connection(connection), Parcel::Letter(letter)) => {
                smtp.transmit(*connection, letter).await
            }
            (Transport::Maildir(path), Prepared::Folder, Parcel::Letter(letter)) => {
                maildir::deliver(path, &self.hostname, letter).await
            }
            (Transport::Outbox(outbox), Prepared::Text(body), Parcel::Text(text)) => {
                outbox.append(text, &body, self.clock.now()).await
            }
            (Transport::Twilio(twilio), Prepared::Text(body), Parcel::Text(text)) => {
                twilio.post(text, &body, self.clock.now()).await
            }
            // Prepared by another kind of upstream: can't be, and nothing was sent.
            (
                Transport::Smtp(_) | Transport::Maildir(_) | Transport::Outbox(_) | Transport::Twilio(_),
                Prepared::Folder | Prepared::Connection(_) | Prepared::Text(_),
                Parcel::Letter(_) | Parcel::Text(_),
            ) => HandOver::Unavailable(
                Reason::new(ReasonClass::Local, "nothing was prepared"),
                super::Trip::Counted,
            ),
        }
    }

    /// Its account, where it is one at Twilio.
    pub(super) fn twilio(&self) -> Option<&Twilio> {
        match &self.transport {
            Transport::Twilio(twilio) => Some(twilio),
            Transport::Maildir(_) | Transport::Smtp(_) | Transport::Outbox(_) => None,
        }
    }

    /// The longest the message itself may take.
    pub(super) fn transmit_limit(&self) -> Duration {
        match (&self.config.kind, &self.transport) {
            (_, Transport::Twilio(twilio)) => twilio.limit(),
            (UpstreamKind::Smtp(smtp), _) => smtp.timeouts.data,
            (UpstreamKind::Maildir { .. } | UpstreamKind::Outbox { .. } | UpstreamKind::Twilio(_), _) => {
                Duration::from_mins(1)
            }
        }
    }

    /// How much must be left of the life of a message for it to be sent.
    pub(super) fn least_life(&self) -> Duration {
        match self.transport {
            Transport::Twilio(_) => twilio::LEAST_LIFE,
            Transport::Maildir(_) | Transport::Smtp(_) | Transport::Outbox(_) => Duration::ZERO,
        }
    }

    /// What its breaker says now.
    pub(super) fn look(&self) -> Gate {
        self.gate().breaker.look(Instant::now())
    }

    /// Whether it would be the same if it were made anew.
    pub(super) fn is_as(&self, config: &UpstreamConfig, hostname: &str) -> bool {
        self.config == *config && self.hostname == hostname
    }

    /// Closes connections nobody has used for long. Returns when there will be more.
    pub(super) fn close_idle(&self, now: Instant) -> Option<Instant> {
        match &self.transport {
            Transport::Maildir(_) | Transport::Outbox(_) | Transport::Twilio(_) => None,
            Transport::Smtp(smtp) => smtp.close_idle(now),
        }
    }

    /// It is no longer configured, or not as it was: what is under way goes on, and what comes free is closed.
    pub(super) fn retire(&self) {
        if let Transport::Smtp(smtp) = &self.transport {
            smtp.retire();
        }
    }

    /// Closes every connection nobody uses.
    pub(super) fn close_all_idle(&self) {
        if let Transport::Smtp(smtp) = &self.transport {
            smtp.close_all_idle();
        }
    }

    /// Lets one in, if that can be now.
    pub(super) fn try_enter(self: &Arc<Self>, class: Class) -> Admission {
        if let Gate::NotBefore(until) = self.look() {
            return Admission::Blocked(until);
        }
        let Some(room) = Room::try_take(self, class) else {
            return Admission::Full;
        };
        if let Some(Err(until)) = self.rate.as_ref().map(|rate| rate.take(class)) {
            return Admission::RateUntil(until);
        }
        self.admit(room)
    }

    /// Waits until there is room and the rate allows it. `Err` says when a breaker that is open may be asked again.
    pub(super) async fn enter(self: &Arc<Self>, class: Class) -> Result<Ticket, Instant> {
        if let Gate::NotBefore(until) = self.look() {
            return Err(until);
        }
        let Some(room) = Room::take(self, class).await else {
            return Err(Instant::now());
        };
        while let Some(Err(until)) = self.rate.as_ref().map(|rate| rate.take(class)) {
            tokio::time::sleep_until(until).await;
        }
        match self.admit(room) {
            Admission::In(ticket) => Ok(ticket),
            Admission::Blocked(until) | Admission::RateUntil(until) => Err(until),
            Admission::Full => Err(Instant::now()),
        }
    }

    fn admit(self: &Arc<Self>, room: Room) -> Admission {
        match self.gate().breaker.enter(Instant::now()) {
            Gate::NotBefore(until) => Admission::Blocked(until),
            entered @ (Gate::Pass | Gate::Probe) => {
                let since = Instant::now();
                Admission::In(Ticket {
                    upstream: Arc::clone(self),
                    room: Some(room),
                    entered,
                    since,
                    told: false,
                })
            }
        }
    }

    fn gate(&self) -> MutexGuard<'_, GateState> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn worked(&self) {
        let mut gate = self.gate();
        if gate.breaker.worked() || self.herald.owes_good_news(self.name()) {
            gate.since = self.clock.now();
            tracing::info!(target: "authrelay::deliver", upstream = %self.name(), "upstream works again");
            self.herald.tell(self.name(), gate.since, UpstreamTurn::Up, None);
        }
    }

    fn failed(&self, entered: Gate, trip: super::Trip, reason: &Reason) {
        let mut gate = self.gate();
        let was_closed = gate.breaker.position() == Position::Closed;
        let opened = gate.breaker.failed(entered, trip, Instant::now(), fastrand::f64());
        gate.last = Some(reason.clone());
        if opened && was_closed {
            gate.since = self.clock.now();
            tracing::warn!(
                target: "authrelay::deliver",
                upstream = %self.name(),
                class = reason.class.as_str(),
                reason = %reason,
                "upstream is not asked for a while"
            );
            self.herald.tell(self.name(), gate.since, UpstreamTurn::Down, Some(reason));
        }
    }
}

/// The right to hand one message over to one upstream.
#[derive(Debug)]
pub(super) struct Ticket {
    upstream: Arc<Upstream>,
    room: Option<Room>,
    entered: Gate,
    since: Instant,
    told: bool,
}

impl Ticket {
    /// Tells the breaker how it ended, and gives the room back.
    pub(super) fn tell(mut self, hand_over: &HandOver) {
        self.told = true;
        self.upstream.tally.count(hand_over, self.since.elapsed());
        match hand_over {
            HandOver::Accepted { .. }
            | HandOver::Taken { .. }
            | HandOver::Refused(_)
            | HandOver::Deferred(_)
            | HandOver::Unfit(_)
            | HandOver::SenderRefused(_) => self.upstream.worked(),
            HandOver::InDoubt(reason) => self.upstream.failed(self.entered, super::Trip::Counted, reason),
            HandOver::Unavailable(reason, trip) => self.upstream.failed(self.entered, *trip, reason),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.told && self.entered == Gate::Probe {
            self.upstream.gate().breaker.abandoned(Instant::now());
        }
        self.room = None;
        self.upstream.changed.notify_one();
    }
}

/// Room for one delivery. Normal mail never takes the last quarter.
#[derive(Debug)]
struct Room {
    _any: OwnedSemaphorePermit,
    _normal: Option<OwnedSemaphorePermit>,
}

impl Room {
    fn try_take(upstream: &Upstream, class: Class) -> Option<Self> {
        let normal = match class {
            Class::Urgent => None,
            Class::Normal => Some(Arc::clone(&upstream.normal_room).try_acquire_owned().ok()?),
        };
        let any = Arc::clone(&upstream.room).try_acquire_owned().ok()?;
        Some(Self { _any: any, _normal: normal })
    }

    async fn take(upstream: &Upstream, class: Class) -> Option<Self> {
        let normal = match class {
            Class::Urgent => None,
            Class::Normal => Some(Arc::clone(&upstream.normal_room).acquire_owned().await.ok()?),
        };
        let any = Arc::clone(&upstream.room).acquire_owned().await.ok()?;
        Some(Self { _any: any, _normal: normal })
    }
}
