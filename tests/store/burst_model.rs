//! Random sequences of invitations against a model of settling and bursts: what comes alone passes after it has settled, what
//! comes in a burst is held whole, by whatever way; claims, operators, newer messages and restarts in between.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use authrelay::clock::Timestamp;
use authrelay::event::Kind;
use authrelay::ident::{BurstId, CategoryName, Class, MessageId};
use authrelay::policy::BurstLimit;
use authrelay::queue::{Change, Effect, Operation, Query, Settling, State, Store};
use proptest::prelude::*;

use crate::support::*;

const SETTLE: Duration = Duration::from_secs(30);
const WITHIN: Duration = Duration::from_mins(1);
const BURST: usize = 4;
const LONG: Duration = Duration::from_hours(1);
/// Nothing is put off to less than this before the end of its life.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// One step. Numbers pick one of what is there, whatever that is by then.
#[derive(Debug, Clone)]
enum Step {
    /// To these people, who may stand there twice.
    Put {
        shape: u8,
        people: Vec<u8>,
    },
    /// All that is due; then each claimed row meets its end.
    Claim(Vec<End>),
    Operate {
        pick: usize,
        operation: Operation,
    },
    OperateBurst {
        pick: usize,
        operation: Operation,
    },
    Advance(u64),
    Reopen,
}

#[derive(Debug, Clone, Copy)]
enum End {
    HandedOver,
    Deferred,
    GivenBack,
    /// It goes on, over the next steps.
    None,
}

fn step() -> impl Strategy<Value = Step> {
    use Operation::{Hold, Release, Remove, Retry};
    let people = prop_oneof![5 => prop::collection::vec(0..9u8, 1), 1 => prop::collection::vec(0..9u8, 2..6)];
    let end = prop::sample::select(vec![End::HandedOver, End::Deferred, End::GivenBack, End::None]);
    prop_oneof![
        // Shape 0 comes often, shape 1 seldom; of shape 2 newer ones take the place of older ones.
        12 => (prop::sample::select(vec![0, 0, 0, 1, 2, 2]), people).prop_map(|(shape, people)| Step::Put { shape, people }),
        3 => prop::collection::vec(end, 8).prop_map(Step::Claim),
        2 => (any::<usize>(), prop::sample::select(vec![Retry, Hold, Release, Remove]))
            .prop_map(|(pick, operation)| Step::Operate { pick, operation }),
        2 => (any::<usize>(), prop::sample::select(vec![Release, Release, Remove]))
            .prop_map(|(pick, operation)| Step::OperateBurst { pick, operation }),
        8 => prop_oneof![6 => 1..12u64, 3 => 12..80u64, 1 => Just(LONG.as_secs())].prop_map(Step::Advance),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Debug)]
struct Row {
    id: MessageId,
    shape: u8,
    person: u8,
    accepted: Timestamp,
    next: Timestamp,
    state: State,
    attempts: u32,
    lease: Option<Timestamp>,
    /// It is seen among others of its shape.
    seen: bool,
    counted: bool,
    burst: Option<usize>,
    superseded_by: Option<usize>,
    waits: bool,
}

#[derive(Debug)]
struct Burst {
    id: BurstId,
    shape: u8,
    began: Timestamp,
    last: Timestamp,
    over: Timestamp,
}

