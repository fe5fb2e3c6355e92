//! Putting, claiming and settling, against the trait.

use std::time::Duration;

use authrelay::clock::Timestamp;
use authrelay::event::Kind;
use authrelay::ident::{Class, MessageId};
use authrelay::queue::History;
use authrelay::queue::{Change, ClaimRequest, Counter, Depth, Effect, Payload, Query, State, StoreError};

use crate::support::*;

suite!(
    a_put_is_stored_whole,
    a_put_with_a_lease_is_not_handed_out_again,
    a_settled_message_ends_and_its_payload_goes_with_its_last_row,
    a_lost_lease_changes_nothing,
    a_deferred_message_comes_back,
    a_newer_message_supersedes_waiting_ones,
    a_newer_message_waits_for_the_attempt_of_an_older_one,
    an_attempt_that_succeeds_still_frees_the_newer_message,
    what_is_not_sent_supersedes_nothing,
    equal_submissions_are_found_only_while_they_stand,
    counters_refuse_the_whole_put,
    turns_go_round_by_client,
    a_claim_keeps_to_its_lane_and_its_bytes,
    changes_are_made_together_or_not_at_all,
    rows_are_found,
);

async fn a_put_is_stored_whole(backend: &dyn Backend) {
    let store = backend.open(START);
    let (id, applied) =
        draft_to("shop", &["anna@example.com", "bert@example.com"], START).store(&*store).await;
    assert_eq!((&applied.result, kinds(&applied)), (&Effect::Done, vec![Kind::Received; 2]));
    let found = store.find(Query { id: Some(id), limit: 10, ..Query::default() }).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|row| row.submission == id && row.state == State::Queued));
    assert_eq!(found[1].recipient.as_str(), "anna@example.com");
    assert_eq!(found[1].application_id.as_deref(), Some("<1@app.example>"));
    assert_eq!(found[1].report_to.as_ref().unwrap().as_str(), "legacy@app.example");
    // The stored events say what the ones given back said.
    assert_eq!(store.history(History::Id(id)).await.unwrap(), applied.events);
    assert_eq!(store.history(History::Latest(1)).await.unwrap(), applied.events[1..]);
    assert_eq!(store.history(History::Latest(9)).await.unwrap(), applied.events);
    let second = found[0].id;
    assert_eq!(store.history(History::Id(second)).await.unwrap(), applied.events[1..]);
    assert_eq!(store.message(second).await.unwrap().unwrap(), "hello\r\n");
    let depth = Depth { urgent: 2, oldest: Some(START), oldest_urgent: Some(START), ..Depth::default() };
    assert_eq!(store.depth().await.unwrap(), depth);
    assert_eq!(store.next_due(Class::Urgent).await.unwrap(), Some(START));
    assert_eq!(store.next_due(Class::Normal).await.unwrap(), None);
    assert_eq!(store.next_expiry().await.unwrap(), Some(START.plus(LIFE)));

    let claimed = claim(&*store, Class::Urgent, 10, START).await;
    assert_eq!(claimed.len(), 2);
    for claimed in claimed {
        assert_eq!(claimed.entry().state, State::Attempting);
        let (Payload::Mail { plan, message }, Payload::Mail { plan: sent, .. }) =
            (claimed.payload(), mail(""))
        else {
            panic!("a mail");
        };
        assert_eq!((plan, &message[..]), (&sent, &b"hello\r\n"[..]));
    }
}

async fn a_put_with_a_lease_is_not_handed_out_again(backend: &dyn Backend) {
    let store = backend.open(START);
    let lease = START.plus(LEASE);
    let id = draft("shop", "+12025550100", START).payload(sms("123456")).leased(lease).stored(&*store).await;
    assert_eq!(state(&*store, id).await, State::Attempting);
    assert!(claim(&*store, Class::Urgent, 10, START).await.is_empty());
    assert_eq!(store.next_due(Class::Urgent).await.unwrap(), Some(lease));
    // Its life ends before its lease, but nothing can be ended under a worker's hands.
    assert_eq!(store.next_expiry().await.unwrap(), Some(lease));
    let done = settle_id(id, lease, settlement(State::HandedOver, START), after(1));
    assert_eq!(kinds(&commit(&*store, done).await), [Kind::HandedOver]);
    assert_eq!(told(&*store, id).await, [Kind::Received, Kind::HandedOver]);
    assert_eq!(store.next_expiry().await.unwrap(), None);
}

