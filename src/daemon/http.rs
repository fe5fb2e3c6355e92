//! The HTTP listeners: their sockets, and which parts of the interface are found at each.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::DaemonError;
use super::handed::{HandedOver, Ready};
use super::socket::{self, Owner};
use super::tls::Certificates;
use crate::admin::{self, Callers, Control, Door};
use crate::http::{Bind, Interface, Limits, ListenerConfig, Socket, serve, whole};
use crate::ident::ListenerName;
use crate::reception::{Codes, Reports};
use crate::secret::Digest;
use crate::snapshot::Current;
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
        Interface::Admin => "admin",
    }
}

/// What answers at the listeners.
pub(super) struct Interfaces {
    pub codes: Arc<Codes>,
    pub reports: Arc<Reports>,
    pub control: Control,
    pub current: Current,
}

impl Interfaces {
    fn router(&self, serves: &[Interface], door: &Door) -> Router {
        let router = |interface: &Interface| match interface {
            Interface::Otp => otp::router(Arc::<Codes>::clone(&self.codes)),
            Interface::Callback => callback::router(Arc::<Reports>::clone(&self.reports)),
            Interface::Admin => admin::listener_router(self.control.clone(), door),
        };
        whole(serves.iter().map(router).reduce(Router::merge).unwrap_or_default())
    }
}

/// A socket that listens already, so that what stands in its way keeps the daemon from starting.
pub(super) struct Bound {
    pub listener: HttpListener,
    socket: Socket,
    callers: Callers,
    limits: Limits,
    config: ListenerConfig,
    /// The file of a socket of our own, to be removed at the end.
    file: Option<PathBuf>,
}

/// Makes a listener's socket, or takes those that systemd hands over for it.
pub(super) async fn bind(config: ListenerConfig, handed: &mut HandedOver) -> Result<Vec<Bound>, DaemonError> {
    let sockets = match &config.bind {
        Bind::Tcp(address) => {
            let failed = |error| DaemonError::Listen { name: config.name.clone(), address: *address, error };
            let socket = TcpListener::bind(address).await.map_err(failed)?;
            let address = socket.local_addr().map_err(failed)?;
            vec![(Socket::Tcp(socket), HttpAddress::Tcp(address), None)]
        }
        Bind::Unix(path, mode) => {
            let socket = socket::bind(path, *mode, Owner::Listener(&config.name))?;
            vec![(Socket::Unix(socket), HttpAddress::Unix(path.clone()), Some(path.clone()))]
        }
        Bind::Systemd => {
            let sockets = handed.give(&config.name)?.into_iter();
            sockets.map(|ready| handed_over(ready, &config)).collect::<Result<_, _>>()?
        }
    };
    let bound = |(socket, address, file)| {
        let config = config.clone();
        let ListenerConfig { name, tls, serves, .. } = config.clone();
        let listener = HttpListener { name, address, tls, serves };
        tracing::info!(listener = %listener.name, address = %listener.address, tls, "listening");
        let callers = match (&config.client_ca, &socket) {
            (Some(_), _) => Callers::WithCertificates,
            (None, Socket::Tcp(_)) => Callers::OverTcp,
            (None, Socket::Unix(_)) => Callers::OverFile,
        };
        Bound { listener, socket, callers, limits: Limits::default(), config, file }
    };
    Ok(sockets.into_iter().map(bound).collect())
}

fn handed_over(
    ready: Ready,
    config: &ListenerConfig,
) -> Result<(Socket, HttpAddress, Option<PathBuf>), DaemonError> {
    match ready {
        Ready::Tcp(_, address) if !config.tls && !address.ip().to_canonical().is_loopback() => {
            Err(DaemonError::PlainHttp { name: config.name.clone(), address })
        }
        Ready::Tcp(socket, address) => Ok((Socket::Tcp(socket), HttpAddress::Tcp(address), None)),
        Ready::Unix(socket) => {
            let address = socket.local_addr().ok();
            let path = address.and_then(|address| address.as_pathname().map(ToOwned::to_owned));
            Ok((Socket::Unix(socket), HttpAddress::Unix(path.unwrap_or_default()), None))
        }
    }
}

/// What is found at a listener, and the password for it, follow the configuration; the routes are made anew where these
/// change. Who can come to it at all stays as it is (`reload::fixed`).
struct Routes {
    name: ListenerName,
    callers: Callers,
    interfaces: Arc<Interfaces>,
    made: Mutex<Made>,
}

struct Made {
    serves: Vec<Interface>,
    password: Option<Digest>,
    hostname: String,
    router: Router,
}

impl Routes {
    fn new(config: ListenerConfig, callers: Callers, interfaces: Arc<Interfaces>) -> Self {
        let hostname = interfaces.current.get().config.hostname.clone();
        let made = make(&interfaces, callers, (config.serves, config.password, hostname));
        Self { name: config.name, callers, interfaces, made: Mutex::new(made) }
    }

    fn router(&self) -> Router {
        let snapshot = self.interfaces.current.get();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was removed is open until a restart, as it was (`reload::fixed`).
        let open = snapshot.config.http.iter().find(|listener| listener.name == self.name);
        let hostname = &snapshot.config.hostname;
        if let Some(wanted) = open
            && (&made.serves, made.password, &made.hostname) != (&wanted.serves, wanted.password, hostname)
        {
            let wanted = (wanted.serves.clone(), wanted.password, hostname.clone());
            *made = make(&self.interfaces, self.callers, wanted);
        }
        made.router.clone()
    }
}

fn make(
    interfaces: &Interfaces,
    callers: Callers,
    (serves, password, hostname): (Vec<Interface>, Option<Digest>, String),
) -> Made {
    let door = Door { password, callers, hostname: hostname.clone() };
    let router = interfaces.router(&serves, &door);
    Made { serves, password, hostname, router }
}

/// Serves a listener until `shutdown`, then removes its socket's file.
pub(super) async fn run(
    bound: Bound,
    certificates: Certificates,
    interfaces: Arc<Interfaces>,
    shutdown: CancellationToken,
) {
    let Bound { listener, socket, callers, limits, config, file } = bound;
    let tls = listener.tls.then(|| certificates.for_http(config.client_ca.clone()));
    let routes = Routes::new(config, callers, interfaces);
    serve(socket, listener.name, tls, limits, Arc::new(move || routes.router()), shutdown).await;
    if let Some(path) = file
        && let Err(error) = std::fs::remove_file(&path)
    {
        tracing::debug!(%error, path = %path.display(), "the socket could not be removed");
    }
}
