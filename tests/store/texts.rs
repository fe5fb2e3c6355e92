//! What becomes of texts after they were posted, against the trait.

use std::time::Duration;

use authrelay::clock::Timestamp;
use authrelay::event::{Event, Kind};
use authrelay::ident::{Class, MessageId};
use authrelay::mail::Recipient;
use authrelay::outcome::Reason;
use authrelay::queue::{
    Change, Depth, Effect, History, News, Operation, Payload, Query, Report, Settlement, State, Store,
};

use crate::support::*;

suite!(
    a_text_is_followed_to_its_end,
    the_life_of_a_text_ends_without_a_word,
    a_late_word_still_counts,
    a_report_may_overtake_the_answer,
    a_text_in_doubt_is_found_by_its_provider,
    a_text_that_did_not_arrive_is_sent_once_more,
    a_newer_code_does_not_wait_for_a_report,
    providers_are_asked_in_time_and_not_for_ever,
    what_is_no_text_has_no_reports,
    an_operator_may_remove_a_text_that_was_posted,
    marked_or_not_decides_after_a_stop,
    the_number_goes_with_the_end,
    a_suppressed_text_keeps_its_number_while_it_can_be_released,
    an_event_without_a_row_keeps_no_number,
);

pub fn text(to: &str, at: Timestamp) -> Draft {
    draft("shop", to, at).payload(sms("739154"))
}

fn lease() -> Timestamp {
    START.plus(LEASE)
}

pub fn report(id: MessageId, attempt: u32, news: News, at: Timestamp) -> Report {
    Report { id, upstream: "provider".into(), attempt, reference: "SM1".to_owned(), news, at }
}

pub async fn hear(store: &dyn Store, report: Report) -> (Effect, Vec<Kind>) {
    let applied = commit(store, Change::Report(Box::new(report))).await;
    let told = kinds(&applied);
    (applied.result, told)
}

fn unreachable() -> Reason {
    Reason::reply(400, "30003 unreachable handset")
}

/// A text whose provider answered at second 1 that it took it.
pub async fn taken(store: &dyn Store) -> MessageId {
    let id = text("+12025550100", START).leased(lease()).stored(store).await;
    assert_eq!(commit(store, mark(id, lease())).await.result, Effect::Done);
    let done = settle_id(id, lease(), settlement(State::AwaitingReport, START), after(1));
    assert_eq!(kinds(&commit(store, done).await), [Kind::HandedOver]);
    id
}

/// A text whose provider did not answer.
async fn in_doubt(store: &dyn Store) -> MessageId {
    let id = text("+12025550100", START).leased(lease()).stored(store).await;
    commit(store, mark(id, lease())).await;
    let doubt = Settlement {
        reference: None,
        event: Kind::Deferred,
        in_doubt: 1,
        reason: Some(Reason::new(authrelay::outcome::ReasonClass::Timeout, "no answer")),
        ..settlement(State::AwaitingReport, START)
    };
    commit(store, settle_id(id, lease(), doubt, after(1))).await;
    id
}

pub async fn expire(store: &dyn Store, now: Timestamp) -> Vec<Kind> {
    kinds(&commit(store, Change::Expire { now, limit: 100 }).await)
}