struct World {
    folder: Folder,
    store: Arc<dyn Store>,
    rows: Vec<Row>,
    bursts: Vec<Burst>,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let folder = Folder::new();
        let store = folder.open(START);
        Self { folder, store, rows: Vec::new(), bursts: Vec::new(), now: START }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Put { shape, people } => self.put(shape, &people).await,
            Step::Claim(ends) => self.claim(&ends).await,
            Step::Operate { pick, operation } => self.operate(pick, operation).await,
            Step::OperateBurst { pick, operation } => self.operate_burst(pick, operation).await,
            Step::Advance(seconds) => self.advance(Duration::from_secs(seconds)).await,
            Step::Reopen => {
                self.store.close().await.unwrap();
                self.store = self.folder.open(self.now);
                for index in 0..self.rows.len() {
                    self.requeue(index, self.now);
                }
            }
        }
    }

    async fn put(&mut self, shape: u8, people: &[u8]) {
        let now = self.now;
        let people: Vec<u8> = people.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let to: Vec<String> = people.iter().map(|person| format!("user{person}@example.com")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let mut draft = draft_to("shop", &to, now).class(Class::Normal).each(|new| {
            new.entry.category = CategoryName::new("invitation");
            new.entry.expires = now.plus(LONG);
            new.entry.next_attempt = now.plus(SETTLE);
            if shape == 2 {
                new.supersede_key = Some(new.recipient_key);
            }
        });
        let limit = BurstLimit { recipients: u32::try_from(BURST).unwrap(), within: WITHIN };
        let id = BurstId::generate();
        let name = digest(&shape.to_string());
        draft.put.settling = Some(Settling { shape: name, settle: SETTLE, burst: limit, id: id.clone() });
        let ids: Vec<MessageId> = draft.put.entries.iter().map(|new| new.entry.id).collect();
        let (_, applied) = draft.store(&*self.store).await;
        let begun = self.bursts.len();
        let held = self.model_put(shape, &people, &ids, id);
        let expected = held.map_or(Effect::Done, |burst| Effect::Held(self.bursts[burst].id.clone()));
        assert_eq!(applied.result, expected);
        let told = kinds(&applied).iter().filter(|kind| **kind == Kind::BurstHeld).count();
        assert_eq!(told, self.bursts.len() - begun, "a burst is told once");
    }

    /// The burst that the rows are held in.
    fn model_put(&mut self, shape: u8, people: &[u8], ids: &[MessageId], id: BurstId) -> Option<usize> {
        let (now, since) = (self.now, self.now.minus(WITHIN));
        let under_way = self.bursts.iter().position(|burst| burst.shape == shape && burst.over > now);
        if let Some(burst) = under_way {
            (self.bursts[burst].last, self.bursts[burst].over) = (now, now.plus(WITHIN));
        }
        let mut news = false;
        for (person, id) in people.iter().zip(ids) {
            let known = self
                .rows
                .iter()
                .any(|row| row.seen && row.shape == shape && row.person == *person && row.accepted > since);
            let row = Row {
                id: *id,
                shape,
                person: *person,
                accepted: now,
                next: now.plus(SETTLE),
                state: if under_way.is_some() { State::Held } else { State::Queued },
                attempts: 0,
                lease: None,
                seen: true,
                counted: under_way.is_none() && !known,
                burst: under_way,
                superseded_by: None,
                waits: under_way.is_none() && shape == 2 && self.supersede(*person),
            };
            news |= row.counted;
            self.rows.push(row);
        }
        if under_way.is_some() || !news {
            return under_way;
        }
        let counted = |row: &&Row| row.counted && row.shape == shape && row.accepted > since;
        let began = self.rows.iter().filter(counted).map(|row| row.accepted).min();
        let burst = (self.rows.iter().filter(counted).count() >= BURST).then_some(self.bursts.len());
        let fresh = |row: &&mut Row| {
            row.seen
                && row.shape == shape
                && row.state == State::Queued
                && row.accepted > since
                && row.attempts == 0
        };
        for row in self.rows.iter_mut().filter(fresh) {
            if burst.is_some() {
                (row.state, row.burst, row.counted) = (State::Held, burst, false);
            } else if row.next > now {
                let last = row.accepted.plus(LONG).minus(LAST_CHANCE);
                row.next = row.next.max(now.plus(SETTLE).min(row.accepted.plus(WITHIN)).min(last));
            }
        }
        if burst.is_some() {
            let over = now.plus(WITHIN);
            self.bursts.push(Burst { id, shape, began: began.unwrap(), last: now, over });
        }
        burst
    }

    /// A newer message of shape 2 is about to be stored: whether it waits for an older one.
    fn supersede(&mut self, person: u8) -> bool {
        let newest = self.rows.len();
        let mut waits = false;
        for row in self.rows.iter_mut().filter(|row| row.shape == 2 && row.person == person) {
            match row.state {
                State::Queued | State::Held => row.state = State::Superseded,
                State::Attempting => (row.superseded_by, waits) = (Some(newest), true),
                _ => {}
            }
        }
        waits
    }

    async fn claim(&mut self, ends: &[End]) {
        let now = self.now;
        let due = |row: &&Row| row.state == State::Queued && row.next <= now && !row.waits;
        let due: BTreeSet<MessageId> = self.rows.iter().filter(due).map(|row| row.id).collect();
        let claimed = claim(&*self.store, Class::Normal, 1000, now).await;
        assert_eq!(claimed.iter().map(|one| one.entry().id).collect::<BTreeSet<_>>(), due);
        for (number, one) in claimed.iter().enumerate() {
            let index = self.rows.iter().position(|row| row.id == one.entry().id).unwrap();
            let row = &mut self.rows[index];
            (row.state, row.lease) = (State::Attempting, Some(one.lease()));
            self.end(index, ends[number % ends.len()]).await;
        }
    }

    async fn end(&mut self, index: usize, end: End) {
        let (now, later) = (self.now, self.now.plus(Duration::from_secs(20)));
        let Some(lease) = self.rows[index].lease else { return };
        let id = self.rows[index].id;
        let change = match end {
            End::None => return,
            End::HandedOver => settle_id(id, lease, settlement(State::HandedOver, later), now),
            End::Deferred => settle_id(id, lease, settlement(State::Queued, later), now),
            End::GivenBack => Change::GiveBack { id, lease, next_attempt: later, reason: None },
        };
        assert_eq!(commit(&*self.store, change).await.result, Effect::Done);
        self.rows[index].attempts = u32::from(!matches!(end, End::GivenBack));
        self.requeue(index, later);
        if matches!(end, End::HandedOver) {
            self.rows[index].state = State::HandedOver;
        }
    }

    /// An attempt has ended; what was superseded meanwhile is not made again.
    fn requeue(&mut self, index: usize, next: Timestamp) {
        let row = &mut self.rows[index];
        if row.state != State::Attempting {
            return;
        }
        (row.state, row.next, row.lease) = (State::Queued, next, None);
        if let Some(newer) = row.superseded_by.take() {
            row.state = State::Superseded;
            self.rows[newer].waits = false;
        }
    }

    async fn operate(&mut self, pick: usize, operation: Operation) {
        let Some(index) = pick.checked_rem(self.rows.len()) else { return };
        let change = Change::Operate { id: self.rows[index].id, operation, at: self.now };
        let expected = self.model_operate(index, operation);
        assert_eq!(commit(&*self.store, change).await.result, expected);
    }

    fn model_operate(&mut self, index: usize, operation: Operation) -> Effect {
        let row = &mut self.rows[index];
        let next = match (operation, row.state) {
            (Operation::Retry, State::Queued) | (Operation::Release, State::Held) => State::Queued,
            (Operation::Hold, State::Queued) => State::Held,
            // One that was held until the end of its life has nothing left to release.
            (Operation::Remove, State::Queued | State::Held | State::Suppressed) => State::Removed,
            (_, state) => return Effect::NotAllowed(state),
        };
        row.state = next;
        if next == State::Queued {
            (row.next, row.seen, row.counted) = (self.now, false, false);
        }
        Effect::Done
    }

    async fn operate_burst(&mut self, pick: usize, operation: Operation) {
        let Some(burst) = pick.checked_rem(self.bursts.len()) else { return };
        let id = self.bursts[burst].id.clone();
        let change = Change::OperateBurst { burst: id, operation, at: self.now, limit: 1000 };
        let of_burst = |row: &Row| row.burst == Some(burst) && row.state == State::Held;
        let held: Vec<usize> = (0..self.rows.len()).filter(|index| of_burst(&self.rows[*index])).collect();
        for index in &held {
            assert_eq!(self.model_operate(*index, operation), Effect::Done);
        }
        assert_eq!(commit(&*self.store, change).await.result, Effect::Rows(held.len()));
    }

    /// Time goes on. What is being attempted gets its answer before, so that no lease lapses.
    async fn advance(&mut self, by: Duration) {
        for index in 0..self.rows.len() {
            if self.rows[index].state == State::Attempting {
                self.end(index, End::Deferred).await;
            }
        }
        self.now = self.now.plus(by);
        let mut ended = 0;
        for row in self.rows.iter_mut().filter(|row| row.accepted.plus(LONG) <= self.now) {
            let next = match row.state {
                State::Queued => State::Expired,
                State::Held => State::Suppressed,
                _ => continue,
            };
            row.state = next;
            ended += 1;
        }
        let expire = Change::Expire { now: self.now, limit: 1000 };
        assert_eq!(commit(&*self.store, expire).await.result, Effect::Rows(ended));
    }

    async fn compare(&self) {
        let found = self.store.find(Query { limit: 1000, ..Query::default() }).await.unwrap();
        for (row, stored) in self.rows.iter().zip(found.iter().rev()) {
            assert_eq!((row.id, row.state), (stored.id, stored.state), "{row:?} {stored:?}");
            assert!(row.state != State::Queued || row.next == stored.next_attempt, "{row:?} {stored:?}");
            self.check(row);
        }
        assert_eq!(self.rows.len(), found.len());
        let of = |number: usize| self.rows.iter().filter(move |row| row.burst == Some(number));
        let held = |number: usize| of(number).filter(|row| row.state == State::Held).count() as u64;
        let open = self.bursts.iter().enumerate().rev();
        let open = open.filter(|(number, burst)| burst.over > self.now || held(*number) > 0);
        let expected: Vec<_> = open
            .map(|(number, burst)| {
                let times = (burst.began, burst.last, burst.over > self.now);
                (burst.id.clone(), of(number).count() as u64, held(number), times)
            })
            .collect();
        let stored = self.store.open_bursts(self.now).await.unwrap();
        let stored = stored
            .into_iter()
            .map(|burst| (burst.id, burst.messages, burst.held, (burst.began, burst.last, burst.goes_on)));
        assert_eq!(stored.collect::<Vec<_>>(), expected);
    }

    /// What holds whatever the model says.
    fn check(&self, row: &Row) {
        let untouched = row.seen && row.attempts == 0 && row.state == State::Queued;
        if untouched && row.lease.is_none() && row.next > self.now {
            let latest = row.accepted.plus(WITHIN.max(SETTLE)).max(self.now.plus(Duration::from_secs(20)));
            assert!(row.next <= latest, "put off too long: {row:?}");
        }
        let since = self.now.minus(WITHIN);
        let fresh: BTreeSet<u8> = self
            .rows
            .iter()
            .filter(|other| {
                other.shape == row.shape
                    && other.accepted > since
                    && other.state == State::Queued
                    && other.attempts == 0
                    && other.seen
                    && other.counted
            })
            .map(|other| other.person)
            .collect();
        assert!(fresh.len() < BURST, "a whole burst waits to be sent: {fresh:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bursts_are_held_as_the_model_says(steps in prop::collection::vec(step(), 1..70)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                world.take(step).await;
                world.compare().await;
            }
        });
    }
}
