//! Codes through the queue, on a real store.

use std::sync::Arc;
use std::time::Duration;

use authrelay::clock::{Clock, Timestamp};
use authrelay::ident::{Class, MessageId};
use authrelay::mail::Recipient;
use authrelay::outcome::{Outcome, Reason, ReasonClass};
use authrelay::queue::{
    Active, ActiveLimits, Effect, Idempotency, NewCode, News, Payload, Query, Queue, Report, State,
    StoredCode,
};

use crate::support::*;

struct Bench {
    queue: Arc<Queue>,
    clock: Clock,
    _folder: Folder,
}

fn bench(messages: usize) -> Bench {
    let folder = Folder::new();
    let clock = Clock::simulated(START);
    let active = Active::new(ActiveLimits { messages, bytes: 1 << 20 });
    let store = Arc::new(folder.sqlite(START));
    let queue = Queue::new(store, folder.keyring.lookup_key(), clock, active);
    Bench { queue, clock, _folder: folder }
}

impl Bench {
    fn code(&self, to: &str, code: &str) -> NewCode {
        let entry = draft("shop", to, self.clock.now()).put.entries.remove(0).entry;
        NewCode { entry, payload: sms(code), idempotency: None, counters: Vec::new() }
    }

    fn request(&self, key: &str, body: &str) -> Idempotency {
        let digest = |purpose, text: &str| self.queue.digest(purpose, &[text.as_bytes()]);
        let until = self.clock.now().plus(Duration::from_hours(24));
        Idempotency { key: digest("key", key), fingerprint: digest("body", body), until }
    }

    async fn put(&self, code: NewCode) -> MessageId {
        let id = code.entry.id;
        assert_eq!(self.queue.put_code(code).await.unwrap(), StoredCode::New);
        id
    }

    async fn row(&self, id: MessageId) -> authrelay::queue::Entry {
        let found = self.queue.find(Query { id: Some(id), limit: 1, ..Query::default() }).await.unwrap();
        found.into_iter().next().unwrap()
    }
}

fn revealed(payload: &Payload) -> &str {
    let Payload::Sms { code, .. } = payload else { panic!("a text") };
    code.reveal()
}

#[tokio::test(start_paused = true)]
async fn a_code_goes_straight_to_a_worker_and_comes_back_by_its_report() {
    let bench = bench(10);
    let id = bench.put(bench.code("+12025550100", "111111")).await;
    let job = bench.queue.fresh().await.unwrap();
    assert_eq!((job.claimed.entry().id, job.claimed.entry().state), (id, State::Attempting));
    assert_eq!(revealed(job.claimed.payload()), "111111");
    let upstream = "provider".into();
    assert_eq!(bench.queue.mark(&job.claimed, &upstream).await.unwrap(), Effect::Done);
    let taken = Outcome::Taken { reference: "SM1".to_owned() };
    let settled = bench.queue.settle(&job.claimed, Some(upstream.clone()), &taken, &[], None).await.unwrap();
    assert_eq!(settled, State::AwaitingReport);
    bench.queue.reports_woken().await;
    assert_eq!(bench.queue.next_report().await.unwrap(), Some(after(5)));
    tokio::time::advance(Duration::from_secs(5)).await;
    let due = bench.queue.due_reports(10).await.unwrap();
    assert_eq!((due.len(), due[0].entry.attempts), (1, 1));
    bench.queue.postpone_report(id, Some(after(20))).await.unwrap();
    assert!(bench.queue.due_reports(10).await.unwrap().is_empty());

    // Not arrived: claimed again a second later, and whoever sleeps is woken for it.
    let (attempt, reference, at) = (1, "SM1".to_owned(), bench.clock.now());
    let news = News::Retry(Reason::new(ReasonClass::Reply, "unreachable handset"));
    let report = Report { id, upstream, attempt, reference, news, at };
    assert_eq!(bench.queue.report(report.clone()).await.unwrap(), Effect::Done);
    bench.queue.woken().await;
    assert_eq!(bench.queue.next_due(Class::Urgent).await.unwrap(), Some(after(6)));
    assert_eq!(bench.queue.report(report).await.unwrap(), Effect::Stale);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(bench.queue.claim(Class::Urgent, 1).await.unwrap()[0].claimed.entry().id, id);
}

