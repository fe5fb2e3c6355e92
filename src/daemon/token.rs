//! The token of the first client, which is made at first start where no client is configured, so that the first command
//! shows the whole way of a code. Kept over restarts, in a file for its owner alone.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::DaemonError;
use crate::config::Config;
use crate::secret::{Digest, Secret};

/// More than any token.
const READ_MOST: u64 = 1024;
/// What a token of 256 random bits has at least, however it is written.
const SHORTEST: usize = 43;

/// Gives the first client its token, where the configuration names one.
pub(super) fn give_first(config: &mut Config) -> Result<Option<Secret>, DaemonError> {
    let Some(client) = &config.first_client else { return Ok(None) };
    let Some(access) = config.clients.clients.iter().position(|access| access.name == *client) else {
        return Ok(None);
    };
    let token = load_or_make(&config.token_file())?;
    if let Some(access) = config.clients.clients.get_mut(access) {
        access.token = Some(Digest::sha256(token.reveal().as_bytes()));
    }
    Ok(Some(token))
}

fn load_or_make(path: &Path) -> Result<Secret, DaemonError> {
    let failed = |error| DaemonError::TokenFile { path: path.to_owned(), error };
    match File::open(path) {
        Ok(file) => {
            let mut text = String::new();
            file.take(READ_MOST).read_to_string(&mut text).map_err(failed)?;
            let token = Secret::new(text.trim());
            // One that was cut short would be one that can be guessed.
            if token.reveal().len() < SHORTEST { Err(DaemonError::Token(path.to_owned())) } else { Ok(token) }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let token = Secret::generate()?;
            make(path, &token).map_err(failed)?;
            tracing::info!(path = %path.display(), "made a token for the HTTP interface");
            Ok(token)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Under another name first: a file of this name is whole.
fn make(path: &Path, token: &Secret) -> std::io::Result<()> {
    let draft = path.with_extension("token.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    writeln!(file, "{}", token.reveal())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("otp.token");
        let made = load_or_make(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_make(&path).unwrap(), made);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_file_without_a_whole_token_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("otp.token");
        for text in ["", "\n", "short\n"] {
            std::fs::write(&path, text).unwrap();
            let error = load_or_make(&path).unwrap_err();
            assert!(matches!(error, DaemonError::Token(_)) && !error.is_mended_by_restart(), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "left as it was");
        }
        let missing = load_or_make(&folder.path().join("missing/otp.token")).unwrap_err();
        assert!(
            missing.is_mended_by_restart() && missing.to_string().contains("state_directory"),
            "{missing}"
        );
    }
}
