//! The HTTP listeners: their sockets, and which parts of the interface are found at each.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::DaemonError;
use super::socket::{self, Owner};
use crate::http::{Bind, Interface, Limits, ListenerConfig, Socket, TlsSource, serve};
use crate::ident::ListenerName;
use crate::reception::{Codes, Reports};
use crate::{callback, otp};

/// An HTTP listener that was bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpListener {
    /// Its name.
    pub name: ListenerName,
    /// Where it is.
    pub address: HttpAddress,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// What is found there.
    pub serves: Vec<Interface>,
}

/// Where an HTTP listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAddress {
    /// A TCP address, with the port it has.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for HttpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serves: Vec<&str> = self.serves.iter().map(|interface| name(*interface)).collect();
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{} {} ({scheme}: {})", self.name, self.address, serves.join(", "))
    }
}

fn name(interface: Interface) -> &'static str {
    match interface {
        Interface::Otp => "otp",
        Interface::Callback => "callback",
    }
}

/// What answers at the listeners.
pub(super) struct Interfaces {
    pub codes: Arc<Codes>,
    pub reports: Arc<Reports>,
}

impl Interfaces {
    fn router(&self, serves: &[Interface]) -> Router {
        let router = |interface: &Interface| match interface {
            Interface::Otp => otp::router(Arc::<Codes>::clone(&self.codes)),
            Interface::Callback => callback::router(Arc::<Reports>::clone(&self.reports)),
        };
        serves.iter().map(router).reduce(Router::merge).unwrap_or_default()
    }
}

/// A socket that listens already, so that what stands in its way keeps the daemon from starting.
pub(super) struct Bound {
    pub listener: HttpListener,
    socket: Socket,
    limits: Limits,
}

/// Makes a listener's socket.
pub(super) async fn bind(config: ListenerConfig) -> Result<Bound, DaemonError> {
    let ListenerConfig { name, bind, tls, serves } = config;
    let (socket, address) = match bind {
        Bind::Tcp(address) => {
            let failed = |error| DaemonError::Listen { name: name.clone(), address, error };
            let socket = TcpListener::bind(address).await.map_err(failed)?;
            let address = socket.local_addr().map_err(failed)?;
            (Socket::Tcp(socket), HttpAddress::Tcp(address))
        }
        Bind::Unix(path, mode) => {
            let socket = socket::bind(&path, mode, Owner::Listener(&name))?;
            (Socket::Unix(socket), HttpAddress::Unix(path))
        }
    };
    let listener = HttpListener { name, address, tls, serves };
    tracing::info!(listener = %listener.name, address = %listener.address, tls, "listening");
    Ok(Bound { listener, socket, limits: Limits::default() })
}

/// Serves a listener until `shutdown`, then removes its socket's file.
pub(super) async fn run(
    bound: Bound,
    tls: TlsSource,
    interfaces: Arc<Interfaces>,
    shutdown: CancellationToken,
) {
    let Bound { listener, socket, limits } = bound;
    let tls = listener.tls.then_some(tls);
    let router = interfaces.router(&listener.serves);
    serve(socket, listener.name, tls, limits, router, shutdown).await;
    if let HttpAddress::Unix(path) = listener.address
        && let Err(error) = std::fs::remove_file(&path)
    {
        tracing::debug!(%error, path = %path.display(), "the socket could not be removed");
    }
}
