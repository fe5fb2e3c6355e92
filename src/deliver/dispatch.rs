//! The dispatcher: takes messages up, gives each its turn, and starts its attempt.
//!
//! One task decides, so that lanes, turns and bounds need no lock. Freshly stored messages come from memory; a backlog
//! stays in the store and is claimed in pieces, only while some upstream would take it. A message that can't be tried
//! now goes back to the store without its attempt being counted, so that it can expire there and a restart finds it.
//! Nothing is polled but for a safety net.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Config;
use super::attempt::Start;
use super::desk::{Desk, Done, Workers};
use super::expiry;
use super::feedback::{self, FeedbackQueue};
use super::herald::{self, Herald};
use super::intake::Intake;
use super::lanes::{Lane, Taken, Turn};
use super::registry::{Readiness, Registry, Snapshot};
use super::reports;
use super::route::{Renderer, Routes};
use super::status::UpstreamStatus;
use super::upstream::{Admission, Upstream};
use super::walk::earliest;
use crate::clock::{Clock, Timestamp};
use crate::ident::{CategoryName, Class, UpstreamName};
use crate::pulse::{Heart, Pulse};
use crate::queue::{Job, Queue};

/// Gives the pauses between attempts of a category.
pub type RetryClock = Arc<dyn Fn(&CategoryName, Class) -> Vec<Duration> + Send + Sync>;

/// Gives the configuration of the moment, with what writes by it.
pub type CurrentConfig = Arc<dyn Fn() -> InForce + Send + Sync>;

/// One configuration, as the delivery sees it. Both parts are of the same one: what writes a message knows the senders
/// that the upstreams carry. A changed configuration has another `config`.
#[derive(Clone)]
pub struct InForce {
    /// The upstreams.
    pub config: Arc<Config>,
    /// Writes messages for them.
    pub renderer: Arc<dyn Renderer>,
}

/// The dispatcher looks at everything this often, even if nobody told it anything.
const SAFETY_NET: Duration = Duration::from_secs(30);

/// It gets on at least as often as it looks, and then without waiting for anything.
const STUCK_AFTER: Duration = Duration::from_secs(75);

/// How long running attempts have to end by themselves at shutdown; then those that have not begun to send their message
/// stop, and after as long again the others are cut off. Their rows are found again at the next start.
const GRACE: Duration = Duration::from_secs(10);

/// The most messages of one client in memory: the others' must find room beside them.
const CLIENT_IN_MEMORY: usize = 400;

/// How long what a client has beyond that stays in the store before it is taken up again.
const STEP_BACK: Duration = Duration::from_secs(2);

/// How long an expired message stays away, so that it is ended by the expiry and not taken up again before.
const EXPIRED_AWAY: Duration = Duration::from_secs(5);

/// The running delivery. Dropping it does not stop it; its shutdown token does.
#[derive(Debug)]
pub struct Delivery {
    desk: Arc<Desk>,
    dispatcher: JoinHandle<()>,
    pulse: Pulse,
    others: [JoinHandle<()>; 4],
}

/// What `status` tells of the delivery.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliveryStatus {
    /// Attempts under way.
    pub attempts: usize,
    /// The upstreams in their order.
    pub upstreams: Vec<UpstreamStatus>,
    /// Words on used codes that were not passed on to the provider.
    #[serde(default)]
    pub feedback_dropped: u64,
}

/// Shows how the delivery stands, for as long as somebody looks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Monitor(Arc<Desk>);

impl Monitor {
    /// How the upstreams stand.
    pub fn status(&self) -> DeliveryStatus {
        let attempts = Class::ALL.into_iter().map(|class| self.0.workers.busy(class)).sum();
        let feedback_dropped = self.0.feedback.dropped();
        DeliveryStatus { attempts, upstreams: self.0.registry.status(), feedback_dropped }
    }

    /// The upstreams themselves, in their order.
    pub fn upstreams(&self) -> Vec<Arc<Upstream>> {
        self.0.registry.upstreams()
    }

