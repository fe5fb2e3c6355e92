//! Opening the queue: its key first, then its file.
//!
//! A key is made only where there is no queue: a new key beside an old queue would hide that the old one is lost.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::DaemonError;
use super::keys::Keys;
use crate::clock::Clock;
use crate::config::{KeySource, QueueConfig};
use crate::metrics::Messages;
use crate::pulse::Pulse;
use crate::queue::store::sqlite::{SqliteStore, Stats};
use crate::queue::{Active, Keyring, KeyringError, Outbox, Queue};
use crate::snapshot::Current;

/// Makes the state directory, for its owner alone.
pub(super) fn make_state_directory(path: &Path) -> Result<(), DaemonError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| DaemonError::StateDirectory { path: path.to_owned(), error })
}

/// An open store, as those who work with it see it.
pub(super) struct Opened {
    pub queue: Arc<Queue>,
    pub outbox: Arc<dyn Outbox>,
    pub stats: watch::Receiver<Stats>,
    pub pulse: Pulse,
    pub messages: Arc<Messages>,
    pub keys: Keys,
}

/// Opens the queue, or makes an empty one. What happens in it is counted from its recovery on; who is told of it follows the
/// configuration in force.
pub(super) fn open(current: &Current, clock: Clock) -> Result<Opened, DaemonError> {
    let snapshot = current.get();
    let config = &snapshot.config;
    let queue = &config.queue;
    let keyring = Arc::new(keyring(queue, &config.state_directory)?);
    let messages = super::watch::begin(current, keyring.lookup_key());
    check_writable(&queue.path)?;
    let following = current.clone();
    let audience = Arc::new(move || Arc::clone(&following.get().config.webhooks.audience));
    let store = SqliteStore::open_telling(&queue.path, Arc::clone(&keyring), clock, audience)?;
    let (stats, pulse, store) = (store.stats(), store.pulse(), Arc::new(store));
    let keys = Keys::new(Arc::clone(&keyring), Arc::clone(&store));
    let active = Active::new(queue.active);
    let queue = Queue::new(Arc::<SqliteStore>::clone(&store), keyring.lookup_key(), clock, active);
    Ok(Opened { queue, outbox: store, stats, pulse, messages, keys })
}

fn keyring(queue: &QueueConfig, state_directory: &Path) -> Result<Keyring, DaemonError> {
    let path = match &queue.key {
        KeySource::File(path) => return Ok(Keyring::load(path)?),
        KeySource::MadeAtFirstStart(path) => path,
    };
    match Keyring::load(path) {
        Err(KeyringError::File { error, .. }) if error.kind() == ErrorKind::NotFound => {}
        found => return Ok(found?),
    }
    let is_there = queue.path.try_exists();
    if is_there.map_err(|error| DaemonError::QueueDirectory { path: folder(&queue.path), error })? {
        return Err(DaemonError::KeyMissing { key: path.clone(), queue: queue.path.clone() });
    }
    // What it could not write is a draft of which nobody has heard; the directory is what has to be mended.
    Keyring::load_or_create(path).map_err(|error| match error {
        KeyringError::File { error, .. } => {
            DaemonError::StateDirectory { path: state_directory.to_owned(), error }
        }
        other => DaemonError::Keyring(other),
    })
}

/// Opens the file by which the store is locked, as the store itself will, for an error that names the directory.
fn check_writable(queue: &Path) -> Result<(), DaemonError> {
    let mut lock = queue.as_os_str().to_owned();
    lock.push(".lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(lock);
    opened.map(drop).map_err(|error| DaemonError::QueueDirectory { path: folder(queue), error })
}

fn folder(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::queue::ActiveLimits;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn config(&self) -> QueueConfig {
            QueueConfig {
                path: self.0.path().join("queue.db"),
                key: KeySource::MadeAtFirstStart(self.0.path().join("queue.key")),
                history: std::time::Duration::from_hours(1),
                active: ActiveLimits::default(),
                bounces: None,
                limits: crate::guard::limits::Config::default(),
                reserve: crate::config::Reserve { bytes: 0, inodes: 0 },
            }
        }

        fn open(&self) -> Result<(), DaemonError> {
            let config = self.config();
            let keyring = Arc::new(keyring(&config, self.0.path())?);
            check_writable(&config.path)?;
            Ok(SqliteStore::open(&config.path, keyring, Clock::System).map(drop)?)
        }

        /// The queue is closed behind its last user, by the thread that writes it.
        fn open_soon(&self) -> Result<(), DaemonError> {
            for _ in 0..200 {
                match self.open() {
                    Err(DaemonError::Store(error)) if error.to_string().contains("is using it") => {
                        std::thread::park_timeout(std::time::Duration::from_millis(10));
                    }
                    other => return other,
                }
            }
            self.open()
        }
    }

    #[test]
    fn a_key_is_made_only_where_there_is_no_queue() {
        let place = Place::new();
        place.open().unwrap();
        let key = place.0.path().join("queue.key");
        fs::rename(&key, place.0.path().join("copy")).unwrap();
        let error = place.open_soon().unwrap_err();
        assert!(matches!(&error, DaemonError::KeyMissing { key: missing, .. } if *missing == key), "{error}");
        assert!(!error.is_mended_by_restart() && !key.exists(), "{error}");
        fs::rename(place.0.path().join("copy"), &key).unwrap();
        place.open_soon().unwrap();
    }

    #[test]
    fn what_a_restart_does_not_mend_is_told_from_what_it_may() {
        let place = Place::new();
        place.open().unwrap();
        let (key, queue) = (place.0.path().join("queue.key"), place.0.path().join("queue.db"));
        let copy = fs::read(&key).unwrap();
        for _ in 0..200 {
            if !place.0.path().join("queue.db-wal").exists() {
                break;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }

        fs::remove_file(&key).unwrap();
        Keyring::create(&key).unwrap();
        let other_key = place.open_soon().unwrap_err();
        assert!(!other_key.is_mended_by_restart(), "{other_key}");
        fs::write(&key, "seal\n").unwrap();
        let bad_key = place.open_soon().unwrap_err();
        assert!(!bad_key.is_mended_by_restart(), "{bad_key}");
        fs::write(&key, copy).unwrap();

        let good = fs::read(&queue).unwrap();
        let mut newer = good.clone();
        newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
        let mut foreign = good.clone();
        foreign[68..72].copy_from_slice(b"NOPE");
        for (name, content) in [("newer", newer), ("foreign", foreign), ("garbage", vec![b'x'; 8192])] {
            fs::write(&queue, content).unwrap();
            let error = place.open_soon().unwrap_err();
            assert!(!error.is_mended_by_restart(), "{name}: {error}");
        }

        fs::write(&queue, good).unwrap();
        let keyring = Arc::new(Keyring::load(&key).unwrap());
        let _first = SqliteStore::open(&queue, keyring, Clock::System).unwrap();
        let in_use = place.open().unwrap_err();
        assert!(in_use.is_mended_by_restart(), "{in_use}");
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let place = Place::new();
        let file = place.0.path().join("file");
        fs::write(&file, "").unwrap();
        for error in [
            make_state_directory(&file.join("state")).unwrap_err(),
            check_writable(&file.join("queue.db")).unwrap_err(),
            check_writable(&place.0.path().join("missing/queue.db")).unwrap_err(),
        ] {
            assert!(error.is_mended_by_restart(), "{error}");
            assert!(error.to_string().contains("or set"), "{error}");
        }
    }
}
