//! Another key for the queue: nothing is lost on the way, and in the end nothing needs the old one.

use std::fs;
use std::sync::Arc;

use authrelay::clock::Clock;
use authrelay::ident::{Class, MessageId};
use authrelay::queue::store::sqlite::{Resealed, SqliteStore};
use authrelay::queue::{Change, History, Keyring, Operation, Query, State, Store as _, StoreError};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::outbox::{all, due};
use crate::sqlite::{files, folder_bytes, holds_chunk, sealed_payloads};
use crate::support::*;

/// Every sealed value of the file, wherever it stands.
fn sealed_values(folder: &Folder) -> Vec<Vec<u8>> {
    let conn = Connection::open(folder.path()).unwrap();
    let mut values = Vec::new();
    for (table, columns) in [
        ("message", &["recipient", "application_id", "report_to", "outcome"][..]),
        ("payload", &["plan", "body"]),
        ("event", &["detail"]),
        ("archive", &["decision"]),
        ("meta", &["value"]),
    ] {
        let mut statement = conn.prepare(&format!("SELECT {} FROM {table}", columns.join(", "))).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns.len() {
                match row.get_ref(column).unwrap() {
                    ValueRef::Blob([]) | ValueRef::Null => {}
                    value => values.push(value.as_blob().unwrap().to_vec()),
                }
            }
        }
    }
    values
}

/// How many values each key sealed.
fn sealed_by(folder: &Folder, key: u8) -> usize {
    sealed_values(folder).iter().filter(|value| value[..5] == [1, 0, 0, 0, key]).count()
}

fn key_file(folder: &Folder) -> std::path::PathBuf {
    folder.directory.path().join("queue.key")
}

/// What a reload does, and what follows it.
async fn rotate(folder: &Folder, store: &SqliteStore) -> u32 {
    let rotated = Keyring::rotate(&key_file(folder)).unwrap();
    store.announce_key(rotated.newest()).await.unwrap();
    folder.keyring.adopt(&rotated);
    rotated.newest()
}