async fn a_settled_message_ends_and_its_payload_goes_with_its_last_row(backend: &dyn Backend) {
    let store = backend.open(START);
    let id = draft_to("shop", &["anna@example.com", "bert@example.com"], START).stored(&*store).await;
    let claimed = claim(&*store, Class::Urgent, 10, START).await;
    for (claimed, end) in claimed.iter().zip([State::HandedOver, State::Failed]) {
        assert!(store.message(id).await.unwrap().is_some());
        let applied = commit(&*store, settle(claimed, settlement(end, START), after(2))).await;
        assert_eq!(applied.result, Effect::Done);
        let event = &applied.events[0];
        assert_eq!(event.upstream.as_ref().unwrap().as_str(), "provider");
        let row = entry(&*store, claimed.entry().id).await;
        assert_eq!((row.state, row.attempts), (end, 1));
        assert_eq!((row.reference, row.reason), (event.reference.clone(), event.reason.clone()));
        assert_eq!(store.history(History::Id(row.id)).await.unwrap().last(), Some(event));
    }
    assert_eq!(store.message(id).await.unwrap(), None);
    assert_eq!(store.depth().await.unwrap(), Depth::default());
}

async fn a_lost_lease_changes_nothing(backend: &dyn Backend) {
    let store = backend.open(START);
    let id = draft("shop", "anna@example.com", START).stored(&*store).await;
    let claimed = claim_one(&*store, START).await;
    let done = settlement(State::HandedOver, START);
    let wrong = START.plus(Duration::from_secs(1));
    let mut ask = Vec::new();
    for (id, lease) in [(id, wrong), (MessageId::generate(), claimed.lease())] {
        ask.push(settle_id(id, lease, done.clone(), START));
        ask.push(mark(id, lease));
        ask.push(Change::GiveBack { id, lease, next_attempt: START, reason: None });
    }
    let effects: Vec<Effect> = store.commit(ask).await.unwrap().into_iter().map(|one| one.result).collect();
    let [lost, missing] = [|| Effect::LostLease, || Effect::NotFound];
    assert_eq!(effects, [lost(), lost(), lost(), missing(), missing(), missing()]);
    // A settlement that the table of transitions does not know.
    let wrong = settle(&claimed, settlement(State::Held, START), START);
    assert_eq!(commit(&*store, wrong).await.result, Effect::NotAllowed(State::Attempting));
    assert_eq!(state(&*store, id).await, State::Attempting);
    commit(&*store, settle(&claimed, done.clone(), START)).await;
    assert_eq!(commit(&*store, settle(&claimed, done, START)).await.result, Effect::LostLease);
    assert_eq!(told(&*store, id).await, [Kind::Received, Kind::HandedOver]);
}

async fn a_deferred_message_comes_back(backend: &dyn Backend) {
    let store = backend.open(START);
    let id = draft("shop", "anna@example.com", START).stored(&*store).await;
    let claimed = claim_one(&*store, START).await;
    let applied = commit(&*store, settle(&claimed, settlement(State::Queued, after(5)), after(1))).await;
    assert_eq!(kinds(&applied), [Kind::Deferred]);
    assert!(claim(&*store, Class::Urgent, 10, after(4)).await.is_empty());
    assert_eq!(store.next_due(Class::Urgent).await.unwrap(), Some(after(5)));
    let again = claim_one(&*store, after(5)).await;
    let row = again.entry();
    assert_eq!((row.id, row.attempts, row.reason.as_ref().unwrap().code), (id, 1, Some(451)));
    assert_eq!(row.upstream.as_ref().unwrap().as_str(), "provider");
    let back = Change::GiveBack { id, lease: again.lease(), next_attempt: after(9), reason: None };
    assert_eq!(commit(&*store, back).await.result, Effect::Done);
    assert_eq!(entry(&*store, id).await.attempts, 1);
    assert_eq!(store.next_due(Class::Urgent).await.unwrap(), Some(after(9)));
}

