//! The queue of a daemon that is down, read only.

use std::sync::Arc;

use anyhow::anyhow;

use super::Place;
use crate::admin::parse_recipient;
use crate::clock::Clock;
use crate::phone::Country;
use crate::queue::store::sqlite::SqliteStore;
use crate::queue::{Keyring, Store, recipient_key};
use crate::secret::{Digest, LookupKey};

/// The store, and what recipients are looked up by.
pub(super) struct Offline {
    pub(super) store: Arc<dyn Store>,
    lookup: LookupKey,
    country: Option<Country>,
}

impl Offline {
    pub(super) fn open(place: &Place) -> anyhow::Result<Self> {
        let config = place.load()?.config;
        let keyring = Keyring::load(config.queue.key.path())?;
        let (lookup, country) = (keyring.lookup_key(), config.otp.default_country);
        let store = SqliteStore::open_read_only(&config.queue.path, Arc::new(keyring), Clock::System)?;
        Ok(Self { store: Arc::new(store), lookup, country })
    }

    /// The key of a mail address or a phone number.
    pub(super) fn key_of(&self, to: &str) -> anyhow::Result<Digest> {
        let recipient = parse_recipient(to, self.country).map_err(|problem| anyhow!("{}", problem.detail))?;
        Ok(recipient_key(&self.lookup, &recipient))
    }
}
