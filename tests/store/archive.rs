//! The audit trail: what was decided is there for its time, also when the record of the message is gone.

use authrelay::clock::Timestamp;
use authrelay::event::{Event, Kind};
use authrelay::queue::store::sqlite::SqliteStore;
use authrelay::queue::{
    Change, Decision, DecisionPlace, DecisionQuery, Effect, Operation, Shelf, State, Store as _,
};

use crate::sqlite::holds;
use crate::support::*;

async fn pages(
    store: &SqliteStore,
    since: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Vec<(Shelf, Decision)> {
    let mut after: Option<DecisionPlace> = None;
    let mut all = Vec::new();
    loop {
        let page = store.decisions(DecisionQuery { since, until, after, limit }).await.unwrap();
        assert!(page.len() <= limit);
        let Some((last, _)) = page.last() else { return all };
        after = Some(*last);
        all.extend(page.into_iter().map(|(place, decision)| (place.shelf, decision.unwrap())));
    }
}

async fn all(store: &SqliteStore) -> Vec<(Shelf, Decision)> {
    pages(store, Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX), 2).await
}

fn kinds_of(decision: &Decision) -> Vec<Kind> {
    decision.steps.iter().map(|step| step.kind).collect()
}

async fn prune(store: &SqliteStore, before: u64, archive: Option<Timestamp>) -> Effect {
    commit(store, Change::Prune { before: after(before), archive, limit: 100 }).await.result
}

/// One that was handed over after a try in vain, a refusal, a suppressed one that an operator let go, and one that waits.
async fn some(store: &SqliteStore) {
    let anna = draft("shop", "anna@example.com", START).leased(after(900)).stored(store).await;
    commit(store, settle_id(anna, after(900), settlement(State::Queued, after(2)), after(1))).await;
    let claimed = claim_one(store, after(2)).await;
    commit(store, settle(&claimed, settlement(State::HandedOver, START), after(3))).await;
    let refused = draft("shop", "bert@example.com", after(4)).put.entries[0].entry.clone();
    let event = Event::new(Kind::Refused, after(4), refused.about());
    commit(store, Change::Record(vec![(digest("bert@example.com"), event)])).await;
    let carl = draft("shop", "carl@example.com", after(5)).state(State::Suppressed).stored(store).await;
    commit(store, Change::Operate { id: carl, operation: Operation::Release, at: after(6) }).await;
    commit(store, Change::Operate { id: carl, operation: Operation::Remove, at: after(7) }).await;
    draft("shop", "dora@example.com", after(8)).stored(store).await;
}

#[tokio::test(start_paused = true)]
async fn decisions_outlive_the_record_of_their_messages() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    some(&store).await;
    let before = all(&store).await;
    let steps: Vec<Vec<Kind>> = before.iter().map(|(_, decision)| kinds_of(decision)).collect();
    assert_eq!(
        steps,
        [
            vec![Kind::Received, Kind::HandedOver],
            vec![Kind::Refused],
            vec![Kind::Suppressed, Kind::Released, Kind::Removed],
            vec![Kind::Received],
        ]
    );
    assert_eq!((before[0].1.steps[1].attempts, before[0].1.recipient_key), (1, digest("anna@example.com")));
    assert!(before.iter().all(|(shelf, _)| *shelf == Shelf::Record));
    let within = pages(&store, after(4), after(8), 10).await;
    assert_eq!(within.as_slice(), &before[1..3]);

    assert_eq!(prune(&store, 100, Some(START)).await, Effect::Rows(2));
    let later = all(&store).await;
    let what = |all: &[(Shelf, Decision)]| all.iter().map(|(_, one)| one.clone()).collect::<Vec<_>>();
    assert_eq!(what(&later), what(&before));
    let shelves: Vec<Shelf> = later.iter().map(|(shelf, _)| *shelf).collect();
    assert_eq!(shelves, [Shelf::Archive, Shelf::Archive, Shelf::Archive, Shelf::Record]);
    // No address is left, sealed or not, of those whose record is gone.
    let conn = rusqlite::Connection::open(folder.path()).unwrap();
    let sealed: Vec<Vec<u8>> = {
        let mut statement = conn.prepare("SELECT number, decision FROM archive ORDER BY at").unwrap();
        let rows = statement.query_map([], |row| row.get(1)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let ids = what(&later).into_iter().map(|decision| decision.id);
    for (sealed, id) in sealed.iter().zip(ids) {
        let opened = folder.keyring.open("archive.decision", id.as_bytes(), sealed).unwrap();
        let opened = String::from_utf8_lossy(&opened);
        assert!(!opened.contains("@example.com") && !opened.contains("app.example"), "{opened}");
    }
    store.close().await.unwrap();
    assert!(!holds(&folder, b"handed-over"));
}

#[tokio::test(start_paused = true)]
async fn the_archive_keeps_its_time_and_goes_piece_by_piece() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    some(&store).await;
    assert_eq!(prune(&store, 100, Some(after(4))).await, Effect::Rows(2));
    // The first was decided before what the archive keeps.
    assert_eq!(all(&store).await.len(), 3);
    assert_eq!(prune(&store, 100, Some(after(5))).await, Effect::Rows(1));
    assert_eq!(all(&store).await.len(), 2);
    // Without an archive nothing stays but what has its record.
    assert_eq!(prune(&store, 100, None).await, Effect::Rows(1));
    let left = all(&store).await;
    assert_eq!((left.len(), left[0].0), (1, Shelf::Record));
}
