//! A store in memory, for the delivery's own tests: it keeps rows, leases and turns as the trait says, and nothing on disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::clock::{Clock, Timestamp};
use crate::event::Event;
use crate::ident::{Class, MessageId, UpstreamName};
use crate::queue::{
    Applied, Awaited, Change, ClaimRequest, Claimed, Decision, DecisionPlace, DecisionQuery, Depth, Effect,
    Entry, History, News, OpenBurst, Payload, Query, Report, Settle, State, Store, StoreError,
};

#[derive(Debug, Clone)]
struct Row {
    entry: Entry,
    payload: Payload,
    lease: Option<Timestamp>,
    polls: u32,
    next_poll: Option<Timestamp>,
}

impl Row {
    fn new(entry: Entry, payload: Payload, lease: Option<Timestamp>) -> Self {
        Self { entry, payload, lease, polls: 0, next_poll: None }
    }
}

impl Row {
    fn hear(&mut self, report: Report) -> Effect {
        let entry = &mut self.entry;
        if entry.state != State::AwaitingReport || entry.attempts != report.attempt {
            return Effect::Stale;
        }
        assert_eq!(entry.upstream.as_ref(), Some(&report.upstream));
        let (state, reason) = match report.news {
            News::Underway if entry.reference.is_some() => return Effect::Stale,
            News::Underway => (State::AwaitingReport, None),
            News::Retry(reason) => (State::Queued, Some(reason)),
            News::Failed(reason) => (State::Failed, Some(reason)),
            News::Delivered => (State::Delivered, None),
        };
        (entry.state, entry.reason, entry.in_doubt) = (state, reason, 0);
        entry.reference = Some(report.reference);
        Effect::Done
    }

    fn settle(&mut self, settle: Settle) {
        let settlement = settle.settlement;
        assert!(self.entry.state.may_become(settlement.state));
        self.entry.state = settlement.state;
        self.entry.next_attempt = settlement.next_attempt;
        self.entry.attempts = settlement.attempts;
        self.entry.in_doubt = settlement.in_doubt;
        self.entry.reason = settlement.reason;
        self.entry.reference = settlement.reference;
        self.entry.upstream = settle.upstream;
    }
}

/// What becomes of the next marks.
pub(super) enum Marking {
    /// They are made, and this is called with the upstream.
    Tells(Box<dyn Fn(&UpstreamName) + Send>),
    /// So many fail, then they are made.
    Fails(usize),
    /// The lease is somebody else's.
    Lost,
}

/// When the provider is asked for the first time, after a text came to await its report.
const FIRST_POLL: Duration = Duration::from_secs(5);

/// What was asked of the store.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) claimed: usize,
    pub(super) given_back: usize,
    pub(super) settled: usize,
    /// How often somebody wanted to know when something is due.
    pub(super) asked: usize,
}

pub(super) struct MemoryStore {
    rows: Mutex<BTreeMap<MessageId, Row>>,
    tally: watch::Sender<Tally>,
    reports: Notify,
    /// How many settlements are yet to fail.
    pub(super) failing: Mutex<usize>,
    pub(super) marking: Mutex<Marking>,
    clock: Clock,
}

