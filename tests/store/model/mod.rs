//! Random sequences of changes against a model that fits on a page: what a store does must be what the model says.

mod rows;

use std::sync::Arc;
use std::time::Duration;

use authrelay::clock::Timestamp;
use authrelay::event::Kind;
use authrelay::ident::{Class, MessageId};
use authrelay::mail::Recipient;
use authrelay::outcome::Reason;
use authrelay::queue::{Applied, Change, Effect, News, Operation, Query, Report, State, Store};
use proptest::prelude::*;

use self::rows::{End, Model, Row};
use crate::support::*;

/// One step. Numbers pick one of what is there, whatever that is by then.
#[derive(Debug, Clone)]
enum Step {
    Put {
        text: bool,
        key: Option<u8>,
        state: State,
        leased: bool,
        life: u64,
    },
    Claim(usize),
    Settle {
        pick: usize,
        end: End,
        pause: u64,
    },
    GiveBack {
        pick: usize,
        pause: u64,
    },
    Mark(usize),
    /// `ago`: how many attempts before the last one it speaks of.
    Report {
        pick: usize,
        news: News,
        ago: u32,
        reference: &'static str,
        upstream: &'static str,
    },
    Postpone {
        pick: usize,
        pause: Option<u64>,
    },
    Operate {
        pick: usize,
        operation: Operation,
    },
    Expire(usize),
    Advance(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    use Operation::{Force, Hold, Release, Remove, Retry};
    let state = prop_oneof![6 => Just(State::Queued), 1 => Just(State::Held), 1 => Just(State::Suppressed)];
    let end = prop::sample::select(vec![
        End::In(State::Queued),
        End::In(State::Queued),
        End::In(State::HandedOver),
        End::In(State::AwaitingReport),
        End::In(State::AwaitingReport),
        End::InDoubt,
        End::In(State::Failed),
        End::In(State::Unknown),
        End::In(State::Held),
    ]);
    let reason = || Reason::reply(400, "unreachable");
    let news = prop::sample::select(vec![
        News::Underway,
        News::Retry(reason()),
        News::Retry(reason()),
        News::Failed(reason()),
        News::Delivered,
    ]);
    let reference = prop_oneof![5 => Just("SM1"), 1 => Just("SM2")];
    let upstream = prop_oneof![5 => Just("provider"), 1 => Just("other")];
    let ago = prop_oneof![5 => Just(0), 1 => Just(1)];
    let operation = prop::sample::select(vec![Retry, Hold, Release, Force, Remove]);
    prop_oneof![
        6 => (prop::bool::weighted(0.7), prop::option::of(0..3u8), state, any::<bool>(), 1..1500u64)
            .prop_map(|(text, key, state, leased, life)| Step::Put { text, key, state, leased, life }),
        12 => (any::<usize>(), news, ago, reference, upstream).prop_map(
            |(pick, news, ago, reference, upstream)| Step::Report { pick, news, ago, reference, upstream }),
        1 => (any::<usize>(), prop::option::of(0..60u64))
            .prop_map(|(pick, pause)| Step::Postpone { pick, pause }),
        4 => (1..4usize).prop_map(Step::Claim),
        7 => (any::<usize>(), end, 0..60u64).prop_map(|(pick, end, pause)| Step::Settle { pick, end, pause }),
        1 => (any::<usize>(), 0..60u64).prop_map(|(pick, pause)| Step::GiveBack { pick, pause }),
        3 => any::<usize>().prop_map(Step::Mark),
        3 => (any::<usize>(), operation).prop_map(|(pick, operation)| Step::Operate { pick, operation }),
        2 => (1..5usize).prop_map(Step::Expire),
        2 => (1..300u64).prop_map(Step::Advance),
        1 => Just(Step::Reopen),
    ]
}

/// Mostly one of the last, so that one row lives through many steps.
fn one_of(pick: usize, len: usize) -> Option<usize> {
    let among = if pick.is_multiple_of(4) { len } else { len.min(3) };
    (pick / 4).checked_rem(among).map(|back| len - 1 - back)
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
            Step::Put { text, key, state, leased, life } => self.put(text, key, state, leased, life).await,
            Step::Report { pick, news, ago, reference, upstream } => {
                self.report(pick, news, ago, reference, upstream).await;
            }
            Step::Postpone { pick, pause } => self.postpone(pick, pause).await,
            Step::Claim(most) => self.claim(most).await,
            Step::Settle { pick, end, pause } => {
                let next = now.plus(Duration::from_secs(pause));
                let Some(picked) = one_of(pick, self.model.leases.len()) else { return };
                let settlement = self.model.settlement(self.model.leases[picked].0, end, next);
                let change = |id, lease| settle_id(id, lease, settlement.clone(), now);
                self.leased(pick, change, |model, index| model.settle(index, &settlement, now)).await;
            }
            Step::GiveBack { pick, pause } => {
                let next_attempt = now.plus(Duration::from_secs(pause));
                let give_back = |model: &mut Model, index: usize| {
                    model.rows[index].next = next_attempt;
                    model.become_(index, State::Queued, None, now);
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
                let marked = |model: &mut Model, index: usize| {
                    model.rows[index].marked = true;
                    model.rows[index].upstream = Some("provider");
                    Effect::Done
                };
                self.leased(pick, mark, marked).await;
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

    async fn put(&mut self, text: bool, key: Option<u8>, state: State, leased: bool, life: u64) {
        let now = self.now;
        let expires = now.plus(Duration::from_secs(life));
        let lease = leased.then(|| now.plus(LEASE));
        let (to, payload) =
            if text { ("+12025550100", sms("123456")) } else { ("anna@example.com", mail("hello\r\n")) };
        let draft = draft("shop", to, now).payload(payload);
        let mut draft = draft.state(state).each(|new| new.entry.expires = expires);
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
            text,
            attempts: 0,
            resent: false,
            reference: None,
            upstream: None,
            polls: 0,
            next_poll: None,
        };
        assert_eq!(applied.result, self.model.put(row, lease, now));
    }

    async fn report(
        &mut self,
        pick: usize,
        news: News,
        ago: u32,
        reference: &'static str,
        from: &'static str,
    ) {
        // Of those that were attempted: for the others there is no attempt to speak of.
        let Some(pick) = one_of(pick, self.model.leases.len()) else { return };
        let index = self.model.leases[pick].0;
        let row = &self.model.rows[index];
        let attempt = row.attempts + u32::from(row.state == State::Attempting);
        let report = Report {
            id: row.id,
            upstream: from.into(),
            attempt: attempt.saturating_sub(ago),
            reference: reference.to_owned(),
            news,
            at: self.now,
        };
        let expected = self.model.report(index, &report, reference, from);
        let applied = commit(&*self.store, Change::Report(Box::new(report))).await;
        assert_eq!(applied.result, expected);
    }

    async fn postpone(&mut self, pick: usize, pause: Option<u64>) {
        let Some(index) = pick.checked_rem(self.model.rows.len()) else { return };
        let until = pause.map(|pause| self.now.plus(Duration::from_secs(pause)));
        let expected = self.model.postpone(index, until);
        let change = Change::Postpone { id: self.model.rows[index].id, until };
        assert_eq!(commit(&*self.store, change).await.result, expected);
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
        let Some(pick) = one_of(pick, self.model.leases.len()) else { return };
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
            self.model.end(index, self.now);
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
            // Whatever way a text ended, its number is gone.
            let forgotten = stored.recipient == Recipient::Forgotten;
            assert_eq!(forgotten, row.text && !row.alive, "{row:?} {stored:?}");
        }
        let ready = rows.iter().filter(|row| row.state == State::Queued && row.waits_for.is_none());
        let due = ready.map(|row| row.next).chain(rows.iter().filter_map(|row| row.lease)).min();
        assert_eq!(self.store.next_due(Class::Urgent).await.unwrap(), due);
        assert_eq!(self.store.next_expiry().await.unwrap(), rows.iter().filter_map(Row::ends).min());
        let polls = rows.iter().filter_map(|row| row.next_poll);
        assert_eq!(self.store.next_report().await.unwrap(), polls.clone().min());
        let due = self.store.due_reports(self.now, 1000).await.unwrap();
        assert_eq!(due.len(), polls.filter(|at| *at <= self.now).count());
        for awaited in due {
            let row = rows.iter().find(|row| row.id == awaited.entry.id).unwrap();
            assert_eq!((awaited.polls, awaited.entry.attempts), (row.polls, row.attempts));
            assert_eq!(awaited.entry.reference.as_deref(), row.reference);
        }
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
            assert_eq!(
                self.store.message(row.id).await.unwrap().is_some(),
                row.alive && !row.text,
                "{row:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_does_what_the_model_says(steps in prop::collection::vec(step(), 1..80)) {
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
