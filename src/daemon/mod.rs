//! Wiring: opens the store, starts the listeners, the workers and the control socket, and stops them in order.
//!
//! Stopping: listeners first (a running DATA still gets its answer), then the workers (an attempt under way is
//! finished), then the store. What is not handed over by then waits on disk for the next start.

mod control;
mod report;
mod tls;
mod writer;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::client::Gate;
use crate::clock::Clock;
use crate::config::{Config, KeySource};
use crate::deliver::Delivery;
use crate::ident::ListenerName;
use crate::pipeline::Pipeline;
use crate::queue::store::sqlite::{SqliteStore, Stats};
use crate::queue::{Active, Keyring, KeyringError, Queue, StoreError};
use crate::reception::Reception;
use crate::secret::RandomError;
use crate::smtp;
use crate::snapshot::{Current, Snapshot};

pub use tls::CertificateError;

/// How many passwords that people chose are checked at once.
const PASSWORD_CHECKS: usize = 4;
/// How often ended messages are swept out.
const SWEEP_EVERY: Duration = Duration::from_hours(1);
/// How long sessions and attempts may take to end.
const GRACE: Duration = Duration::from_secs(45);

/// Why the daemon did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state directory.
    #[error("the state directory {path} can't be used: {error}")]
    StateDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The key.
    #[error("{0}")]
    Keyring(#[from] KeyringError),
    /// The queue.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The certificate.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    /// A listener.
    #[error("listener {name} can't listen on {address}: {error}")]
    Listen {
        /// Which.
        name: ListenerName,
        /// Where.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The control socket.
    #[error("the control socket {path} can't be made: {error}")]
    ControlSocket {
        /// Where.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The store can't go on.
    #[error("the queue's store failed and can't go on; a new start finds everything that was accepted")]
    Broken,
    /// No randomness.
    #[error("{0}")]
    Random(#[from] RandomError),
}

/// A running daemon.
pub struct Daemon {
    queue: Arc<Queue>,
    delivery: Delivery,
    listeners: Vec<(ListenerName, SocketAddr)>,
    stop_listening: CancellationToken,
    stop_delivery: CancellationToken,
    stop_control: CancellationToken,
    sessions: TaskTracker,
    tasks: TaskTracker,
    store_stats: watch::Receiver<Stats>,
}

impl Daemon {
    /// Starts everything. When this returns, the listeners accept connections.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, DaemonError> {
        make_state_directory(&config.state_directory)?;
        let (queue, store_stats) = open_queue(&config, clock)?;
        let tls = tls::load(&config)?;
        let bounces = config.queue.bounces.clone();
        let listener_configs = config.listeners.clone();
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

        let server = smtp::Server::new(smtp_config, reception, tls);
        let mut listeners = Vec::new();
        for config in listener_configs {
            let (socket, address) = listen(&config).await?;
            tracing::info!(listener = %config.name, %address, "listening");
            listeners.push((config.name.clone(), address));
            sessions.spawn(smtp::run(socket, config, server.clone(), stop_listening.clone()));
        }
        let daemon = Arc::new(control::View::new(&current, delivery.monitor(), &listeners, &pipeline, clock));
        let control = admin::Control { queue: Arc::clone(&queue), daemon, clock };
        let socket = bind_control(&control_path)?;
        tasks.spawn(admin::serve(socket, control_path, control, stop_control.clone()));
        tasks.spawn(sweep(Arc::clone(&queue), current.clone(), clock, stop_control.clone()));
        tasks.spawn(report::run(Arc::clone(&queue), pipeline, current, bounces, clock, stop_control.clone()));
        Ok(Self {
            queue,
            delivery,
            listeners,
            stop_listening,
            stop_delivery,
            stop_control,
            sessions,
            tasks,
            store_stats,
        })
    }

    /// The listeners and the addresses they have.
    pub fn listeners(&self) -> &[(ListenerName, SocketAddr)] {
        &self.listeners
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

fn make_state_directory(path: &Path) -> Result<(), DaemonError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| DaemonError::StateDirectory { path: path.to_owned(), error })
}

fn open_queue(config: &Config, clock: Clock) -> Result<(Arc<Queue>, watch::Receiver<Stats>), DaemonError> {
    let keyring = Arc::new(match &config.queue.key {
        KeySource::File(path) => Keyring::load(path)?,
        KeySource::MadeAtFirstStart(path) => Keyring::load_or_create(path)?,
    });
    let store = SqliteStore::open(&config.queue.path, Arc::clone(&keyring), clock)?;
    let stats = store.stats();
    let active = Active::new(config.queue.active);
    Ok((Queue::new(Arc::new(store), keyring.lookup_key(), clock, active), stats))
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

async fn listen(config: &smtp::ListenerConfig) -> Result<(TcpListener, SocketAddr), DaemonError> {
    let name = || config.name.clone();
    let failed = |error| DaemonError::Listen { name: name(), address: config.address, error };
    let socket = TcpListener::bind(config.address).await.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok((socket, address))
}

/// Makes the control socket. A socket file that nobody answers at is left over from a crash and is replaced.
fn bind_control(path: &Path) -> Result<UnixListener, DaemonError> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |error| DaemonError::ControlSocket { path: path.to_owned(), error };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    if path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path).map_err(failed)?;
    }
    let socket = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(socket)
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
