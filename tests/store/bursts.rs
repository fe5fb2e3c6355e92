//! Bursts, against the trait: what is held, what waits for how long, and what passes.

use std::time::Duration;

use authrelay::clock::Timestamp;
use authrelay::event::Kind;
use authrelay::ident::{BurstId, CategoryName, Class, MessageId};
use authrelay::policy::BurstLimit;
use authrelay::queue::{Change, Effect, Operation, Query, Settling, State, Store};

use crate::support::*;

suite!(
    a_burst_is_held_whole_and_told_once,
    a_trickle_is_seen_and_the_first_have_waited,
    what_comes_too_slowly_passes_and_waits_for_a_minute_at_most,
    nineteen_pass_after_they_have_settled,
    repeats_count_once_and_are_held_with_the_others,
    other_shapes_and_urgent_mail_pass_in_between,
    a_burst_survives_a_restart,
    later_ones_are_held_until_it_is_quiet,
    what_was_attempted_is_left_alone,
    what_an_operator_let_go_is_not_held_again,
    one_message_to_many_is_a_burst,
    a_removed_burst_is_gone_and_its_record_goes_with_it,
    what_is_held_is_suppressed_at_the_end_of_its_life,
    a_released_message_goes_out_exactly_once,
);

const SETTLE: Duration = Duration::from_secs(30);
const WITHIN: Duration = Duration::from_mins(1);

fn settling(shape: &str) -> Settling {
    let burst = BurstLimit { recipients: 20, within: WITHIN };
    Settling { shape: digest(shape), settle: SETTLE, burst, id: BurstId::generate() }
}

fn to_all(shape: &str, to: &[&str], at: Timestamp) -> Draft {
    let mut draft = draft_to("shop", to, at).class(Class::Normal).each(|new| {
        new.entry.category = CategoryName::new("invitation");
        new.entry.expires = at.plus(Duration::from_hours(72));
        new.entry.next_attempt = at.plus(SETTLE);
    });
    draft.put.settling = Some(settling(shape));
    draft
}

fn invitation(number: usize, at: Timestamp) -> Draft {
    to_all("invitation", &[&format!("user{number}@example.com")], at)
}

/// Stores invitations to the people of these numbers, one every `pause` seconds, claims before each, and gives their ids.
async fn invite(
    store: &dyn Store,
    people: std::ops::Range<usize>,
    begin: u64,
    pause: u64,
) -> (Vec<MessageId>, Vec<Effect>) {
    let (mut ids, mut effects) = (Vec::new(), Vec::new());
    for (number, person) in people.enumerate() {
        let at = after(begin + pause * number as u64);
        let claimed = claim(store, Class::Normal, 100, at).await;
        assert!(claimed.is_empty(), "{} slipped out after {number}", claimed.len());
        let (id, applied) = invitation(person, at).store(store).await;
        ids.push(id);
        effects.push(applied.result);
    }
    (ids, effects)
}

async fn in_state(store: &dyn Store, wanted: State) -> usize {
    store.find(Query { state: Some(wanted), limit: 1000, ..Query::default() }).await.unwrap().len()
}

/// The one burst there is.
async fn the_burst(store: &dyn Store, now: Timestamp) -> authrelay::queue::OpenBurst {
    let mut open = store.open_bursts(now).await.unwrap();
    assert_eq!(open.len(), 1, "{open:?}");
    open.remove(0)
}

async fn operate(store: &dyn Store, burst: &BurstId, operation: Operation, at: Timestamp) -> Effect {
    let change = Change::OperateBurst { burst: burst.clone(), operation, at, limit: 1000 };
    commit(store, change).await.result
}

