//! The queue's keys while the daemon runs: another keyring at a reload, and what an older key sealed, sealed anew.
//!
//! Order is everything here. A reload first sees that the new keyring opens all that is kept (`candidate`), then the store
//! writes down that its newest key is in use (`announce`), and only then is it used (`adopt`). A failure before that leaves
//! all as it was.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::admin::KeysView;
use crate::queue::store::sqlite::{Resealed, SqliteStore};
use crate::queue::{Keyring, KeyringError, StoreError};

/// The pause between two parts of sealing anew: the queue's own work goes first.
const PAUSE: Duration = Duration::from_millis(20);

/// The pause after a part that failed.
const PAUSE_FAILED: Duration = Duration::from_secs(5);

/// Why a keyring can't take the place of the one in use.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It can't be read.
    #[error("{0}")]
    Keyring(#[from] KeyringError),
    /// Nothing that is kept would be found by it.
    #[error(
        "key file {0}: its look-up key is not the one of this queue: put the `lookup` line of the old file back"
    )]
    OtherLookUp(String),
    /// It lacks a key that is needed.
    #[error(
        "key file {file}: key {key} is still in use and was removed: put its line `seal {key} ...` back, and take it out \
         when `authrelay key list` says that nothing needs it"
    )]
    StillInUse {
        /// The file.
        file: String,
        /// The key.
        key: u32,
    },
    /// The store did not take it.
    #[error("the queue can't take another key now: {0}")]
    Store(#[from] StoreError),
}

/// The queue's keys. Cheap to clone.
#[derive(Clone)]
pub(super) struct Keys {
    keyring: Arc<Keyring>,
    store: Arc<SqliteStore>,
    in_use: watch::Receiver<Vec<u32>>,
    changed: Arc<Notify>,
}

impl Keys {
    pub(super) fn new(keyring: Arc<Keyring>, store: Arc<SqliteStore>) -> Self {
        let in_use = store.keys_in_use();
        Self { keyring, store, in_use, changed: Arc::default() }
    }

    /// The keyring that a file holds now, if it can take the place of the one in use. Blocks.
    pub(super) fn candidate(&self, path: &Path) -> Result<Keyring, KeysError> {
        let file = || path.display().to_string();
        let wanted = Keyring::load(path)?;
        if !self.keyring.looks_up_like(&wanted) {
            return Err(KeysError::OtherLookUp(file()));
        }
        let ids = wanted.ids();
        match self.in_use.borrow().iter().find(|key| !ids.contains(key)) {
            Some(key) => Err(KeysError::StillInUse { file: file(), key: *key }),
            None => Ok(wanted),
        }
    }

    /// Has it written down that the newest key of a candidate is in use. Nothing is sealed with it yet.
    pub(super) async fn announce(&self, candidate: &Keyring) -> Result<(), KeysError> {
        let newest = candidate.newest();
        if self.in_use.borrow().contains(&newest) {
            return Ok(());
        }
        Ok(self.store.announce_key(newest).await?)
    }

    /// Puts a candidate that was announced in force.
    pub(super) fn adopt(&self, candidate: &Keyring) {
        let before = self.keyring.newest();
        self.keyring.adopt(candidate);
        let key = candidate.newest();
        if key != before {
            tracing::info!(key, before, "another key seals the queue from now on");
        }
        self.changed.notify_one();
    }

    /// The keys and what they are needed for.
    pub(super) fn view(&self) -> KeysView {
        let in_use = self.in_use.borrow().clone();
        KeysView { seals: self.keyring.newest(), known: self.keyring.ids(), in_use }
    }

    /// Seals anew what older keys sealed, whenever there is something, until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.seal_all_anew()).await.is_some() {
            if stop.run_until_cancelled(self.changed.notified()).await.is_none() {
                return;
            }
        }
    }

    async fn seal_all_anew(&self) {
        let mut worked = false;
        loop {
            match self.store.reseal().await {
                Ok(Resealed::All) => break,
                Ok(Resealed::Part) => {
                    worked = true;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::debug!(%error, "old keys could not be replaced for now");
                    tokio::time::sleep(PAUSE_FAILED).await;
                }
            }
        }
        if worked {
            let key = self.keyring.newest();
            tracing::info!(key, "everything kept is sealed with this key; older ones can be removed");
        }
    }
}
