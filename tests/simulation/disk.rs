//! The disk of a simulated machine: the real SQLite store in a file in memory, with the time that a disk takes and the
//! errors that it makes.
//!
//! The store works on threads of its own, for which the simulation's clock does not stand still. So each call is waited for
//! without letting the simulation go on: in simulated time it happens at once, between the two pauses that are drawn for it.
//! A crash falls before it, or after it, when it is made and nobody was told.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use async_trait::async_trait;
use authrelay::clock::Timestamp;
use authrelay::event::Event;
use authrelay::ident::{Class, MessageId, UpstreamName};
use authrelay::queue::store::sqlite::SqliteStore;
use authrelay::queue::{
    Applied, Awaited, Change, ClaimRequest, Claimed, Decision, DecisionPlace, DecisionQuery, Depth, Effect,
    Entry, History, Keyring, OpenBurst, Operation, Query, Store, StoreError,
};
use authrelay::secret::Digest;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::dice::Dice;
use crate::ledger::{Book, Moment};

/// How often the file is tried while a crashed machine lets go of it, every two milliseconds.
const LETTING_GO: u32 = 5_000;

/// How often a call fails while the disk makes trouble, in a hundred.
const FAILING: u64 = 4;

/// More rows than a world has.
const ALL: usize = 1 << 30;

/// A disk.
pub struct Disk {
    store: Arc<SqliteStore>,
    threads: Handle,
    book: Book,
    dice_seed: u64,
    calls: AtomicU64,
    curiosity: Mutex<Curiosity>,
}

/// How often it was asked in the last while when something is due, and how often there was a reason to.
#[derive(Debug, Default)]
struct Curiosity {
    since: Moment,
    asked: u64,
    reasons: u64,
}

/// The length of that while, and how often one may ask in it for no reason.
const WHILE: Moment = 10_000;
const CURIOUS: u64 = 60;

/// What is drawn for one call.
struct Fate {
    before: Duration,
    fails: bool,
    after: Duration,
}

impl Disk {
    /// The file at `path`, as it is after a start. `threads` is where the store's own tasks run.
    pub fn open(path: &Path, keyring: &Arc<Keyring>, book: &Book, threads: Handle, seed: u64) -> Self {
        let store = free(|| SqliteStore::open(path, Arc::clone(keyring), book.clock()));
        // No two starts in one world draw the same.
        let dice_seed = Dice::of(seed, "disk", &[book.now()]).next();
        Self {
            store: Arc::new(store),
            threads,
            book: book.clone(),
            dice_seed,
            calls: AtomicU64::new(0),
            curiosity: Mutex::default(),
        }
    }

    /// How full it says it is, and the rows of the same moment.
    pub fn count(&self) -> (Depth, Vec<Entry>) {
        let depth = Self::at_once(self.store.depth()).expect("it can be read");
        let all = Query { limit: ALL, ..Query::default() };
        (depth, Self::at_once(self.store.find(all)).expect("it can be read"))
    }

    /// Every row, what was told of any, and how far these counters have come.
    pub fn past(&self, counters: Vec<(Digest, Timestamp)>) -> (Vec<Entry>, Vec<Event>, Vec<u64>) {
        let events =
            Self::at_once(self.store.history(History::Latest(u32::MAX >> 1))).expect("it can be read");
        let amounts = Self::at_once(self.store.amounts(counters)).expect("it can be read");
        (self.count().1, events, amounts)
    }

    /// Who asks all the time keeps a processor busy and finds nothing.
    fn asked(&self, times: u64, reasons: u64) {
        let mut curiosity = self.curiosity.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.book.now();
        if now >= curiosity.since + WHILE {
            *curiosity = Curiosity { since: now, ..Curiosity::default() };
        }
        curiosity.asked += times;
        curiosity.reasons += reasons;
        if curiosity.asked > CURIOUS + 2 * curiosity.reasons {
            let Curiosity { since, asked, reasons } = *curiosity;
            self.book.breach(format!(
                "asked {asked} times what is due from {since} to {now}, with {reasons} reasons to"
            ));
            *curiosity = Curiosity { since: now, ..Curiosity::default() };
        }
    }

    fn fate(&self) -> Fate {
        let mut dice = Dice::of(self.dice_seed, "call", &[self.calls.fetch_add(1, Ordering::Relaxed)]);
        let drawn = |dice: &mut Dice| match dice.below(100) {
            0..60 => Duration::ZERO,
            60..98 => Duration::from_millis(dice.between(1, 8)),
            _ => Duration::from_millis(dice.between(50, 900)),
        };
        let before = drawn(&mut dice);
        let fails = self.book.disk_makes_trouble() && dice.percent(FAILING);
        Fate { before, fails, after: drawn(&mut dice) }
    }