async fn a_burst_is_held_whole_and_told_once(backend: &dyn Backend) {
    let store = backend.open(START);
    let (ids, effects) = invite(&*store, 0..25, 0, 1).await;
    assert!(effects[..19].iter().all(|effect| *effect == Effect::Done), "{effects:?}");
    let burst = the_burst(&*store, after(25)).await;
    assert!(effects[19..].iter().all(|effect| *effect == Effect::Held(burst.id.clone())), "{effects:?}");
    assert_eq!((burst.messages, burst.held, burst.goes_on), (25, 25, true));
    assert_eq!((burst.began, burst.last, burst.client.as_str()), (START, after(24), "shop"));
    assert_eq!(in_state(&*store, State::Held).await, 25);
    let reason = format!("burst {}", burst.id);
    let mut told_of = 0;
    for id in &ids {
        assert_eq!(entry(&*store, *id).await.reason.unwrap().text, reason);
        let kinds = told(&*store, *id).await;
        told_of += kinds.iter().filter(|kind| **kind == Kind::BurstHeld).count();
        assert!(kinds.contains(&Kind::Held), "{kinds:?}");
    }
    assert_eq!(told_of, 1);
    assert_eq!(store.next_due(Class::Normal).await.unwrap(), None);
    assert!(claim(&*store, Class::Normal, 100, after(3600)).await.is_empty());
    let of_burst = Query { burst: Some(burst.id.clone()), limit: 1000, ..Query::default() };
    assert_eq!(store.find(of_burst).await.unwrap().len(), 25);
    let of_none = Query { burst: Some("nobody".into()), limit: 1000, ..Query::default() };
    assert!(store.find(of_none).await.unwrap().is_empty());
    let ids_free = BurstId::generate();
    assert_eq!(operate(&*store, &ids_free, Operation::Release, after(25)).await, Effect::NotFound);
    assert_eq!(
        operate(&*store, &burst.id, Operation::Retry, after(25)).await,
        Effect::NotAllowed(State::Held)
    );
}

async fn a_trickle_is_seen_and_the_first_have_waited(backend: &dyn Backend) {
    let store = backend.open(START);
    // The twentieth comes 57 seconds after the first.
    let (_, effects) = invite(&*store, 0..20, 0, 3).await;
    assert!(matches!(effects[19], Effect::Held(_)), "{effects:?}");
    assert_eq!(in_state(&*store, State::Held).await, 20);
}

async fn what_comes_too_slowly_passes_and_waits_for_a_minute_at_most(backend: &dyn Backend) {
    let store = backend.open(START);
    for number in 0..60_usize {
        let at = after(4 * number as u64);
        for claimed in claim(&*store, Class::Normal, 100, at).await {
            let waited = at.since(claimed.entry().accepted);
            assert!((WITHIN..=WITHIN + Duration::from_secs(4)).contains(&waited), "{waited:?}");
            let done = settlement(State::HandedOver, at);
            commit(&*store, settle(&claimed, done, at)).await;
        }
        assert_eq!(invitation(number, at).store(&*store).await.1.result, Effect::Done);
    }
    assert_eq!(in_state(&*store, State::HandedOver).await, 45);
    assert!(store.open_bursts(after(240)).await.unwrap().is_empty());
}

async fn nineteen_pass_after_they_have_settled(backend: &dyn Backend) {
    let store = backend.open(START);
    invite(&*store, 0..19, 0, 0).await;
    assert_eq!(store.next_due(Class::Normal).await.unwrap(), Some(START.plus(SETTLE)));
    assert!(claim(&*store, Class::Normal, 100, after(29)).await.is_empty());
    assert_eq!(claim(&*store, Class::Normal, 100, after(30)).await.len(), 19);
}

async fn repeats_count_once_and_are_held_with_the_others(backend: &dyn Backend) {
    let store = backend.open(START);
    for _ in 0..50 {
        invitation(0, START).stored(&*store).await;
    }
    // A repeat puts nothing off.
    invitation(0, after(10)).stored(&*store).await;
    assert_eq!(store.next_due(Class::Normal).await.unwrap(), Some(START.plus(SETTLE)));
    invite(&*store, 1..19, 10, 0).await;
    assert!(store.open_bursts(after(10)).await.unwrap().is_empty());
    let (_, effects) = invite(&*store, 19..20, 10, 0).await;
    assert!(matches!(effects[0], Effect::Held(_)));
    assert_eq!(in_state(&*store, State::Held).await, 70);
    // And so is one more to somebody who was counted.
    assert!(matches!(invitation(0, after(11)).store(&*store).await.1.result, Effect::Held(_)));
}

