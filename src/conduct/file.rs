//! The record on disk: one small JSON file for its owner alone, replaced as a whole. It is of use and not of need: one that
//! is damaged is left behind with a warning, and one that can't be written never stops a message.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Conduct, Record};

/// How often what was seen is written down.
const EVERY: Duration = Duration::from_mins(1);

/// The record in `path`; an empty one where there is none.
pub fn load(path: &Path) -> Record {
    let read = std::fs::read(path);
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "what clients were seen to do can't be read");
            }
            return Record::default();
        }
    };
    serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "what clients were seen to do is begun anew");
        Record::default()
    })
}

/// Writes what was seen into `path`, once a minute where there is something new, and at the end.
pub async fn keep(conduct: Arc<Conduct>, path: PathBuf, stop: CancellationToken) {
    loop {
        let goes_on = stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some();
        if let Some(record) = conduct.take_changed() {
            let path = path.clone();
            let written = tokio::task::spawn_blocking(move || {
                write(&path, &record)
                    .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "what clients were seen to do can't be written"))
            });
            // It has told why; the next one is tried all the same.
            let _ = written.await;
        }
        if !goes_on {
            return;
        }
    }
}

/// Under another name first: a file of this name is whole.
fn write(path: &Path, record: &Record) -> std::io::Result<()> {
    let draft = path.with_extension("json.new");
    let mut file: File =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ident::ClientName;

    #[test]
    fn a_damaged_record_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clients.json");
        assert_eq!(load(&path), Record::default());
        std::fs::write(&path, "{").unwrap();
        assert_eq!(load(&path), Record::default());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_is_there_after_a_stop_but_for_clients_that_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clients.json");
        let conduct = Arc::new(Conduct::default());
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(keep(Arc::clone(&conduct), path.clone(), stop.clone()));
        for name in ["app", "gone"] {
            conduct.bare_lf_refused(&ClientName::new(name), Timestamp::from_millis(5));
        }
        conduct.login_failed([192, 0, 2, 1].into(), "smtp", Timestamp::from_millis(5));
        stop.cancel();
        keeping.await.unwrap();
        let read = load(&path);
        assert_eq!(read, conduct.record());
        let again = Conduct::from_record(read, |name| name.as_str() == "app").record();
        assert!(again.clients.len() == 1 && again.clients.contains_key("app") && again.strangers.len() == 1);
    }
}
