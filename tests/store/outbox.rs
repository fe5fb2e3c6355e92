//! The outbox of webhooks: what gets into it, in which order it comes out, and what is left of it.

use std::time::Duration;

use authrelay::clock::Timestamp;
use authrelay::event::{Notice, Topic, UpstreamNews, UpstreamTurn};
use authrelay::ident::{BusinessName, EndpointName, MessageId};
use authrelay::queue::store::sqlite::SqliteStore;
use authrelay::queue::{
    Change, Effect, EndpointState, Operation, Outbox as _, OutboxChange, State, Store as _, Subscription,
    Waiting,
};
use authrelay::secret::Digest;

use crate::sqlite::{folder_bytes, holds, holds_chunk, sealed_payloads};
use crate::support::*;

fn subscription(name: &str, topics: &[Topic]) -> Subscription {
    Subscription { endpoint: name.into(), topics: topics.to_vec(), businesses: None, backlog: 100 }
}

pub fn all(name: &str) -> Subscription {
    subscription(name, Topic::ALL)
}

pub async fn due(store: &SqliteStore, endpoint: &str, now: Timestamp) -> Vec<Waiting> {
    store.due_notices(&EndpointName::new(endpoint), now, 100).await.unwrap()
}

/// What is due, by its name and what it is about.
async fn names(
    store: &SqliteStore,
    endpoint: &str,
    now: Timestamp,
) -> Vec<(&'static str, Option<MessageId>)> {
    let name = |waiting: &Waiting| {
        let notice = waiting.notice.as_ref().unwrap();
        let about = match notice {
            Notice::Event(event) => Some(event.subject.message),
            Notice::Upstream(_) => None,
        };
        (notice.topic().unwrap().as_str(), about)
    };
    due(store, endpoint, now).await.iter().map(name).collect()
}

async fn change(store: &SqliteStore, change: OutboxChange) -> Effect {
    commit(store, Change::Outbox(Box::new(change))).await.result
}

async fn delivered(store: &SqliteStore, number: i64) {
    assert_eq!(change(store, OutboxChange::Delivered { number, at: after(5) }).await, Effect::Done);
}

async fn standing(store: &SqliteStore, endpoint: &str) -> EndpointState {
    let found = store.endpoints().await.unwrap();
    found.into_iter().find(|state| state.name.as_str() == endpoint).unwrap()
}

#[tokio::test(start_paused = true)]
async fn everything_about_one_message_comes_out_in_its_order() {
    let folder = Folder::new();
    let store = folder.telling(START, vec![all("crm"), subscription("ops", &[Topic::MessageRemoved])]);
    let anna = draft("shop", "anna@example.com", START).stored(&store).await;
    let bert = draft("shop", "bert@example.com", START).stored(&store).await;
    commit(&store, Change::Operate { id: anna, operation: Operation::Remove, at: after(1) }).await;
    let expected = [("message.received", Some(anna)), ("message.received", Some(bert))];
    assert_eq!(names(&store, "crm", after(1)).await, expected);
    assert_eq!(names(&store, "ops", after(1)).await, [("message.removed", Some(anna))]);

    // What waits for another try keeps back what is about the same message, and nothing else.
    let first = due(&store, "crm", after(1)).await[0].number;
    let pause = Some(Duration::from_mins(5));
    let failed = OutboxChange::Failed { number: first, at: after(2), error: "HTTP 503".to_owned(), pause };
    assert_eq!(change(&store, failed).await, Effect::Done);
    assert_eq!(names(&store, "crm", after(3)).await, [("message.received", Some(bert))]);
    let next = store.next_notice(&"crm".into(), after(3)).await.unwrap();
    assert_eq!(next, Some(after(302)));
    let again = &due(&store, "crm", after(302)).await[1];
    assert_eq!((again.number, again.attempts), (first, 1));
    delivered(&store, first).await;
    assert_eq!(names(&store, "crm", after(5)).await[1], ("message.removed", Some(anna)));

    let crm = standing(&store, "crm").await;
    assert_eq!((crm.waiting, crm.delivered, crm.dropped), (2, 1, 0));
    assert_eq!(crm.last_failure, Some((after(2), "HTTP 503".to_owned())));
    assert_eq!((crm.oldest, crm.last_delivered), (Some(START), Some(after(5))));
}

#[tokio::test(start_paused = true)]
async fn who_wants_to_know_of_one_business_is_told_of_that_alone() {
    let folder = Folder::new();
    let businesses = Some(vec![BusinessName::new("acme")]);
    let store = folder.telling(START, vec![Subscription { businesses, ..all("crm") }, all("ops")]);
    let of = |name: &str| {
        let business = Some(BusinessName::new(name));
        draft("shop", "anna@example.com", START).each(move |new| new.entry.business.clone_from(&business))
    };
    let acme = of("acme").stored(&store).await;
    of("bolt").stored(&store).await;
    let news = UpstreamNews {
        id: MessageId::generate(),
        at: START,
        upstream: "provider".into(),
        turn: UpstreamTurn::Down,
        reason: None,
    };
    commit(&store, Change::Announce(Box::new(news))).await;
    assert_eq!(names(&store, "crm", START).await, [("message.received", Some(acme))]);
    assert_eq!(names(&store, "ops", START).await[2], ("upstream.down", None));
}

