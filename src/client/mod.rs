//! Who a peer is. A client is known by its network, its user name and password, its TLS certificate, or the listener it
//! came through, and over HTTP by its token; a peer that is none of them may not send anything.

mod directory;
mod gate;
mod patience;

pub use directory::{Directory, LoginError, hash_password};
pub use gate::Gate;

use ipnet::IpNet;

use crate::ident::{ClientName, ListenerName};
use crate::secret::Digest;

/// How all clients are recognised.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The clients, in the order of the file.
    pub clients: Vec<Access>,
}

/// How one client is recognised: any of these is enough, but a network or listener never stands in for a password
/// where the session logged in.
#[derive(Debug, Clone)]
pub struct Access {
    /// The client.
    pub name: ClientName,
    /// Networks it connects from.
    pub networks: Vec<IpNet>,
    /// Listeners that are its alone.
    pub listeners: Vec<ListenerName>,
    /// The user name it logs in with.
    pub user: Option<String>,
    /// The password it logs in with.
    pub password: Option<PasswordHash>,
    /// SHA-256 fingerprints of its TLS certificates.
    pub certificates: Vec<Digest>,
    /// SHA-256 of the token that it shows to the HTTP interface.
    pub token: Option<Digest>,
}

/// A password as it is kept.
#[derive(Clone)]
pub enum PasswordHash {
    /// SHA-256 of a generated 256-bit password.
    Sha256(Digest),
    /// The PHC string of a password that a person chose: `$argon2id$...`.
    Argon2id(String),
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sha256(_) => "Sha256([secret])",
            Self::Argon2id(_) => "Argon2id([secret])",
        })
    }
}