async fn a_text_is_followed_to_its_end(backend: &dyn Backend) {
    let store = backend.open(START);
    let id = taken(&*store).await;
    let row = entry(&*store, id).await;
    assert_eq!((row.state, row.attempts, row.in_doubt), (State::AwaitingReport, 1, 0));
    assert_eq!(row.reference.as_deref(), Some("SM1"));
    // It is no backlog, nothing to claim, and its life is watched.
    assert_eq!(store.depth().await.unwrap(), Depth::default());
    assert!(claim(&*store, Class::Urgent, 10, after(300)).await.is_empty());
    assert_eq!(store.next_due(Class::Urgent).await.unwrap(), None);
    assert_eq!(store.next_expiry().await.unwrap(), Some(START.plus(LIFE)));
    let awaiting = Query { state: Some(State::AwaitingReport), limit: 10, ..Query::default() };
    assert_eq!(store.find(awaiting).await.unwrap(), [row]);

    let nothing = (Effect::Stale, vec![]);
    assert_eq!(hear(&*store, report(id, 1, News::Underway, after(2))).await, nothing);
    for wrong in [
        report(id, 0, News::Delivered, after(2)),
        report(id, 2, News::Delivered, after(2)),
        Report { reference: "SM2".to_owned(), ..report(id, 1, News::Delivered, after(2)) },
    ] {
        assert_eq!(hear(&*store, wrong).await, nothing);
    }
    let foreign = Report { upstream: "other".into(), ..report(id, 1, News::Delivered, after(2)) };
    assert_eq!(hear(&*store, foreign).await.0, Effect::NotFound);
    assert_eq!(state(&*store, id).await, State::AwaitingReport);

    let delivered = hear(&*store, report(id, 1, News::Delivered, after(3))).await;
    assert_eq!(delivered, (Effect::Done, vec![Kind::Delivered]));
    assert_eq!(state(&*store, id).await, State::Delivered);
    // Told again, or worse, it changes nothing.
    for news in [News::Delivered, News::Underway, News::Retry(unreachable()), News::Failed(unreachable())] {
        assert_eq!(hear(&*store, report(id, 1, news, after(4))).await, nothing);
    }
    let events = store.history(History::Id(id)).await.unwrap();
    assert_eq!(told(&*store, id).await, [Kind::Received, Kind::HandedOver, Kind::Delivered]);
    let last = events.last().unwrap();
    assert_eq!((last.upstream.as_ref(), last.reference.as_deref()), (Some(&"provider".into()), Some("SM1")));
    assert_eq!(store.next_expiry().await.unwrap(), None);
    assert_eq!(store.next_report().await.unwrap(), None);
}

async fn the_life_of_a_text_ends_without_a_word(backend: &dyn Backend) {
    let store = backend.open(START);
    let known = taken(&*store).await;
    assert_eq!(expire(&*store, after(599)).await, []);
    assert_eq!(expire(&*store, after(600)).await, []);
    assert_eq!(state(&*store, known).await, State::HandedOver);
    assert_eq!(told(&*store, known).await, [Kind::Received, Kind::HandedOver]);

    let doubtful = in_doubt(&*store).await;
    assert_eq!(told(&*store, doubtful).await, [Kind::Received, Kind::Deferred]);
    assert_eq!(expire(&*store, after(600)).await, [Kind::Unknown]);
    let row = entry(&*store, doubtful).await;
    assert_eq!(row.state, State::Unknown);
    assert!(row.reason.unwrap().text.contains("no answer"));
    // A worker that does not come back: its mark says that it may have been posted.
    let lost = text("+12025550100", START).leased(lease()).stored(&*store).await;
    commit(&*store, mark(lost, lease())).await;
    assert_eq!(expire(&*store, lease()).await, [Kind::Unknown]);
    assert_eq!((state(&*store, lost).await, entry(&*store, lost).await.attempts), (State::Unknown, 1));
}

async fn a_late_word_still_counts(backend: &dyn Backend) {
    let late = after(700);
    for (news, kind, end) in [
        (News::Delivered, Kind::Delivered, State::Delivered),
        (News::Failed(unreachable()), Kind::Failed, State::Failed),
        // There is nothing to be sent again any more.
        (News::Retry(unreachable()), Kind::Failed, State::Failed),
    ] {
        let store = backend.open(START);
        let known = taken(&*store).await;
        let doubtful = in_doubt(&*store).await;
        expire(&*store, after(600)).await;
        let told_now = hear(&*store, report(known, 1, news.clone(), late)).await;
        assert_eq!(told_now, (Effect::Done, vec![kind]));
        let mut expected = vec![kind];
        if news == News::Delivered {
            // That it was handed over was never told.
            expected.insert(0, Kind::HandedOver);
        }
        assert_eq!(hear(&*store, report(doubtful, 1, news, late)).await, (Effect::Done, expected));
        for id in [known, doubtful] {
            assert_eq!(state(&*store, id).await, end);
        }
        store.close().await.unwrap();
    }
    let store = backend.open(START);
    let doubtful = in_doubt(&*store).await;
    expire(&*store, after(600)).await;
    let underway = hear(&*store, report(doubtful, 1, News::Underway, late)).await;
    assert_eq!(underway, (Effect::Done, vec![Kind::HandedOver]));
    let row = entry(&*store, doubtful).await;
    assert_eq!((row.state, row.reference.as_deref()), (State::HandedOver, Some("SM1")));
}