#[tokio::test(start_paused = true)]
async fn a_number_is_told_after_the_end_of_its_text_and_forgotten_when_it_was() {
    const NUMBER: &str = "+12025550147";
    let folder = Folder::new();
    let store = folder.telling(START, vec![all("crm"), all("ops")]);
    let id = draft("shop", NUMBER, START).payload(sms("739154")).stored(&store).await;
    commit(&store, Change::Operate { id, operation: Operation::Remove, at: after(1) }).await;
    let sealed = sealed_payloads(&folder);
    assert_eq!(sealed.len(), 2, "one for each notice, whoever is told");
    for endpoint in ["crm", "ops"] {
        for name in ["sms.accepted", "sms.removed"] {
            let [waiting] = due(&store, endpoint, after(9)).await.try_into().unwrap();
            let Some(Notice::Event(event)) = &waiting.notice else { panic!("an event") };
            assert_eq!(waiting.notice.as_ref().unwrap().topic().unwrap().as_str(), name);
            assert_eq!(event.subject.recipient.as_str(), NUMBER);
            assert_eq!(event.subject.report_to, None);
            delivered(&store, waiting.number).await;
        }
    }
    assert_eq!(standing(&store, "ops").await.waiting, 0);
    store.close().await.unwrap();
    // Neither in the open nor sealed.
    assert!(!holds(&folder, NUMBER.as_bytes()));
    let pieces = folder_bytes(&folder);
    assert!(sealed.iter().all(|sealed| !holds_chunk(&pieces, sealed)));
}

#[tokio::test(start_paused = true)]
async fn the_outbox_is_bounded_and_refusals_leave_room_for_the_rest() {
    let folder = Folder::new();
    let store = folder.telling(START, vec![Subscription { backlog: 8, ..all("crm") }]);
    for person in 0..10 {
        let refused = draft("shop", &format!("user{person}@example.com"), START).put.entries[0].entry.clone();
        let event = authrelay::event::Event::new(authrelay::event::Kind::Refused, START, refused.about());
        commit(&store, Change::Record(vec![(digest("key"), event)])).await;
    }
    let crm = standing(&store, "crm").await;
    assert_eq!((crm.waiting, crm.dropped), (2, 8));
    for person in 0..10 {
        draft("shop", &format!("user{person}@example.com"), START).stored(&store).await;
    }
    let crm = standing(&store, "crm").await;
    assert_eq!((crm.waiting, crm.dropped), (8, 12));

    // What is too old goes, and so does an endpoint that is not configured any more.
    let sweep = |keep: Vec<(EndpointName, Timestamp)>| OutboxChange::Sweep { keep, limit: 5 };
    assert_eq!(change(&store, sweep(vec![("crm".into(), START)])).await, Effect::Rows(0));
    assert_eq!(change(&store, sweep(vec![("crm".into(), after(1))])).await, Effect::Rows(5));
    assert_eq!(standing(&store, "crm").await.dropped, 17);
    assert_eq!(change(&store, sweep(Vec::new())).await, Effect::Rows(3));
    assert_eq!(store.endpoints().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_gone_stays_so_over_a_restart_and_collects_what_it_may_be_told() {
    let folder = Folder::new();
    let configured = Digest::sha256(b"as it is");
    {
        let store = folder.telling(START, vec![all("crm")]);
        let id = draft("shop", "anna@example.com", START).stored(&store).await;
        let (endpoint, error) = (EndpointName::new("crm"), "HTTP 410".to_owned());
        let gone = OutboxChange::Disable { endpoint, configured, at: after(1), error };
        assert_eq!(change(&store, gone).await, Effect::Done);
        commit(&store, Change::Operate { id, operation: Operation::Hold, at: after(2) }).await;
        store.close().await.unwrap();
    }
    let store = folder.telling(after(60), vec![all("crm")]);
    let crm = standing(&store, "crm").await;
    assert_eq!((crm.disabled, crm.waiting), (Some((after(1), configured)), 2));
    let enable = OutboxChange::Enable { endpoint: "crm".into(), at: after(61) };
    assert_eq!(change(&store, enable).await, Effect::Done);
    assert_eq!(standing(&store, "crm").await.disabled, None);
    assert_eq!(
        change(&store, OutboxChange::Enable { endpoint: "x".into(), at: START }).await,
        Effect::NotFound
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_start_finds_to_tell_is_told_as_well() {
    let folder = Folder::new();
    let id = {
        let store = folder.sqlite(START);
        let id = draft("shop", "anna@example.com", START).leased(after(900)).stored(&store).await;
        commit(&store, mark(id, after(900))).await;
        id
    };
    let store = folder.telling(after(5), vec![all("crm")]);
    assert_eq!(state(&store, id).await, State::Unknown);
    assert_eq!(names(&store, "crm", after(5)).await, [("message.unknown", Some(id))]);
    assert!(store.close().await.is_ok());
}
