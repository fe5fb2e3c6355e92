//! Accepting connections, and keeping count of them.
//!
//! The socket and the signal to stop come from the caller. Nothing that a peer does, and no shortage of our own, ends
//! the loop; only the signal does.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, Crowded, Place, Trouble};
use crate::ident::ListenerName;

use super::connection::{Answers, converse, handshake};
use super::{Limits, Problem, RouterSource, Socket, TlsSource};

/// How long requests that were begun may take to end after the signal to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// How many connections are told at once that there is no place for them. More than that are closed without a word.
const TURNED_AWAY: usize = 64;

/// How long a connection that is turned away has for its one request.
const PATIENCE: Duration = Duration::from_secs(2);

/// A router with our answers where no route is found. It needs no fallbacks of its own, so that several can be merged: paths
/// and methods that no route has get their problem documents here.
pub fn whole(router: Router) -> Router {
    router.method_not_allowed_fallback(async || Problem::no_method()).fallback(async || Problem::no_route())
}

/// Serves what `router` gives until `shutdown`; then answers what was begun, for a bounded time. With `tls`, TLS is spoken from the
/// first byte, with the configuration that it gives at that moment. A unix socket's file is not removed.
///
/// `router` gives [`whole`] routers. A connection keeps the one that it got when it came.
pub async fn serve(
    socket: Socket,
    name: ListenerName,
    tls: Option<TlsSource>,
    limits: Limits,
    router: RouterSource,
    shutdown: CancellationToken,
) {
    let hall = Hall {
        tls,
        limits,
        router,
        places: Admission::new(limits.connections, limits.connections_per_address),
        porch: Admission::new(TURNED_AWAY, TURNED_AWAY),
        shutdown,
    };
    let mut connections = JoinSet::new();
    let mut trouble = Trouble::default();
    loop {
        tokio::select! {
            biased;
            () = hall.shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => note(ended),
            accepted = socket.accept(), if !trouble.is_pausing() => match accepted {
                Ok(stream) => {
                    trouble.over();
                    hall.admit(stream, &mut connections);
                }
                Err(error) => trouble.with(&error, &name),
            },
            () = trouble.pause_end() => {}
        }
    }
    drop(socket);
    let ends = async {
        while let Some(ended) = connections.join_next().await {
            note(ended);
        }
    };
    if timeout(LAST_ANSWERS, ends).await.is_err() {
        tracing::warn!(listener = %name, "requests were not answered in time for the shutdown");
    }
}

/// What all connections of a listener share.
struct Hall {
    tls: Option<TlsSource>,
    limits: Limits,
    router: RouterSource,
    places: Admission,
    porch: Admission,
    shutdown: CancellationToken,
}

impl Hall {
    fn admit(&self, stream: Stream, connections: &mut JoinSet<()>) {
        let (place, answers, limits) = match self.places.admit(stream.counts_for()) {
            Ok(place) => (place, Answers::Routed((self.router)()), self.limits),
            Err(Crowded::InAll | Crowded::FromThere) => match self.porch.admit(None) {
                Ok(place) => (place, Answers::NoPlace, self.limits.no_longer_than(PATIENCE)),
                Err(_) => return,
            },
        };
        let guest = Guest { answers, limits, shutdown: self.shutdown.clone(), _place: place };
        let tls = match self.tls.as_ref().map(|source| source()) {
            None => None,
            Some(Some(tls)) => Some(tls),
            Some(None) => {
                tracing::error!("there is no certificate, so that a connection is closed");
                return;
            }
        };
        match stream {
            Stream::Tcp(stream, _) => {
                if let Err(error) = stream.set_nodelay(true) {
                    // The peer is gone already.
                    tracing::debug!(%error, "a connection broke at once");
                    return;
                }
                connections.spawn(guest.receive(stream, tls));
            }
            Stream::Unix(stream) => {
                connections.spawn(guest.receive(stream, tls));
            }
        }
    }
}

/// A connection and the place that it has; the place is given back however it ends.
struct Guest {
    answers: Answers,
    limits: Limits,
    shutdown: CancellationToken,
    _place: Place,
}

impl Guest {
    async fn receive<S>(self, stream: S, tls: Option<Arc<rustls::ServerConfig>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tls) = tls else {
            return converse(stream, self.answers, self.limits, self.shutdown).await;
        };
        let encrypted = tokio::select! {
            () = self.shutdown.cancelled() => None,
            encrypted = handshake(stream, tls, &self.limits) => encrypted,
        };
        if let Some(encrypted) = encrypted {
            // A certificate is asked for only where authorities can vouch for it, and a wrong one ends the handshake.
            let is_vouched_for = encrypted.get_ref().1.peer_certificates().is_some();
            let answers = if is_vouched_for { self.answers.vouched() } else { self.answers };
            converse(encrypted, answers, self.limits, self.shutdown).await;
        }
    }
}

impl Limits {
    fn no_longer_than(self, patience: Duration) -> Self {
        Self { header: self.header.min(patience), request: self.request.min(patience), ..self }
    }
}

enum Stream {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

impl Stream {
    /// The address whose share of the places it takes.
    fn counts_for(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(_, address) => Some(address.to_canonical()).filter(|address| !address.is_loopback()),
            Self::Unix(_) => None,
        }
    }
}

impl Socket {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                listener.accept().await.map(|(stream, peer)| Stream::Tcp(stream, peer.ip()))
            }
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

fn note(ended: Result<(), JoinError>) {
    match ended {
        Err(error) if error.is_panic() => tracing::error!("a connection ended by a defect"),
        Ok(()) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_address_has_a_share_but_this_machine_speaks_for_many() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (address, counted) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("127.0.0.1", None),
            ("127.9.9.9", None),
            ("::1", None),
            ("::ffff:127.0.0.1", None),
        ] {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let stream = Stream::Tcp(stream, address.parse().unwrap());
            assert_eq!(stream.counts_for(), counted.map(|text| text.parse().unwrap()), "{address}");
        }
    }
}
