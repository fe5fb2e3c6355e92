//! Why the daemon does not run, what to do about it, and whether starting it again could help.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;

use super::CertificateError;
use crate::ident::ListenerName;
use crate::queue::{KeyringError, StoreError};
use crate::secret::RandomError;

/// Why the daemon did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state directory.
    #[error("the state directory {} can't be written: {error}; {}", path.display(), writable(error, "state_directory"))]
    StateDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The directory of the queue.
    #[error("the queue's directory {} can't be written: {error}; {}", path.display(), writable(error, "path in [queue]"))]
    QueueDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The key.
    #[error("{0}")]
    Keyring(#[from] KeyringError),
    /// There is a queue, and the key it was sealed with is gone.
    #[error(
        "the key file {} is missing, and nothing else opens the queue {}: put the key file back from its copy, or move \
         the queue away (with its -wal and -shm) to begin with an empty one",
        key.display(), queue.display()
    )]
    KeyMissing {
        /// Where it should be.
        key: PathBuf,
        /// What it opens.
        queue: PathBuf,
    },
    /// The queue.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The certificate.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    /// A listener.
    #[error("listener {name} can't listen on {address}: {error}{}", listen_hint(*address, error))]
    Listen {
        /// Which.
        name: ListenerName,
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A listener gets its socket from systemd, and got none.
    #[error(
        "listener {0} gets its socket from systemd, which handed over none of that name: enable its unit (systemctl \
         enable --now authrelay-{0}.socket, with FileDescriptorName={0} in it), or set address to an address and a port \
         from 1024"
    )]
    NotHandedOver(ListenerName),
    /// What systemd handed over can't be used.
    #[error(
        "the socket that systemd hands over for listener {name} can't be used: {error}; its unit needs ListenStream="
    )]
    HandedOver {
        /// For which listener.
        name: ListenerName,
        /// Why.
        error: io::Error,
    },
    /// What systemd handed over is open to other machines, and the listener has no TLS.
    #[error(
        "codes and tokens would cross the network to listener {name} at {address} in plain text: set tls = \"on\" in \
         [http.{name}], or ListenStream=127.0.0.1:{} in its socket unit",
        address.port()
    )]
    PlainHttp {
        /// Which.
        name: ListenerName,
        /// Where.
        address: SocketAddr,
    },
    /// The control socket.
    #[error("the control socket {} can't be made: {error}", path.display())]
    ControlSocket {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The unix socket of a listener.
    #[error("listener {name} can't listen on {}: {error}; {}", path.display(), writable(error, &format!("socket in [http.{name}]")))]
    ListenerSocket {
        /// Which.
        name: ListenerName,
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Something else stands where a socket is to be.
    #[error("{} is there already, and is no socket: move it away, or set {setting} to another path", path.display())]
    NoSocket {
        /// Where.
        path: PathBuf,
        /// What says so.
        setting: String,
    },
    /// Somebody answers at a socket.
    #[error("another authrelay answers at {}: stop that one, or set {setting} to another path", path.display())]
    SocketInUse {
        /// Where.
        path: PathBuf,
        /// What says so.
        setting: String,
    },
    /// The token that is made at first start.
    #[error("the token file {} can't be used: {error}; {}", path.display(), writable(error, "state_directory"))]
    TokenFile {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The token file holds none.
    #[error("{} holds no token: remove it, and the next start makes a new one", .0.display())]
    Token(PathBuf),
    /// The store can't go on.
    #[error("the queue's store failed and can't go on; a new start finds everything that was accepted")]
    Broken,
    /// No randomness.
    #[error("{0}")]
    Random(#[from] RandomError),
}

impl DaemonError {
    /// Whether the same may succeed when it is started again: trouble with the disk or with what others hold passes; a
    /// wrong key or another program's file does not.
    pub fn is_mended_by_restart(&self) -> bool {
        match self {
            Self::KeyMissing { .. }
            | Self::NoSocket { .. }
            | Self::NotHandedOver(_)
            | Self::HandedOver { .. }
            | Self::PlainHttp { .. }
            | Self::Token(_) => false,
            Self::Keyring(error) => keyring_is_mended(error),
            Self::Store(error) => store_is_mended(error),
            Self::Certificate(error) => match error {
                CertificateError::File { .. } => true,
                CertificateError::Content { .. } | CertificateError::SelfSigned(_) => false,
            },
            Self::StateDirectory { .. }
            | Self::QueueDirectory { .. }
            | Self::Listen { .. }
            | Self::ControlSocket { .. }
            | Self::ListenerSocket { .. }
            | Self::SocketInUse { .. }
            | Self::TokenFile { .. }
            | Self::Broken
            | Self::Random(_) => true,
        }
    }
}

fn keyring_is_mended(error: &KeyringError) -> bool {
    match error {
        KeyringError::File { error, .. } => {
            !matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::NotFound)
        }
        KeyringError::Line { .. } | KeyringError::Missing { .. } => false,
        KeyringError::Exists(_) | KeyringError::NotRemovable { .. } | KeyringError::Random(_) => true,
    }
}

/// What the store says of a file that is not the one it should be. Everything else that keeps it from being opened is
/// trouble with the disk, or another process.
const NOT_THE_QUEUE: [&str; 3] = [
    "it was sealed with another key",
    "it is another program's database",
    "its file system does not allow a write-ahead log",
];

fn store_is_mended(error: &StoreError) -> bool {
    match error {
        StoreError::NewerSchema { .. } | StoreError::Damaged(_) => false,
        StoreError::Unreadable(text) => !NOT_THE_QUEUE.iter().any(|words| text.contains(words)),
        StoreError::Full | StoreError::Failed(_) | StoreError::Closed => true,
    }
}

/// What makes a directory one that can be written.
fn writable(error: &io::Error, setting: &str) -> String {
    let elsewhere = format!("or set {setting} to a place that can be written");
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => format!("mount it for writing, {elsewhere}"),
        ErrorKind::PermissionDenied => {
            format!("give it to the user that the daemon runs as (chown), {elsewhere}")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!("make room there, {elsewhere}"),
        ErrorKind::NotFound => format!("make it (mkdir), {elsewhere}"),
        _ => format!("put that right, {elsewhere}"),
    }
}

fn listen_hint(address: SocketAddr, error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied if address.port() < 1024 => {
            "; a port below 1024 is opened by systemd: set address = \"systemd\" and enable the listener's socket unit \
             (docs/install.md), or use a port from 1024"
        }
        ErrorKind::AddrInUse => "; another program listens there (`ss -ltnp` says which)",
        ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_port_and_a_full_disk_are_told_with_what_to_do() {
        let listen = |port: u16, kind: ErrorKind| {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            DaemonError::Listen { name: ListenerName::new("a"), address, error: kind.into() }
        };
        let low = listen(25, ErrorKind::PermissionDenied);
        assert!(low.to_string().contains("address = \"systemd\""), "{low}");
        assert!(low.is_mended_by_restart());
        assert!(!listen(2525, ErrorKind::PermissionDenied).to_string().contains("systemd"));
        let read_only = DaemonError::StateDirectory {
            path: PathBuf::from("/srv/state"),
            error: ErrorKind::ReadOnlyFilesystem.into(),
        };
        let text = read_only.to_string();
        assert!(text.contains("/srv/state") && text.contains("mount it for writing"), "{text}");
        assert!(read_only.is_mended_by_restart());
    }
}
