//! What time, operators and stops do to messages, against the trait.

use std::time::Duration;

use authrelay::clock::Timestamp;
use authrelay::event::{Event, Kind};
use authrelay::ident::{Class, MessageId};
use authrelay::queue::History;
use authrelay::queue::{Change, Depth, Effect, Operation, Payload, Query, State, StoreError};
use authrelay::secret::Digest;

use crate::support::*;

suite!(
    a_stop_in_the_middle_loses_nothing,
    a_lease_that_passes_is_due_again,
    lives_end,
    operators_can_do_what_the_state_allows,
    the_record_is_pruned,
    events_without_a_row_are_kept,
    a_closed_store_says_so,
);

async fn a_stop_in_the_middle_loses_nothing(backend: &dyn Backend) {
    let store = backend.open(START);
    let plain = draft("shop", "anna@example.com", START).leased(after(900)).stored(&*store).await;
    let text =
        draft("shop", "+12025550100", START).payload(sms("123456")).leased(after(900)).stored(&*store).await;
    let marked =
        draft("shop", "+12025550101", START).payload(sms("1234")).leased(after(900)).stored(&*store).await;
    assert_eq!(commit(&*store, mark(marked, after(900))).await.result, Effect::Done);
    let old =
        draft("shop", "bert@example.com", START).supersedes("k").leased(after(900)).stored(&*store).await;
    let (new, _) = draft("shop", "bert@example.com", after(1)).supersedes("k").store(&*store).await;
    drop(store);

    let store = backend.open(after(5));
    // A text may have been posted: only its provider can tell.
    let doubtful = entry(&*store, marked).await;
    assert_eq!((doubtful.state, doubtful.in_doubt, doubtful.attempts), (State::AwaitingReport, 1, 1));
    assert_eq!((doubtful.reference, doubtful.upstream), (None, Some("provider".into())));
    assert_eq!(told(&*store, marked).await, [Kind::Received, Kind::Deferred]);
    assert_eq!(store.next_report().await.unwrap(), Some(after(10)));
    assert_eq!(state(&*store, old).await, State::Superseded);
    assert_eq!(store.next_due(Class::Urgent).await.unwrap(), Some(after(1)));
    let mut due = claim(&*store, Class::Urgent, 10, after(5)).await;
    due.sort_by_key(|row| row.entry().id);
    assert_eq!(due.iter().map(|row| row.entry().id).collect::<Vec<_>>(), [plain, text, new]);
    let Payload::Sms { code, host, .. } = due[1].payload() else { panic!("a text message") };
    assert_eq!((code.reveal(), host.as_str()), ("123456", "example.com"));
    // An old lease is worth nothing any more.
    let late = settle_id(plain, after(900), settlement(State::HandedOver, START), after(6));
    assert_eq!(commit(&*store, late).await.result, Effect::LostLease);
}

async fn a_lease_that_passes_is_due_again(backend: &dyn Backend) {
    let store = backend.open(START);
    let long = |draft: Draft| draft.each(|new| new.entry.expires = after(10_000));
    let id = long(draft("shop", "anna@example.com", START)).leased(after(900)).stored(&*store).await;
    let text = long(draft("shop", "+12025550100", START)).payload(sms("1234")).leased(after(900));
    let marked = text.stored(&*store).await;
    commit(&*store, mark(marked, after(900))).await;
    assert!(claim(&*store, Class::Urgent, 10, after(899)).await.is_empty());
    let again = claim_one(&*store, after(900)).await;
    assert_eq!((again.entry().id, again.lease()), (id, after(1800)));
    assert_eq!(state(&*store, marked).await, State::AwaitingReport);
    assert_eq!(told(&*store, marked).await, [Kind::Received, Kind::Deferred]);
    tokio::time::timeout(Duration::from_secs(1), store.reports_woken()).await.expect("told of it");
}