async fn a_report_may_overtake_the_answer(backend: &dyn Backend) {
    for (news, events, end) in [
        (News::Underway, vec![Kind::HandedOver], State::AwaitingReport),
        (News::Delivered, vec![Kind::HandedOver, Kind::Delivered], State::Delivered),
        (News::Failed(unreachable()), vec![Kind::Failed], State::Failed),
        (News::Retry(unreachable()), vec![Kind::Deferred], State::Queued),
    ] {
        let store = backend.open(START);
        let id = text("+12025550100", START).leased(lease()).stored(&*store).await;
        // Not marked, it was not posted: nobody can have news of it.
        assert_eq!(hear(&*store, report(id, 1, news.clone(), after(1))).await, (Effect::Stale, vec![]));
        commit(&*store, mark(id, lease())).await;
        assert_eq!(hear(&*store, report(id, 1, news, after(1))).await, (Effect::Done, events));
        let row = entry(&*store, id).await;
        assert_eq!((row.state, row.attempts), (end, 1));
        let late = settle_id(id, lease(), settlement(State::AwaitingReport, START), after(2));
        assert_eq!(commit(&*store, late).await.result, Effect::LostLease);
        assert_eq!(state(&*store, id).await, end);
        store.close().await.unwrap();
    }
}

async fn a_text_in_doubt_is_found_by_its_provider(backend: &dyn Backend) {
    let store = backend.open(START);
    let id = in_doubt(&*store).await;
    let found = hear(&*store, report(id, 1, News::Underway, after(3))).await;
    assert_eq!(found, (Effect::Done, vec![Kind::HandedOver]));
    let row = entry(&*store, id).await;
    assert_eq!((row.state, row.in_doubt, row.reason), (State::AwaitingReport, 0, None));
    assert_eq!(row.reference.as_deref(), Some("SM1"));
    assert_eq!(hear(&*store, report(id, 1, News::Underway, after(4))).await.0, Effect::Stale);
    assert_eq!(hear(&*store, report(id, 1, News::Delivered, after(5))).await.1, [Kind::Delivered]);

    let other = in_doubt(&*store).await;
    let both = hear(&*store, report(other, 1, News::Delivered, after(3))).await;
    assert_eq!(both, (Effect::Done, vec![Kind::HandedOver, Kind::Delivered]));
}

