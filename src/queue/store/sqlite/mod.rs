//! The store in one `SQLite` file: a write-ahead log with `synchronous=FULL`, one writer, group commit.
//!
//! Who does what: a caller seals (`prepare`), the one writer thread changes rows and commits for
//! everybody who waits (`writer`), a few read-only connections read and open what was sealed
//! (`read`). A file that is not whole is refused (`sound`), and what can be read of it is kept (`rescue`). SQL stands in this folder and nowhere else.
//!
//! # What is left of a message
//!
//! When a row ends, its payload (plan, the code and the number of a text, and the body once no other row needs it) is
//! overwritten in the same transaction. Until the next truncation of the write-ahead log its sealed bytes are still in there. That comes at most
//! [`SCRUB_EVERY`] after the end plus the time of the longest reading under way (retried every second), at every clean
//! stop, and at every start. After that neither the file nor the log holds any byte of it. The address of a
//! mail, the application's own id and the reasons stay, sealed, until the row is pruned; of these a sealed copy may remain in
//! unused parts of the file until those are used again. What the file system or the disk keeps of overwritten blocks is
//! out of reach from here: there the sealing protects.

mod archive;
mod burst;
mod change;
mod claim;
mod erase;
mod event;
mod group;
mod outbox;
mod pace;
mod pack;
mod prepare;
mod put;
mod read;
mod report;
mod rescue;
mod reseal;
mod row;
mod schema;
mod sound;
mod sweep;
mod upstream;
mod writer;

use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, oneshot, watch};

pub use self::rescue::{Rescued, rescue};

use self::claim::Leased;
use self::read::{Opened, Readers};
pub use self::reseal::Resealed;
use self::row::Stored;
use self::writer::{Answer, Job, Parts, Request};
use super::decision::{Decision, DecisionPlace, DecisionQuery};
use super::outbox::{Audience, CurrentAudience, EndpointState, Outbox, Waiting};
use super::{Applied, Change, ClaimRequest, Depth, History, OpenBurst, Query, Settle, Store, StoreError};
use crate::clock::{Clock, Timestamp};
use crate::event::{Event, Kind};
use crate::ident::{Class, EndpointName, MessageId, UpstreamName};
use crate::outcome::{Reason, ReasonClass};
use crate::pulse::{Heart, Pulse};
use crate::queue::keyring::Keyring;
use crate::queue::{Awaited, Claimed, Entry, Settlement, State};
use crate::secret::Digest;

/// The longest that the write-ahead log keeps what was erased, readers aside.
pub const SCRUB_EVERY: Duration = Duration::from_mins(1);

/// Sealing more than this is not done on a thread that serves others.
const HEAVY: usize = 256 << 10;

/// One request, commit or truncation of the log never takes the writer longer, unless the disk does.
const STUCK_AFTER: Duration = Duration::from_secs(45);

/// What the writer has done since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transactions committed.
    pub commits: u64,
    /// Requests served by them.
    pub jobs: u64,
    /// Truncations of the write-ahead log.
    pub scrubs: u64,
    /// The last transaction could not be committed.
    pub failing: bool,
    /// A commit's fate could not be decided: nothing works any more, and the program has to be started again.
    pub poisoned: bool,
}

/// The queue in one `SQLite` file.
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    keyring: Arc<Keyring>,
    clock: Clock,
    readers: Readers,
    /// `None` in a store that is only looked at, and once it is closed.
    requests: Mutex<Option<Sender<Request>>>,
    stats: watch::Receiver<Stats>,
    keys_in_use: watch::Receiver<Vec<u32>>,
    pulse: Pulse,
    reports: Arc<Notify>,
    outbox: Arc<Notify>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What a call answers when there is no writer.
    without_writer: Mutex<StoreError>,
}

impl SqliteStore {
    /// Opens the store at `path`, making it where there is none. What was being handed over when the program last
    /// stopped is due at once. Blocks; for the start of the program.
    pub fn open(path: &Path, keyring: Arc<Keyring>, clock: Clock) -> Result<Self, StoreError> {
        Self::open_scrubbing(path, keyring, clock, SCRUB_EVERY)
    }