async fn a_newer_message_supersedes_waiting_ones(backend: &dyn Backend) {
    let store = backend.open(START);
    let first = draft("shop", "anna@example.com", START).supersedes("k").stored(&*store).await;
    let held =
        draft("shop", "anna@example.com", START).supersedes("k").state(State::Held).stored(&*store).await;
    let other = draft("shop", "anna@example.com", START).supersedes("other").stored(&*store).await;
    let (newest, applied) = draft("shop", "anna@example.com", after(1)).supersedes("k").store(&*store).await;
    assert_eq!(kinds(&applied), [Kind::Superseded, Kind::Superseded, Kind::Received]);
    for old in [first, held] {
        assert_eq!(state(&*store, old).await, State::Superseded);
        assert_eq!(store.message(old).await.unwrap(), None);
    }
    let mut due: Vec<_> =
        claim(&*store, Class::Urgent, 10, after(1)).await.iter().map(|row| row.entry().id).collect();
    due.sort();
    assert_eq!(due, [other, newest]);
}

async fn a_newer_message_waits_for_the_attempt_of_an_older_one(backend: &dyn Backend) {
    let store = backend.open(START);
    let first = draft("shop", "anna@example.com", START).supersedes("k").stored(&*store).await;
    let attempt = claim_one(&*store, START).await;
    let second = draft("shop", "anna@example.com", after(1)).supersedes("k");
    let (second, applied) = second.leased(after(900)).store(&*store).await;
    assert_eq!(applied.result, Effect::Waiting(vec![second]));
    // A third one takes the place of the second, and waits as well.
    let (third, applied) = draft("shop", "anna@example.com", after(2)).supersedes("k").store(&*store).await;
    assert_eq!(kinds(&applied), [Kind::Superseded, Kind::Received]);
    assert_eq!(state(&*store, second).await, State::Superseded);
    assert!(claim(&*store, Class::Urgent, 10, after(3)).await.is_empty());
    assert_eq!(store.next_due(Class::Urgent).await.unwrap(), Some(attempt.lease()));
    assert_eq!(store.depth().await.unwrap().urgent, 2);

    let applied = commit(&*store, settle(&attempt, settlement(State::Queued, after(9)), after(4))).await;
    assert_eq!((kinds(&applied), applied.wakes), (vec![Kind::Superseded], true));
    assert_eq!(state(&*store, first).await, State::Superseded);
    assert_eq!(claim_one(&*store, after(4)).await.entry().id, third);
}

async fn an_attempt_that_succeeds_still_frees_the_newer_message(backend: &dyn Backend) {
    let store = backend.open(START);
    let first =
        draft("shop", "anna@example.com", START).supersedes("k").leased(after(900)).stored(&*store).await;
    let (second, _) = draft("shop", "anna@example.com", after(1)).supersedes("k").store(&*store).await;
    let done = settle_id(first, after(900), settlement(State::HandedOver, START), after(2));
    let applied = commit(&*store, done).await;
    assert_eq!((kinds(&applied), applied.wakes), (vec![Kind::HandedOver], true));
    let attempt = claim_one(&*store, after(2)).await;
    assert_eq!(attempt.entry().id, second);
    // Given back without an attempt, a superseded one ends as well.
    let (third, _) = draft("shop", "anna@example.com", after(3)).supersedes("k").store(&*store).await;
    let back = Change::GiveBack { id: second, lease: attempt.lease(), next_attempt: after(4), reason: None };
    assert_eq!(kinds(&commit(&*store, back).await), [Kind::Superseded]);
    assert_eq!(claim_one(&*store, after(4)).await.entry().id, third);
}