async fn a_text_that_did_not_arrive_is_sent_once_more(backend: &dyn Backend) {
    let store = backend.open(START);
    let id = taken(&*store).await;
    let again = report(id, 1, News::Retry(unreachable()), after(20));
    let applied = commit(&*store, Change::Report(Box::new(again.clone()))).await;
    assert_eq!((&applied.result, kinds(&applied)), (&Effect::Done, vec![Kind::Deferred]));
    assert!(applied.wakes, "it is due sooner than anybody knew");
    let row = entry(&*store, id).await;
    assert_eq!((row.state, row.next_attempt, row.reference), (State::Queued, after(21), None));
    assert_eq!(row.reason, Some(unreachable()));
    assert_eq!(hear(&*store, again).await.0, Effect::Stale);
    // The second attempt is the second by its number, and only its own reports count.
    let second = claim_one(&*store, after(21)).await;
    let Payload::Sms { code, .. } = second.payload() else { panic!("a text") };
    assert_eq!(code.reveal(), "739154");
    assert_eq!(commit(&*store, mark(id, second.lease())).await.result, Effect::Done);
    let mut answer = Settlement { attempts: 2, ..settlement(State::AwaitingReport, START) };
    answer.reference = Some("SM2".to_owned());
    commit(&*store, settle(&second, answer, after(22))).await;
    assert_eq!(store.next_report().await.unwrap(), Some(after(27)));
    assert_eq!(hear(&*store, report(id, 1, News::Delivered, after(23))).await.0, Effect::Stale);
    let twice =
        Report { reference: "SM2".to_owned(), ..report(id, 2, News::Retry(unreachable()), after(24)) };
    assert_eq!(hear(&*store, twice).await, (Effect::Done, vec![Kind::Failed]));
    let row = entry(&*store, id).await;
    assert_eq!((row.state, row.attempts, row.reason), (State::Failed, 2, Some(unreachable())));

    // Too late to be of use.
    let short = taken(&*store).await;
    let end = hear(&*store, report(short, 1, News::Retry(unreachable()), after(596))).await;
    assert_eq!(end, (Effect::Done, vec![Kind::Failed]));
}

async fn a_newer_code_does_not_wait_for_a_report(backend: &dyn Backend) {
    let store = backend.open(START);
    let first = text("+12025550100", START).supersedes("k").leased(lease()).stored(&*store).await;
    commit(&*store, mark(first, lease())).await;
    let done = settle_id(first, lease(), settlement(State::AwaitingReport, START), after(1));
    commit(&*store, done).await;
    let (second, applied) =
        text("+12025550100", after(2)).supersedes("k").leased(lease()).store(&*store).await;
    assert_eq!((applied.result, state(&*store, second).await), (Effect::Done, State::Attempting));
    assert_eq!(state(&*store, first).await, State::AwaitingReport);
    let retry = hear(&*store, report(first, 1, News::Retry(unreachable()), after(3))).await;
    assert_eq!(retry, (Effect::Done, vec![Kind::Superseded]));

    // Superseded while it was posted: the answer frees the newer one, and it is not sent again either.
    commit(&*store, mark(second, lease())).await;
    let (third, _) = text("+12025550100", after(4)).supersedes("k").store(&*store).await;
    assert!(claim(&*store, Class::Urgent, 1, after(4)).await.is_empty());
    let done = settle_id(second, lease(), settlement(State::AwaitingReport, START), after(5));
    assert!(commit(&*store, done).await.wakes);
    assert_eq!(claim_one(&*store, after(5)).await.entry().id, third);
    let retry = hear(&*store, report(second, 1, News::Retry(unreachable()), after(6))).await;
    assert_eq!(retry, (Effect::Done, vec![Kind::Superseded]));

    // It may still arrive.
    let arrived = taken(&*store).await;
    text("+12025550100", after(7)).supersedes("k").store(&*store).await;
    assert_eq!(hear(&*store, report(arrived, 1, News::Delivered, after(8))).await.1, [Kind::Delivered]);
}

