//! What the tests of the real binary share: the relay as a process, a bare SMTP client, and upstreams to hand over to.
//!
//! Everything listens on a port of the system's choice and lives in a folder of its own, so tests run side by side.
//! Nothing waits for a fixed time: what is waited for is a reply, a log line, a message at an upstream or the end of a
//! process, each with a deadline after which the test fails and says what it was waiting for.
#![allow(
    dead_code,
    unused_imports,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "every test binary uses a part of this, may fail in it, and says what it skips"
)]

pub mod config;
pub mod dialogue;
pub mod hook;
pub mod independent;
pub mod mail;
pub mod pki;
pub mod relay;
pub mod search;
pub mod texts;
pub mod upstream;
pub mod web;

#[path = "../support/fake_twilio.rs"]
pub mod fake_twilio;

#[path = "../common/skipped.rs"]
mod skipped;
pub use skipped::skipped;

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Generous: the machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A value that others change and tests wait for.
#[derive(Debug, Default)]
pub struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Condvar::new() }
    }

    /// The value as it is now.
    pub fn get(&self) -> MutexGuard<'_, T> {
        // A test that failed while it held the lock has said why; the others go on.
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value and wakes those who wait for it.
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.get());
        self.changed.notify_all();
        result
    }

    /// Waits until `pick` finds in the value what it looks for; `None` when that did not happen in time.
    pub fn wait<R>(&self, patience: Duration, mut pick: impl FnMut(&T) -> Option<R>) -> Option<R> {
        let deadline = deadline(patience);
        let mut value = self.get();
        loop {
            if let Some(found) = pick(&value) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(now())?;
            value = self.changed.wait_timeout(value, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Looks again and again until `look` finds what it looks for: for what nothing else tells of.
#[track_caller]
pub fn look_until<R>(what: &str, look: impl FnMut() -> Option<R>) -> R {
    look_until_within(PATIENCE, what, look)
}

/// The same for what takes longer.
#[track_caller]
pub fn look_until_within<R>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<R>) -> R {
    let deadline = deadline(patience);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// The moment after which waiting is given up.
pub fn deadline(patience: Duration) -> Instant {
    now() + patience
}

/// The machine's clock: these tests drive another process, so there is no clock to pause.
#[expect(clippy::disallowed_methods, reason = "the relay under test is another process with the real clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Makes aws-lc-rs the process's TLS provider, as the relay does: more than one may be compiled in.
pub fn install_tls() {
    // An error means that another test of this process was first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
