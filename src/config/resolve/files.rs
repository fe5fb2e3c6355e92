//! The files that a configuration names. They are read or looked at now, so that what is missing is found by `check` and
//! not by the first message.

use std::path::{Path, PathBuf};

use super::Context;
use crate::config::problem::Span;
use crate::config::reader::At;

/// A key, a certificate or a password is not larger than this.
const SIZE_MOST: u64 = 1 << 20;

/// A file as it was found.
pub(super) struct Read {
    pub(super) path: PathBuf,
    pub(super) bytes: zeroize::Zeroizing<Vec<u8>>,
}

impl Context<'_> {
    /// Reads a file that everybody may see.
    pub(super) fn read(&self, path: &At<String>) -> Option<Read> {
        self.read_path(self.path(path), &path.span)
    }

    /// Reads a file that holds a secret; warns when it is open to everybody.
    pub(super) fn read_secret(&self, path: &At<String>) -> Option<Read> {
        let read = self.read(path)?;
        self.warn_if_open(&read.path, &path.span);
        Some(read)
    }

    /// Reads a systemd credential.
    pub(super) fn read_credential(&self, name: &At<String>) -> Option<Read> {
        if name.value.contains('/') || name.value.starts_with('.') || name.value.is_empty() {
            let message = "the name of a credential has no / in it and does not begin with a dot";
            self.report.error(&name.span, message).maybe(None);
            return None;
        }
        // A command run by hand has no credentials of its own; the running service's are here, for root.
        let directory = self.env.credentials_directory.clone();
        let directory = directory.unwrap_or_else(|| PathBuf::from("/run/credentials/authrelay.service"));
        let path = directory.join(&name.value);
        if !path.exists() {
            let message = format!("there is no credential {} in {}", name.value, directory.display());
            let help = format!(
                "add LoadCredential={}:FILE to the unit; outside of it, only root sees a running service's",
                name.value
            );
            self.report.error(&name.span, message).help(help);
            return None;
        }
        self.read_path(path, &name.span)
    }

    /// Warns when a file with a secret is open to everybody.
    fn warn_if_open(&self, path: &Path, span: &Span) {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o007 != 0 {
            let name = path.display();
            self.report
                .warning(
                    span,
                    format!("every user of this machine can open {name} (mode {:04o})", mode & 0o7777),
                )
                .help(format!("chmod 640 {name}, with the daemon's group"));
        }
    }

    fn read_path(&self, path: PathBuf, span: &Span) -> Option<Read> {
        match read(&path) {
            Ok(bytes) => Some(Read { path, bytes: bytes.into() }),
            Err(problem) => {
                let entry = self.report.error(span, format!("can't read {}: {problem}", path.display()));
                if problem.kind() == std::io::ErrorKind::PermissionDenied {
                    entry.help(format!(
                        "use sudo; the daemon itself reads it as its own user: chgrp authrelay {0} && chmod 640 {0}",
                        path.display()
                    ));
                    return None;
                }
                entry.maybe(
                    (!path.is_absolute() || path.starts_with(&self.base)).then(|| {
                        "a relative path starts from the folder of the configuration file".to_owned()
                    }),
                );
                None
            }
        }
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    if metadata.len() > SIZE_MOST {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    std::fs::read(path)
}
