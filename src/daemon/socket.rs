//! The files of unix sockets. Nothing but a socket that nobody answers at is ever replaced.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::net::UnixListener;

use super::DaemonError;
use crate::ident::ListenerName;

/// Whose socket it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owner<'n> {
    /// The control interface's.
    Control,
    /// An HTTP listener's.
    Listener(&'n ListenerName),
}

/// Makes a socket with a file mode. One that nobody answers at is left over from a crash and is replaced.
pub(super) fn bind(path: &Path, mode: u32, owner: Owner<'_>) -> Result<UnixListener, DaemonError> {
    let failed = |error| owner.failed(path, error);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    match std::fs::metadata(path) {
        Ok(found) if found.file_type().is_socket() => remove_left_over(path, owner)?,
        Ok(_) => return Err(DaemonError::NoSocket { path: path.to_owned(), setting: owner.setting() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let socket = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(socket)
}

fn remove_left_over(path: &Path, owner: Owner<'_>) -> Result<(), DaemonError> {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(DaemonError::SocketInUse { path: path.to_owned(), setting: owner.setting() }),
        // Only this says for sure that nobody is there.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| owner.failed(path, error))
        }
        Err(error) => Err(owner.failed(path, error)),
    }
}

impl Owner<'_> {
    fn failed(self, path: &Path, error: std::io::Error) -> DaemonError {
        let path = path.to_owned();
        match self {
            Self::Control => DaemonError::ControlSocket { path, error },
            Self::Listener(name) => DaemonError::ListenerSocket { name: name.clone(), path, error },
        }
    }

    /// What to set where the path is taken.
    fn setting(self) -> String {
        match self {
            Self::Control => "control_socket".to_owned(),
            Self::Listener(name) => format!("socket in [http.{name}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_nobody_answers_at_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        std::fs::write(&path, "precious").unwrap();
        let error = bind(&path, 0o660, Owner::Control).unwrap_err();
        assert!(matches!(error, DaemonError::NoSocket { .. }) && !error.is_mended_by_restart(), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_file(&path).unwrap();

        let first = bind(&path, 0o660, Owner::Control).unwrap();
        let error = bind(&path, 0o660, Owner::Control).unwrap_err();
        assert!(matches!(error, DaemonError::SocketInUse { .. }) && error.is_mended_by_restart(), "{error}");
        drop(first);
        bind(&path, 0o660, Owner::Control).unwrap();
    }

    #[tokio::test]
    async fn a_listeners_socket_has_its_own_mode_and_names_its_own_setting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("otp.sock");
        let name = ListenerName::new("local");
        let _socket = bind(&path, 0o600, Owner::Listener(&name)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = bind(&path, 0o600, Owner::Listener(&name)).unwrap_err().to_string();
        assert!(error.contains("socket in [http.local]"), "{error}");
    }
}
