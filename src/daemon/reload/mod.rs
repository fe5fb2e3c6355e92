//! Another configuration for the running daemon: all of it or nothing.
//!
//! Whatever can go wrong goes wrong before anything is changed; from then on nothing can fail. What is under way keeps the
//! snapshot it began with. One reload is made at a time.

mod fixed;
mod status;
mod watch;

pub use status::{LastReload, ReloadCause, ReloadError, ReloadStatus, Reloaded};
pub(super) use watch::run as watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::keys::Keys;
use super::tls::{self, Certificates, Shown};
use super::{CertificateStatus, token, warn_of_observed};
use crate::clock::Clock;
use crate::config::{Errors, Loaded};
use crate::deliver::Monitor;
use crate::queue::Keyring;
use crate::snapshot::{Current, Snapshot};
use crate::{smtp, webhook};

/// Where a running daemon's configuration comes from, and what of it is not the daemon's own.
pub struct Source {
    /// Reads it, as at the start.
    pub load: Box<dyn Fn() -> Result<Loaded, Errors> + Send + Sync>,
    /// Sets how much is logged.
    pub set_level: Box<dyn Fn(tracing::Level) + Send + Sync>,
}

/// Reloads the configuration, and knows how that went. Cheap to clone.
#[derive(Clone)]
pub struct Reloads(Arc<Shared>);

struct Shared {
    source: Source,
    parts: Parts,
    clock: Clock,
    /// Held by whoever changes something.
    turn: tokio::sync::Mutex<()>,
    status: Mutex<ReloadStatus>,
}

/// What a reload changes.
pub(super) struct Parts {
    pub(super) current: Current,
    pub(super) certificates: Certificates,
    pub(super) smtp: smtp::Server,
    pub(super) delivery: Monitor,
    pub(super) webhooks: webhook::Monitor,
    pub(super) keys: Keys,
}

/// Everything that is put in force, ready for it.
struct Ready {
    snapshot: Snapshot,
    shown: Shown,
    smtp: smtp::Config,
    listeners: Vec<smtp::ListenerConfig>,
    keyring: Keyring,
    done: Reloaded,
}

impl Reloads {
    pub(super) fn new(source: Source, parts: Parts, clock: Clock) -> Self {
        let status = Mutex::new(ReloadStatus::new(clock.now()));
        Self(Arc::new(Shared { source, parts, clock, turn: tokio::sync::Mutex::default(), status }))
    }

    /// Reads the configuration and everything it names again, and puts it in force. Where anything is wrong with it, all
    /// stays as it is. The verdict is logged and counted before this returns, and also where nobody waits for it any more.
    pub async fn reload(&self, cause: ReloadCause) -> Result<Reloaded, ReloadError> {
        let reloads = self.clone();
        let done = tokio::spawn(async move { reloads.in_turn(cause).await }).await;
        done.unwrap_or_else(|defect| Err(ReloadError::Defect(defect.to_string())))
    }

    async fn in_turn(&self, cause: ReloadCause) -> Result<Reloaded, ReloadError> {
        let _turn = self.0.turn.lock().await;
        let started = Instant::now();
        let shared = Arc::clone(&self.0);
        // Reads files and may compile what recognition knows: not for a thread that others wait for.
        let ready = tokio::task::spawn_blocking(move || shared.prepare()).await;
        let done = match ready {
            Ok(Ok(ready)) => match self.0.parts.keys.announce(&ready.keyring).await {
                Ok(()) => Ok(self.0.put_in_force(ready, started)),
                Err(error) => Err(ReloadError::Key(error)),
            },
            Ok(Err(error)) => Err(error),
            Err(defect) => Err(ReloadError::Defect(defect.to_string())),
        };
        status::tell(cause, &done, self.status().in_force_since);
        self.0.status().note(cause, self.0.clock.now(), done.as_ref().err().map(ReloadError::summary));
        done
    }

    /// How the reloads went so far.
    pub fn status(&self) -> ReloadStatus {
        self.0.status().clone()
    }

    /// The certificate files in use, and when they end.
    pub fn certificates(&self) -> Vec<CertificateStatus> {
        self.0.parts.certificates.status()
    }

    /// Reads the certificate files again. Whether they were others than those in use.
    async fn pick_up_certificates(&self) -> Result<bool, ReloadError> {
        let _turn = self.0.turn.lock().await;
        let shared = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || shared.parts.certificates.read_again()).await;
        let picked_up = match read {
            Ok(Ok(shown)) => Ok(self.0.parts.certificates.show(shown)),
            Ok(Err(error)) => Err(ReloadError::Certificate(error)),
            Err(defect) => Err(ReloadError::Defect(defect.to_string())),
        };
        self.0.status().note_pick_up(picked_up.as_ref().copied().map_err(ReloadError::summary));
        picked_up
    }

    fn certificate_paths(&self) -> Vec<PathBuf> {
        self.0.parts.certificates.paths()
    }
}

impl Shared {
    fn prepare(&self) -> Result<Ready, ReloadError> {
        let Loaded { mut config, warnings } = (self.source.load)().map_err(ReloadError::Config)?;
        let running = self.parts.current.get();
        let restart = fixed::keep(&running.config, &mut config)
            .map_err(|moved| ReloadError::StateDirectory(moved.to_string()))?;
        token::give_first(&mut config).map_err(|error| ReloadError::Token(Box::new(error)))?;
        let shown = tls::load(&config).map_err(ReloadError::Certificate)?;
        let keyring = self.parts.keys.candidate(config.queue.key.path()).map_err(ReloadError::Key)?;
        let done = Reloaded {
            source: config.source.clone(),
            warnings,
            restart,
            fixed_secrets: config.fixed_secrets.clone(),
            certificates: shown.status().to_vec(),
            took: Duration::ZERO,
        };
        let (smtp, listeners) = (config.smtp.clone(), config.listeners.clone());
        Ok(Ready { snapshot: Snapshot::new(config), shown, smtp, listeners, keyring, done })
    }

    /// Nothing here can fail, or wait.
    fn put_in_force(&self, ready: Ready, started: Instant) -> Reloaded {
        let Parts { current, certificates, smtp, delivery, webhooks, keys } = &self.parts;
        let level = ready.snapshot.config.log.level;
        certificates.show(ready.shown);
        keys.adopt(&ready.keyring);
        current.replace(ready.snapshot);
        smtp.reconfigure(ready.smtp, ready.listeners);
        delivery.config_changed();
        webhooks.config_changed();
        (self.source.set_level)(level);
        warn_of_observed(current, self.clock);
        Reloaded { took: started.elapsed(), ..ready.done }
    }

    fn status(&self) -> MutexGuard<'_, ReloadStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Reloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reloads")
    }
}
