//! A store in memory, for the delivery's own tests: it keeps rows, leases and turns as the trait says, and nothing on disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::event::Event;
use crate::ident::{Class, MessageId};
use crate::queue::{
    Applied, Change, ClaimRequest, Claimed, Depth, Effect, Entry, History, Payload, Query, State, Store,
    StoreError,
};

#[derive(Debug, Clone)]
struct Row {
    entry: Entry,
    payload: Payload,
    lease: Option<Timestamp>,
}

/// What was asked of the store.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) claimed: usize,
    pub(super) given_back: usize,
    pub(super) settled: usize,
}

#[derive(Default)]
pub(super) struct MemoryStore {
    rows: Mutex<BTreeMap<MessageId, Row>>,
    tally: watch::Sender<Tally>,
    /// How many settlements are yet to fail.
    pub(super) failing: Mutex<usize>,
}

impl MemoryStore {
    pub(super) fn insert(&self, entry: Entry, payload: Payload) {
        self.rows.lock().unwrap().insert(entry.id, Row { entry, payload, lease: None });
    }

    /// Inserts a row as already claimed.
    pub(super) fn insert_claimed(&self, mut entry: Entry, payload: Payload, lease: Timestamp) -> Claimed {
        entry.state = State::Attempting;
        let row = Row { entry: entry.clone(), payload: payload.clone(), lease: Some(lease) };
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

    /// Waits until the rows are as asked.
    pub(super) async fn until(&self, mut done: impl FnMut(&[Entry]) -> bool) {
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
        let waited = tokio::time::timeout(std::time::Duration::from_secs(30), wait).await;
        assert!(waited.is_ok(), "not in time: {:#?}", self.entries().iter().take(3).collect::<Vec<_>>());
    }

    fn apply(&self, change: Change) -> Result<Effect, StoreError> {
        let mut rows = self.rows.lock().unwrap();
        match change {
            Change::Settle(settle) => {
                let mut failing = self.failing.lock().unwrap();
                if *failing > 0 {
                    *failing -= 1;
                    return Err(StoreError::Failed("as the test asked".to_owned()));
                }
                let Some(row) = rows.get_mut(&settle.id) else { return Ok(Effect::NotFound) };
                if row.lease.take_if(|lease| *lease == settle.lease).is_none() {
                    return Ok(Effect::LostLease);
                }
                assert!(row.entry.state.may_become(settle.settlement.state));
                row.entry.state = settle.settlement.state;
                row.entry.next_attempt = settle.settlement.next_attempt;
                row.entry.attempts = settle.settlement.attempts;
                row.entry.in_doubt = settle.settlement.in_doubt;
                row.entry.reason = settle.settlement.reason;
                row.entry.reference = settle.settlement.reference;
                row.entry.upstream = settle.upstream;
                self.tally.send_modify(|tally| tally.settled += 1);
                Ok(Effect::Done)
            }
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
                let over = |row: &&mut Row| row.entry.state == State::Queued && row.entry.expires <= now;
                let mut ended = 0;
                for row in rows.values_mut().filter(over).take(limit) {
                    row.entry.state = if row.entry.in_doubt > 0 { State::Unknown } else { State::Expired };
                    ended += 1;
                }
                self.tally.send_modify(|_| ());
                Ok(Effect::Rows(ended))
            }
            Change::Operate { .. } => Ok(Effect::Done),
            Change::Put(_) | Change::Mark { .. } | Change::Record(_) | Change::Prune { .. } => {
                unreachable!("the delivery does not do this")
            }
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Applied>, StoreError> {
        let applied = |change| Ok(Applied { result: self.apply(change)?, events: Vec::new(), wakes: false });
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
        let waits = |entry: &Entry| entry.state == State::Queued && entry.class == class;
        Ok(self.entries().into_iter().filter(waits).map(|entry| entry.next_attempt).min())
    }

    async fn next_expiry(&self) -> Result<Option<Timestamp>, StoreError> {
        let waits = |entry: &Entry| entry.state == State::Queued;
        Ok(self.entries().into_iter().filter(waits).map(|entry| entry.expires).min())
    }

    async fn find(&self, _: Query) -> Result<Vec<Entry>, StoreError> {
        Ok(self.entries())
    }

    async fn message(&self, _: MessageId) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }

    async fn history(&self, _: History) -> Result<Vec<Event>, StoreError> {
        Ok(Vec::new())
    }

    async fn depth(&self) -> Result<Depth, StoreError> {
        Ok(Depth::default())
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