impl MemoryStore {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            rows: Mutex::default(),
            tally: watch::Sender::default(),
            reports: Notify::new(),
            failing: Mutex::default(),
            marking: Mutex::new(Marking::Fails(0)),
            clock,
        }
    }

    /// Inserts a text that awaits its provider's report.
    pub(super) fn insert_awaited(&self, entry: Entry, payload: Payload) {
        let next_poll = Some(self.clock.now().plus(FIRST_POLL));
        let row = Row { next_poll, ..Row::new(entry, payload, None) };
        self.rows.lock().unwrap().insert(row.entry.id, row);
        self.reports.notify_one();
    }

    pub(super) fn polls(&self, id: MessageId) -> (u32, Option<Timestamp>) {
        let rows = self.rows.lock().unwrap();
        (rows[&id].polls, rows[&id].next_poll)
    }

    pub(super) fn insert(&self, entry: Entry, payload: Payload) {
        self.rows.lock().unwrap().insert(entry.id, Row::new(entry, payload, None));
    }

    /// Inserts a row as already claimed.
    pub(super) fn insert_claimed(&self, mut entry: Entry, payload: Payload, lease: Timestamp) -> Claimed {
        entry.state = State::Attempting;
        let row = Row::new(entry.clone(), payload.clone(), Some(lease));
        self.rows.lock().unwrap().insert(entry.id, row);
        Claimed::new(entry, payload, lease)
    }

    pub(super) fn entry(&self, id: MessageId) -> Entry {
        self.rows.lock().unwrap()[&id].entry.clone()
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.rows.lock().unwrap().values().map(|row| row.entry.clone()).collect()
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally.borrow().clone()
    }

    /// Waits until the rows are as asked, for half a minute at most.
    pub(super) async fn until(&self, done: impl FnMut(&[Entry]) -> bool) {
        self.until_within(Duration::from_secs(30), done).await;
    }

    pub(super) async fn until_within(&self, within: Duration, mut done: impl FnMut(&[Entry]) -> bool) {
        let mut changes = self.tally.subscribe();
        let wait = async {
            loop {
                changes.borrow_and_update();
                if done(&self.entries()) {
                    return;
                }
                changes.changed().await.expect("the store is there");
            }
        };
        let waited = tokio::time::timeout(within, wait).await;
        assert!(waited.is_ok(), "not in time: {:#?}", self.entries().iter().take(3).collect::<Vec<_>>());
    }

    fn mark(&self, upstream: &UpstreamName) -> Result<Effect, StoreError> {
        match &mut *self.marking.lock().unwrap() {
            Marking::Tells(tell) => tell(upstream),
            Marking::Fails(0) => {}
            Marking::Fails(failing) => {
                *failing -= 1;
                return Err(StoreError::Failed("as the test asked".to_owned()));
            }
            Marking::Lost => return Ok(Effect::LostLease),
        }
        Ok(Effect::Done)
    }

    fn settle(&self, rows: &mut BTreeMap<MessageId, Row>, settle: Settle) -> Result<Effect, StoreError> {
        let mut failing = self.failing.lock().unwrap();
        if *failing > 0 {
            *failing -= 1;
            return Err(StoreError::Failed("as the test asked".to_owned()));
        }
        let Some(row) = rows.get_mut(&settle.id) else { return Ok(Effect::NotFound) };
        if row.lease.take_if(|lease| *lease == settle.lease).is_none() {
            return Ok(Effect::LostLease);
        }
        row.settle(settle);
        if row.entry.state == State::AwaitingReport {
            row.next_poll = Some(self.clock.now().plus(FIRST_POLL));
            self.reports.notify_one();
        }
        self.tally.send_modify(|tally| tally.settled += 1);
        Ok(Effect::Done)
    }

    fn apply(&self, change: Change) -> Result<Effect, StoreError> {
        let mut rows = self.rows.lock().unwrap();
        match change {
            Change::Settle(settle) => self.settle(&mut rows, *settle),
            Change::GiveBack { id, lease, next_attempt, reason } => {
                let Some(row) = rows.get_mut(&id) else { return Ok(Effect::NotFound) };
                if row.lease.take_if(|held| *held == lease).is_none() {
                    return Ok(Effect::LostLease);
                }
                row.entry.state = State::Queued;
                row.entry.next_attempt = next_attempt;
                row.entry.reason = reason.or(row.entry.reason.take());
                self.tally.send_modify(|tally| tally.given_back += 1);
                Ok(Effect::Done)
            }
            Change::Expire { now, limit } => {
                let ended = expire(&mut rows, now, limit);
                self.tally.send_modify(|_| ());
                Ok(Effect::Rows(ended))
            }
            Change::Operate { .. } | Change::Announce(_) => Ok(Effect::Done),
            Change::Mark { id, lease, upstream } => match rows.get(&id) {
                Some(row) if row.lease == Some(lease) => self.mark(&upstream),
                Some(_) => Ok(Effect::LostLease),
                None => Ok(Effect::NotFound),
            },
            Change::Report(report) => {
                let Some(row) = rows.get_mut(&report.id) else { return Ok(Effect::NotFound) };
                let effect = row.hear(*report);
                self.tally.send_modify(|_| ());
                Ok(effect)
            }
            Change::Postpone { id, until } => {
                let Some(row) = rows.get_mut(&id) else { return Ok(Effect::NotFound) };
                row.polls += 1;
                row.next_poll = until;
                self.tally.send_modify(|_| ());
                Ok(Effect::Done)
            }
            Change::Put(_)
            | Change::OperateBurst { .. }
            | Change::Feedback { .. }
            | Change::Record(_)
            | Change::Outbox(_)
            | Change::Prune { .. } => {
                unreachable!("the delivery does not do this")
            }
        }
    }
}