    /// Makes a call in its time, or fails it.
    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let after = self.begin().await?;
        let answer = Self::at_once(call);
        pause(after).await;
        answer
    }

    /// The time before a call, and what comes after it; or its failure.
    async fn begin(&self) -> Result<Duration, StoreError> {
        let Fate { before, fails, after } = self.fate();
        pause(before).await;
        if fails { Err(StoreError::Failed("the disk makes trouble".to_owned())) } else { Ok(after) }
    }

    /// Makes a call while simulated time stands still.
    fn at_once<T>(call: impl Future<Output = T>) -> T {
        // The store wakes this thread itself; the budget of a simulated task is none of its business.
        let mut call = std::pin::pin!(tokio::task::unconstrained(call));
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            match call.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(answer) => return answer,
                Poll::Pending => std::thread::park(),
            }
        }
    }
}

/// The store, once the crashed machine has let go of the file: the last of its claims may still be ending on another thread.
fn free(open: impl Fn() -> Result<SqliteStore, StoreError>) -> SqliteStore {
    let mut tries = 0..LETTING_GO;
    loop {
        let opened = open();
        if !matches!(opened, Err(StoreError::Unreadable(_))) || tries.next().is_none() {
            return opened.expect("the store opens");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Wakes the thread of the simulation.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// What is put on record of a change before it is given away.
enum Noted {
    Put(MessageId),
    Settle(MessageId),
    Operate(MessageId, Operation),
    OperateBurst(Operation),
    Other,
}

fn noted(change: &Change) -> Noted {
    match change {
        Change::Put(put) => Noted::Put(put.entries[0].entry.submission),
        Change::Settle(settle) => Noted::Settle(settle.id),
        Change::Operate { id, operation, .. } => Noted::Operate(*id, *operation),
        Change::OperateBurst { operation, .. } => Noted::OperateBurst(*operation),
        _ => Noted::Other,
    }
}

#[async_trait]
impl Store for Disk {
    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Applied>, StoreError> {
        self.asked(0, 1);
        let noted: Vec<Noted> = changes.iter().map(noted).collect();
        let after = self.begin().await?;
        let answer = Self::at_once(self.store.commit(changes));
        // On record before anything else can happen: a crash behind the commit does not take this back either.
        for (noted, applied) in noted.iter().zip(answer.iter().flatten()) {
            match (noted, &applied.result) {
                (Noted::Put(id), Effect::Done | Effect::Waiting(_) | Effect::Held(_)) => {
                    self.book.committed(*id);
                }
                (Noted::Settle(id), Effect::Done) => self.book.settled(*id),
                (Noted::Operate(id, operation), Effect::Done) => self.book.operated(*id, *operation),
                (Noted::OperateBurst(operation), Effect::Rows(1..)) => self.book.operated_burst(*operation),
                _ => {}
            }
        }
        pause(after).await;
        answer
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.asked(0, 1);
        let after = self.begin().await?;
        // It runs in a task of its own, which the simulation would wait for in vain.
        let (answer, told) = mpsc::sync_channel(1);
        let store = Arc::clone(&self.store);
        self.threads.spawn(async move { answer.send(store.claim(request).await) });
        let claimed = told.recv().expect("the store's threads live as long as the world");
        pause(after).await;
        claimed
    }

    async fn next_due(&self, class: Class) -> Result<Option<Timestamp>, StoreError> {
        self.asked(1, 0);
        self.call(self.store.next_due(class)).await
    }

    async fn next_expiry(&self) -> Result<Option<Timestamp>, StoreError> {
        self.call(self.store.next_expiry()).await
    }

    async fn due_reports(&self, now: Timestamp, limit: usize) -> Result<Vec<Awaited>, StoreError> {
        self.call(self.store.due_reports(now, limit)).await
    }

    async fn reports_woken(&self) {
        self.store.reports_woken().await;
    }

    async fn next_report(&self) -> Result<Option<Timestamp>, StoreError> {
        self.call(self.store.next_report()).await
    }

    async fn amounts(&self, of: Vec<(Digest, Timestamp)>) -> Result<Vec<u64>, StoreError> {
        self.call(self.store.amounts(of)).await
    }

    async fn find(&self, query: Query) -> Result<Vec<Entry>, StoreError> {
        self.call(self.store.find(query)).await
    }

    async fn open_bursts(&self, now: Timestamp) -> Result<Vec<OpenBurst>, StoreError> {
        self.call(self.store.open_bursts(now)).await
    }

    async fn message(&self, id: MessageId) -> Result<Option<Bytes>, StoreError> {
        self.call(self.store.message(id)).await
    }

    async fn history(&self, of: History) -> Result<Vec<Event>, StoreError> {
        self.call(self.store.history(of)).await
    }

    async fn decisions(
        &self,
        query: DecisionQuery,
    ) -> Result<Vec<(DecisionPlace, Option<Decision>)>, StoreError> {
        self.call(self.store.decisions(query)).await
    }

    async fn upstreams_down(&self) -> Result<Vec<UpstreamName>, StoreError> {
        self.call(self.store.upstreams_down()).await
    }

    async fn depth(&self) -> Result<Depth, StoreError> {
        self.call(self.store.depth()).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.call(self.store.close()).await
    }
}
