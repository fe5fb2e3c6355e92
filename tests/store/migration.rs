//! Files that older versions wrote: everything in them is there after the upgrade.

use authrelay::event::{Kind, Topic};
use authrelay::mail::Recipient;
use authrelay::queue::store::sqlite::SqliteStore;
use authrelay::queue::{
    Change, DecisionQuery, Depth, Entry, History, Operation, Outbox as _, Payload, Query, Shelf, State,
    Store, Subscription,
};
use rusqlite::Connection;

use crate::sqlite::open_read_only;
use crate::support::*;

/// Takes a store back to schema 1: a file made by the first schema's own steps, with the same rows in it. A text's
/// number stood in its row then.
fn as_schema_1(folder: &Folder) {
    let (new, old) = (folder.path(), folder.directory.path().join("old.db"));
    let conn = Connection::open(&old).unwrap();
    conn.execute_batch(
        "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;",
    )
    .unwrap();
    conn.execute_batch(include_str!("../../src/queue/store/sqlite/schema_1.sql")).unwrap();
    let tables = ["meta", "payload", "payload_refs", "message", "event", "counter"];
    conn.execute("ATTACH ?1 AS new", [new.to_str().unwrap()]).unwrap();
    for table in tables {
        let mut columns = Vec::new();
        conn.pragma(Some("main"), "table_info", table, |row| {
            columns.push(row.get::<_, String>(1)?);
            Ok(())
        })
        .unwrap();
        let columns = columns.join(", ");
        conn.execute(&format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}"), [])
            .unwrap();
    }
    conn.execute_batch(
        "UPDATE message SET recipient = (SELECT body FROM payload p WHERE p.number = message.payload)
             WHERE kind = 1 AND payload IS NOT NULL;
         UPDATE message SET recipient = X'0102' WHERE kind = 1 AND payload IS NULL;
         UPDATE payload SET body = NULL WHERE number IN (SELECT payload FROM message WHERE kind = 1);
         DETACH new; PRAGMA user_version = 1;",
    )
    .unwrap();
    conn.pragma_update(None, "application_id", 0x4152_4C59).unwrap();
    conn.close().unwrap();
    for file in ["queue.db-wal", "queue.db-shm"] {
        assert!(!folder.directory.path().join(file).exists());
    }
    std::fs::rename(old, new).unwrap();
}

async fn all(store: &SqliteStore) -> (Vec<Entry>, Vec<Vec<Kind>>, Depth) {
    let rows = store.find(Query { limit: 100, ..Query::default() }).await.unwrap();
    let mut told_of = Vec::new();
    for row in &rows {
        told_of.push(told(store, row.id).await);
    }
    (rows, told_of, store.depth().await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_file_of_schema_1_is_brought_up_to_date_with_everything_in_it() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    let mail = draft_to("shop", &["anna@example.com", "bert@example.com"], START).stored(&store).await;
    let ended = draft("shop", "carl@example.com", START).leased(after(900)).stored(&store).await;
    commit(&store, settle_id(ended, after(900), settlement(State::HandedOver, START), after(1))).await;
    draft("shop", "dora@example.com", START).state(State::Held).stored(&store).await;
    let text = draft("shop", "+12025550100", START).payload(sms("739154")).stored(&store).await;
    let gone = draft("shop", "+12025550101", START).payload(sms("739154")).stored(&store).await;
    commit(&store, Change::Operate { id: gone, operation: Operation::Remove, at: START }).await;
    let before = all(&store).await;
    store.close().await.unwrap();
    as_schema_1(&folder);

    let problem = open_read_only(&folder).unwrap_err().to_string();
    assert!(problem.ends_with("an older version wrote it: start the daemon once, it brings it up to date"));
    let store = folder.sqlite(START);
    assert_eq!(all(&store).await, before);
    assert_eq!(entry(&store, text).await.recipient.as_str(), "+12025550100");
    assert_eq!(entry(&store, gone).await.recipient, Recipient::Forgotten);
    assert_eq!(store.message(mail).await.unwrap().unwrap(), "hello\r\n");
    assert_eq!(
        store.history(History::Id(ended)).await.unwrap()[1].reference.as_deref(),
        Some("2.0.0 queued as 4Xyz")
    );
    // It works on, and what was a text is forgotten like any other.
    let mut claimed = claim(&store, authrelay::ident::Class::Urgent, 10, after(1)).await;
    claimed.sort_by_key(|claimed| claimed.entry().id);
    assert_eq!(claimed.len(), 3);
    let posted = claimed.iter().find(|claimed| claimed.entry().id == text).unwrap();
    let Payload::Sms { code, .. } = posted.payload() else { panic!("a text") };
    assert_eq!(code.reveal(), "739154");
    commit(&store, mark(text, posted.lease())).await;
    commit(&store, settle(posted, settlement(State::AwaitingReport, START), after(2))).await;
    assert_eq!(store.due_reports(after(7), 10).await.unwrap().len(), 1);
    commit(&store, Change::Expire { now: after(600), limit: 10 }).await;
    assert_eq!(entry(&store, text).await.recipient, Recipient::Forgotten);
    drop(store);
    // The second start finds nothing to do.
    assert_eq!(state(&folder.sqlite(after(601)), text).await, State::HandedOver);
    assert!(open_read_only(&folder).is_ok());
}

/// Takes a store back to schema 3, which had no outbox and no archive.
fn as_schema_3(folder: &Folder) {
    let conn = Connection::open(folder.path()).unwrap();
    conn.execute_batch(
        "DROP TABLE endpoint; DROP TABLE outbox; DROP TABLE archive; ALTER TABLE payload DROP COLUMN packed;
         PRAGMA user_version = 3;",
    )
    .unwrap();
    conn.close().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_file_of_schema_3_gets_an_outbox_and_an_archive() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    let mail = draft("shop", "anna@example.com", START).stored(&store).await;
    let ended = draft("shop", "carl@example.com", START).leased(after(900)).stored(&store).await;
    commit(&store, settle_id(ended, after(900), settlement(State::HandedOver, START), after(1))).await;
    let before = all(&store).await;
    store.close().await.unwrap();
    as_schema_3(&folder);

    let everything =
        Subscription { endpoint: "crm".into(), topics: Topic::ALL.to_vec(), businesses: None, backlog: 100 };
    let store = folder.telling(after(2), vec![everything]);
    assert_eq!(all(&store).await, before);
    assert_eq!(store.endpoints().await.unwrap(), []);
    // What was decided before goes into the archive like what is decided now, and what happens now is told.
    commit(&store, Change::Prune { before: after(2), archive: Some(START), limit: 10 }).await;
    commit(&store, Change::Operate { id: mail, operation: Operation::Remove, at: after(3) }).await;
    let query = DecisionQuery { since: START, until: after(9), after: None, limit: 10 };
    let decisions = store.decisions(query).await.unwrap();
    let shelves: Vec<_> =
        decisions.iter().map(|(place, decision)| (place.shelf, decision.is_some())).collect();
    assert_eq!(shelves, [(Shelf::Archive, true), (Shelf::Record, true)]);
    assert_eq!(store.due_notices(&"crm".into(), after(3), 10).await.unwrap().len(), 1);
}
