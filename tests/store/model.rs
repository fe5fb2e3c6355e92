//! Random sequences of changes against a model that fits on a page: what a store does must be what the model says.

use std::sync::Arc;
use std::time::Duration;

use authrelay::clock::Timestamp;
use authrelay::event::Kind;
use authrelay::ident::{Class, MessageId};
use authrelay::queue::{Applied, Change, Effect, Operation, Query, State, Store};
use proptest::prelude::*;

use crate::support::*;

/// One step. Numbers pick one of what is there, whatever that is by then.
#[derive(Debug, Clone)]
enum Step {
    Put { key: Option<u8>, state: State, leased: bool, life: u64 },
    Claim(usize),
    Settle { pick: usize, end: State, pause: u64 },
    GiveBack { pick: usize, pause: u64 },
    Mark(usize),
    Operate { pick: usize, operation: Operation },
    Expire(usize),
    Advance(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    use Operation::{Hold, Release, Remove, Retry};
    let state = prop_oneof![6 => Just(State::Queued), 1 => Just(State::Held), 1 => Just(State::Suppressed)];
    let end = prop::sample::select(vec![
        State::Queued,
        State::Queued,
        State::HandedOver,
        State::Failed,
        State::Unknown,
        State::Held,
    ]);
    let operation = prop::sample::select(vec![Retry, Hold, Release, Remove]);
    prop_oneof![
        6 => (prop::option::of(0..3u8), state, any::<bool>(), 1..1500u64)
            .prop_map(|(key, state, leased, life)| Step::Put { key, state, leased, life }),
        4 => (1..4usize).prop_map(Step::Claim),
        5 => (any::<usize>(), end, 0..60u64).prop_map(|(pick, end, pause)| Step::Settle { pick, end, pause }),
        1 => (any::<usize>(), 0..60u64).prop_map(|(pick, pause)| Step::GiveBack { pick, pause }),
        1 => any::<usize>().prop_map(Step::Mark),
        4 => (any::<usize>(), operation).prop_map(|(pick, operation)| Step::Operate { pick, operation }),
        2 => (1..5usize).prop_map(Step::Expire),
        3 => (1..500u64).prop_map(Step::Advance),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Debug, Clone)]
struct Row {
    id: MessageId,
    key: Option<u8>,
    state: State,
    expires: Timestamp,
    next: Timestamp,
    lease: Option<Timestamp>,
    marked: bool,
    in_doubt: bool,
    /// Its payload is kept.
    alive: bool,
    superseded_by: Option<usize>,
    waits_for: Option<usize>,
    told: Vec<Kind>,
}

impl Row {
    fn ends(&self) -> Option<Timestamp> {
        self.alive.then(|| self.lease.map_or(self.expires, |lease| lease.max(self.expires)))
    }
}

#[derive(Debug, Default)]
struct Model {
    rows: Vec<Row>,
    /// Every lease ever given, the lost ones too.
    leases: Vec<(usize, Timestamp)>,
}

impl Model {
    fn become_(&mut self, index: usize, mut next: State, mut kind: Option<Kind>) {
        let row = &mut self.rows[index];
        if row.state == State::Attempting {
            (row.lease, row.marked) = (None, false);
            if let Some(newer) = row.superseded_by.take() {
                if next == State::Queued {
                    (next, kind) = (State::Superseded, Some(Kind::Superseded));
                }
                self.rows[newer].waits_for = None;
            }
        }
        let row = &mut self.rows[index];
        row.state = next;
        row.alive &= !next.is_final() && next != State::Suppressed;
        row.told.extend(kind);
    }

    fn recover(&mut self, index: usize, now: Timestamp) {
        if self.rows[index].marked {
            self.become_(index, State::Unknown, Some(Kind::Unknown));
        } else {
            self.rows[index].next = now;
            self.become_(index, State::Queued, None);
        }
    }

    fn put(&mut self, mut row: Row, lease: Option<Timestamp>) -> Effect {
        let newest = self.rows.len();
        if row.state == State::Queued && row.key.is_some() {
            for index in 0..newest {
                let older = &mut self.rows[index];
                match older.state {
                    State::Queued | State::Held if older.key == row.key => {
                        self.become_(index, State::Superseded, Some(Kind::Superseded));
                    }
                    State::Attempting if older.key == row.key => {
                        older.superseded_by = Some(newest);
                        row.waits_for = Some(index);
                    }
                    _ => {}
                }
            }
        }
        let waits = row.waits_for.is_some() && lease.is_some();
        let effect = if waits { Effect::Waiting(vec![row.id]) } else { Effect::Done };
        if let Some(lease) = lease.filter(|_| row.state == State::Queued && !waits) {
            (row.state, row.lease) = (State::Attempting, Some(lease));
            self.leases.push((newest, lease));
        }
        self.rows.push(row);
        effect
    }