fn expire(rows: &mut BTreeMap<MessageId, Row>, now: Timestamp, limit: usize) -> usize {
    let over = |row: &&mut Row| row.entry.state == State::Queued && row.entry.expires <= now;
    let mut ended = 0;
    for row in rows.values_mut().filter(over).take(limit) {
        row.entry.state = if row.entry.in_doubt > 0 { State::Unknown } else { State::Expired };
        ended += 1;
    }
    ended
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Applied>, StoreError> {
        let applied = |change| {
            let wakes = matches!(change, Change::Report(_));
            Ok(Applied { result: self.apply(change)?, events: Vec::new(), wakes })
        };
        changes.into_iter().map(applied).collect()
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let mut rows = self.rows.lock().unwrap();
        let due = |row: &&mut Row| {
            row.entry.state == State::Queued
                && row.entry.class == request.class
                && row.entry.next_attempt <= request.now
                && row.entry.expires > request.now
        };
        let mut clients: BTreeMap<_, VecDeque<&mut Row>> = BTreeMap::new();
        for row in rows.values_mut().filter(due) {
            clients.entry(row.entry.client.clone()).or_default().push_back(row);
        }
        let lease = request.now.plus(request.lease);
        let mut claimed = Vec::new();
        while claimed.len() < request.messages && clients.values().any(|waiting| !waiting.is_empty()) {
            for waiting in clients.values_mut() {
                let Some(row) = waiting.pop_front().filter(|_| claimed.len() < request.messages) else {
                    continue;
                };
                row.entry.state = State::Attempting;
                row.lease = Some(lease);
                claimed.push(Claimed::new(row.entry.clone(), row.payload.clone(), lease));
            }
        }
        self.tally.send_modify(|tally| tally.claimed += claimed.len());
        Ok(claimed)
    }

    async fn next_due(&self, class: Class) -> Result<Option<Timestamp>, StoreError> {
        self.tally.send_modify(|tally| tally.asked += 1);
        let waits = |entry: &Entry| entry.state == State::Queued && entry.class == class;
        Ok(self.entries().into_iter().filter(waits).map(|entry| entry.next_attempt).min())
    }

    async fn next_expiry(&self) -> Result<Option<Timestamp>, StoreError> {
        let waits = |entry: &Entry| entry.state == State::Queued;
        Ok(self.entries().into_iter().filter(waits).map(|entry| entry.expires).min())
    }

    async fn due_reports(&self, now: Timestamp, limit: usize) -> Result<Vec<Awaited>, StoreError> {
        let rows = self.rows.lock().unwrap();
        let due = |row: &&Row| {
            row.entry.state == State::AwaitingReport && row.next_poll.is_some_and(|at| at <= now)
        };
        let awaited =
            |row: &Row| Awaited { entry: row.entry.clone(), payload: row.payload.clone(), polls: row.polls };
        Ok(rows.values().filter(due).take(limit).map(awaited).collect())
    }

    async fn reports_woken(&self) {
        self.reports.notified().await;
    }

    async fn next_report(&self) -> Result<Option<Timestamp>, StoreError> {
        let rows = self.rows.lock().unwrap();
        let awaits = |row: &&Row| row.entry.state == State::AwaitingReport;
        Ok(rows.values().filter(awaits).filter_map(|row| row.next_poll).min())
    }

    async fn amounts(&self, of: Vec<(crate::secret::Digest, Timestamp)>) -> Result<Vec<u64>, StoreError> {
        Ok(vec![0; of.len()])
    }

    async fn find(&self, _: Query) -> Result<Vec<Entry>, StoreError> {
        Ok(self.entries())
    }

    async fn open_bursts(&self, _: Timestamp) -> Result<Vec<OpenBurst>, StoreError> {
        Ok(Vec::new())
    }

    async fn message(&self, _: MessageId) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }

    async fn history(&self, _: History) -> Result<Vec<Event>, StoreError> {
        Ok(Vec::new())
    }

    async fn decisions(
        &self,
        _: DecisionQuery,
    ) -> Result<Vec<(DecisionPlace, Option<Decision>)>, StoreError> {
        Ok(Vec::new())
    }

    async fn upstreams_down(&self) -> Result<Vec<UpstreamName>, StoreError> {
        Ok(Vec::new())
    }

    async fn depth(&self) -> Result<Depth, StoreError> {
        Ok(Depth::default())
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
