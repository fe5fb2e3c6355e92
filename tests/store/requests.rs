//! Requests that are repeated, counters, and what clients say of their codes, against the trait.

use std::sync::Arc;
use std::time::Duration;

use authrelay::clock::Timestamp;
use authrelay::ident::MessageId;
use authrelay::queue::{Change, Counter, Effect, Idempotency, News, Operation, Query};

use crate::support::*;
use crate::texts::{expire, hear, report, taken, text};

suite!(
    a_request_is_stored_once,
    a_repeated_request_finds_its_row_though_the_record_is_pruned,
    one_of_many_equal_requests_is_stored,
    counters_are_exact_however_many_count,
    feedback_is_taken_once,
);

fn request(key: &str, fingerprint: &str, until: Timestamp) -> Idempotency {
    Idempotency { key: digest(key), fingerprint: digest(fingerprint), until }
}

fn counter(key: &str, limit: u32) -> Counter {
    Counter { key: digest(key), window_start: START, window_end: after(3600), amount: 1, limit }
}

async fn a_request_is_stored_once(backend: &dyn Backend) {
    let store = backend.open(START);
    let send = async |key: &str, fingerprint: &str, at: Timestamp| {
        let mut draft = text("+12025550100", at);
        draft.put.idempotency = Some(request(key, fingerprint, at.plus(Duration::from_hours(24))));
        draft.put.counters = vec![counter("number", 2)];
        let (id, applied) = draft.store(&*store).await;
        assert!(applied.result == Effect::Done || applied.events.is_empty());
        (id, applied.result)
    };
    let (first, stored) = send("k", "body", START).await;
    assert_eq!(stored, Effect::Done);
    assert_eq!(send("k", "body", after(1)).await.1, Effect::Repeated(first));
    assert_eq!(send("k", "other body", after(1)).await.1, Effect::Mismatch);
    let rows = store.find(Query { limit: 10, ..Query::default() }).await.unwrap();
    assert_eq!(rows.len(), 1);
    // Neither was counted: there is room for one more, and then for none.
    assert_eq!(store.amounts(vec![(digest("number"), START), (digest("no"), START)]).await.unwrap(), [1, 0]);
    assert_eq!(send("k2", "body", after(1)).await.1, Effect::Done);
    assert_eq!(send("k3", "body", after(1)).await.1, Effect::OverLimit(0));
    // What was refused is not remembered, and what is remembered is answered before the limit.
    assert_eq!(send("k3", "body", after(2)).await.1, Effect::OverLimit(0));
    assert_eq!(send("k", "body", after(86_399)).await.1, Effect::Repeated(first));
    // A day later it is as if it had never been.
    let mut later = text("+12025550100", after(86_400));
    later.put.idempotency = Some(request("k", "other body", after(90_000)));
    let second = later.stored(&*store).await;
    assert_eq!(send("k", "other body", after(86_401)).await.1, Effect::Repeated(second));
}

async fn a_repeated_request_finds_its_row_though_the_record_is_pruned(backend: &dyn Backend) {
    // The store's own clock says what is over.
    let store = backend.open(after(100));
    let mut ids = Vec::new();
    for (key, until) in [("over", after(100)), ("remembered", after(101))] {
        let mut draft = text("+12025550100", START);
        draft.put.idempotency = Some(request(key, "body", until));
        let id = draft.stored(&*store).await;
        commit(&*store, Change::Operate { id, operation: Operation::Remove, at: after(1) }).await;
        ids.push(id);
    }
    let prune =
        async || commit(&*store, Change::Prune { before: after(50), archive: None, limit: 10 }).await.result;
    assert_eq!(prune().await, Effect::Rows(1), "the other one stays, and its events with it");
    assert_eq!(prune().await, Effect::Rows(0));
    let left = store.find(Query { limit: 10, ..Query::default() }).await.unwrap();
    assert_eq!(left.iter().map(|row| row.id).collect::<Vec<_>>(), ids[1..]);
    let mut again = text("+12025550100", after(100));
    again.put.idempotency = Some(request("remembered", "body", after(200)));
    assert_eq!(again.store(&*store).await.1.result, Effect::Repeated(ids[1]));
    let mut again = text("+12025550100", START);
    again.put.idempotency = Some(request("over", "another body", after(200)));
    assert_eq!(again.store(&*store).await.1.result, Effect::Done);
}

async fn one_of_many_equal_requests_is_stored(backend: &dyn Backend) {
    let store = backend.open(START);
    let puts = (0..50).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut draft = text("+12025550100", START);
            draft.put.idempotency = Some(request("k", "body", after(100)));
            draft.store(&*store).await
        })
    });
    let (mut new, mut repeated) = (Vec::new(), Vec::new());
    for put in puts.collect::<Vec<_>>() {
        match put.await.unwrap() {
            (id, applied) if applied.result == Effect::Done => new.push(id),
            (_, applied) => repeated.push(applied.result),
        }
    }
    assert_eq!(new.len(), 1);
    assert!(repeated.len() == 49 && repeated.iter().all(|effect| *effect == Effect::Repeated(new[0])));
    assert_eq!(store.find(Query { limit: 10, ..Query::default() }).await.unwrap().len(), 1);
}

async fn counters_are_exact_however_many_count(backend: &dyn Backend) {
    let store = backend.open(START);
    let puts = (0..60).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut draft = text("+12025550100", START);
            draft.put.counters = vec![counter("all", 1000), counter("number", 17)];
            draft.store(&*store).await.1.result
        })
    });
    let mut effects = Vec::new();
    for put in puts.collect::<Vec<_>>() {
        effects.push(put.await.unwrap());
    }
    let stored = effects.iter().filter(|effect| **effect == Effect::Done).count();
    let refused = effects.iter().filter(|effect| **effect == Effect::OverLimit(1)).count();
    assert_eq!((stored, refused), (17, 43));
    let amounts = store.amounts(vec![(digest("number"), START), (digest("all"), START)]).await.unwrap();
    assert_eq!(amounts, [17, 17]);
}

async fn feedback_is_taken_once(backend: &dyn Backend) {
    let store = backend.open(START);
    let id = taken(&*store).await;
    let mail = draft("shop", "anna@example.com", START).stored(&*store).await;
    let say = async |id, client: &str, used| {
        let counters = vec![counter("used", 0)];
        let change = Change::Feedback { id, client: client.into(), used, counters };
        commit(&*store, change).await.result
    };
    for (id, client) in [(id, "bank"), (mail, "shop"), (MessageId::generate(), "shop")] {
        assert_eq!(say(id, client, true).await, Effect::NotFound);
    }
    assert_eq!(say(id, "shop", false).await, Effect::Done);
    assert_eq!(say(id, "shop", true).await, Effect::Stale);
    assert_eq!(store.amounts(vec![(digest("used"), START)]).await.unwrap(), [1]);
    // After its end too.
    hear(&*store, report(id, 1, News::Delivered, after(3))).await;
    let second = taken(&*store).await;
    expire(&*store, after(600)).await;
    assert_eq!(say(id, "shop", true).await, Effect::Stale);
    assert_eq!(say(second, "shop", true).await, Effect::Done);
}
