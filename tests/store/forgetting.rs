//! What is left of a text after its end, for somebody who has the file and the key.

use std::collections::BTreeSet;

use authrelay::ident::MessageId;
use authrelay::queue::store::sqlite::SqliteStore;
use authrelay::queue::{Change, News, Operation, Report, State, Store as _};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::sqlite::{folder_bytes, holds, holds_chunk, sealed_payloads};
use crate::support::*;

const NUMBER: &str = "+12025550147";
const CODE: &str = "739154";

/// Where something sealed may stand.
const COLUMNS: [&str; 9] = [
    "message.recipient",
    "message.application_id",
    "message.report_to",
    "message.outcome",
    "payload.plan",
    "payload.body",
    "event.detail",
    "outbox.notice",
    "archive.decision",
];

/// Every value of every table, opened where the key opens it.
fn everything(folder: &Folder) -> Vec<Vec<u8>> {
    let conn = Connection::open(folder.path()).unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut statement = conn.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let mut values = Vec::new();
    for table in names("SELECT name FROM sqlite_schema WHERE type = 'table'") {
        let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                values.push(match row.get_ref(column).unwrap() {
                    ValueRef::Null => Vec::new(),
                    ValueRef::Integer(number) => number.to_string().into_bytes(),
                    ValueRef::Real(number) => number.to_string().into_bytes(),
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
                });
            }
        }
    }
    let ids: BTreeSet<Vec<u8>> = values.iter().filter(|value| value.len() == 16).cloned().collect();
    let mut opened = Vec::new();
    for sealed in &values {
        for column in COLUMNS {
            let plain = ids.iter().filter_map(|id| folder.keyring.open(column, id, sealed).ok());
            opened.extend(plain.map(|plain| plain.to_vec()));
        }
    }
    opened.extend(values);
    opened
}

/// How many values say the number or the code.
fn found(folder: &Folder) -> [usize; 2] {
    let values = everything(folder);
    [NUMBER, CODE].map(|secret| {
        let secret = secret.trim_start_matches('+').as_bytes();
        let says = |value: &&Vec<u8>| value.windows(secret.len()).any(|window| window == secret);
        values.iter().filter(says).count()
    })
}

fn text() -> Draft {
    draft("shop", NUMBER, START).payload(sms(CODE))
}

/// Texts that end in every way there is, and by what.
async fn end_all(store: &SqliteStore) -> u32 {
    let lease = START.plus(LEASE);
    let posted = async || {
        let id = text().leased(lease).stored(store).await;
        commit(store, mark(id, lease)).await;
        id
    };
    let taken = async || {
        let id = posted().await;
        commit(store, settle_id(id, lease, settlement(State::AwaitingReport, START), after(1))).await;
        id
    };
    let word = async |id: MessageId, news: News| {
        let (upstream, reference) = ("provider".into(), "SM1".to_owned());
        let report = Report { id, upstream, attempt: 1, reference, news, at: after(2) };
        commit(store, Change::Report(Box::new(report))).await;
    };
    let reason = || authrelay::outcome::Reason::reply(400, format!("{NUMBER} said no to {CODE}"));
    word(taken().await, News::Delivered).await;
    word(taken().await, News::Failed(reason())).await;
    word(posted().await, News::Delivered).await;
    let refused = text().leased(lease).stored(store).await;
    commit(store, settle_id(refused, lease, settlement(State::Failed, START), after(1))).await;
    let outbox = text().leased(lease).stored(store).await;
    commit(store, settle_id(outbox, lease, settlement(State::HandedOver, START), after(1))).await;
    for id in [text().stored(store).await, text().state(State::Suppressed).stored(store).await, taken().await]
    {
        commit(store, Change::Operate { id, operation: Operation::Remove, at: after(2) }).await;
    }
    text().supersedes("k").stored(store).await;
    text().supersedes("k").stored(store).await;
    // The rest ends with its life: waiting, suppressed, handed over without a word, and in doubt.
    text().state(State::Suppressed).stored(store).await;
    let open = taken().await;
    word(open, News::Underway).await;
    posted().await;
    13
}

#[tokio::test(start_paused = true)]
async fn neither_number_nor_code_is_left_after_the_end() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    let living = text().stored(&store).await;
    assert_eq!(found(&folder), [1, 1], "one that lives is found, so the search finds");
    commit(&store, Change::Operate { id: living, operation: Operation::Remove, at: START }).await;
    let texts = end_all(&store).await;
    // Refusals are recorded without the number.
    let refused = text().put.entries[0].entry.about();
    let event = authrelay::event::Event::new(authrelay::event::Kind::Refused, START, refused);
    commit(&store, Change::Record(vec![(digest(NUMBER), event)])).await;
    let [numbers, codes] = found(&folder);
    assert!(numbers > 3 && numbers == codes, "{numbers} {codes}");
    let sealed = sealed_payloads(&folder);

    commit(&store, Change::Expire { now: START.plus(LEASE), limit: 100 }).await;
    assert_eq!(found(&folder), [0, 0]);
    // Of the sealed bytes nothing is left either, once the log was truncated.
    store.scrub().await.unwrap();
    let bytes = folder_bytes(&folder);
    assert_eq!(sealed.iter().filter(|one| holds_chunk(&bytes, one)).count(), 0);
    assert_eq!(sealed.len(), 2 * numbers);
    let rows = Connection::open(folder.path()).unwrap();
    let ended: u32 =
        rows.query_row("SELECT count(*) FROM message WHERE ended > 0", [], |row| row.get(0)).unwrap();
    assert_eq!(ended, texts + 1);
    for secret in [NUMBER, &NUMBER[1..], CODE] {
        assert!(!holds(&folder, secret.as_bytes()));
    }
}

#[tokio::test(start_paused = true)]
async fn no_number_stays_behind_where_rows_are_moved_about() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    let mut random = fastrand::Rng::with_seed(11);
    let mut ids = Vec::new();
    for _ in 0..300 {
        // Reasons of different lengths make rows grow and move while they live.
        ids.push(text().each(|new| new.entry.rule = "r".repeat(20)).stored(&store).await);
    }
    store.scrub().await.unwrap();
    let sealed = sealed_payloads(&folder);
    assert_eq!(sealed.len(), 600);
    random.shuffle(&mut ids);
    for chunk in ids.chunks(20) {
        let claimed = claim(&store, authrelay::ident::Class::Urgent, 40, START).await;
        for claimed in claimed {
            let mut deferred = settlement(State::Queued, after(0));
            deferred.reason = Some(authrelay::outcome::Reason::reply(450, "x ".repeat(random.usize(0..100))));
            commit(&store, settle(&claimed, deferred, START)).await;
        }
        let remove = |id: &MessageId| Change::Operate { id: *id, operation: Operation::Remove, at: after(1) };
        store.commit(chunk.iter().map(remove).collect()).await.unwrap();
        commit(&store, Change::Prune { before: after(2), archive: None, limit: 7 }).await;
    }
    store.scrub().await.unwrap();
    assert_eq!(sealed_payloads(&folder).len(), 0);
    let bytes = folder_bytes(&folder);
    assert_eq!(sealed.iter().filter(|one| holds_chunk(&bytes, one)).count(), 0);
}
