//! The one writer: a thread that takes whatever requests wait, makes them in one transaction, commits once, and then
//! answers all of them. While much goes on it lets more come first (`pace`).
//!
//! Invariants:
//! - Nobody is told of success before the commit that holds it has returned.
//! - A request that fails is undone alone and does not hurt the others of its group.
//! - After a commit whose fate is not known, a further commit decides it: in the write-ahead log it overwrites what the
//!   failed one may have left there, and where that had become visible after all, what was answered with an error is
//!   taken out. If that can't be done, every later request fails until the program is started again; a put that failed
//!   then may be found by that start, and is sent rather than lost.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::Stats;
use super::claim::{Leased, Turns};
use super::group::{Bench, Bond, Group, step, take_out};
use super::pace::Pace;
use super::prepare::Prepared;
use super::reseal::{self, Pass, Resealed};
use super::row::failed;
use super::schema::{self, BUSY, connect, let_log_go};
use super::sound::Mark;
use crate::clock::Clock;
use crate::event::Event;
use crate::ident::Class;
use crate::pulse::Heart;
use crate::queue::keyring::Keyring;
use crate::queue::store::outbox::CurrentAudience;
use crate::queue::store::{Applied, ClaimRequest, StoreError};

/// How much payload goes into one transaction, unless a single request has more.
const GROUP_BYTES: usize = 8 << 20;

/// How many requests go into one transaction: bounds how long the first of them waits.
const GROUP_JOBS: usize = 512;

/// How long a truncation of the log waits for readers, and how soon it is tried again when that was not enough.
const SCRUB_WAIT: Duration = Duration::from_millis(200);
const SCRUB_AGAIN: Duration = Duration::from_secs(1);

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked.
pub(super) enum Request {
    /// To change something.
    Work(Job),
    /// To take what was erased out of the write-ahead log now.
    Scrub(Answer<()>),
    /// To write down that a key is in use.
    AnnounceKey(u32, Answer<()>),
    /// To seal a part of what older keys sealed with the newest one.
    Reseal(Answer<Resealed>),
    /// To finish what waits, and end.
    Close(Answer<()>),
}

/// What belongs into a transaction.
pub(super) enum Job {
    /// Changes that are one transaction.
    Commit {
        changes: Vec<Prepared>,
        weight: usize,
        lane: Class,
        /// The oldest key that may have sealed something of them.
        sealed_by: u32,
        answer: Answer<Vec<Applied>>,
    },
    /// Work for a lane.
    Claim { request: ClaimRequest, answer: Answer<Vec<Leased>> },
}

/// What was made of a job, but for the commit.
pub(super) enum Made {
    Commit(Result<Vec<Applied>, StoreError>),
    Claim(Result<Vec<Leased>, StoreError>, Vec<Event>),
}

/// What a writer is made of.
pub(super) struct Parts {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
    pub(super) keyring: Arc<Keyring>,
    pub(super) clock: Clock,
    pub(super) stats: watch::Sender<Stats>,
    /// The keys that something in the store is sealed with.
    pub(super) keys_in_use: watch::Sender<Vec<u32>>,
    /// Told when a text has come to await its provider's report.
    pub(super) reports: Arc<Notify>,
    /// Who is told of what happens, as of now.
    pub(super) audience: CurrentAudience,
    /// Told when there is something new in the outbox.
    pub(super) outbox: Arc<Notify>,
    /// The longest that erased bytes stay in the write-ahead log.
    pub(super) scrub_every: Duration,
    /// Shows that the writer gets on.
    pub(super) heart: Heart,
    /// Keeps other daemons out for as long as the writer lives.
    pub(super) lock: File,
}

/// The writer while it runs.
struct Writer {
    parts: Parts,
    waiting: [VecDeque<Job>; 2],
    turns: Turns,
    pace: Pace,
    /// When what was erased has to be out of the log.
    scrub_at: Option<Instant>,
    scrubs: Vec<Answer<()>>,
    announced: Vec<(u32, Answer<()>)>,
    reseals: Vec<Answer<Resealed>>,
    pass: Option<Pass>,
    closing: Option<Answer<()>>,
    poisoned: Option<StoreError>,
}

