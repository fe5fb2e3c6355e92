//! Accepting connections, and keeping count of them.
//!
//! Sockets and the signal to stop come from the caller. Nothing that a peer does, and no shortage of our own, ends the
//! loop; only the signal does.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::admission::{Admission, Crowded, Trouble};
use crate::outcome::{Detail, Reply};

use super::budget::Budget;
use super::refusals::{self, Refusals};
use super::{Config, ListenerConfig, ListenerTls, Peer, Service, Stats, TlsSource, serve};

/// What all listeners share: configuration, [`Service`], TLS, and the budgets of connections and of memory. Cheap to
/// clone.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    settings: ArcSwap<Settings>,
    service: Arc<dyn Service>,
    tls: TlsSource,
    budget: Budget,
    admission: Admission,
    refusals: Refusals,
    /// Apart from the others, so that no flood of those hides that somebody guesses passwords.
    failed_logins: Refusals,
    stats: Stats,
}

/// What a reload changes.
struct Settings {
    config: Arc<Config>,
    /// The listeners as they are configured now. One that is not here goes on as it began.
    listeners: Vec<Arc<ListenerConfig>>,
}

impl Server {
    /// A server that asks `service` what to do, and `tls` for each connection that may become encrypted.
    pub fn new(config: Config, service: Arc<dyn Service>, tls: TlsSource) -> Self {
        let budget = Budget::new(config.limits.memory);
        let admission = Admission::new(config.limits.connections, config.limits.connections_per_address);
        let (refusals, failed_logins, stats) = Default::default();
        let settings = Settings { config: Arc::new(config), listeners: Vec::new() };
        let settings = ArcSwap::from_pointee(settings);
        Self(Arc::new(Shared { settings, service, tls, budget, admission, refusals, failed_logins, stats }))
    }

    /// What its sessions did so far.
    pub fn stats(&self) -> &Stats {
        &self.0.stats
    }

    /// Puts other settings in force: for every connection that is made from now on, and the limits on all of them
    /// together at once. A listener keeps its address, whatever is said here.
    pub fn reconfigure(&self, config: Config, listeners: Vec<ListenerConfig>) {
        let limits = &config.limits;
        self.0.budget.resize(limits.memory);
        self.0.admission.resize(limits.connections, limits.connections_per_address);
        let listeners = listeners.into_iter().map(Arc::new).collect();
        self.0.settings.store(Arc::new(Settings { config: Arc::new(config), listeners }));
    }

    /// The settings for a session that begins now.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.settings.load().config)
    }

    /// How the listener that began as `started` is configured now.
    fn listener(&self, started: &Arc<ListenerConfig>) -> Arc<ListenerConfig> {
        let settings = self.0.settings.load();
        let found = settings.listeners.iter().find(|listener| listener.name == started.name);
        Arc::clone(found.unwrap_or(started))
    }

    pub(super) fn service(&self) -> &dyn Service {
        &*self.0.service
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.0.budget
    }

    pub(super) fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    pub(super) fn failed_logins(&self) -> &Refusals {
        &self.0.failed_logins
    }

    pub(super) fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        (self.0.tls)()
    }
}

/// Accepts connections from `listener` until `shutdown`, then returns when the last session has ended: messages that
/// were being sent get their answer, peers in a transaction a few seconds, idle ones `421 4.3.2`. To wait no longer,
/// drop the future (or abort its task); that ends its sessions too.
pub async fn run(listener: TcpListener, config: ListenerConfig, server: Server, shutdown: CancellationToken) {
    let config = Arc::new(config);
    let mut sessions = JoinSet::new();
    let mut trouble = Trouble::default();
    let mut window = tokio::time::interval(refusals::WINDOW);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = sessions.join_next() => note(ended),
            _ = window.tick() => {
                server.refusals().tell_when_over();
                server.failed_logins().tell_when_over();
            }
            accepted = listener.accept(), if !trouble.is_pausing() => match accepted {
                Ok((stream, from)) => {
                    trouble.over();
                    admit(stream, from, &server.listener(&config), &server, &shutdown, &mut sessions);
                }
                Err(error) => trouble.with(&error, &config.name),
            },
            () = trouble.pause_end() => {}
        }
    }
    drop(listener);
    while let Some(ended) = sessions.join_next().await {
        note(ended);
    }
    server.refusals().tell();
    server.failed_logins().tell();
}

fn admit(
    stream: TcpStream,
    from: SocketAddr,
    config: &Arc<ListenerConfig>,
    server: &Server,
    shutdown: &CancellationToken,
    sessions: &mut JoinSet<()>,
) {
    let address = from.ip().to_canonical();
    let place = match server.0.admission.admit(Some(address)) {
        Ok(place) => place,
        Err(crowded) => {
            server.stats().turned_away.one();
            return turn_away(stream, crowded, config, server.refusals(), from);
        }
    };
    if let Err(error) = stream.set_nodelay(true) {
        // The peer is gone already.
        debug!(%error, "a connection broke at once");
        return;
    }
    let peer = Peer { listener: config.name.clone(), address: Some(address) };
    let (config, server, shutdown) = (Arc::clone(config), server.clone(), shutdown.clone());
    sessions.spawn(async move {
        serve(stream, peer, config, server, shutdown).await;
        drop(place);
    });
}

/// Tells a peer that there is no place for it, without a task and without waiting.
fn turn_away(
    stream: TcpStream,
    crowded: Crowded,
    config: &ListenerConfig,
    refusals: &Refusals,
    from: SocketAddr,
) {
    let reply = match crowded {
        Crowded::InAll => Reply::new(421, Detail(3, 2), "too many connections, try again later"),
        Crowded::FromThere => Reply::new(421, Detail(7, 0), "too many connections from your address"),
    };
    let peer = from.ip().to_canonical();
    if refusals.allows(Some(peer)) {
        let (listener, code, status) = (&config.name, reply.code(), reply.enhanced());
        let reason = reply.lines().first();
        warn!(target: refusals::TARGET, %listener, %peer, code, status, closed = true, reason, "refused");
    }
    if config.tls != ListenerTls::Implicit
        && let Ok(mut stream) = stream.into_std()
    {
        // A fresh socket has room for a line; if not, the peer just sees the end.
        let _ = stream.write_all(&reply.to_wire());
    }
}

fn note(ended: Result<(), JoinError>) {
    match ended {
        Err(error) if error.is_panic() => error!("a session ended by a defect"),
        Ok(()) | Err(_) => {}
    }
}