    /// How many attempts are under way in a lane.
    pub fn attempts(&self, class: Class) -> usize {
        self.0.workers.busy(class)
    }

    /// To be called after a reload, so that what waits follows it at once.
    pub fn config_changed(&self) {
        self.0.registry.changed().notify_one();
    }

    /// Passes on to the provider, where it is configured to learn that, whether the code of a text was used. Best effort:
    /// told in the background, three times at most, and forgotten at a restart or when too many wait.
    #[expect(clippy::unused_async, reason = "callers need not know that it does not wait")]
    pub async fn feedback(&self, upstream: &UpstreamName, reference: &str, used: bool) {
        self.0.feedback.push(upstream, reference, used);
    }
}

impl Delivery {
    /// Starts delivering out of `queue`. `config` is asked at each attempt, so that queued mail follows a changed
    /// configuration. When `shutdown` is cancelled nothing new is started.
    pub fn start(
        queue: Arc<Queue>,
        config: CurrentConfig,
        retry: RetryClock,
        clock: Clock,
        shutdown: CancellationToken,
    ) -> Self {
        let (herald, news) = Herald::new();
        let down = herald.down();
        let desk = Arc::new(Desk {
            queue: Arc::clone(&queue),
            registry: Registry::new(config, clock, herald),
            retry,
            clock,
            alarm: Arc::default(),
            workers: Arc::new(Workers::default()),
            hurry: CancellationToken::new(),
            feedback: FeedbackQueue::default(),
        });
        let first = desk.registry.snapshot();
        let others = [
            tokio::spawn(herald::run(Arc::clone(&queue), down, news, shutdown.clone())),
            tokio::spawn(expiry::run(queue, Arc::clone(&desk.alarm), clock, shutdown.clone())),
            tokio::spawn(reports::run(Arc::clone(&desk), shutdown.clone())),
            tokio::spawn(feedback::run(Arc::clone(&desk), shutdown.clone())),
        ];
        let heart = Heart::new("dispatcher", STUCK_AFTER);
        let pulse = heart.pulse();
        let dispatcher = tokio::spawn(Dispatcher::new(Arc::clone(&desk), first).run(heart, shutdown));
        Self { desk, dispatcher, pulse, others }
    }

    /// How the upstreams stand, now and later.
    pub fn monitor(&self) -> Monitor {
        Monitor(Arc::clone(&self.desk))
    }

    /// Shows whether the dispatcher gets on.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Waits for the end after a shutdown: for running attempts, for a bounded time.
    pub async fn stopped(self) {
        for task in std::iter::once(self.dispatcher).chain(self.others) {
            if let Err(error) = task.await {
                tracing::error!(target: "authrelay::deliver", %error, "a task of the delivery did not end by itself");
            }
        }
    }
}

struct Dispatcher {
    desk: Arc<Desk>,
    /// What the messages in the lanes were placed by.
    snapshot: Arc<Snapshot>,
    urgent: Lane<Job>,
    normal: Lane<Job>,
    urgent_intake: Intake,
    normal_intake: Intake,
    tasks: JoinSet<Done>,
}

impl Dispatcher {
    fn new(desk: Arc<Desk>, snapshot: Arc<Snapshot>) -> Self {
        let now = Instant::now();
        Self {
            desk,
            snapshot,
            urgent: Lane::default(),
            normal: Lane::default(),
            urgent_intake: Intake::new(now),
            normal_intake: Intake::new(now),
            tasks: JoinSet::new(),
        }
    }

