//! What every HTTP interface of ours stands on: problem documents, and a server with limits on all that a peer can grow.

mod answer;
mod connection;
mod problem;
mod server;

pub use problem::{Kind, MEDIA_TYPE, Problem, TYPE_PREFIX};
pub use server::{serve, whole};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::ident::ListenerName;
use crate::secret::Digest;

/// One HTTP listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Its name.
    pub name: ListenerName,
    /// Where it listens.
    pub bind: Bind,
    /// Whether it speaks TLS. Always so where it is not on the loopback or a unix socket.
    pub tls: bool,
    /// What is found there.
    pub serves: Vec<Interface>,
    /// The SHA-256 digest of the password that the admin interface asks for; `None`: none. Where other machines reach that
    /// interface, this or `client_ca` is always there.
    pub password: Option<Digest>,
    /// The file of the authorities (PEM) whose certificates let callers in to the admin interface as the password does.
    pub client_ca: Option<PathBuf>,
}

/// Marks the requests of a caller whose certificate the listener's authorities vouch for.
#[derive(Debug, Clone, Copy)]
pub struct Vouched;

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A unix socket: its path and its file mode.
    Unix(PathBuf, u32),
    /// The sockets that systemd hands over under the listener's name.
    Systemd,
}

/// Parts of the interface that can be bound apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interface {
    /// One-time codes, for applications.
    Otp,
    /// Status callbacks, for the SMS provider: the only one that ever needs to be public.
    Callback,
    /// Metrics and health, for those who run it.
    Admin,
}

/// What a peer may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most connections at once.
    pub connections: usize,
    /// The most of them from one address. This machine has no share of its own: a proxy here speaks for many.
    pub connections_per_address: usize,
    /// The time a request's header may take, from the first byte or since the last request.
    pub header: Duration,
    /// The time a whole request may take, its answer included.
    pub request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1000,
            connections_per_address: 250,
            header: Duration::from_secs(10),
            request: Duration::from_secs(15),
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(tokio::net::TcpListener),
    /// A unix socket.
    Unix(tokio::net::UnixListener),
}

/// Gives the routes of the moment, for each connection anew.
pub type RouterSource = Arc<dyn Fn() -> axum::Router + Send + Sync>;

/// Gives the TLS configuration of the moment, for each connection anew.
pub type TlsSource = Arc<dyn Fn() -> Option<Arc<rustls::ServerConfig>> + Send + Sync>;