async fn what_is_not_sent_supersedes_nothing(backend: &dyn Backend) {
    let store = backend.open(START);
    let first = draft("shop", "anna@example.com", START).supersedes("k").stored(&*store).await;
    for state in [State::Suppressed, State::Held] {
        draft("shop", "anna@example.com", START).supersedes("k").state(state).stored(&*store).await;
    }
    assert_eq!(state(&*store, first).await, State::Queued);
}

async fn equal_submissions_are_found_only_while_they_stand(backend: &dyn Backend) {
    let store = backend.open(START);
    let send = async |at: Timestamp, since: Timestamp| {
        let to = ["anna@example.com", "bert@example.com"];
        draft_to("shop", &to, at).dedupe("same", since).store(&*store).await
    };
    let (first, _) = send(START, START).await;
    assert_eq!(send(after(1), START).await.1.result, Effect::Duplicate(first));
    // Too long ago.
    let (second, applied) = send(after(40), after(10)).await;
    assert_eq!(applied.result, Effect::Done);
    assert_eq!(send(after(41), after(11)).await.1.result, Effect::Duplicate(second));
    // Handed over to one, refused for the other: it has to be possible to send it again.
    for (claimed, end) in claim(&*store, Class::Urgent, 10, after(41))
        .await
        .iter()
        .zip([State::HandedOver, State::Failed].iter().cycle())
    {
        commit(&*store, settle(claimed, settlement(*end, START), after(42))).await;
    }
    let (third, applied) = send(after(43), after(13)).await;
    assert_eq!(applied.result, Effect::Done);
    for claimed in claim(&*store, Class::Urgent, 10, after(43)).await {
        commit(&*store, settle(&claimed, settlement(State::HandedOver, START), after(44))).await;
    }
    assert_eq!(send(after(45), after(15)).await.1.result, Effect::Duplicate(third));
}

async fn counters_refuse_the_whole_put(backend: &dyn Backend) {
    let store = backend.open(START);
    let counter = |key: &str, amount, limit| Counter {
        key: digest(key),
        window_start: START,
        window_end: after(60),
        amount,
        limit,
    };
    let send = async |counters: Vec<Counter>| {
        let mut draft = draft("shop", "+12025550100", START).payload(sms("123456"));
        draft.put.counters = counters;
        draft.store(&*store).await
    };
    assert_eq!(send(vec![counter("a", 1, 2), counter("b", 5, 10)]).await.1.result, Effect::Done);
    // What one counter refuses, no other counts.
    let (refused, applied) = send(vec![counter("a", 1, 2), counter("b", 6, 10)]).await;
    assert_eq!((applied.result, applied.events), (Effect::OverLimit(1), vec![]));
    assert_eq!(store.find(Query { id: Some(refused), limit: 1, ..Query::default() }).await.unwrap(), []);
    assert_eq!(send(vec![counter("a", 1, 2), counter("b", 5, 10)]).await.1.result, Effect::Done);
    assert_eq!(send(vec![counter("a", 1, 2)]).await.1.result, Effect::OverLimit(0));
    // The same counter twice in one put adds up.
    assert_eq!(send(vec![counter("c", 1, 1), counter("c", 1, 1)]).await.1.result, Effect::OverLimit(1));
    // The next window begins at zero.
    let next = Counter { window_start: after(60), window_end: after(120), ..counter("a", 2, 2) };
    assert_eq!(send(vec![next]).await.1.result, Effect::Done);
}