async fn lives_end(backend: &dyn Backend) {
    let store = backend.open(START);
    let send = |state: State| draft("shop", "anna@example.com", START).state(state);
    let queued = send(State::Queued).stored(&*store).await;
    let held = send(State::Held).stored(&*store).await;
    let suppressed = send(State::Suppressed).stored(&*store).await;
    let doubt =
        draft("other", "anna@example.com", START).each(|new| new.entry.in_doubt = 1).stored(&*store).await;
    let attempting = send(State::Queued).leased(after(700)).stored(&*store).await;
    let depth = store.depth().await.unwrap();
    assert_eq!((depth.urgent, depth.held, depth.suppressed), (3, 1, 1));
    assert_eq!(store.next_expiry().await.unwrap(), Some(after(600)));
    let sweep = async |now: Timestamp, limit| commit(&*store, Change::Expire { now, limit }).await;
    assert_eq!(sweep(after(599), 10).await.result, Effect::Rows(0));
    assert!(claim(&*store, Class::Urgent, 10, after(600)).await.is_empty());
    assert_eq!(sweep(after(600), 3).await.result, Effect::Rows(3));
    assert_eq!(sweep(after(600), 3).await.result, Effect::Rows(1));
    for (id, end, kinds) in [
        (queued, State::Expired, vec![Kind::Received, Kind::Expired]),
        (held, State::Suppressed, vec![Kind::Held, Kind::Suppressed]),
        (suppressed, State::Suppressed, vec![Kind::Suppressed]),
        (doubt, State::Unknown, vec![Kind::Received, Kind::Unknown]),
        (attempting, State::Attempting, vec![Kind::Received]),
    ] {
        assert_eq!((state(&*store, id).await, told(&*store, id).await), (end, kinds));
        assert_eq!(store.message(id).await.unwrap().is_some(), id == attempting);
    }
    assert_eq!(store.next_expiry().await.unwrap(), Some(after(700)));
    assert_eq!(kinds(&sweep(after(700), 3).await), [Kind::Expired]);
    assert_eq!(store.next_expiry().await.unwrap(), None);
    assert_eq!(store.depth().await.unwrap(), Depth::default());
}

async fn operators_can_do_what_the_state_allows(backend: &dyn Backend) {
    use Operation::{Hold, Release, Remove, Retry};
    let store = backend.open(START);
    let operate = async |id, operation, at| {
        let applied = commit(&*store, Change::Operate { id, operation, at }).await;
        (applied.result, applied.events.into_iter().map(|event| event.kind).next())
    };
    let id = draft("shop", "anna@example.com", START).each(|new| new.entry.next_attempt = after(60));
    let id = id.stored(&*store).await;
    assert_eq!(operate(id, Release, after(1)).await, (Effect::NotAllowed(State::Queued), None));
    assert_eq!(operate(id, Retry, after(2)).await, (Effect::Done, None));
    assert_eq!(store.next_due(Class::Urgent).await.unwrap(), Some(after(2)));
    assert_eq!(operate(id, Hold, after(3)).await, (Effect::Done, Some(Kind::Held)));
    assert!(claim(&*store, Class::Urgent, 10, after(3)).await.is_empty());
    for operation in [Retry, Hold] {
        assert_eq!(operate(id, operation, after(4)).await, (Effect::NotAllowed(State::Held), None));
    }
    assert_eq!(operate(id, Release, after(600)).await, (Effect::NotAllowed(State::Held), None));
    assert_eq!(operate(id, Release, after(5)).await, (Effect::Done, Some(Kind::Released)));
    let claimed = claim_one(&*store, after(5)).await;
    for operation in [Retry, Hold, Release, Remove] {
        let refused = (Effect::NotAllowed(State::Attempting), None);
        assert_eq!(operate(id, operation, after(6)).await, refused);
    }
    commit(&*store, settle(&claimed, settlement(State::Queued, after(9)), after(6))).await;
    assert_eq!(operate(id, Remove, after(7)).await, (Effect::Done, Some(Kind::Removed)));
    assert_eq!(operate(id, Remove, after(7)).await, (Effect::NotAllowed(State::Removed), None));
    assert_eq!(store.message(id).await.unwrap(), None);

    let id = draft("shop", "anna@example.com", START).state(State::Suppressed).stored(&*store).await;
    assert_eq!(operate(id, Release, after(8)).await, (Effect::Done, Some(Kind::Released)));
    assert_eq!(claim_one(&*store, after(8)).await.entry().id, id);
    assert_eq!(operate(MessageId::generate(), Remove, START).await, (Effect::NotFound, None));
}