/// Serves requests until the store is closed or dropped.
pub(super) fn run(parts: Parts, inbox: &Receiver<Request>) {
    parts.heart.is_this_thread();
    let mut writer = Writer {
        parts,
        waiting: [VecDeque::new(), VecDeque::new()],
        turns: Turns::default(),
        pace: Pace::default(),
        // What was erased just before the last stop may still be in the log.
        scrub_at: Some(Instant::now()),
        scrubs: Vec::new(),
        announced: Vec::new(),
        reseals: Vec::new(),
        pass: None,
        closing: None,
        poisoned: None,
    };
    while writer.take(inbox) {
        let jobs = writer.next_group();
        if !jobs.is_empty() {
            writer.pace.begin(Instant::now(), jobs.len());
            writer.make(jobs);
        }
        writer.scrub_if_due();
        writer.serve_keys();
    }
    writer.end();
}

impl Writer {
    /// Takes in what waits, sleeping while nothing does. False when it is time to end.
    fn take(&mut self, inbox: &Receiver<Request>) -> bool {
        if self.waiting.iter().all(VecDeque::is_empty) {
            if self.closing.is_some() {
                return false;
            }
            let pause = self.scrub_at.map(|at| at.saturating_duration_since(Instant::now()));
            self.parts.heart.rests();
            let first = match pause {
                Some(pause) => inbox.recv_timeout(pause),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            self.parts.heart.works();
            match first {
                Ok(request) => self.sort(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        self.take_what_is_there(inbox);
        let waiting = self.waiting.iter().map(VecDeque::len).sum();
        let pause = self.pace.pause(Instant::now(), waiting).filter(|_| self.closing.is_none());
        if let Some(pause) = pause {
            // Asleep, not receiving: to be woken by each request is what this saves.
            std::thread::sleep(pause);
            self.take_what_is_there(inbox);
        }
        true
    }

    fn take_what_is_there(&mut self, inbox: &Receiver<Request>) {
        while self.closing.is_none() {
            let Ok(request) = inbox.try_recv() else { break };
            self.sort(request);
        }
    }

    fn sort(&mut self, request: Request) {
        match request {
            Request::Work(job) => match &job {
                Job::Commit { lane: Class::Normal, .. } => self.waiting[1].push_back(job),
                Job::Commit { lane: Class::Urgent, .. } | Job::Claim { .. } => self.waiting[0].push_back(job),
            },
            Request::Scrub(answer) => self.scrubs.push(answer),
            Request::AnnounceKey(key, answer) => self.announced.push((key, answer)),
            Request::Reseal(answer) => self.reseals.push(answer),
            Request::Close(answer) => self.closing = Some(answer),
        }
    }

    /// The next group: urgent jobs first, but a normal one that waits always gets in; cut by bytes and by number.
    fn next_group(&mut self) -> Vec<Job> {
        let mut group = Vec::new();
        let mut bytes = 0;
        for lane in &mut self.waiting {
            let mut first = true;
            while let Some(job) = lane.front() {
                let full = group.len() >= GROUP_JOBS || bytes + job.weight() > GROUP_BYTES;
                if full && !first {
                    break;
                }
                first = false;
                bytes += job.weight();
                group.extend(lane.pop_front());
            }
        }
        group
    }

    /// Makes a group: one transaction, one commit, then the answers.
    fn make(&mut self, jobs: Vec<Job>) {
        let (newest, in_use) = (self.parts.keyring.newest(), &self.parts.keys_in_use);
        let known = |job: Job| job.of_a_known_key(newest, in_use, &mut self.pass);
        let jobs: Vec<Job> = jobs.into_iter().filter_map(known).collect();
        let made = match &self.poisoned {
            Some(error) => Err(error.clone()),
            None => self.attempt(&jobs, Bond::Together).or_else(|_| self.attempt(&jobs, Bond::Apart)),
        };
        let Group { made, doubtful, erased, stirs } = match made {
            Ok(group) => group,
            Err(error) => {
                self.parts.stats.send_modify(|stats| stats.failing = true);
                return jobs.into_iter().for_each(|job| job.refuse(error.clone()));
            }
        };
        let fate = self.commit(|conn| take_out(conn, &doubtful));
        if erased && fate.is_ok() && self.scrub_at.is_none() {
            self.scrub_at = Some(Instant::now() + self.parts.scrub_every);
        }
        if stirs.reports && fate.is_ok() {
            self.parts.reports.notify_one();
        }
        if stirs.outbox && fate.is_ok() {
            self.parts.outbox.notify_one();
        }
        self.parts.stats.send_modify(|stats| {
            stats.commits += u64::from(fate.is_ok());
            stats.jobs += jobs.len() as u64;
            stats.failing = fate.is_err();
        });
        for (job, made) in jobs.into_iter().zip(made) {
            self.answer(job, made, &fate);
        }
    }

    /// The transaction of a group, to be committed. A turn that nobody was served in does not count.
    fn attempt(&mut self, jobs: &[Job], bond: Bond) -> Result<Group, StoreError> {
        let Self { parts, turns, .. } = self;
        let bench = Bench {
            conn: &parts.conn,
            keyring: &parts.keyring,
            audience: (parts.audience)(),
            now: parts.clock.now(),
        };
        let before = turns.clone();
        let made = bench.make(jobs, bond, turns, || parts.heart.works());
        if made.is_err() {
            *turns = before;
        }
        made
    }

    /// Commits. After an error the transaction has not taken place, or the store is poisoned.
    fn commit(
        &mut self,
        take_out: impl FnOnce(&Connection) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Err(error) = step(&self.parts.conn, "COMMIT") else { return Ok(()) };
        // A connection that can't roll back is dropped below.
        let undone = self.parts.conn.is_autocommit() || step(&self.parts.conn, "ROLLBACK").is_ok();
        if undone && matches!(error, StoreError::Full) {
            // A full disk took none of the frame that commits, which is the last one written: the transaction has not
            // taken place, and what was written of it is overwritten by the next.
            return Err(error);
        }
        if let Err(second) = self.decide(take_out) {
            let text = format!("{error}, and then {second}: the program has to be started again");
            self.poisoned = Some(StoreError::Failed(text));
            self.parts.stats.send_modify(|stats| stats.poisoned = true);
        }
        Err(error)
    }

    /// Decides a commit of unknown fate against it. The old connection stays open until that is done: as long as one
    /// is, the log's index is not made anew, so the frames that the failed commit left behind the log's end stay out
    /// of sight and are overwritten by this commit.
    fn decide(
        &mut self,
        take_out: impl FnOnce(&Connection) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let fresh = connect(&self.parts.path)?;
        step(&fresh, "BEGIN IMMEDIATE")?;
        take_out(&fresh)?;
        step(&fresh, "COMMIT")?;
        self.parts.conn = fresh;
        Ok(())
    }

    fn answer(&mut self, job: Job, made: Made, fate: &Result<(), StoreError>) {
        match (job, made) {
            (Job::Commit { answer, .. }, Made::Commit(result)) => {
                // Who is not there any more finds it in the store.
                let _ = answer.send(fate.clone().and(result));
            }
            (Job::Claim { answer, .. }, Made::Claim(result, events)) => {
                let result = fate.clone().and(result);
                if result.is_ok() {
                    events.iter().for_each(Event::log);
                }
                if let Err(Ok(unclaimed)) = answer.send(result) {
                    self.take_back(&unclaimed);
                }
            }
            // Each is made of its own kind. Its asker sees that nobody answers.
            (Job::Commit { .. }, Made::Claim(..)) | (Job::Claim { .. }, Made::Commit(_)) => {}
        }
    }

    /// Nobody waits for this claim any more: its rows are free again.
    fn take_back(&mut self, unclaimed: &[Leased]) {
        let next_attempt = self.parts.clock.now();
        let give_back =
            |row: &Leased| Prepared::GiveBack { id: row.id, lease: row.lease, next_attempt, reason: None };
        let changes: Vec<Prepared> = unclaimed.iter().map(give_back).collect();
        if !changes.is_empty() {
            let (answer, _) = oneshot::channel();
            self.waiting[0].push_back(Job::Commit {
                changes,
                weight: 0,
                lane: Class::Urgent,
                sealed_by: self.parts.keyring.newest(),
                answer,
            });
        }
    }

    /// Truncates the write-ahead log where something that was erased is still in it for long enough, or somebody asks.
    fn scrub_if_due(&mut self) {
        let due = self.scrub_at.is_some_and(|at| at <= Instant::now());
        if !due && self.scrubs.is_empty() {
            return;
        }
        self.parts.heart.works();
        let done = self.scrub();
        self.scrub_at = if done.is_ok() { None } else { Some(Instant::now() + SCRUB_AGAIN) };
        self.parts.stats.send_modify(|stats| stats.scrubs += u64::from(done.is_ok()));
        for answer in self.scrubs.drain(..) {
            let _ = answer.send(done.clone());
        }
    }

    /// What has to do with keys, one step for each who asks.
    fn serve_keys(&mut self) {
        for (key, answer) in std::mem::take(&mut self.announced) {
            let made = self.transaction(|conn, _| reseal::announce(conn, &[key]).map_err(failed));
            let _ = answer.send(made.map(|()| self.tell_keys()));
        }
        for answer in std::mem::take(&mut self.reseals) {
            self.parts.heart.works();
            let _ = answer.send(self.reseal());
        }
    }

    fn reseal(&mut self) -> Result<Resealed, StoreError> {
        let newest = self.parts.keyring.newest();
        if *self.parts.keys_in_use.borrow() == [newest] {
            self.pass = None;
            return Ok(Resealed::All);
        }
        let mut pass = self.pass.filter(|pass| pass.is_for(newest)).unwrap_or_else(|| Pass::new(newest));
        if !pass.is_through() {
            self.transaction(|conn, keyring| pass.step(conn, keyring))?;
            self.pass = Some(pass);
            return Ok(Resealed::Part);
        }
        // Nothing of an older key may be left in the log, nor a reader that sees an older state of the file.
        self.scrub()?;
        self.transaction(|conn, keyring| {
            schema::remember_key(conn, keyring)?;
            reseal::cross_out_all_but(conn, newest).map_err(failed)
        })?;
        self.pass = None;
        self.tell_keys();
        self.scrub_at.get_or_insert(Instant::now());
        Ok(Resealed::All)
    }

    fn tell_keys(&self) {
        // Where it can't be read, what was told before stays: it is never less than what is true.
        if let Ok(keys) = reseal::in_use(&self.parts.conn) {
            self.parts.keys_in_use.send_replace(keys);
        }
    }

    /// A transaction that can be made again should its fate stay unknown.
    fn transaction(
        &mut self,
        work: impl FnOnce(&Connection, &Keyring) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if let Some(error) = &self.poisoned {
            return Err(error.clone());
        }
        step(&self.parts.conn, "BEGIN IMMEDIATE")?;
        if let Err(error) = work(&self.parts.conn, &self.parts.keyring) {
            // A connection that can't roll back fails at the next BEGIN.
            let _ = step(&self.parts.conn, "ROLLBACK");
            return Err(error);
        }
        self.commit(|_| Ok(()))
    }

    fn scrub(&self) -> Result<(), StoreError> {
        let conn = &self.parts.conn;
        conn.busy_timeout(SCRUB_WAIT).map_err(failed)?;
        let busy: Result<i64, _> = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        conn.busy_timeout(BUSY).map_err(failed)?;
        match busy.map_err(failed)? {
            0 => Ok(()),
            _ => Err(StoreError::Failed("a reader keeps the write-ahead log in use".to_owned())),
        }
    }

    /// Everything that waited is done. Closes, and says so once the file is free for the next one.
    fn end(mut self) {
        // The next start tries again.
        let _ = self.scrub();
        for answer in self.scrubs.drain(..) {
            let _ = answer.send(Err(StoreError::Closed));
        }
        let Parts { conn, mut lock, heart, .. } = self.parts;
        heart.works();
        // In this order: without that mark the next start asks for the log.
        let let_go = Mark::Closed.write(&mut lock).is_ok() && let_log_go(&conn).is_ok();
        tracing::debug!(target: "authrelay::queue", let_go, "the queue is closed");
        let closed = conn.close().map_err(|(_, error)| failed(error));
        // Said, not left to the close: a process being forked just now has a copy of the file.
        let _ = lock.unlock();
        if let Some(answer) = self.closing {
            let _ = answer.send(closed);
        }
    }
}

impl Job {
    /// The job, unless it was sealed with a key that has gone since: nobody could open it. Where its key is an older one,
    /// the pass that seals anew has to be made again.
    fn of_a_known_key(
        self,
        newest: u32,
        in_use: &watch::Sender<Vec<u32>>,
        pass: &mut Option<Pass>,
    ) -> Option<Self> {
        match &self {
            Self::Commit { sealed_by, .. } if *sealed_by != newest => {
                if !in_use.borrow().contains(sealed_by) {
                    self.refuse(StoreError::Failed("it was sealed with a key that has gone".to_owned()));
                    return None;
                }
                if let Some(pass) = pass {
                    pass.overtaken = true;
                }
            }
            Self::Commit { .. } | Self::Claim { .. } => {}
        }
        Some(self)
    }

    fn weight(&self) -> usize {
        match self {
            Self::Commit { weight, .. } => *weight,
            Self::Claim { .. } => 0,
        }
    }

    /// Answers with an error; nothing was made.
    pub(super) fn refuse(self, error: StoreError) {
        match self {
            Self::Commit { answer, .. } => drop(answer.send(Err(error))),
            Self::Claim { answer, .. } => drop(answer.send(Err(error))),
        }
    }
}