async fn turns_go_round_by_client(backend: &dyn Backend) {
    let store = backend.open(START);
    for (client, count) in [("loud", 20), ("quiet", 2), ("third", 3)] {
        for index in 0..count {
            draft(client, "anna@example.com", after(index)).stored(&*store).await;
        }
    }
    let next = async |messages: usize| -> Vec<String> {
        let claimed = claim(&*store, Class::Urgent, messages, after(100)).await;
        claimed.iter().map(|row| row.entry().client.as_str().to_owned()).collect()
    };
    assert_eq!(next(4).await, ["loud", "quiet", "third", "loud"]);
    // The next claim begins behind the client that was served last.
    assert_eq!(next(1).await, ["quiet"]);
    assert_eq!(next(2).await, ["third", "loud"]);
    // What one client does not use, the others get.
    let rest = next(100).await;
    assert_eq!(rest.len(), 18);
    assert_eq!(rest[0], "third");
}

async fn a_claim_keeps_to_its_lane_and_its_bytes(backend: &dyn Backend) {
    let store = backend.open(START);
    let big = "x".repeat(5000);
    for class in [Class::Normal, Class::Urgent] {
        for _ in 0..3 {
            draft("shop", "anna@example.com", START).class(class).payload(mail(&big)).stored(&*store).await;
        }
    }
    let ask = async |bytes: usize| {
        let request = ClaimRequest { class: Class::Normal, messages: 10, bytes, now: START, lease: LEASE };
        store.claim(request).await.unwrap()
    };
    // The first is given whatever its size.
    let first = ask(10).await;
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].entry().class, Class::Normal);
    assert_eq!(ask(13_000).await.len(), 2);
    assert!(ask(100_000).await.is_empty());
    assert_eq!(claim(&*store, Class::Urgent, 2, START).await.len(), 2);
}

async fn changes_are_made_together_or_not_at_all(backend: &dyn Backend) {
    let store = backend.open(START);
    let stored = draft("shop", "anna@example.com", START);
    let mut clash = draft("shop", "bert@example.com", START);
    clash.put.entries[0].entry.id = stored.put.entries[0].entry.id;
    let stored = stored.stored(&*store).await;
    let innocent = draft("shop", "carl@example.com", START);
    let innocent_id = innocent.put.entries[0].entry.id;
    let (bystander, together) = tokio::join!(
        draft("shop", "dora@example.com", START).store(&*store),
        store.commit(vec![innocent.change(), clash.change()]),
    );
    assert!(matches!(together, Err(StoreError::Failed(_))), "{together:?}");
    let left: Vec<MessageId> = {
        let found = store.find(Query { limit: 10, ..Query::default() }).await.unwrap();
        found.into_iter().map(|row| row.id).collect()
    };
    assert_eq!(left, [bystander.0, stored]);
    assert_eq!(store.history(History::Id(innocent_id)).await.unwrap(), []);
}

async fn rows_are_found(backend: &dyn Backend) {
    let store = backend.open(START);
    let anna = draft("shop", "anna@example.com", START).stored(&*store).await;
    let held = draft("shop", "bert@example.com", START).state(State::Held).stored(&*store).await;
    let last = draft("bank", "anna@example.com", START).stored(&*store).await;
    let find = async |query: Query| -> Vec<MessageId> {
        let found = store.find(Query { limit: query.limit.max(1), ..query }).await.unwrap();
        found.into_iter().map(|row| row.id).collect()
    };
    let all = Query { limit: 10, ..Query::default() };
    assert_eq!(find(all.clone()).await, [last, held, anna]);
    assert_eq!(find(Query { limit: 1, ..Query::default() }).await, [last]);
    let to_anna = Query { recipient_key: Some(digest("anna@example.com")), ..all.clone() };
    assert_eq!(find(to_anna.clone()).await, [last, anna]);
    assert_eq!(find(Query { client: Some("shop".into()), ..to_anna }).await, [anna]);
    assert_eq!(find(Query { state: Some(State::Held), ..all.clone() }).await, [held]);
    assert_eq!(find(Query { state: Some(State::Queued), ..all.clone() }).await, [last, anna]);
    assert_eq!(find(Query { id: Some(held), ..all.clone() }).await, [held]);
    assert_eq!(find(Query { state: Some(State::Failed), ..all }).await, []);
}
