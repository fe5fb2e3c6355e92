//! A file that is not whole: what is refused, and what a rescue keeps of it.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use authrelay::clock::Clock;
use authrelay::ident::Class;
use authrelay::queue::store::sqlite::{Rescued, SqliteStore, rescue};
use authrelay::queue::{Claimed, Depth, Keyring, Payload, State, Store, StoreError};
use rusqlite::Connection;

use crate::support::{Folder, LIFE, START, after, claim, claim_one, draft, draft_to, entry, mail, noise};

fn beside(folder: &Folder, suffix: &str) -> PathBuf {
    folder.directory.path().join(format!("queue.db{suffix}"))
}

fn open(folder: &Folder) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(&folder.path(), Arc::clone(&folder.keyring), Clock::simulated(START))
}

#[track_caller]
fn damage_told(folder: &Folder) -> String {
    match open(folder) {
        Err(StoreError::Damaged(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// What a process leaves that is killed: the files as they are on the disk, in another folder.
fn killed(folder: &Folder) -> Folder {
    let copy = Folder { directory: tempfile::tempdir().unwrap(), keyring: Arc::clone(&folder.keyring) };
    for suffix in ["", "-wal", ".lock"] {
        fs::copy(beside(folder, suffix), beside(&copy, suffix)).unwrap();
    }
    copy
}

fn write_at(path: &Path, at: u64, bytes: &[u8]) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

/// The number of the page on which a table or an index begins.
fn root(folder: &Folder, name: &str) -> u64 {
    let conn = Connection::open(folder.path()).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let page: u32 = conn.query_row(sql, [name], |row| row.get(0)).unwrap();
    page.into()
}

/// Every message that can be worked on.
async fn all_due(store: &SqliteStore) -> Vec<Claimed> {
    let mut all = Vec::new();
    // A claim that meets nothing but damaged rows gives none.
    for _ in 0..20 {
        all.extend(claim(store, Class::Urgent, 10, START).await);
    }
    all
}

fn rescued(folder: &Folder) -> (Rescued, SqliteStore) {
    let rescued = rescue(&folder.path(), &folder.keyring).unwrap();
    (rescued, folder.sqlite(START))
}

#[tokio::test(start_paused = true)]
async fn a_log_that_has_gone_is_asked_for_and_its_return_mends_all() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    let id = draft("shop", "anna@example.com", START).stored(&store).await;
    let left = killed(&folder);
    let kept = left.directory.path().join("kept");
    fs::rename(beside(&left, "-wal"), &kept).unwrap();
    let told = damage_told(&left);
    assert!(told.contains("write-ahead log (-wal)") && told.contains("put that file back"), "{told}");
    fs::rename(kept, beside(&left, "-wal")).unwrap();
    assert_eq!(claim_one(&left.sqlite(START), START).await.entry().id, id);
}

#[tokio::test(start_paused = true)]
async fn without_its_log_a_rescue_goes_on_with_what_the_file_holds() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    let id = draft("shop", "anna@example.com", START).stored(&store).await;
    store.scrub().await.unwrap();
    draft("shop", "ben@example.com", START).stored(&store).await;
    let left = killed(&folder);
    fs::remove_file(beside(&left, "-wal")).unwrap();
    damage_told(&left);
    let (rescued, store) = rescued(&left);
    assert_eq!((rescued.messages, rescued.waiting, rescued.torn.len()), (1, 1, 0));
    assert_eq!(claim_one(&store, START).await.entry().id, id);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_was_closed_needs_no_log() {
    let folder = Folder::new();
    drop(folder.sqlite(START));
    assert!(!beside(&folder, "-wal").exists());
    drop(folder.sqlite(START));
    // Moved away as a whole, an empty one is begun.
    fs::remove_file(folder.path()).unwrap();
    assert_eq!(folder.sqlite(START).depth().await.unwrap(), Depth::default());
}

#[tokio::test(start_paused = true)]
async fn an_emptied_queue_is_not_begun_anew() {
    let folder = Folder::new();
    drop(folder.sqlite(START));
    fs::write(folder.path(), "").unwrap();
    let told = damage_told(&folder);
    assert!(told.contains("it is empty, and there was a queue in it"), "{told}");
    let error = rescue(&folder.path(), &folder.keyring).unwrap_err().to_string();
    assert!(error.contains("nothing to rescue"), "{error}");
}

/// The last connection to a database takes its log away when it is closed: a start that failed did so too, and the next
/// one asked for a log that nobody had any more.
#[tokio::test(start_paused = true)]
async fn a_start_that_fails_leaves_the_log() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    let id = draft("shop", "anna@example.com", START).stored(&store).await;
    let left = killed(&folder);
    let stranger = Arc::new(Keyring::create(&left.directory.path().join("other.key")).unwrap());
    SqliteStore::open(&left.path(), stranger, Clock::simulated(START)).unwrap_err();
    assert!(fs::metadata(beside(&left, "-wal")).unwrap().len() > 0);
    assert_eq!(claim_one(&left.sqlite(START), START).await.entry().id, id);
}

#[tokio::test(start_paused = true)]
async fn a_lost_index_is_refused_and_a_rescue_keeps_every_message() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    let mut ids = Vec::new();
    for number in 0..50 {
        let to = format!("user{number}@example.com");
        ids.push(draft("shop", &to, START).payload(mail(&noise(3_000))).stored(&store).await);
    }
    drop(store);
    let page = root(&folder, "message_due") - 1;
    write_at(&folder.path(), page * 4096, &[0; 4096]);
    let told = damage_told(&folder);
    assert!(told.contains("authrelay queue rescue"), "{told}");
    let before = fs::read(folder.path()).unwrap();
    let (rescued, store) = rescued(&folder);
    assert_eq!((rescued.messages, rescued.waiting), (50, 50));
    assert_eq!(fs::read(&rescued.damaged).unwrap(), before, "the damaged file is kept as it is");
    for claimed in all_due(&store).await {
        let Payload::Mail { message, .. } = claimed.payload() else { panic!("a mail") };
        assert_eq!(*message, noise(3_000));
        ids.retain(|id| *id != claimed.entry().id);
    }
    assert!(ids.is_empty());
}

/// Of a file that was cut short the beginning is read; a message of which a part is lost ends, told, and one that shares
/// its payload with others is not forgotten.
#[tokio::test(start_paused = true)]
async fn a_rescue_of_a_short_file_keeps_what_is_whole() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    let shared = draft_to("shop", &["anna@example.com", "ben@example.com"], START).stored(&store).await;
    let mut ids = Vec::new();
    for number in 0..40 {
        let to = format!("user{number}@example.com");
        ids.push(draft("shop", &to, START).payload(mail(&noise(6_000))).stored(&store).await);
    }
    drop(store);
    let size = fs::metadata(folder.path()).unwrap().len();
    fs::OpenOptions::new().write(true).open(folder.path()).unwrap().set_len(size * 3 / 4).unwrap();
    damage_told(&folder);
    let (rescued, store) = rescued(&folder);
    assert!(!rescued.torn.is_empty() && rescued.waiting > 2, "{rescued:?}");
    assert_eq!(entry(&store, shared).await.state, State::Queued);
    let whole = all_due(&store).await;
    let length = |claimed: &Claimed| match claimed.payload() {
        Payload::Mail { message, .. } => message.len(),
        Payload::Sms { .. } => 0,
    };
    assert!(whole.iter().map(length).all(|octets| octets == 6_000 || octets == 7), "{}", whole.len());
    assert!(whole.len() > 2, "{}", whole.len());
}

