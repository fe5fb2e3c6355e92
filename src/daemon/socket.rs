//! The control socket's file. Nothing but a socket that nobody answers at is ever replaced.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::net::UnixListener;

use super::DaemonError;

/// Makes the control socket. One that nobody answers at is left over from a crash and is replaced.
pub(super) fn bind(path: &Path) -> Result<UnixListener, DaemonError> {
    let failed = |error| DaemonError::ControlSocket { path: path.to_owned(), error };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    match std::fs::metadata(path) {
        Ok(found) if found.file_type().is_socket() => remove_left_over(path)?,
        Ok(_) => return Err(DaemonError::NoSocket(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let socket = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(socket)
}

fn remove_left_over(path: &Path) -> Result<(), DaemonError> {
    let failed = |error| DaemonError::ControlSocket { path: path.to_owned(), error };
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(DaemonError::SocketInUse(path.to_owned())),
        // Only this says for sure that nobody is there.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
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
        let error = bind(&path).unwrap_err();
        assert!(matches!(error, DaemonError::NoSocket(_)) && !error.is_mended_by_restart(), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_file(&path).unwrap();

        let first = bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert!(matches!(error, DaemonError::SocketInUse(_)) && error.is_mended_by_restart(), "{error}");
        drop(first);
        bind(&path).unwrap();
    }
}
