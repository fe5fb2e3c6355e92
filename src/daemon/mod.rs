//! Wiring: opens the store, starts the listeners, the workers and the control socket, and stops them in order.
//!
//! Stopping: listeners first (a running DATA still gets its answer), then the workers (an attempt under way is
//! finished), then the store. What is not handed over by then waits on disk for the next start.

mod control;
mod error;
mod handed;
mod http;
mod journal;
mod keys;
pub mod logging;
pub mod manager;
mod reload;
mod report;
mod socket;
mod space;
mod start;
mod store;
mod tls;
mod token;
mod watch;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::clock::Clock;
use crate::conduct::{self, Conduct};
use crate::config::Config;
use crate::deliver::Delivery;
use crate::ident::ListenerName;
use crate::phone;
use crate::pipeline::Pipeline;
use crate::pulse::Pulse;
use crate::queue::Queue;
use crate::queue::store::sqlite::Stats;
use crate::secret::Secret;
use crate::smtp;
use crate::snapshot::{Current, Snapshot};
use crate::webhook::Webhooks;
use reload::Parts;
use tls::Certificates;

pub use error::DaemonError;
pub use handed::HandedOver;
pub use http::{HttpAddress, HttpListener};
pub use keys::KeysError;
pub use reload::{LastReload, ReloadCause, ReloadError, ReloadStatus, Reloaded, Reloads, Source};
pub use tls::{CertificateError, CertificateStatus};

/// The file mode of the control socket.
const CONTROL_MODE: u32 = 0o660;
/// How often ended messages are swept out.
const SWEEP_EVERY: Duration = Duration::from_hours(1);
/// How long sessions and attempts may take to end.
const GRACE: Duration = Duration::from_secs(45);

/// A running daemon.
pub struct Daemon {
    queue: Arc<Queue>,
    delivery: Delivery,
    webhooks: Webhooks,
    listeners: Vec<(ListenerName, SocketAddr)>,
    http: Vec<HttpListener>,
    watch: Arc<dyn admin::Watch>,
    first_token: Option<Secret>,
    reloads: Reloads,
    stops: Stops,
    sessions: TaskTracker,
    tasks: TaskTracker,
    store_stats: tokio::sync::watch::Receiver<Stats>,
    store_pulse: Pulse,
}

/// What each part is told to stop by, in the order of the stop.
#[derive(Debug, Default)]
struct Stops {
    listening: CancellationToken,
    delivery: CancellationToken,
    telling: CancellationToken,
    control: CancellationToken,
}

impl Daemon {
    /// Starts everything. When this returns, the listeners accept connections. `handed` are the sockets of those that
    /// get theirs from systemd; a reload reads `source`.
    #[expect(clippy::too_many_lines, reason = "the order in which everything starts reads on one page")]
    pub async fn start(
        mut config: Config,
        source: Source,
        mut handed: HandedOver,
        clock: Clock,
    ) -> Result<Self, DaemonError> {
        store::make_state_directory(&config.state_directory)?;
        let certificates = Certificates::new(tls::load(&config)?);
        let first_token = token::give_first(&mut config)?;
        let current = Current::new(Snapshot::new(config));
        let first = current.get();
        let store = store::open(&current, clock)?;
        let queue = store.queue;
        let keeper = space::Keeper::new(&queue, &current, &store.stats);

        warn_of_observed(&current, clock);
        // Nobody waits for it but the first number.
        tokio::task::spawn_blocking(phone::load);

        let pipeline = Pipeline::new(Arc::clone(&queue), clock);
        let conduct = Arc::new(start::remembered(&current));
        let reception = start::reception(&current, &pipeline, &queue, &conduct, clock)?;
        let stops = Stops::default();
        let delivery = start::delivery(&queue, &current, clock, stops.delivery.clone());
        let webhooks = start::webhooks(store.outbox, &current, clock, stops.telling.clone());
        let (sessions, tasks) = (TaskTracker::new(), TaskTracker::new());

        let server = smtp::Server::new(first.config.smtp.clone(), reception, certificates.for_smtp());
        let listeners =
            start::smtp_listeners(&first.config.listeners, &mut handed, &server, &sessions, &stops.listening)
                .await?;
        let parts = Parts {
            current: current.clone(),
            certificates: certificates.clone(),
            smtp: server.clone(),
            delivery: delivery.monitor(),
            webhooks: webhooks.monitor(),
            keys: store.keys.clone(),
        };
        let reloads = Reloads::new(source, parts, clock);
        let watch: Arc<dyn admin::Watch> = Arc::new(watch::Watcher {
            queue: Arc::clone(&queue),
            messages: Arc::clone(&store.messages),
            delivery: delivery.monitor(),
            webhooks: webhooks.monitor(),
            server,
            store: store.stats.clone(),
            pulses: vec![store.pulse.clone(), delivery.pulse()],
            room: keeper.room(),
            reloads: reloads.clone(),
            clock,
            started: clock.now(),
        });
        let (codes, reports) = start::texts(&current, &pipeline, &queue, &delivery, clock);
        let bound = start::http_listeners(&first.config.http, &mut handed).await?;
        let http: Vec<HttpListener> = bound.iter().map(|bound| bound.listener.clone()).collect();
        handed.tell_left_over();
        let smtp = listeners.iter().map(|(name, address)| format!("{name} {address}"));
        let view = control::View {
            current: current.clone(),
            delivery: delivery.monitor(),
            smtp: smtp.collect(),
            http: http.clone(),
            messages: store.messages,
            pipeline: pipeline.clone(),
            codes: Arc::clone(&codes),
            reports: Arc::clone(&reports),
            conduct: Arc::clone(&conduct),
            webhooks: webhooks.monitor(),
            reloads: reloads.clone(),
            keys: store.keys.clone(),
            clock,
            started: clock.now(),
        };
        let (daemon, seen) = (Arc::new(view), Arc::clone(&watch));
        let control = admin::Control { queue: Arc::clone(&queue), daemon, watch: seen, clock };
        let interfaces =
            http::Interfaces { codes, reports, control: control.clone(), current: current.clone() };
        let interfaces = Arc::new(interfaces);
        for bound in bound {
            let (certificates, interfaces) = (certificates.clone(), Arc::clone(&interfaces));
            sessions.spawn(http::run(bound, certificates, interfaces, stops.listening.clone()));
        }
        let daemon = Self {
            queue,
            delivery,
            webhooks,
            listeners,
            http,
            watch,
            first_token,
            reloads,
            stops,
            sessions,
            tasks,
            store_stats: store.stats,
            store_pulse: store.pulse,
        };
        daemon.tasks.spawn(keeper.run(daemon.stops.control.clone()));
        daemon.tasks.spawn(store.keys.run(daemon.stops.control.clone()));
        daemon.open_to_operators(&current, pipeline, control, conduct)?;
        Ok(daemon)
    }