async fn other_shapes_and_urgent_mail_pass_in_between(backend: &dyn Backend) {
    let store = backend.open(START);
    invite(&*store, 0..19, 0, 0).await;
    for number in 0..19 {
        to_all("of another client", &[&format!("user{number}@example.com")], START).stored(&*store).await;
    }
    let code = draft("shop", "anna@example.com", START).stored(&*store).await;
    let (_, effects) = invite(&*store, 19..25, 0, 0).await;
    assert!(matches!(effects[0], Effect::Held(_)));
    assert_eq!(claim_one(&*store, START).await.entry().id, code);
    let (code, applied) = draft("shop", "bert@example.com", after(1)).leased(after(900)).store(&*store).await;
    assert_eq!((applied.result, state(&*store, code).await), (Effect::Done, State::Attempting));
    assert_eq!(claim(&*store, Class::Normal, 100, after(30)).await.len(), 19);
}

async fn a_burst_survives_a_restart(backend: &dyn Backend) {
    let store = backend.open(START);
    invite(&*store, 0..12, 0, 1).await;
    store.close().await.unwrap();
    let store = backend.open(after(12));
    let (_, effects) = invite(&*store, 12..20, 12, 1).await;
    assert!(matches!(effects[7], Effect::Held(_)), "{effects:?}");
    assert_eq!(in_state(&*store, State::Held).await, 20);
    store.close().await.unwrap();
    let store = backend.open(after(21));
    let (_, effects) = invite(&*store, 20..21, 21, 1).await;
    assert_eq!(effects, [Effect::Held(the_burst(&*store, after(21)).await.id)]);
}

async fn later_ones_are_held_until_it_is_quiet(backend: &dyn Backend) {
    let store = backend.open(START);
    invite(&*store, 0..20, 0, 0).await;
    let burst = the_burst(&*store, START).await.id;
    // Each one keeps it going.
    let (_, effects) = invite(&*store, 20..23, 59, 59).await;
    assert!(effects.iter().all(|effect| *effect == Effect::Held(burst.clone())), "{effects:?}");
    assert_eq!(operate(&*store, &burst, Operation::Release, after(180)).await, Effect::Rows(23));
    let released = claim(&*store, Class::Normal, 100, after(180)).await;
    assert_eq!(released.len(), 23);
    // It goes on, also after it was released.
    assert!(matches!(invitation(23, after(181)).store(&*store).await.1.result, Effect::Held(_)));
    assert!(the_burst(&*store, after(240)).await.goes_on);
    // A minute of quiet ends it, and what was released counts for nothing.
    let (_, effects) = invite(&*store, 24..43, 241, 0).await;
    assert!(effects.iter().all(|effect| *effect == Effect::Done), "{effects:?}");
    let open = the_burst(&*store, after(241)).await;
    assert_eq!((open.goes_on, open.messages, open.held), (false, 24, 1));
}

async fn what_was_attempted_is_left_alone(backend: &dyn Backend) {
    let store = backend.open(START);
    let first = invitation(0, START).stored(&*store).await;
    let second = invitation(1, START).stored(&*store).await;
    let claimed = claim(&*store, Class::Normal, 1, after(30)).await.remove(0);
    assert_eq!(claimed.entry().id, first);
    commit(&*store, settle(&claimed, settlement(State::Queued, after(100)), after(31))).await;
    let under_way = claim(&*store, Class::Normal, 1, after(31)).await.remove(0);
    assert_eq!(under_way.entry().id, second);
    invite(&*store, 2..20, 32, 0).await;
    assert_eq!(
        (state(&*store, first).await, state(&*store, second).await),
        (State::Queued, State::Attempting)
    );
    assert_eq!(entry(&*store, first).await.next_attempt, after(100));
    assert_eq!(in_state(&*store, State::Held).await, 18);
}

