//! An SMTP upstream: its pool of connections, and one transaction over one of them.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::time::Instant;

use super::SmtpConfig;
use super::connection::{Connection, Fault};
use super::reply::HandOver;
use super::route::Letter;
use super::wire::check_line_ends;

/// An SMTP upstream. How many use it at once is not decided here.
#[derive(Debug)]
pub(super) struct SmtpUpstream {
    config: SmtpConfig,
    hostname: String,
    idle: Mutex<Vec<Idle>>,
    retired: AtomicBool,
    open: Arc<AtomicUsize>,
}

/// A connection nobody uses at the moment.
struct Idle {
    connection: Connection,
    since: Instant,
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Idle")
    }
}

impl SmtpUpstream {
    pub(super) fn new(config: SmtpConfig, hostname: String) -> Self {
        Self {
            config,
            hostname,
            idle: Mutex::default(),
            retired: AtomicBool::new(false),
            open: Arc::default(),
        }
    }

    /// How many connections are open, in use or not.
    pub(super) fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Everything up to the reply that asks for the message. May be dropped at any moment: nothing was sent yet.
    ///
    /// A connection that was used before may have been closed over there in the meantime. If one fails before anything
    /// of the message was sent, a fresh one is tried, once and silently.
    pub(super) async fn prepare(&self, letter: Letter<'_>) -> Result<Connection, HandOver> {
        check_line_ends(letter.outgoing)?;
        if let Some(mut connection) = self.take_idle() {
            match connection.begin(letter).await {
                Ok(()) => return Ok(connection),
                Err(Fault { hand_over, usable: true }) => {
                    self.give_back(connection);
                    return Err(hand_over);
                }
                // The others are as old as this one.
                Err(Fault { usable: false, .. }) => self.close_all_idle(),
            }
        }
        let mut connection = Connection::open(&self.config, &self.hostname, &self.open).await?;
        match connection.begin(letter).await {
            Ok(()) => Ok(connection),
            Err(Fault { hand_over, usable }) => {
                if usable {
                    self.give_back(connection);
                }
                Err(hand_over)
            }
        }
    }

    /// The message itself. Must be waited for: from here on the upstream may have it.
    pub(super) async fn transmit(&self, mut connection: Connection, letter: Letter<'_>) -> HandOver {
        let (hand_over, usable) = connection.finish(&letter.outgoing.raw, self.config.timeouts.data).await;
        if usable {
            self.give_back(connection);
        }
        hand_over
    }

    /// Closes what has been idle for too long. Returns when the next one will have been.
    pub(super) fn close_idle(&self, now: Instant) -> Option<Instant> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // The oldest stands first: they are taken from the end and put back there.
        let old = idle.iter().take_while(|one| one.since + self.config.idle <= now).count();
        for one in idle.drain(..old) {
            one.connection.close();
        }
        idle.first().map(|one| one.since + self.config.idle)
    }

    /// Closes every idle connection.
    pub(super) fn close_all_idle(&self) {
        let all = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for one in all {
            one.connection.close();
        }
    }

    /// From now on no connection is kept.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.close_all_idle();
    }

    /// The one used last: the others get the chance to grow old.
    fn take_idle(&self) -> Option<Connection> {
        let taken = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        if taken.since.elapsed() < self.config.idle {
            return Some(taken.connection);
        }
        taken.connection.close();
        self.close_all_idle();
        None
    }

    fn give_back(&self, connection: Connection) {
        if connection.messages >= self.config.messages_per_connection {
            connection.close();
            return;
        }
        let one = Idle { connection, since: Instant::now() };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        // Looked at after the push: whichever of the two comes second finds the connection.
        if self.retired.load(Ordering::Acquire) {
            self.close_all_idle();
        }
    }
}