    /// The control socket, and what is done without being asked.
    fn open_to_operators(
        &self,
        current: &Current,
        pipeline: Pipeline,
        control: admin::Control,
        conduct: Arc<Conduct>,
    ) -> Result<(), DaemonError> {
        let (queue, clock) = (|| Arc::clone(&self.queue), control.clock);
        let stop = || self.stops.control.clone();
        let control_path = current.get().config.control_socket.clone();
        let socket = socket::bind(&control_path, CONTROL_MODE, socket::Owner::Control)?;
        self.tasks.spawn(admin::serve(socket, control_path, control, stop()));
        self.tasks.spawn(conduct::keep(conduct, current.get().config.conduct_file(), stop()));
        self.tasks.spawn(sweep(queue(), current.clone(), clock, stop()));
        self.tasks.spawn(report::run(queue(), pipeline, current.clone(), clock, stop()));
        self.tasks.spawn(reload::watch(self.reloads.clone(), stop()));
        Ok(())
    }

    /// The SMTP listeners and the addresses they have.
    pub fn listeners(&self) -> &[(ListenerName, SocketAddr)] {
        &self.listeners
    }

    /// The HTTP listeners.
    pub fn http_listeners(&self) -> &[HttpListener] {
        &self.http
    }

    /// Shows whether it is ready, and its metrics.
    pub fn watch(&self) -> Arc<dyn admin::Watch> {
        Arc::clone(&self.watch)
    }

    /// The token of the first client, where it was made by us.
    pub fn first_token(&self) -> Option<&Secret> {
        self.first_token.as_ref()
    }

    /// Reloads the configuration, and tells how that went.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Signs of life of the loops without which nothing goes on.
    pub fn pulses(&self) -> Vec<Pulse> {
        vec![self.store_pulse.clone(), self.delivery.pulse()]
    }

    /// Resolves when the store can't go on, so that nothing more can be accepted. The service manager is to start anew:
    /// the next start finds everything that was answered with `250`.
    pub async fn broken(&self) {
        let mut stats = self.store_stats.clone();
        if stats.wait_for(|stats| stats.poisoned).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Stops in order and closes the store.
    pub async fn stop(self) -> Result<(), DaemonError> {
        tracing::info!("stopping");
        self.stops.listening.cancel();
        self.sessions.close();
        wait_for("sessions", self.sessions.wait()).await;
        self.stops.delivery.cancel();
        wait_for("deliveries", self.delivery.stopped()).await;
        self.stops.telling.cancel();
        wait_for("webhooks", self.webhooks.stopped()).await;
        self.stops.control.cancel();
        self.tasks.close();
        wait_for("tasks", self.tasks.wait()).await;
        self.queue.close().await?;
        tracing::info!("stopped");
        Ok(())
    }
}

async fn wait_for(what: &str, work: impl Future<Output = ()>) {
    if tokio::time::timeout(GRACE, work).await.is_err() {
        tracing::warn!(
            "{what} did not end in {} s and are cut off; the queue keeps what they held",
            GRACE.as_secs()
        );
    }
}

/// Says loudly whose mail is relayed whatever it is.
fn warn_of_observed(current: &Current, clock: Clock) {
    let (snapshot, now) = (current.get(), clock.now());
    for client in snapshot.pipeline.policy.clients.values() {
        if let Some(until) = client.observe_until.filter(|until| *until > now) {
            let until = until.to_rfc3339();
            tracing::warn!(client = %client.name, until, "observed only: its mail is relayed whatever it is");
        }
    }
}

/// Deletes what ended longer ago than the configured history.
async fn sweep(queue: Arc<Queue>, current: Current, clock: Clock, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let (snapshot, now) = (current.get(), clock.now());
        let before = now.minus(snapshot.config.queue.history);
        if let Err(error) = queue.prune(before, snapshot.config.audit.archive(now)).await {
            tracing::error!(%error, "old messages could not be swept out");
        }
    }
}
