//! Accepting connections, and keeping count of them.
//!
//! Sockets and the signal to stop come from the caller. Nothing that a peer does, and no shortage of our own, ends the
//! loop; only the signal does.

use std::io::{self, ErrorKind, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::admission::{Admission, Crowded};
use crate::outcome::{Detail, Reply};

use super::budget::Budget;
use super::refusals::{self, Refusals};
use super::{Config, ListenerConfig, ListenerTls, Peer, Service, TlsSource, serve};

/// What all listeners share: configuration, [`Service`], TLS, and the budgets of connections and of memory. Cheap to
/// clone.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    config: Config,
    service: Arc<dyn Service>,
    tls: TlsSource,
    budget: Budget,
    admission: Admission,
    refusals: Refusals,
}

impl Server {
    /// A server that asks `service` what to do, and `tls` for each connection that may become encrypted.
    pub fn new(config: Config, service: Arc<dyn Service>, tls: TlsSource) -> Self {
        let budget = Budget::new(config.limits.memory);
        let admission = Admission::new(config.limits.connections, config.limits.connections_per_address);
        Self(Arc::new(Shared { config, service, tls, budget, admission, refusals: Refusals::default() }))
    }

    pub(super) fn config(&self) -> &Config {
        &self.0.config
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
            _ = window.tick() => server.refusals().tell_when_over(),
            accepted = listener.accept(), if !trouble.is_pausing() => match accepted {
                Ok((stream, from)) => {
                    trouble.over();
                    admit(stream, from, &config, &server, &shutdown, &mut sessions);
                }
                Err(error) => trouble.with(&error, &config),
            },
            () = trouble.pause_end() => {}
        }
    }
    drop(listener);
    while let Some(ended) = sessions.join_next().await {
        note(ended);
    }
    server.refusals().tell();
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
        Err(crowded) => return turn_away(stream, crowded, config, server.refusals(), from),
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

/// What is remembered of failed accepts. When descriptors or memory have run out, accept fails at once again and again:
/// without a pause the loop would spin, and without end it must go on.
#[derive(Debug, Default)]
struct Trouble {
    pause: Duration,
    until: Option<tokio::time::Instant>,
}

impl Trouble {
    const FIRST_PAUSE: Duration = Duration::from_millis(10);
    const LONGEST_PAUSE: Duration = Duration::from_secs(1);

    fn with(&mut self, error: &io::Error, config: &ListenerConfig) {
        if is_of_the_peer(error) {
            debug!(listener = %config.name, %error, "a connection broke before it was accepted");
            return;
        }
        if self.pause.is_zero() {
            error!(listener = %config.name, %error, "connections can't be accepted; trying again until they can");
        }
        self.pause = (self.pause * 2).clamp(Self::FIRST_PAUSE, Self::LONGEST_PAUSE);
        self.until = Some(tokio::time::Instant::now() + self.pause);
    }

    fn over(&mut self) {
        *self = Self::default();
    }

    fn is_pausing(&self) -> bool {
        self.until.is_some()
    }

    /// Completes when the pause is over; never, when there is none.
    async fn pause_end(&mut self) {
        match self.until {
            Some(until) => {
                tokio::time::sleep_until(until).await;
                self.until = None;
            }
            None => std::future::pending().await,
        }
    }
}

/// Errors of one connection that broke before it was accepted: the next one may be fine.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shortage_of_descriptors_makes_the_loop_pause_longer_and_longer_but_never_stop() {
        let config = ListenerConfig {
            name: "mx".into(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: ListenerTls::Off,
            plaintext_auth: Vec::new(),
            bare_lf: None,
            smtputf8: false,
        };
        let mut trouble = Trouble::default();
        trouble.with(&io::Error::from(ErrorKind::ConnectionAborted), &config);
        assert!(!trouble.is_pausing());
        let too_many_files = io::Error::from_raw_os_error(24);
        for expected in [10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
            let before = tokio::time::Instant::now();
            trouble.with(&too_many_files, &config);
            trouble.pause_end().await;
            assert_eq!(before.elapsed(), Duration::from_millis(expected));
            assert!(!trouble.is_pausing());
        }
        trouble.over();
        assert_eq!(trouble.pause, Duration::ZERO);
    }
}
