//! The SMTP server: listener, TLS, session. It knows SMTP and nothing else; what a message means, who a client is and
//! what becomes of either it asks a [`Handler`].
//!
//! Framing is ours and strict (only CR LF . CR LF ends a message); the grammar of a command line is smtp-proto's.
//!
//! Read in this order: [`run`] accepts connections, `session` leads the dialogue, `connection` reads lines and writes
//! replies, `command` says what a line means, `sasl` is the AUTH exchange, `receive` and `data` take in a message,
//! `refusals` tells the operator what was refused.

mod budget;
mod command;
mod connection;
mod data;
mod line;
mod listener;
mod receive;
mod refusals;
mod sasl;
mod session;
mod stats;
mod tls;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ipnet::IpNet;

use crate::ident::ListenerName;
use crate::mail::{Address, ReversePath};
use crate::outcome::Reply;
use crate::secret::Secret;

pub use connection::Transport;
pub use listener::{Server, run};
pub use session::serve;
pub use stats::Stats;
pub use tls::{ClientCertificates, TlsError, server_config};

/// The SMTP server's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our name in greeting and EHLO.
    pub hostname: String,
    /// Limits of every session.
    pub limits: Limits,
}

/// One listening socket.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Its name.
    pub name: ListenerName,
    /// Where it listens.
    pub at: ListenAt,
    /// How its connections are encrypted.
    pub tls: ListenerTls,
    /// Networks that may use AUTH without TLS. Empty: nobody.
    pub plaintext_auth: Vec<IpNet>,
    /// What is done with a bare LF in a message; `None`: normalised for known clients, refused for others.
    pub bare_lf: Option<BareLf>,
    /// Whether SMTPUTF8 (RFC 6531) is offered.
    pub smtputf8: bool,
}

/// Where a listener listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenAt {
    /// At an address of its own.
    Address(SocketAddr),
    /// At the sockets that systemd hands over under the listener's name.
    Systemd,
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Systemd => f.write_str("the sockets of its systemd unit"),
        }
    }
}

/// How a listener's connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerTls {
    /// Never.
    Off,
    /// STARTTLS is offered.
    StartTls,
    /// STARTTLS is offered, and nothing but EHLO, NOOP, QUIT and STARTTLS is answered before it (`530 5.7.0`).
    Required,
    /// TLS from the first byte.
    Implicit,
}

/// What is done with a bare LF inside a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareLf {
    /// Made CR LF; it still never ends a message.
    Normalize,
    /// `521 5.5.2`, and the connection is closed.
    Refuse,
}

/// What a peer may use up.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most octets of one message; announced as SIZE.
    pub message_size: usize,
    /// The most octets of a message's header block.
    pub header_size: usize,
    /// The most octets of one line of a message.
    pub line_length: usize,
    /// The most recipients of one message.
    pub recipients: usize,
    /// The most commands of one session that were answered with an error. What the [`Handler`] refuses a known client
    /// does not count: an application that sends ten unwanted messages and then a code must not lose the code.
    pub errors: u32,
    /// The most failed AUTH commands of one session.
    pub auth_failures: u32,
    /// The most messages over one connection, which is closed directly behind the answer to the last one.
    pub messages_per_connection: u32,
    /// The most connections at once.
    pub connections: usize,
    /// The most connections at once from one address (one /64 for IPv6).
    pub connections_per_address: usize,
    /// How long a peer may be silent, and how long it may take over one command or over reading one reply.
    pub idle: Duration,
    /// How long a session may last. A transaction that is under way is not cut; it has its own, generous end.
    pub session: Duration,
    /// How long the TLS handshake may take.
    pub handshake: Duration,
    /// The fewest octets a second, on average, while a message is being sent, judged after a grace time; 0: any.
    pub minimum_rate: u32,
    /// The most octets of unfinished and undecided messages in memory, over all sessions.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: 1 << 20,
            header_size: 128 << 10,
            line_length: 64 << 10,
            recipients: 100,
            errors: 20,
            auth_failures: 3,
            messages_per_connection: 1000,
            connections: 10_000,
            connections_per_address: 1000,
            idle: Duration::from_mins(5),
            session: Duration::from_hours(1),
            handshake: Duration::from_secs(30),
            minimum_rate: 64,
            memory: 64 << 20,
        }
    }
}

/// What is known of a connection when it is made.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The listener it came through.
    pub listener: ListenerName,
    /// Its address, where it has one; never an IPv4 address dressed as IPv6.
    pub address: Option<IpAddr>,
}

/// What is known of a session when a transaction begins. All of it is forgotten at STARTTLS.
#[derive(Debug, Clone, Default)]
pub struct SessionFacts {
    /// What the peer called itself; every character that a domain or an address literal does not have is a `?`.
    pub helo: String,
    /// Whether it said EHLO rather than HELO.
    pub extended: bool,
    /// The TLS version, when the connection is encrypted.
    pub tls: Option<&'static str>,
    /// The SHA-256 fingerprint of the client's certificate, where it showed one.
    pub certificate: Option<crate::secret::Digest>,
    /// The name it logged in as.
    pub user: Option<String>,
}

/// What the session asks, one object a connection. A reply that is not positive goes to the client as it stands; after
/// a 421 or 521 the connection is closed. The session logs what it refuses and what `auth`, `mail`, `rcpt` and a 4xx of `data`
/// refuse; a 5xx of `data` is the handler's to tell. A panic in here is answered `421 4.3.0` and ends this one session.
#[async_trait]
pub trait Handler: Send {
    /// A user presents a password (AUTH). `Ok` means the session is that user's from now on.
    async fn auth(&mut self, user: &str, password: Secret) -> Result<(), Reply>;

    /// MAIL was well formed. `Ok` opens a transaction.
    async fn mail(&mut self, facts: &SessionFacts, from: &ReversePath) -> Result<(), Reply>;

    /// RCPT was well formed, within the limits, and names nobody who is in already. `Ok` adds the recipient to the
    /// session's list, the only one there is.
    async fn rcpt(&mut self, to: &Address) -> Result<(), Reply>;

    /// The whole message came in, with lines that end in CR LF and dot-stuffing removed. The reply is the answer to it.
    /// The recipients are those that `rcpt` let in: at least one, in their order, without repeats. The message's memory counts
    /// against [`Limits::memory`] until this returns. It is not interrupted when the peer goes away.
    async fn data(&mut self, recipients: Vec<Address>, message: Bytes) -> Reply;

    /// The message that was just read had lines that end in LF alone. With [`BareLf::Normalize`] it comes next, mended,
    /// unless it is refused for something else; with [`BareLf::Refuse`] it does not come.
    fn saw_bare_lf(&mut self, _: BareLf) {}

    /// The transaction is over or was dropped. Not called when the connection ends: then the handler itself is dropped.
    fn reset(&mut self);

    /// Whether the peer is a client we know, as of the last `auth` or `mail`.
    fn is_known_client(&self) -> bool;
}

/// Makes a [`Handler`] for each connection.
pub trait Service: Send + Sync + 'static {
    /// A peer connected. `Err` is told it (as a greeting of 421 or 554), and the connection is closed. Asked again after
    /// a STARTTLS that came behind an AUTH, because nothing learned in the clear may be believed (RFC 3207 section 4.2).
    fn connect(&self, peer: &Peer) -> Result<Box<dyn Handler>, Reply>;
}

/// The TLS configuration of the moment: asked once a connection, so a renewed certificate is used without a restart.
pub type TlsSource = Arc<dyn Fn() -> Option<Arc<rustls::ServerConfig>> + Send + Sync>;