#[tokio::test(start_paused = true)]
async fn a_rescue_keeps_daemons_and_strangers_out() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    draft("shop", "anna@example.com", START).stored(&store).await;
    let error = rescue(&folder.path(), &folder.keyring).unwrap_err().to_string();
    assert!(error.contains("another authrelay is using it"), "{error}");
    drop(store);
    let stranger = Keyring::create(&folder.directory.path().join("other.key")).unwrap();
    let error = rescue(&folder.path(), &stranger).unwrap_err().to_string();
    assert!(error.contains("it was sealed with another key"), "{error}");
    fs::write(folder.path(), "no database at all ".repeat(1000)).unwrap();
    let error = rescue(&folder.path(), &folder.keyring).unwrap_err().to_string();
    assert!(error.contains("nothing can be rescued"), "{error}");
}

/// A clock that was set back between two runs: what had been accepted an hour ahead waited for an hour, and lived for as
/// much longer.
#[tokio::test(start_paused = true)]
async fn what_was_accepted_before_the_clock_was_set_back_is_due_and_lives_no_longer() {
    let folder = Folder::new();
    let store = folder.sqlite(after(3_600));
    let id = draft("shop", "anna@example.com", after(3_600)).stored(&store).await;
    drop(store);
    let store = folder.sqlite(START);
    let row = entry(&store, id).await;
    assert_eq!((row.accepted, row.next_attempt, row.expires), (START, START, START.plus(LIFE)));
    assert_eq!(store.next_expiry().await.unwrap(), Some(START.plus(LIFE)));
    assert_eq!(claim_one(&store, START).await.entry().id, id);
}