    async fn run(mut self, heart: Heart, shutdown: CancellationToken) {
        let changed = self.desk.registry.changed();
        while !shutdown.is_cancelled() {
            heart.works();
            let snapshot = self.follow();
            self.take_fresh(&snapshot).await;
            let now = Instant::now();
            let mut wake = now + SAFETY_NET;
            let mut wake_at = |at: Option<Instant>| wake = at.map_or(wake, |at| wake.min(at));
            wake_at(self.start_attempts(&snapshot));
            wake_at(self.start_claims(&snapshot, now));
            wake_at(snapshot.close_idle(now));
            let queue = Arc::clone(&self.desk.queue);
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(job) = queue.fresh() => self.place(job, &snapshot),
                () = queue.woken() => self.woken(),
                Some(done) = self.tasks.join_next() => self.done(done, &snapshot),
                () = changed.notified() => {}
                () = tokio::time::sleep_until(wake) => {
                    if wake >= now + SAFETY_NET {
                        self.woken();
                    }
                }
            }
        }
        heart.rests();
        self.stop().await;
    }

    /// The snapshot of the moment. Where it is another one, what waits in memory is placed anew: its ways may be others.
    fn follow(&mut self) -> Arc<Snapshot> {
        let snapshot = self.desk.registry.snapshot();
        if !Arc::ptr_eq(&snapshot, &self.snapshot) {
            self.snapshot = Arc::clone(&snapshot);
            let waiting: Vec<Job> = self.urgent.drain().into_iter().chain(self.normal.drain()).collect();
            for job in waiting {
                self.place(job, &snapshot);
            }
            self.woken();
        }
        snapshot
    }

    fn lane(&mut self, class: Class) -> (&mut Lane<Job>, &mut Intake) {
        match class {
            Class::Urgent => (&mut self.urgent, &mut self.urgent_intake),
            Class::Normal => (&mut self.normal, &mut self.normal_intake),
        }
    }

    fn woken(&mut self) {
        let now = Instant::now();
        self.urgent_intake.may_be_due(now);
        self.normal_intake.may_be_due(now);
        self.desk.alarm.look_again();
    }

    /// Takes all that is there, because turns can only be given between messages that are known.
    async fn take_fresh(&mut self, snapshot: &Snapshot) {
        let queue = Arc::clone(&self.desk.queue);
        loop {
            let job = tokio::select! {
                biased;
                job = queue.fresh() => job,
                () = std::future::ready(()) => None,
            };
            let Some(job) = job else { return };
            self.place(job, snapshot);
        }
    }

    fn place(&mut self, job: Job, snapshot: &Snapshot) {
        let entry = job.claimed.entry();
        let (class, client) = (entry.class, entry.client.clone());
        let path = routes(&job, snapshot).path();
        let (lane, _) = self.lane(class);
        if lane.len_of(&client) < CLIENT_IN_MEMORY {
            lane.push(&client, path, job);
        } else {
            let away = STEP_BACK + STEP_BACK.mul_f64(fastrand::f64());
            self.give_back(job, self.desk.clock.now().plus(away));
        }
    }

    fn give_back(&mut self, job: Job, until: Timestamp) {
        let desk = Arc::clone(&self.desk);
        self.tasks.spawn(async move { desk.give_back(job, until).await });
    }

    /// Starts what can start. Returns when a rate allows more.
    fn start_attempts(&mut self, snapshot: &Arc<Snapshot>) -> Option<Instant> {
        let mut rate_allows: Option<Instant> = None;
        for class in Class::ALL {
            while self.desk.workers.has_free(class, snapshot.config.workers) {
                let desk = Arc::clone(&self.desk);
                let ask = |job: &Job| ask(&desk, job, snapshot, &mut rate_allows);
                match self.lane(class).0.next(ask) {
                    None => break,
                    Some(Taken::Started(job, start)) => {
                        let worker = desk.workers.take(class);
                        self.tasks.spawn(async move { desk.attempt(job, start, worker).await });
                    }
                    Some(Taken::Left(jobs, until)) => {
                        for job in jobs {
                            self.give_back(job, until);
                        }
                    }
                }
            }
        }
        rate_allows
    }

    /// Claims what is due. Returns when more will be.
    fn start_claims(&mut self, snapshot: &Snapshot, now: Instant) -> Option<Instant> {
        let readiness = snapshot.readiness();
        let enough = snapshot.config.workers.max(16);
        let mut earliest: Option<Instant> = None;
        for class in Class::ALL {
            let (lane, intake) = self.lane(class);
            let waiting = lane.len();
            match intake.next(waiting, enough, readiness) {
                Some(at) if at <= now => {
                    intake.begin(now);
                    let amount = Intake::amount(waiting, enough, readiness);
                    let desk = Arc::clone(&self.desk);
                    self.tasks.spawn(async move { desk.claim(class, amount).await });
                    if readiness == Readiness::ProbeWanted {
                        // One message in all, whichever lane it is of.
                        break;
                    }
                }
                Some(at) => earliest = Some(earliest.map_or(at, |known| known.min(at))),
                None => {}
            }
        }
        earliest
    }

    fn done(&mut self, done: Result<Done, tokio::task::JoinError>, snapshot: &Snapshot) {
        let now = Instant::now();
        // A claim makes no room: one that found none must wait, and not ask again at once.
        if !matches!(done, Ok(Done::Claimed { .. })) {
            self.urgent_intake.room_was_made(now);
            self.normal_intake.room_was_made(now);
        }
        match done {
            Ok(Done::Claimed { class, asked, result }) => {
                let (_, intake) = self.lane(class);
                match result {
                    Ok((jobs, next)) => {
                        intake.end(now, asked, jobs.len(), next);
                        for job in jobs {
                            self.place(job, snapshot);
                        }
                    }
                    Err(error) => {
                        intake.failed(now);
                        tracing::error!(target: "authrelay::deliver", %error, "no messages can be taken up");
                    }
                }
            }
            Ok(Done::Waits { class, until }) => self.lane(class).1.may_be_due(until),
            Ok(Done::Ended) => {}
            Err(error) => {
                tracing::error!(target: "authrelay::deliver", %error, "an attempt was cut off by a defect");
            }
        }
    }

    async fn stop(mut self) {
        let now = self.desk.clock.now();
        let snapshot = self.follow();
        self.take_fresh(&snapshot).await;
        let waiting = self.urgent.drain().into_iter().chain(self.normal.drain());
        waiting.for_each(|job| self.give_back(job, now));
        for last in [false, true] {
            let deadline = Instant::now() + GRACE;
            while let Ok(Some(done)) = tokio::time::timeout_at(deadline, self.tasks.join_next()).await {
                if let Ok(Done::Claimed { result: Ok((jobs, _)), .. }) = done {
                    for job in jobs {
                        self.give_back(job, now);
                    }
                }
            }
            if last && !self.tasks.is_empty() {
                tracing::warn!(target: "authrelay::deliver", attempts = self.tasks.len(), "attempts were cut off");
            }
            self.desk.hurry.cancel();
        }
        self.tasks.shutdown().await;
        snapshot.close_all_idle();
    }
}