async fn the_record_is_pruned(backend: &dyn Backend) {
    let store = backend.open(START);
    let waiting = draft("shop", "anna@example.com", START).each(|new| new.entry.expires = after(9000));
    let waiting = waiting.stored(&*store).await;
    let mut ended = Vec::new();
    for at in [10, 20, 30] {
        let id = draft("shop", "bert@example.com", after(at)).stored(&*store).await;
        commit(&*store, Change::Operate { id, operation: Operation::Remove, at: after(at) }).await;
        ended.push(id);
    }
    let prune =
        async |before, limit| commit(&*store, Change::Prune { before, archive: None, limit }).await.result;
    assert_eq!(prune(START, 10).await, Effect::Rows(0));
    // Rows take their events with them, and only they do: the event of the one that waits stays.
    assert_eq!(prune(after(30), 2).await, Effect::Rows(2));
    assert_eq!(prune(after(30), 2).await, Effect::Rows(0));
    let left = store.find(Query { limit: 10, ..Query::default() }).await.unwrap();
    assert_eq!(left.iter().map(|row| row.id).collect::<Vec<_>>(), [ended[2], waiting]);
    assert_eq!(told(&*store, ended[1]).await, []);
    assert_eq!(told(&*store, ended[2]).await, [Kind::Received, Kind::Removed]);
    assert!(store.message(waiting).await.unwrap().is_some());
    assert_eq!(told(&*store, waiting).await, [Kind::Received]);
}

async fn events_without_a_row_are_kept(backend: &dyn Backend) {
    let store = backend.open(START);
    let refused = draft("shop", "anna@example.com", START).put.entries[0].entry.clone();
    let event = Event::new(Kind::Refused, START, refused.about());
    let anna = Digest::sha256(b"the key of anna");
    let applied = commit(&*store, Change::Record(vec![(anna, event.clone())])).await;
    assert_eq!(applied.events, std::slice::from_ref(&event));
    assert_eq!(store.history(History::Id(refused.id)).await.unwrap(), std::slice::from_ref(&event));
    assert_eq!(store.history(History::Latest(9)).await.unwrap(), std::slice::from_ref(&event));
    assert_eq!(store.history(History::Recipient(anna)).await.unwrap(), [event]);
    let other = Digest::sha256(b"the key of somebody else");
    assert_eq!(store.history(History::Recipient(other)).await.unwrap(), []);
    commit(&*store, Change::Prune { before: after(1), archive: None, limit: 10 }).await;
    assert_eq!(store.history(History::Id(refused.id)).await.unwrap(), []);
}

async fn a_closed_store_says_so(backend: &dyn Backend) {
    let store = backend.open(START);
    let id = draft("shop", "anna@example.com", START).stored(&*store).await;
    store.close().await.unwrap();
    store.close().await.unwrap();
    let put = store.commit(vec![draft("shop", "anna@example.com", START).change()]).await;
    assert!(matches!(put, Err(StoreError::Closed)), "{put:?}");
    assert!(matches!(store.depth().await, Err(StoreError::Closed)));
    // The file is free for the next one at once, though the old value is still there.
    let again = backend.open(START);
    assert_eq!(state(&*again, id).await, State::Queued);
}