#[tokio::test(start_paused = true)]
async fn a_newer_code_takes_the_place_of_one_that_waits() {
    // No room in memory: everything waits in the store.
    let bench = bench(0);
    let first = bench.put(bench.code("+12025550100", "111111")).await;
    let other = bench.put(bench.code("+12025550101", "222222")).await;
    let mut elsewhere = bench.code("+12025550100", "333333");
    if let Payload::Sms { host, .. } = &mut elsewhere.payload {
        "example.org".clone_into(host);
    }
    let elsewhere = bench.put(elsewhere).await;
    let mut suppressed = bench.code("+12025550100", "444444");
    suppressed.entry.state = State::Suppressed;
    bench.put(suppressed).await;
    assert_eq!(bench.row(first).await.state, State::Queued);
    let second = bench.put(bench.code("+12025550100", "555555")).await;
    let row = bench.row(first).await;
    assert_eq!((row.state, row.recipient), (State::Superseded, Recipient::Forgotten));
    for id in [other, elsewhere, second] {
        assert_eq!(bench.row(id).await.state, State::Queued);
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_code_waits_for_the_post_of_an_older_one() {
    let bench = bench(10);
    bench.put(bench.code("+12025550100", "111111")).await;
    let first = bench.queue.fresh().await.unwrap();
    let second = bench.put(bench.code("+12025550100", "222222")).await;
    assert!(bench.queue.claim(Class::Urgent, 10).await.unwrap().is_empty());
    let doubt = Outcome::InDoubt(Reason::new(ReasonClass::Timeout, "no answer"));
    bench.queue.settle(&first.claimed, Some("provider".into()), &doubt, &[], None).await.unwrap();
    bench.queue.woken().await;
    let jobs = bench.queue.claim(Class::Urgent, 10).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.claimed.entry().id).collect::<Vec<_>>(), [second]);
    assert_eq!(bench.row(first.claimed.entry().id).await.state, State::AwaitingReport);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_gets_its_row_as_it_stands() {
    let bench = bench(10);
    let send = async |key: &str, body: &str| {
        let mut code = bench.code("+12025550100", "111111");
        code.idempotency = Some(bench.request(key, body));
        (code.entry.id, bench.queue.put_code(code).await.unwrap())
    };
    let (id, stored) = send("k", "body").await;
    assert_eq!(stored, StoredCode::New);
    assert_eq!(send("k", "another body").await.1, StoredCode::Mismatch);
    let job = bench.queue.fresh().await.unwrap();
    let reached = Outcome::HandedOver { reference: "outbox".to_owned(), remark: None };
    bench.queue.settle(&job.claimed, Some("outbox".into()), &reached, &[], None).await.unwrap();
    let (_, StoredCode::Repeated(row)) = send("k", "body").await else { panic!("repeated") };
    assert_eq!((row.id, row.state), (id, State::HandedOver));
    // Also when its record would have been deleted.
    bench.queue.prune(after(1000), None).await.unwrap();
    assert!(matches!(send("k", "body").await.1, StoredCode::Repeated(_)));
    let all = bench.queue.find(Query { limit: 10, ..Query::default() }).await.unwrap();
    assert_eq!(all.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn counters_stand_in_windows_of_their_length() {
    let bench = bench(10);
    let minute = |at: Timestamp, limit| {
        bench.queue.counter("number", &["+12025550100"], at, Duration::from_mins(1), limit)
    };
    // 1,800,000,000 is a multiple of sixty, and of 3,600.
    let counter = minute(after(59), 2);
    assert_eq!((counter.window_start, counter.window_end), (START, after(60)));
    assert_eq!(minute(after(60), 2).window_start, after(60));
    let hour = bench.queue.counter("number", &["+12025550100"], START, Duration::from_hours(1), 2);
    assert_eq!(hour.window_start, START);
    assert_ne!(hour.key, counter.key, "windows that begin together are counted apart");
    let mut results = Vec::new();
    for index in 0..3 {
        let mut code = bench.code(&format!("+1202555010{index}"), "111111");
        code.counters =
            vec![bench.queue.counter("all", &[], START, Duration::from_hours(1), 9), minute(START, 2)];
        results.push(bench.queue.put_code(code).await.unwrap());
    }
    assert_eq!(results, [StoredCode::New, StoredCode::New, StoredCode::OverLimit(1)]);
    let of = vec![(counter.key, counter.window_start), (counter.key, after(60))];
    assert_eq!(bench.queue.amounts(of).await.unwrap(), [2, 0]);
}

#[tokio::test(start_paused = true)]
async fn feedback_is_for_the_clients_own_codes() {
    let bench = bench(10);
    let id = bench.put(bench.code("+12025550100", "111111")).await;
    let say = async |client: &str, used| bench.queue.feedback(id, client.into(), used, vec![]).await.unwrap();
    assert_eq!(say("bank", true).await, Effect::NotFound);
    assert_eq!(say("shop", true).await, Effect::Done);
    assert_eq!(say("shop", true).await, Effect::Stale);
}
