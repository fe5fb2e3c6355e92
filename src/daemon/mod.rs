//! Wiring: opens the store, starts the listeners, the workers and the control socket, and stops them in order.
//!
//! Stopping: listeners first (a running DATA still gets its answer), then the workers (an attempt under way is
//! finished), then the store. What is not handed over by then waits on disk for the next start.

mod control;
mod error;
mod http;
mod report;
mod socket;
mod store;
mod tls;
mod token;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::client::Gate;
use crate::clock::Clock;
use crate::config::Config;
use crate::deliver::Delivery;
use crate::ident::ListenerName;
use crate::pipeline::Pipeline;
use crate::queue::Queue;
use crate::queue::store::sqlite::Stats;
use crate::reception::{Codes, Reception, Reports};
use crate::secret::Secret;
use crate::smtp;
use crate::snapshot::{Current, Snapshot};

pub use error::DaemonError;
pub use http::{HttpAddress, HttpListener};
pub use tls::CertificateError;

/// How many passwords that people chose are checked at once.
const PASSWORD_CHECKS: usize = 4;
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
    listeners: Vec<(ListenerName, SocketAddr)>,
    http: Vec<HttpListener>,
    first_token: Option<Secret>,
    stop_listening: CancellationToken,
    stop_delivery: CancellationToken,
    stop_control: CancellationToken,
    sessions: TaskTracker,
    tasks: TaskTracker,
    store_stats: watch::Receiver<Stats>,
}

impl Daemon {
    /// Starts everything. When this returns, the listeners accept connections.
    pub async fn start(mut config: Config, clock: Clock) -> Result<Self, DaemonError> {
        store::make_state_directory(&config.state_directory)?;
        let (queue, store_stats) = store::open(&config, clock)?;
        let tls = tls::load(&config)?;
        let first_token = token::give_first(&mut config)?;
        let bounces = config.queue.bounces.clone();
        let (smtp_configs, http_configs) = (config.listeners.clone(), config.http.clone());
        let smtp_config = config.smtp.clone();
        let control_path = config.control_socket.clone();
        let current = Current::new(Snapshot::new(config)?);

        warn_of_observed(&current, clock);

        let pipeline = Pipeline::new(Arc::clone(&queue), clock);
        let gate = Arc::new(Gate::new(PASSWORD_CHECKS)?);
        let reception = Arc::new(Reception::new(current.clone(), pipeline.clone(), gate, clock));
        let (stop_listening, stop_delivery) = (CancellationToken::new(), CancellationToken::new());
        let stop_control = CancellationToken::new();
        let delivery = start_delivery(&queue, &current, clock, stop_delivery.clone());
        let (sessions, tasks) = (TaskTracker::new(), TaskTracker::new());

        let server = smtp::Server::new(smtp_config, reception, tls.smtp);
        let listeners = start_smtp(smtp_configs, &server, &sessions, &stop_listening).await?;
        let interfaces = Arc::new(interfaces(&current, &pipeline, &queue, &delivery, clock));
        let http = start_http(http_configs, &tls.http, &interfaces, &sessions, &stop_listening).await?;
        let shown = listeners.iter().map(|(name, address)| format!("{name} {address}"));
        let shown = shown.chain(http.iter().map(ToString::to_string)).collect();
        let daemon = control::View::new(&current, delivery.monitor(), shown, &pipeline, &interfaces, clock);
        let control = admin::Control { queue: Arc::clone(&queue), daemon: Arc::new(daemon), clock };
        let socket = socket::bind(&control_path, CONTROL_MODE, socket::Owner::Control)?;
        tasks.spawn(admin::serve(socket, control_path, control, stop_control.clone()));
        tasks.spawn(sweep(Arc::clone(&queue), current.clone(), clock, stop_control.clone()));
        tasks.spawn(report::run(Arc::clone(&queue), pipeline, current, bounces, clock, stop_control.clone()));
        Ok(Self {
            queue,
            delivery,
            listeners,
            http,
            first_token,
            stop_listening,
            stop_delivery,
            stop_control,
            sessions,
            tasks,
            store_stats,
        })
    }

    /// The SMTP listeners and the addresses they have.
    pub fn listeners(&self) -> &[(ListenerName, SocketAddr)] {
        &self.listeners
    }

    /// The HTTP listeners.
    pub fn http_listeners(&self) -> &[HttpListener] {
        &self.http
    }

    /// The token of the first client, where it was made by us.
    pub fn first_token(&self) -> Option<&Secret> {
        self.first_token.as_ref()
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
        self.stop_listening.cancel();
        self.sessions.close();
        wait_for("sessions", self.sessions.wait()).await;
        self.stop_delivery.cancel();
        wait_for("deliveries", self.delivery.stopped()).await;
        self.stop_control.cancel();
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

fn interfaces(
    current: &Current,
    pipeline: &Pipeline,
    queue: &Arc<Queue>,
    delivery: &Delivery,
    clock: Clock,
) -> http::Interfaces {
    let (current, queue, providers) = (|| current.clone(), || Arc::clone(queue), delivery.monitor());
    http::Interfaces {
        codes: Arc::new(Codes::new(current(), pipeline.clone(), queue(), providers, clock)),
        reports: Arc::new(Reports::new(current(), queue(), clock)),
    }
}

fn start_delivery(queue: &Arc<Queue>, current: &Current, clock: Clock, stop: CancellationToken) -> Delivery {
    let (config, retry) = (current.clone(), current.clone());
    Delivery::start(
        Arc::clone(queue),
        Arc::new(move || Arc::clone(&config.get().config.deliver)),
        Arc::new(writer::Writer::new(current.clone())),
        Arc::new(move |category, class| retry.get().pipeline.policy.retry_clock(category, class)),
        clock,
        stop,
    )
}

async fn start_smtp(
    configs: Vec<smtp::ListenerConfig>,
    server: &smtp::Server,
    sessions: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Vec<(ListenerName, SocketAddr)>, DaemonError> {
    let mut listeners = Vec::new();
    for config in configs {
        let (socket, address) = listen(&config).await?;
        tracing::info!(listener = %config.name, %address, "listening");
        listeners.push((config.name.clone(), address));
        sessions.spawn(smtp::run(socket, config, server.clone(), stop.clone()));
    }
    Ok(listeners)
}

async fn start_http(
    configs: Vec<crate::http::ListenerConfig>,
    tls: &crate::http::TlsSource,
    interfaces: &Arc<http::Interfaces>,
    sessions: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Vec<HttpListener>, DaemonError> {
    let mut listeners = Vec::new();
    for config in configs {
        let bound = http::bind(config).await?;
        listeners.push(bound.listener.clone());
        sessions.spawn(http::run(bound, Arc::clone(tls), Arc::clone(interfaces), stop.clone()));
    }
    Ok(listeners)
}

async fn listen(config: &smtp::ListenerConfig) -> Result<(TcpListener, SocketAddr), DaemonError> {
    let name = || config.name.clone();
    let failed = |error| DaemonError::Listen { name: name(), address: config.address, error };
    let socket = TcpListener::bind(config.address).await.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok((socket, address))
}

/// Deletes what ended longer ago than the configured history.
async fn sweep(queue: Arc<Queue>, current: Current, clock: Clock, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let before = clock.now().minus(current.get().config.queue.history);
        if let Err(error) = queue.prune(before).await {
            tracing::error!(%error, "old messages could not be swept out");
        }
    }
}