    /// The same, and whoever is to be told of events is told.
    pub fn open_telling(
        path: &Path,
        keyring: Arc<Keyring>,
        clock: Clock,
        audience: CurrentAudience,
    ) -> Result<Self, StoreError> {
        Self::open_with(path, keyring, clock, SCRUB_EVERY, audience)
    }

    /// Like [`SqliteStore::open`], with another bound than [`SCRUB_EVERY`].
    pub fn open_scrubbing(
        path: &Path,
        keyring: Arc<Keyring>,
        clock: Clock,
        scrub_every: Duration,
    ) -> Result<Self, StoreError> {
        Self::open_with(path, keyring, clock, scrub_every, Audience::nobody())
    }

    fn open_with(
        path: &Path,
        keyring: Arc<Keyring>,
        clock: Clock,
        scrub_every: Duration,
        audience: CurrentAudience,
    ) -> Result<Self, StoreError> {
        let mut lock = schema::lock(path)?;
        let conn = schema::open_writer(path, &keyring, &mut lock)?;
        // At the start whoever waits for it looks by itself.
        let (reports, outbox) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        recover(&conn, &keyring, audience(), clock.now(), &reports)?;
        let readers = Readers::beside_writer(path.to_owned())?;
        let (stats, watched) = watch::channel(Stats::default());
        let (keys, keys_in_use) = watch::channel(reseal::in_use(&conn).map_err(row::failed)?);
        let (requests, inbox) = mpsc::channel();
        let heart = Heart::new("queue writer", STUCK_AFTER);
        let pulse = heart.pulse();
        let parts = Parts {
            conn,
            path: path.to_owned(),
            keyring: Arc::clone(&keyring),
            clock,
            stats,
            keys_in_use: keys,
            reports: Arc::clone(&reports),
            audience,
            outbox: Arc::clone(&outbox),
            scrub_every,
            heart,
            lock,
        };
        let thread = std::thread::Builder::new().name("queue-writer".to_owned());
        let thread = thread
            .spawn(move || writer::run(parts, &inbox))
            .map_err(|error| StoreError::Failed(format!("the queue's thread can't be started: {error}")))?;
        let inner = Inner {
            keyring,
            clock,
            readers,
            requests: Mutex::new(Some(requests)),
            stats: watched,
            keys_in_use,
            pulse,
            reports,
            outbox,
            thread: Mutex::new(Some(thread)),
            without_writer: Mutex::new(StoreError::Closed),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens the store for looking only, whether or not a daemon runs; nothing in it or beside it is changed.
    pub fn open_read_only(path: &Path, keyring: Arc<Keyring>, clock: Clock) -> Result<Self, StoreError> {
        let conn = schema::connect_offline(path, &keyring)?;
        let keys_in_use = watch::channel(reseal::in_use(&conn).map_err(row::failed)?).1;
        let inner = Inner {
            keyring,
            clock,
            readers: Readers::offline(path.to_owned(), conn),
            requests: Mutex::new(None),
            stats: watch::channel(Stats::default()).1,
            keys_in_use,
            pulse: Heart::new("queue writer", STUCK_AFTER).pulse(),
            reports: Arc::new(Notify::new()),
            outbox: Arc::new(Notify::new()),
            thread: Mutex::new(None),
            without_writer: Mutex::new(StoreError::Failed("it was opened for reading only".to_owned())),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the writer has done, to be watched.
    pub fn stats(&self) -> watch::Receiver<Stats> {
        self.inner.stats.clone()
    }

    /// Shows whether the writer gets on.
    pub fn pulse(&self) -> Pulse {
        self.inner.pulse.clone()
    }

    /// Truncates the write-ahead log now: of what was erased before the call nothing is left in it afterwards.
    pub async fn scrub(&self) -> Result<(), StoreError> {
        self.inner.ask(Request::Scrub).await
    }
}

impl Inner {
    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, StoreError> {
        let (answer, told) = oneshot::channel();
        let sender = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sent = sender.is_some_and(|sender| sender.send(request(answer)).is_ok());
        match (sent, told.await) {
            (true, Ok(told)) => told,
            (false, _) | (true, Err(_)) => {
                Err(self.without_writer.lock().unwrap_or_else(PoisonError::into_inner).clone())
            }
        }
    }

    async fn commit(self: &Arc<Self>, changes: Vec<Change>) -> Result<Vec<Applied>, StoreError> {
        let (weight, lane) = (prepare::weight(&changes), prepare::lane(&changes));
        // Asked before anything is sealed: a newer key is sealed with only once it is written down as in use.
        let sealed_by = self.keyring.newest();
        let changes = if weight > HEAVY {
            let keyring = Arc::clone(&self.keyring);
            let task = tokio::task::spawn_blocking(move || prepare::prepare(changes, &keyring));
            task.await
                .unwrap_or_else(|error| Err(StoreError::Failed(format!("sealing was cut off: {error}"))))?
        } else {
            prepare::prepare(changes, &self.keyring)?
        };
        self.ask(|answer| Request::Work(Job::Commit { changes, weight, lane, sealed_by, answer })).await
    }

    /// Leases rows, then reads and opens them beside the writer.
    async fn claim(self: &Arc<Self>, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let leased = self.ask(|answer| Request::Work(Job::Claim { request, answer })).await?;
        if leased.is_empty() {
            return Ok(Vec::new());
        }
        let keyring = Arc::clone(&self.keyring);
        let rows = leased.clone();
        let opened = self.readers.read(move |conn| read::open_claimed(conn, &keyring, &rows)).await;
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.give_back(&leased).await;
                return Err(error);
            }
        };
        let mut claimed = Vec::with_capacity(opened.len());
        let mut damaged = Vec::new();
        for row in opened {
            match row {
                Opened::Claimed(row) => claimed.push(*row),
                Opened::Damaged(row) => damaged.extend(end_damaged(&row, self.clock.now())),
            }
        }
        if !damaged.is_empty() {
            let applied = self.commit(damaged).await?;
            applied.iter().flat_map(|applied| &applied.events).for_each(Event::log);
        }
        Ok(claimed)
    }

    /// Best effort: what can't be given back is due again when its lease has passed.
    async fn give_back(self: &Arc<Self>, leased: &[Leased]) {
        let next_attempt = self.clock.now();
        let change =
            |row: &Leased| Change::GiveBack { id: row.id, lease: row.lease, next_attempt, reason: None };
        let _ = self.commit(leased.iter().map(change).collect()).await;
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.readers.close().await;
        *self.without_writer.lock().unwrap_or_else(PoisonError::into_inner) = StoreError::Closed;
        let sender = self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(sender) = sender else { return Ok(()) };
        let (answer, told) = oneshot::channel();
        // A writer that is gone has closed the file as well.
        let asked = sender.send(Request::Close(answer)).is_ok();
        if asked { told.await.unwrap_or(Ok(())) } else { Ok(()) }
    }
}

impl Drop for Inner {
    /// Lets the writer finish what it was asked, so that the file is free when the store is gone.
    fn drop(&mut self) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Applied>, StoreError> {
        self.inner.commit(changes).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        // In a task of its own: a caller that goes away in between must not leave rows leased to nobody.
        let inner = Arc::clone(&self.inner);
        let (answer, told) = oneshot::channel();
        tokio::spawn(async move {
            let claimed = inner.claim(request).await;
            if let Err(Ok(claimed)) = answer.send(claimed) {
                let leased = |row: Claimed| Leased { number: 0, id: row.entry.id, lease: row.lease };
                inner.give_back(&claimed.into_iter().map(leased).collect::<Vec<_>>()).await;
            }
        });
        told.await.unwrap_or_else(|_| Err(StoreError::Failed("the claim was cut off".to_owned())))
    }

    async fn next_due(&self, class: Class) -> Result<Option<Timestamp>, StoreError> {
        self.inner.readers.read(move |conn| claim::next_due(conn, class)).await
    }

    async fn next_expiry(&self) -> Result<Option<Timestamp>, StoreError> {
        self.inner.readers.read(read::next_expiry).await
    }

    async fn due_reports(&self, now: Timestamp, limit: usize) -> Result<Vec<Awaited>, StoreError> {
        let keyring = Arc::clone(&self.inner.keyring);
        let read = move |conn: &_| read::due_reports(conn, &keyring, now, limit);
        let due = self.inner.readers.read(read).await?;
        if !due.damaged.is_empty() {
            let not_again = |id| Change::Postpone { id, until: None };
            self.inner.commit(due.damaged.into_iter().map(not_again).collect()).await?;
        }
        Ok(due.awaited)
    }

    async fn reports_woken(&self) {
        self.inner.reports.notified().await;
    }

    async fn next_report(&self) -> Result<Option<Timestamp>, StoreError> {
        self.inner.readers.read(read::next_report).await
    }

    async fn amounts(&self, of: Vec<(Digest, Timestamp)>) -> Result<Vec<u64>, StoreError> {
        self.inner.readers.read(move |conn| read::amounts(conn, &of)).await
    }

    async fn find(&self, query: Query) -> Result<Vec<Entry>, StoreError> {
        let keyring = Arc::clone(&self.inner.keyring);
        self.inner.readers.read(move |conn| read::find(conn, &keyring, &query)).await
    }

    async fn open_bursts(&self, now: Timestamp) -> Result<Vec<OpenBurst>, StoreError> {
        self.inner.readers.read(move |conn| burst::open_bursts(conn, now)).await
    }

    async fn message(&self, id: MessageId) -> Result<Option<Bytes>, StoreError> {
        let keyring = Arc::clone(&self.inner.keyring);
        self.inner.readers.read(move |conn| read::message(conn, &keyring, id)).await
    }

    async fn history(&self, of: History) -> Result<Vec<Event>, StoreError> {
        let keyring = Arc::clone(&self.inner.keyring);
        self.inner.readers.read(move |conn| event::history(conn, &keyring, of)).await
    }

    async fn decisions(
        &self,
        query: DecisionQuery,
    ) -> Result<Vec<(DecisionPlace, Option<Decision>)>, StoreError> {
        let keyring = Arc::clone(&self.inner.keyring);
        self.inner.readers.read(move |conn| archive::decisions(conn, &keyring, &query)).await
    }

    async fn upstreams_down(&self) -> Result<Vec<UpstreamName>, StoreError> {
        self.inner.readers.read(upstream::down).await
    }

    async fn depth(&self) -> Result<Depth, StoreError> {
        self.inner.readers.read(read::depth).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

#[async_trait]
impl Outbox for SqliteStore {
    async fn due_notices(
        &self,
        endpoint: &EndpointName,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        let (keyring, endpoint) = (Arc::clone(&self.inner.keyring), endpoint.clone());
        self.inner.readers.read(move |conn| outbox::due(conn, &keyring, &endpoint, now, limit)).await
    }

    async fn next_notice(
        &self,
        endpoint: &EndpointName,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let endpoint = endpoint.clone();
        self.inner.readers.read(move |conn| outbox::next(conn, &endpoint, now)).await
    }

    async fn endpoints(&self) -> Result<Vec<EndpointState>, StoreError> {
        self.inner.readers.read(outbox::endpoints).await
    }

    async fn outbox_woken(&self) {
        self.inner.outbox.notified().await;
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteStore")
    }
}

/// Puts what was being attempted at the last stop back into the queue, and tells what can't be.
fn recover(
    conn: &rusqlite::Connection,
    keyring: &Keyring,
    audience: Arc<Audience>,
    now: Timestamp,
    reports: &Notify,
) -> Result<(), StoreError> {
    group::step(conn, "BEGIN IMMEDIATE")?;
    let mut work = change::Work::new(conn, keyring, audience);
    work.recover_all(now)?;
    group::step(conn, "COMMIT")?;
    work.events.iter().for_each(Event::log);
    if work.stirs.reports {
        reports.notify_one();
    }
    Ok(())
}

/// A leased row that can't be opened ends, because no attempt could ever be made of it.
fn end_damaged(row: &Stored, now: Timestamp) -> Option<Change> {
    let lease = row.lease?;
    let settlement = Settlement {
        state: State::Failed,
        next_attempt: now,
        attempts: row.entry.attempts,
        in_doubt: row.entry.in_doubt,
        reason: Some(Reason::new(ReasonClass::Local, "its stored data is damaged and can't be opened")),
        reference: None,
        event: Kind::Failed,
    };
    let settle = Settle { id: row.entry.id, lease, upstream: None, settlement, at: now };
    Some(Change::Settle(Box::new(settle)))
}