async fn providers_are_asked_in_time_and_not_for_ever(backend: &dyn Backend) {
    let store = backend.open(START);
    assert_eq!(store.next_report().await.unwrap(), None);
    let woken = async |within| tokio::time::timeout(Duration::from_secs(within), store.reports_woken()).await;
    assert!(woken(1).await.is_err());
    let id = taken(&*store).await;
    woken(1).await.expect("told of it");
    assert!(woken(1).await.is_err(), "once");
    assert_eq!(store.next_report().await.unwrap(), Some(after(6)));
    assert!(store.due_reports(after(5), 10).await.unwrap().is_empty());
    let due = store.due_reports(after(6), 10).await.unwrap();
    assert_eq!((due.len(), due[0].entry.id, due[0].polls), (1, id, 0));
    assert_eq!(due[0].entry.recipient.as_str(), "+12025550100");
    let Payload::Sms { code, .. } = &due[0].payload else { panic!("a text") };
    assert_eq!(code.reveal(), "739154");

    let postpone = async |until| commit(&*store, Change::Postpone { id, until }).await.result;
    assert_eq!(postpone(Some(after(21))).await, Effect::Done);
    assert_eq!(store.next_report().await.unwrap(), Some(after(21)));
    let second = in_doubt(&*store).await;
    let due = store.due_reports(after(30), 10).await.unwrap();
    assert_eq!(due.iter().map(|one| (one.entry.id, one.polls)).collect::<Vec<_>>(), [(second, 0), (id, 1)]);
    assert_eq!(store.due_reports(after(30), 1).await.unwrap().len(), 1);
    // Nothing is asked behind the end of its life, nor without end.
    commit(&*store, Change::Postpone { id: second, until: None }).await;
    assert_eq!(postpone(Some(after(600))).await, Effect::Done);
    assert_eq!(store.next_report().await.unwrap(), None);
    hear(&*store, report(id, 1, News::Delivered, after(40))).await;
    assert_eq!(postpone(Some(after(60))).await, Effect::NotAllowed(State::Delivered));
}

async fn what_is_no_text_has_no_reports(backend: &dyn Backend) {
    let store = backend.open(START);
    let mail = draft("shop", "anna@example.com", START).leased(lease()).stored(&*store).await;
    commit(&*store, settle_id(mail, lease(), settlement(State::HandedOver, START), after(1))).await;
    for id in [mail, MessageId::generate()] {
        for news in [News::Underway, News::Delivered, News::Failed(unreachable())] {
            assert_eq!(hear(&*store, report(id, 1, news, after(2))).await, (Effect::NotFound, vec![]));
        }
        let postpone = Change::Postpone { id, until: None };
        assert_eq!(commit(&*store, postpone).await.result, Effect::NotFound);
    }
    assert_eq!(state(&*store, mail).await, State::HandedOver);
    // A put that mixes the two up is no put.
    for wrong in [
        draft("shop", "+12025550100", START),
        draft("shop", "anna@example.com", START).payload(sms("739154")),
        draft_to("shop", &["+12025550100", "+12025550101"], START).payload(sms("739154")),
    ] {
        assert!(store.commit(vec![wrong.change()]).await.is_err());
    }
}

async fn an_operator_may_remove_a_text_that_was_posted(backend: &dyn Backend) {
    let store = backend.open(START);
    let id = taken(&*store).await;
    let operate = |operation| Change::Operate { id, operation, at: after(2) };
    for operation in [Operation::Retry, Operation::Hold, Operation::Release] {
        let refused = Effect::NotAllowed(State::AwaitingReport);
        assert_eq!(commit(&*store, operate(operation)).await.result, refused);
    }
    let removed = commit(&*store, operate(Operation::Remove)).await;
    assert_eq!((&removed.result, kinds(&removed)), (&Effect::Done, vec![Kind::Removed]));
    assert_eq!(hear(&*store, report(id, 1, News::Delivered, after(3))).await.0, Effect::Stale);
}

async fn marked_or_not_decides_after_a_stop(backend: &dyn Backend) {
    let store = backend.open(START);
    let unmarked = text("+12025550100", START).leased(lease()).stored(&*store).await;
    let marked = text("+12025550101", START).leased(lease()).stored(&*store).await;
    let over = text("+12025550102", START).each(|new| new.entry.expires = after(3)).leased(lease());
    let over = over.stored(&*store).await;
    let awaiting = taken(&*store).await;
    for id in [marked, over] {
        commit(&*store, mark(id, lease())).await;
    }
    drop(store);
    let store = backend.open(after(5));
    tokio::time::timeout(Duration::from_secs(1), store.reports_woken()).await.expect("told of it");
    for (id, expected) in [
        (unmarked, State::Queued),
        (marked, State::AwaitingReport),
        (over, State::Unknown),
        (awaiting, State::AwaitingReport),
    ] {
        assert_eq!(state(&*store, id).await, expected);
    }
    assert_eq!(told(&*store, over).await, [Kind::Received, Kind::Unknown]);
    assert_eq!(claim_one(&*store, after(5)).await.entry().id, unmarked);
    // Its provider's word finds it by the number of its attempt.
    let found = hear(&*store, report(marked, 1, News::Delivered, after(6))).await;
    assert_eq!(found, (Effect::Done, vec![Kind::HandedOver, Kind::Delivered]));
}