async fn what_an_operator_let_go_is_not_held_again(backend: &dyn Backend) {
    let store = backend.open(START);
    let first = invitation(0, START).stored(&*store).await;
    for operation in [Operation::Hold, Operation::Release] {
        commit(&*store, Change::Operate { id: first, operation, at: after(1) }).await;
    }
    for person in 1..21 {
        invitation(person, after(2)).store(&*store).await;
    }
    assert_eq!(state(&*store, first).await, State::Queued);
    assert_eq!(entry(&*store, first).await.next_attempt, after(1));
    assert_eq!(in_state(&*store, State::Held).await, 20);
}

async fn one_message_to_many_is_a_burst(backend: &dyn Backend) {
    let store = backend.open(START);
    let people: Vec<String> = (0..40).map(|number| format!("user{number}@example.com")).collect();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    let (id, applied) = to_all("invitation", &people, START).store(&*store).await;
    assert!(matches!(applied.result, Effect::Held(_)));
    let of_burst = applied.events.iter().filter(|event| event.kind == Kind::BurstHeld);
    let texts: Vec<_> = of_burst.map(|event| event.reason.clone().unwrap().text).collect();
    assert!(texts.len() == 1 && texts[0].contains("40 recipients within 60 s"), "{texts:?}");
    assert_eq!(in_state(&*store, State::Held).await, 40);
    assert!(store.message(id).await.unwrap().is_some());
}

async fn a_removed_burst_is_gone_and_its_record_goes_with_it(backend: &dyn Backend) {
    let store = backend.open(START);
    let (ids, _) = invite(&*store, 0..20, 0, 0).await;
    let burst = the_burst(&*store, START).await.id;
    assert_eq!(operate(&*store, &burst, Operation::Remove, after(1)).await, Effect::Rows(20));
    assert_eq!(operate(&*store, &burst, Operation::Remove, after(1)).await, Effect::Rows(0));
    assert_eq!(in_state(&*store, State::Removed).await, 20);
    assert_eq!(store.message(ids[0]).await.unwrap(), None);
    assert!(store.open_bursts(after(61)).await.unwrap().is_empty());
    commit(&*store, Change::Prune { before: after(100), archive: None, limit: 100 }).await;
    assert_eq!(operate(&*store, &burst, Operation::Remove, after(101)).await, Effect::NotFound);
}

async fn what_is_held_is_suppressed_at_the_end_of_its_life(backend: &dyn Backend) {
    let store = backend.open(START);
    let (ids, _) = invite(&*store, 0..20, 0, 0).await;
    let burst = the_burst(&*store, START).await.id;
    let over = START.plus(Duration::from_hours(72));
    assert_eq!(operate(&*store, &burst, Operation::Release, over).await, Effect::Rows(0));
    assert_eq!(commit(&*store, Change::Expire { now: over, limit: 100 }).await.result, Effect::Rows(20));
    let row = entry(&*store, ids[0]).await;
    assert_eq!(row.state, State::Suppressed);
    assert!(row.reason.unwrap().text.ends_with(&format!("burst {burst}")));
    assert_eq!(operate(&*store, &burst, Operation::Release, over).await, Effect::Rows(0));
}

async fn a_released_message_goes_out_exactly_once(backend: &dyn Backend) {
    let store = backend.open(START);
    invite(&*store, 0..20, 0, 0).await;
    let burst = the_burst(&*store, START).await.id;
    let half =
        Change::OperateBurst { burst: burst.clone(), operation: Operation::Release, at: after(1), limit: 7 };
    assert_eq!(commit(&*store, half).await.result, Effect::Rows(7));
    assert_eq!(operate(&*store, &burst, Operation::Release, after(1)).await, Effect::Rows(13));
    let claimed = claim(&*store, Class::Normal, 100, after(1)).await;
    assert_eq!(claimed.len(), 20);
    assert_eq!(operate(&*store, &burst, Operation::Release, after(2)).await, Effect::Rows(0));
    for one in &claimed {
        let done = settle(one, settlement(State::HandedOver, after(2)), after(2));
        assert_eq!(commit(&*store, done).await.result, Effect::Done);
    }
    assert_eq!(operate(&*store, &burst, Operation::Release, after(3)).await, Effect::Rows(0));
    assert!(claim(&*store, Class::Normal, 100, after(3600)).await.is_empty());
}
