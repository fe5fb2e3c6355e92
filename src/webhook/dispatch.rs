//! The dispatcher: takes what is due out of the outbox and has it delivered, each endpoint on its own.
//!
//! One task decides, so nothing needs a lock. It looks when the store says that there is something new, when a delivery
//! ended, when something becomes due, and when it is told that the configuration changed. A notice stays in the outbox
//! until its delivery is on record, so a crash only repeats it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lane::{Done, Lane, configured, deliver, enable};
use super::monitor::{Attempts, Monitor, Rests};
use super::{Config, Endpoint};
use crate::clock::{Clock, Timestamp};
use crate::defect::survive;
use crate::ident::EndpointName;
use crate::metrics::Family;
use crate::queue::{Change, Effect, EndpointState, Outbox, OutboxChange, StoreError, Waiting};

/// Gives the endpoints of the moment.
pub type CurrentConfig = Arc<dyn Fn() -> Arc<Config> + Send + Sync>;

/// It looks this often even if nobody told it anything.
const SAFETY_NET: Duration = Duration::from_mins(1);

/// The pause before the store is asked again after it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How often what is too old is dropped, and how much of it in one transaction.
const SWEEP_EVERY: Duration = Duration::from_mins(5);
const SWEEP: usize = 500;

/// How often the log tells of dropped notices.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// How long requests under way have to end at shutdown. What is cut off is sent again after the next start.
const GRACE: Duration = Duration::from_secs(5);

/// The running dispatcher. Dropping it does not stop it; its shutdown token does.
#[derive(Debug)]
pub struct Webhooks {
    task: JoinHandle<()>,
    monitor: Monitor,
}

impl Webhooks {
    /// Starts telling. `config` is asked again and again, so that a changed configuration counts from then on.
    pub fn start(
        outbox: Arc<dyn Outbox>,
        config: CurrentConfig,
        clock: Clock,
        shutdown: CancellationToken,
    ) -> Self {
        let (changed, rests) = (Arc::new(Notify::new()), Arc::new(Rests::default()));
        let attempts: Attempts = Arc::new(Family::new(&["endpoint", "result"]));
        let dispatcher = Dispatcher {
            outbox: Arc::clone(&outbox),
            config: Arc::clone(&config),
            clock,
            changed: Arc::clone(&changed),
            rests: Arc::clone(&rests),
            attempts: Arc::clone(&attempts),
            current: None,
            lanes: HashMap::new(),
            under_way: JoinSet::new(),
            sweep_at: Instant::now(),
        };
        let monitor = Monitor::new(outbox, config, clock, rests, changed, attempts);
        Self { task: tokio::spawn(dispatcher.run(shutdown)), monitor }
    }

    /// Shows how the endpoints stand, and lends a hand.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Waits for the end after a shutdown: for requests under way, for a bounded time.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!(target: "authrelay::webhook", %error, "the dispatcher did not end by itself");
        }
    }
}

struct Dispatcher {
    outbox: Arc<dyn Outbox>,
    config: CurrentConfig,
    clock: Clock,
    changed: Arc<Notify>,
    rests: Arc<Rests>,
    attempts: Attempts,
    /// The configuration that `lanes` were made from.
    current: Option<Arc<Config>>,
    lanes: HashMap<EndpointName, Lane>,
    under_way: JoinSet<Done>,
    sweep_at: Instant,
}