    fn due(&self, now: Timestamp) -> Vec<MessageId> {
        let due = |row: &&Row| {
            row.state == State::Queued && row.waits_for.is_none() && row.next <= now && row.expires > now
        };
        self.rows.iter().filter(due).map(|row| row.id).collect()
    }

    fn lapse(&mut self, now: Timestamp) {
        for index in 0..self.rows.len() {
            if self.rows[index].lease.is_some_and(|lease| lease <= now) {
                self.recover(index, now);
            }
        }
    }

    /// The leased row, if the lease is still its own.
    fn holds(&self, index: usize, lease: Timestamp) -> bool {
        self.rows[index].state == State::Attempting && self.rows[index].lease == Some(lease)
    }

    fn settle(&mut self, index: usize, end: State, next: Timestamp) -> Effect {
        if !State::Attempting.may_become(end) {
            return Effect::NotAllowed(State::Attempting);
        }
        self.rows[index].next = next;
        self.rows[index].in_doubt = end == State::Unknown;
        self.become_(index, end, Some(settlement(end, next).event));
        Effect::Done
    }

    fn operate(&mut self, index: usize, operation: Operation, now: Timestamp) -> Effect {
        let row = &mut self.rows[index];
        let (next, kind) = match (operation, row.state) {
            (Operation::Retry, State::Queued) => (State::Queued, None),
            (Operation::Hold, State::Queued) => (State::Held, Some(Kind::Held)),
            (Operation::Release, State::Held | State::Suppressed) if row.alive && row.expires > now => {
                (State::Queued, Some(Kind::Released))
            }
            (Operation::Remove, State::Queued | State::Held | State::Suppressed) => {
                (State::Removed, Some(Kind::Removed))
            }
            (_, state) => return Effect::NotAllowed(state),
        };
        if next == State::Queued {
            row.next = now;
        }
        self.become_(index, next, kind);
        Effect::Done
    }

    /// Which rows `Expire` may end now.
    fn over(&self, now: Timestamp) -> Vec<usize> {
        (0..self.rows.len())
            .filter(|index| self.rows[*index].ends().is_some_and(|ends| ends <= now))
            .collect()
    }

    fn end(&mut self, index: usize) {
        let row = &self.rows[index];
        let (next, kind) = match row.state {
            State::Attempting if row.marked => (State::Unknown, Some(Kind::Unknown)),
            State::Attempting if row.superseded_by.is_some() => (State::Superseded, Some(Kind::Superseded)),
            State::Held => (State::Suppressed, Some(Kind::Suppressed)),
            State::Suppressed => (State::Suppressed, None),
            _ if row.in_doubt => (State::Unknown, Some(Kind::Unknown)),
            _ => (State::Expired, Some(Kind::Expired)),
        };
        self.become_(index, next, kind);
    }
}

struct World {
    folder: Folder,
    store: Arc<dyn Store>,
    model: Model,
    now: Timestamp,
}

impl World {
    async fn take(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Put { key, state, leased, life } => self.put(key, state, leased, life).await,
            Step::Claim(most) => self.claim(most).await,
            Step::Settle { pick, end, pause } => {
                let next = now.plus(Duration::from_secs(pause));
                let change = |id, lease| settle_id(id, lease, settlement(end, next), now);
                self.leased(pick, change, |model, index| model.settle(index, end, next)).await;
            }
            Step::GiveBack { pick, pause } => {
                let next_attempt = now.plus(Duration::from_secs(pause));
                let give_back = |model: &mut Model, index: usize| {
                    model.rows[index].next = next_attempt;
                    model.become_(index, State::Queued, None);
                    Effect::Done
                };
                self.leased(
                    pick,
                    |id, lease| Change::GiveBack { id, lease, next_attempt, reason: None },
                    give_back,
                )
                .await;
            }
            Step::Mark(pick) => {
                let mark = |model: &mut Model, index: usize| {
                    model.rows[index].marked = true;
                    Effect::Done
                };
                self.leased(pick, |id, lease| Change::Mark { id, lease }, mark).await;
            }
            Step::Operate { pick, operation } => {
                if let Some(index) = pick.checked_rem(self.model.rows.len()) {
                    let id = self.model.rows[index].id;
                    let expected = self.model.operate(index, operation, now);
                    let applied = commit(&*self.store, Change::Operate { id, operation, at: now }).await;
                    assert_eq!(applied.result, expected);
                }
            }
            Step::Expire(limit) => self.expire(limit).await,
            Step::Advance(seconds) => self.now = now.plus(Duration::from_secs(seconds)),
            Step::Reopen => {
                self.store.close().await.unwrap();
                self.store = self.folder.open(now);
                for index in 0..self.model.rows.len() {
                    if self.model.rows[index].state == State::Attempting {
                        self.model.recover(index, now);
                    }
                }
            }
        }
    }