async fn the_number_goes_with_the_end(backend: &dyn Backend) {
    let store = backend.open(START);
    let key = digest("+12025550100");
    let mut ends = Vec::new();
    let delivered = taken(&*store).await;
    let live =
        commit(&*store, Change::Report(Box::new(report(delivered, 1, News::Delivered, after(2))))).await;
    // The log line of the end may still say, masked, whom it was for.
    assert_eq!(live.events[0].subject.recipient.masked(), "+12***00");
    ends.push(delivered);
    let failed = text("+12025550100", START).leased(lease()).stored(&*store).await;
    commit(&*store, settle_id(failed, lease(), settlement(State::Failed, START), after(1))).await;
    ends.push(failed);
    let removed = text("+12025550100", START).stored(&*store).await;
    commit(&*store, Change::Operate { id: removed, operation: Operation::Remove, at: after(1) }).await;
    ends.push(removed);
    let superseded = text("+12025550100", START).supersedes("k").stored(&*store).await;
    text("+12025550100", START).supersedes("k").stored(&*store).await;
    ends.push(superseded);
    let (handed_over, unknown) = (taken(&*store).await, in_doubt(&*store).await);
    let expired = text("+12025550100", START).stored(&*store).await;
    let suppressed = text("+12025550100", START).state(State::Suppressed).stored(&*store).await;
    for id in [handed_over, unknown, expired, suppressed] {
        assert_eq!(entry(&*store, id).await.recipient.as_str(), "+12025550100");
    }
    expire(&*store, after(600)).await;
    ends.extend([handed_over, unknown, expired, suppressed]);
    for id in ends {
        let row = entry(&*store, id).await;
        assert_eq!(row.recipient, Recipient::Forgotten, "{:?}", row.state);
        let events = store.history(History::Id(id)).await.unwrap();
        assert!(events.len() > usize::from(id != suppressed));
        assert!(events.iter().all(|event| event.subject.recipient == Recipient::Forgotten));
    }
    // By its key everything is still found.
    let to_number = Query { recipient_key: Some(key), limit: 100, ..Query::default() };
    assert_eq!(store.find(to_number).await.unwrap().len(), 9);
    assert!(store.history(History::Recipient(key)).await.unwrap().len() >= 16);
}

async fn a_suppressed_text_keeps_its_number_while_it_can_be_released(backend: &dyn Backend) {
    let store = backend.open(START);
    let id = text("+12025550100", START).state(State::Suppressed).stored(&*store).await;
    assert_eq!(entry(&*store, id).await.recipient.as_str(), "+12025550100");
    let release = Change::Operate { id, operation: Operation::Release, at: after(1) };
    assert_eq!(commit(&*store, release).await.result, Effect::Done);
    assert_eq!(claim_one(&*store, after(1)).await.entry().recipient.as_str(), "+12025550100");
}

async fn an_event_without_a_row_keeps_no_number(backend: &dyn Backend) {
    let store = backend.open(START);
    let refused = text("+12025550100", START).put.entries[0].entry.clone();
    let event = Event::new(Kind::Refused, START, refused.about());
    let key = digest("+12025550100");
    let applied = commit(&*store, Change::Record(vec![(key, event.clone())])).await;
    assert_eq!(applied.events, std::slice::from_ref(&event));
    let mut kept = event;
    kept.subject.recipient = Recipient::Forgotten;
    assert_eq!(store.history(History::Recipient(key)).await.unwrap(), [kept]);
}