async fn reseal_all(store: &SqliteStore) -> usize {
    let mut parts = 0;
    loop {
        match store.reseal().await {
            Ok(Resealed::All) => return parts,
            Ok(Resealed::Part) => parts += 1,
            // Somebody reads an older state of the file.
            Err(StoreError::Failed(_)) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
}

/// Takes all keys but the newest off the file and off the running keyring.
fn retire_old(folder: &Folder) {
    let path = key_file(folder);
    let ids = Keyring::load(&path).unwrap().ids();
    let old = &ids[..ids.len() - 1];
    for key in old {
        Keyring::retire(&path, *key).unwrap();
    }
    folder.keyring.adopt(&Keyring::load(&path).unwrap());
}

#[tokio::test(start_paused = true)]
async fn whatever_an_old_key_sealed_is_sealed_anew_where_it_stands() {
    let folder = Folder::new();
    let store = folder.telling(START, vec![all("crm"), all("ops")]);
    let long = "x".repeat(30_000);
    let mail_id = draft_to("shop", &["anna@example.com", "bert@example.com"], START)
        .payload(mail(&long))
        .stored(&store)
        .await;
    let text = draft("shop", "+12025550147", START).payload(sms("739154")).stored(&store).await;
    let kept = draft("shop", "carl@example.com", START).state(State::Suppressed).stored(&store).await;
    let ended = draft("shop", "dora@example.com", START).stored(&store).await;
    let lease = START.plus(LEASE);
    let failed = draft("shop", "eve@example.com", START).leased(lease).stored(&store).await;
    commit(&store, settle_id(failed, lease, settlement(State::Failed, START), after(1))).await;
    commit(&store, Change::Operate { id: ended, operation: Operation::Remove, at: after(1) }).await;
    let archived = Change::Prune { before: after(2), archive: Some(START), limit: 1 };
    commit(&store, archived).await;
    let told = due(&store, "ops", after(9)).await.len();
    let (old, content) = (sealed_values(&folder), sealed_payloads(&folder));
    assert!(content.len() > 6, "{}", content.len());
    assert!(told > 3 && old.len() > 20 && sealed_by(&folder, 1) == old.len(), "{told} {}", old.len());
    assert_eq!(*store.keys_in_use().borrow(), [1]);

    assert_eq!(rotate(&folder, &store).await, 2);
    assert_eq!(*store.keys_in_use().borrow(), [1, 2], "before anything is sealed with it");
    let newer = draft("shop", "fred@example.com", START).stored(&store).await;
    assert!(sealed_by(&folder, 2) > 3 && sealed_by(&folder, 1) == old.len());
    assert!(reseal_all(&store).await >= 4);
    assert_eq!((sealed_by(&folder, 1), *store.keys_in_use().borrow() == [2]), (0, true));
    assert_eq!(sealed_by(&folder, 2), sealed_values(&folder).len());
    // Of the content nothing that the old key opens is left, in the log neither.
    let bytes = folder_bytes(&folder);
    assert_eq!(content.iter().filter(|one| holds_chunk(&bytes, one)).count(), 0);
    assert_eq!(reseal_all(&store).await, 0, "there is nothing more to do");

    // Without the old key everything is there, after a start as well.
    retire_old(&folder);
    store.close().await.unwrap();
    let store = folder.telling(START, vec![all("crm"), all("ops")]);
    let rows = store.find(Query { limit: 100, ..Query::default() }).await.unwrap();
    assert!(rows.iter().all(|row| row.recipient.as_str() != "unreadable@invalid.invalid"), "{rows:?}");
    assert_eq!(store.message(mail_id).await.unwrap().map(|bytes| bytes.len()), Some(long.len()));
    assert!(store.message(kept).await.unwrap().is_some());
    let history = store.history(History::Id(failed)).await.unwrap();
    assert!(history.is_empty() || history.iter().any(|event| event.reason.is_some()), "{history:?}");
    let notices = due(&store, "ops", after(9)).await;
    assert!(notices.len() >= told && notices.iter().all(|waiting| waiting.notice.is_some()));
    let claimed = claim(&store, Class::Urgent, 10, START).await;
    let ids: Vec<MessageId> = claimed.iter().map(|claimed| claimed.entry().submission).collect();
    assert!([mail_id, text, newer].iter().all(|id| ids.contains(id)) && ids.len() == 4, "{ids:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_needed_is_missed_at_the_start_and_not_forgotten_by_a_crash() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    let id = draft("shop", "anna@example.com", START).stored(&store).await;
    rotate(&folder, &store).await;
    // Not sealed anew: as after a crash.
    drop(store);
    let path = key_file(&folder);
    let both = fs::read_to_string(&path).unwrap();
    let alone = Arc::new(Keyring::retire(&path, 1).unwrap());
    let error = SqliteStore::open(&folder.path(), Arc::clone(&alone), Clock::simulated(START)).unwrap_err();
    assert!(matches!(error, StoreError::Unreadable(_)), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("sealed with another key") || error.contains("`seal 1`"), "{error}");
    assert!(SqliteStore::open_read_only(&folder.path(), alone, Clock::simulated(START)).is_err());
    // With both it goes on where it stopped.
    fs::write(&path, both).unwrap();
    let store = folder.sqlite(START);
    assert_eq!(*store.keys_in_use().borrow(), [1, 2]);
    reseal_all(&store).await;
    retire_old(&folder);
    drop(store);
    let store = folder.sqlite(START);
    assert_eq!(claim_one(&store, START).await.entry().id, id);
}

#[tokio::test(start_paused = true)]
async fn a_queue_from_before_keys_were_written_down_takes_all_for_needed() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    draft("shop", "anna@example.com", START).stored(&store).await;
    drop(store);
    let conn = Connection::open(folder.path()).unwrap();
    conn.execute("DELETE FROM meta WHERE name GLOB 'sealed-with-*'", []).unwrap();
    drop(conn);
    let rotated = Keyring::rotate(&key_file(&folder)).unwrap();
    folder.keyring.adopt(&rotated);
    let store = folder.sqlite(START);
    assert_eq!(*store.keys_in_use().borrow(), [1, 2]);
    reseal_all(&store).await;
    assert_eq!(*store.keys_in_use().borrow(), [2]);
}

/// Puts, claims and reads go on while keys come and go. Whatever was stored can be opened at every moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_while_keys_come_and_go() {
    const MANY: usize = 400;
    let folder = Arc::new(Folder::new());
    let store = Arc::new(folder.sqlite(START));
    let putting = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for number in 0..MANY {
                let to = format!("anna{number}@example.com");
                ids.push(
                    draft("shop", &to, START).payload(mail(&"y".repeat(number * 40))).stored(&*store).await,
                );
            }
            ids
        })
    };
    let claiming = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            while claimed.len() < MANY {
                for one in claim(&*store, Class::Urgent, 20, START).await {
                    let settled = settle(&one, settlement(State::HandedOver, START), after(1));
                    claimed.push(one.entry().id);
                    commit(&*store, settled).await;
                }
                tokio::task::yield_now().await;
            }
            claimed
        })
    };
    let mut rotations = 0;
    while !(putting.is_finished() && claiming.is_finished()) || rotations < 3 {
        rotate(&folder, &store).await;
        reseal_all(&store).await;
        retire_old(&folder);
        rotations += 1;
    }
    let (mut stored, mut claimed) = (putting.await.unwrap(), claiming.await.unwrap());
    stored.sort();
    claimed.sort();
    assert_eq!(stored, claimed);
    assert_eq!(sealed_by(&folder, u8::try_from(rotations + 1).unwrap()), sealed_values(&folder).len());
    assert!(
        files(folder.directory.path()).iter().all(|(name, _)| !name.contains(".new")),
        "no draft is left"
    );
}