impl Dispatcher {
    async fn run(mut self, shutdown: CancellationToken) {
        loop {
            self.follow_config();
            let wait = self.look().await.unwrap_or_else(|error| {
                tracing::error!(target: "authrelay::webhook", %error, "the outbox can't be read");
                PAUSE
            });
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.outbox.outbox_woken() => {}
                () = self.changed.notified() => {}
                Some(done) = self.under_way.join_next() => self.ended(done),
                () = tokio::time::sleep(wait) => {}
            }
            while let Some(done) = self.under_way.try_join_next() {
                self.ended(done);
            }
        }
        let rest = async { while self.under_way.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, rest).await.is_err() {
            tracing::info!(target: "authrelay::webhook", "requests under way are cut off; they are sent again");
        }
    }

    /// Makes the endpoints those of the configuration of the moment. One that is as before goes on as it is.
    fn follow_config(&mut self) {
        let config = (self.config)();
        if self.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &config)) {
            return;
        }
        self.lanes.retain(|name, _| config.endpoint(name).is_some());
        for endpoint in &config.endpoints {
            let lane = self.lanes.entry(endpoint.name().clone());
            let lane = lane.or_insert_with(|| Lane::new(Arc::clone(endpoint)));
            if !Arc::ptr_eq(lane.endpoint(), endpoint) {
                // What is under way to it as it was goes on, and is not begun a second time.
                let under_way = std::mem::take(&mut lane.under_way);
                *lane = Lane { under_way, dropped: lane.dropped, ..Lane::new(Arc::clone(endpoint)) };
            }
        }
        self.current = Some(config);
        self.sweep_at = Instant::now();
    }

    /// Starts what may be started, and says how long there is nothing more to do.
    async fn look(&mut self) -> Result<Duration, StoreError> {
        let now = Instant::now();
        if self.sweep_at <= now {
            self.sweep().await?;
            self.sweep_at = now + SWEEP_EVERY;
        }
        let mut wait = SAFETY_NET.min(self.sweep_at - now);
        if self.lanes.is_empty() {
            return Ok(wait);
        }
        for state in self.outbox.endpoints().await? {
            let Some(lane) = self.lanes.get_mut(&state.name) else { continue };
            tell_of_dropped(lane, &state, now);
            if !may_be_told(&*self.outbox, lane, &state, self.clock.now()).await? || state.waiting == 0 {
                continue;
            }
            if self.rests.take_over(&state.name) {
                lane.health.worked();
            }
            let resting = lane.health.resting_until(now);
            self.rests.set(&state.name, resting.map(|until| self.clock.now().plus(until - now)));
            wait = resting.map_or(wait, |until| wait.min(until - now));
            let room = lane.room(now);
            if room > 0 {
                let next = self.fill(&state.name, room).await?;
                wait = next.map_or(wait, |at| wait.min(self.clock.now().until(at)));
            }
        }
        Ok(wait)
    }

    /// Starts up to `room` deliveries to an endpoint. When the next one is due, where there is still room.
    async fn fill(&mut self, name: &EndpointName, room: usize) -> Result<Option<Timestamp>, StoreError> {
        let Some(lane) = self.lanes.get_mut(name) else { return Ok(None) };
        let now = self.clock.now();
        // What is under way is still due.
        let limit = room + lane.under_way.len();
        let due = self.outbox.due_notices(name, now, limit).await?;
        let all = due.len() < limit;
        let begun: Vec<Waiting> =
            due.into_iter().filter(|one| !lane.under_way.contains(&one.number)).take(room).collect();
        for waiting in begun {
            let (number, endpoint) = (waiting.number, name.clone());
            lane.under_way.insert(number);
            let work = deliver(Arc::clone(&self.outbox), Arc::clone(&lane.poster), waiting, self.clock);
            self.under_way.spawn(async move {
                survive(work).await.unwrap_or_else(|defect| {
                    tracing::error!(target: "authrelay::webhook", %endpoint, %defect, "a webhook failed");
                    let verdict = super::lane::Verdict::Failed { asked: Some(PAUSE) };
                    Done { endpoint, number, verdict, result: None }
                })
            });
        }
        if all { self.outbox.next_notice(name, now).await } else { Ok(None) }
    }

    fn ended(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(done) => {
                if let Some(result) = done.result {
                    self.attempts.of(&[done.endpoint.as_str(), result]).one();
                }
                if let Some(lane) = self.lanes.get_mut(&done.endpoint) {
                    lane.ended(&done, Instant::now());
                }
            }
            // A panic does not get here.
            Err(error) => tracing::error!(target: "authrelay::webhook", %error, "a webhook was cut off"),
        }
    }

    /// Drops what is too old, and what waits for endpoints that are not there any more.
    async fn sweep(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let since = |endpoint: &Endpoint| (endpoint.name().clone(), now.minus(endpoint.keep));
        let keep: Vec<_> = self.lanes.values().map(|lane| since(lane.endpoint())).collect();
        loop {
            let change = OutboxChange::Sweep { keep: keep.clone(), limit: SWEEP };
            let applied = self.outbox.commit(vec![Change::Outbox(Box::new(change))]).await?;
            if !applied.iter().any(|applied| applied.result == Effect::Rows(SWEEP)) {
                return Ok(());
            }
        }
    }
}

/// Whether an endpoint may be told. One that said that it is gone may be again once it is configured otherwise.
async fn may_be_told(
    outbox: &dyn Outbox,
    lane: &Lane,
    state: &EndpointState,
    now: Timestamp,
) -> Result<bool, StoreError> {
    match state.disabled {
        None => Ok(true),
        Some((_, then)) if then == configured(lane.endpoint()) => Ok(false),
        Some(_) => {
            tracing::info!(target: "authrelay::webhook", endpoint = %state.name, "configured otherwise: told again");
            enable(outbox, &state.name, now).await.map(|()| true)
        }
    }
}

fn tell_of_dropped(lane: &mut Lane, state: &EndpointState, now: Instant) {
    // What was dropped before the start was told of then.
    let Some((told, at)) = lane.dropped else {
        lane.dropped = Some((state.dropped, now));
        return;
    };
    if state.dropped > told && (at + TOLD_EVERY <= now || told == 0) {
        let dropped = state.dropped - told;
        tracing::error!(
            target: "authrelay::webhook", endpoint = %state.name, dropped, waiting = state.waiting,
            "webhooks were dropped: no room for them, too old, or tried in vain"
        );
        lane.dropped = Some((state.dropped, now));
    }
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dispatcher")
    }
}
