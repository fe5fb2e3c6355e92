//! The sockets that systemd hands over: made by its socket units with the rights of root, so that the daemon needs none
//! for ports below 1024, and kept by it over restarts, so that whoever connects meanwhile waits instead of failing.
//!
//! A socket belongs to the listener that its unit names (`FileDescriptorName=`). One unit may have several.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use super::DaemonError;
use crate::ident::ListenerName;

/// Sockets by the name of the listener they are for.
#[derive(Debug, Default)]
pub struct HandedOver(BTreeMap<String, Vec<Result<Handed, std::io::Error>>>);

/// A socket that listens.
#[derive(Debug)]
enum Handed {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// The same, in the hands of the runtime.
#[derive(Debug)]
pub(super) enum Ready {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener),
}

impl HandedOver {
    /// Takes what this process was started with. Once, before the first thread: the variables that tell of them are
    /// removed, so that no child takes them for its own.
    pub fn take() -> Self {
        let names: Vec<String> = match sd_notify::listen_fds_with_names() {
            Ok(named) => named.map(|(_, name)| name).collect(),
            Err(error) => {
                tracing::error!(%error, "the sockets of the service manager can't be told apart");
                Vec::new()
            }
        };
        let mut sockets = ListenFd::from_env();
        let mut handed: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (index, name) in names.into_iter().enumerate() {
            handed.entry(name).or_default().push(take(&mut sockets, index));
        }
        Self(handed)
    }

    /// The sockets of a listener, with at least one among them.
    pub(super) fn give(&mut self, name: &ListenerName) -> Result<Vec<Ready>, DaemonError> {
        let missing = || DaemonError::NotHandedOver(name.clone());
        let sockets =
            self.0.remove(name.as_str()).filter(|sockets| !sockets.is_empty()).ok_or_else(missing)?;
        let failed = |error| DaemonError::HandedOver { name: name.clone(), error };
        sockets.into_iter().map(|socket| socket?.ready()).collect::<Result<_, _>>().map_err(failed)
    }

    /// Says which sockets no listener took: the system lets clients connect there, and nobody answers.
    pub(super) fn tell_left_over(&self) {
        for name in self.0.keys() {
            tracing::error!(
                "systemd hands over a socket called {name:?}, and no listener takes it, so whoever connects there waits \
                 in vain: add [listeners.{name}] or [http.{name}] with address = \"systemd\", or stop its unit \
                 (systemctl disable --now authrelay-{name}.socket)"
            );
        }
    }
}

fn take(sockets: &mut ListenFd, index: usize) -> std::io::Result<Handed> {
    let gone = || std::io::Error::other("it was taken before");
    if let Ok(socket) = sockets.take_tcp_listener(index) {
        return socket.map(Handed::Tcp).ok_or_else(gone);
    }
    let socket = sockets.take_unix_listener(index)?;
    socket.map(Handed::Unix).ok_or_else(gone)
}

impl Handed {
    fn ready(self) -> std::io::Result<Ready> {
        match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                let address = socket.local_addr()?;
                Ok(Ready::Tcp(TcpListener::from_std(socket)?, address))
            }
            Self::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Ok(Ready::Unix(UnixListener::from_std(socket)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> (Result<Handed, std::io::Error>, SocketAddr) {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (Ok(Handed::Tcp(socket)), address)
    }

    #[tokio::test]
    async fn a_listener_gets_all_sockets_of_its_name_and_no_other() {
        let (one, at_one) = tcp();
        let (two, at_two) = tcp();
        let (other, _) = tcp();
        let mut handed =
            HandedOver([("smtp".to_owned(), vec![one, two]), ("http".to_owned(), vec![other])].into());
        let sockets = handed.give(&ListenerName::new("smtp")).unwrap();
        let addresses = sockets.iter().filter_map(|socket| match socket {
            Ready::Tcp(_, address) => Some(*address),
            Ready::Unix(_) => None,
        });
        assert_eq!(addresses.collect::<Vec<_>>(), [at_one, at_two]);
        for name in ["smtp", "submission"] {
            let error = handed.give(&ListenerName::new(name)).unwrap_err();
            assert!(error.to_string().contains(&format!("authrelay-{name}.socket")), "{error}");
            assert!(!error.is_mended_by_restart(), "{error}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_is_none_for_listeners_names_its_listener() {
        let socket = Err(std::io::Error::other("file descriptor 3 is not a unix socket"));
        let mut handed = HandedOver([("smtp".to_owned(), vec![socket])].into());
        let error = handed.give(&ListenerName::new("smtp")).unwrap_err().to_string();
        assert!(error.contains("smtp") && error.contains("ListenStream"), "{error}");
    }
}