    async fn put(&mut self, key: Option<u8>, state: State, leased: bool, life: u64) {
        let now = self.now;
        let expires = now.plus(Duration::from_secs(life));
        let lease = leased.then(|| now.plus(LEASE));
        let mut draft =
            draft("shop", "anna@example.com", now).state(state).each(|new| new.entry.expires = expires);
        if let Some(key) = key {
            draft = draft.supersedes(&key.to_string());
        }
        draft.put.lease = lease;
        let (id, applied) = draft.store(&*self.store).await;
        let told = vec![match state {
            State::Held => Kind::Held,
            State::Suppressed => Kind::Suppressed,
            _ => Kind::Received,
        }];
        let row = Row {
            id,
            key,
            state,
            expires,
            next: now,
            lease: None,
            marked: false,
            in_doubt: false,
            alive: true,
            superseded_by: None,
            waits_for: None,
            told,
        };
        assert_eq!(applied.result, self.model.put(row, lease));
    }

    async fn claim(&mut self, most: usize) {
        self.model.lapse(self.now);
        let due = self.model.due(self.now);
        let claimed = claim(&*self.store, Class::Urgent, most, self.now).await;
        assert_eq!(claimed.len(), most.min(due.len()));
        for claimed in claimed {
            assert!(due.contains(&claimed.entry().id));
            let index = self.model.rows.iter().position(|row| row.id == claimed.entry().id).unwrap();
            let row = &mut self.model.rows[index];
            (row.state, row.lease) = (State::Attempting, Some(claimed.lease()));
            self.model.leases.push((index, claimed.lease()));
        }
    }

    /// A change under one of the leases ever given.
    async fn leased(
        &mut self,
        pick: usize,
        change: impl Fn(MessageId, Timestamp) -> Change,
        expect: impl Fn(&mut Model, usize) -> Effect,
    ) {
        let Some(pick) = pick.checked_rem(self.model.leases.len()) else { return };
        let (index, lease) = self.model.leases[pick];
        let held = self.model.holds(index, lease);
        let expected = if held { expect(&mut self.model, index) } else { Effect::LostLease };
        let applied: Applied = commit(&*self.store, change(self.model.rows[index].id, lease)).await;
        assert_eq!(applied.result, expected);
    }

    async fn expire(&mut self, limit: usize) {
        let mut over = self.model.over(self.now);
        let applied = commit(&*self.store, Change::Expire { now: self.now, limit }).await;
        assert_eq!(applied.result, Effect::Rows(limit.min(over.len())));
        over.sort_by_key(|index| (self.model.rows[*index].ends(), *index));
        over.truncate(limit);
        for index in over {
            self.model.end(index);
        }
    }

    async fn compare(&self) {
        let query = Query { limit: 1000, ..Query::default() };
        let found = self.store.find(query).await.unwrap();
        let stored: Vec<_> = found.iter().rev().map(|row| (row.id, row.state)).collect();
        let rows = &self.model.rows;
        assert_eq!(stored, rows.iter().map(|row| (row.id, row.state)).collect::<Vec<_>>());
        for (row, stored) in rows.iter().zip(found.iter().rev()) {
            assert!(row.state != State::Queued || row.next == stored.next_attempt, "{row:?} {stored:?}");
        }
        let ready = rows.iter().filter(|row| row.state == State::Queued && row.waits_for.is_none());
        let due = ready.map(|row| row.next).chain(rows.iter().filter_map(|row| row.lease)).min();
        assert_eq!(self.store.next_due(Class::Urgent).await.unwrap(), due);
        assert_eq!(self.store.next_expiry().await.unwrap(), rows.iter().filter_map(Row::ends).min());
        let count = |wanted: &[State]| {
            rows.iter().filter(|row| row.alive && wanted.contains(&row.state)).count() as u64
        };
        let depth = self.store.depth().await.unwrap();
        assert_eq!(depth.urgent, count(&[State::Queued, State::Attempting]));
        assert_eq!((depth.held, depth.suppressed), (count(&[State::Held]), count(&[State::Suppressed])));
    }

    async fn compare_in_depth(&self) {
        for row in &self.model.rows {
            assert_eq!(told(&*self.store, row.id).await, row.told, "{row:?}");
            assert_eq!(self.store.message(row.id).await.unwrap().is_some(), row.alive, "{row:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_does_what_the_model_says(steps in prop::collection::vec(step(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let folder = Folder::new();
            let store = folder.open(START);
            let mut world = World { folder, store, model: Model::default(), now: START };
            for step in steps {
                world.take(step).await;
                world.compare().await;
            }
            world.compare_in_depth().await;
            world.store.close().await.unwrap();
            world.store = world.folder.open(world.now);
        });
    }
}