/// Whether the message can start now, and on which of its routes.
fn ask(
    desk: &Desk,
    job: &Job,
    snapshot: &Snapshot,
    rate_allows: &mut Option<Instant>,
) -> Turn<Start, Timestamp> {
    let entry = job.claimed.entry();
    let now = desk.clock.now();
    if entry.expires <= now {
        return Turn::Leave(now.plus(EXPIRED_AWAY));
    }
    // Anew at each turn: the configuration may have changed since it was put into the lane.
    let routes = routes(job, snapshot);
    for (first, way) in routes.ways.iter().enumerate() {
        match way.upstream.try_enter(entry.class) {
            Admission::In(ticket) => return Turn::Start(Start::new(routes, snapshot, first, Some(ticket))),
            Admission::Full => return Turn::Wait,
            Admission::RateUntil(at) => {
                *rate_allows = Some(rate_allows.map_or(at, |known| known.min(at)));
                return Turn::Wait;
            }
            Admission::Blocked(_) => {}
        }
    }
    match earliest(&routes, desk.clock) {
        Some(until) => Turn::LeaveAll(until),
        // There is none, which is said by the attempt; or one closed this moment, and the attempt will see it.
        None => Turn::Start(Start::new(routes, snapshot, 0, None)),
    }
}

fn routes(job: &Job, snapshot: &Snapshot) -> Routes {
    Routes::for_message(job.claimed.entry(), job.claimed.payload(), snapshot)
}

impl std::fmt::Debug for InForce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InForce")
    }
}
