//! What only a file can be asked: its keys, its modes, its schema, and what is left in it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use authrelay::clock::Clock;
use authrelay::event::Kind;
use authrelay::ident::Class;
use authrelay::outcome::ReasonClass;
use authrelay::queue::store::sqlite::SqliteStore;
use authrelay::queue::{Change, Depth, Effect, Keyring, Operation, Query, State, Store, StoreError};
use rusqlite::Connection;

use crate::support::*;

fn open(folder: &Folder) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(&folder.path(), Arc::clone(&folder.keyring), Clock::simulated(START))
}

pub fn open_read_only(folder: &Folder) -> Result<SqliteStore, StoreError> {
    SqliteStore::open_read_only(&folder.path(), Arc::clone(&folder.keyring), Clock::simulated(START))
}

/// Why it can't be opened, without the path in front.
fn refusal(folder: &Folder) -> String {
    let error = open(folder).unwrap_err().to_string();
    let (before, problem) = error.split_once("queue.db: ").unwrap_or(("", &error));
    assert!(before.is_empty() || before.starts_with("queue "), "{error}");
    problem.to_owned()
}

/// Every file in the folder of the store with its bytes, by name.
pub fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    };
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(read).collect();
    files.sort();
    files
}

pub fn holds(folder: &Folder, needle: &[u8]) -> bool {
    let database = |(name, _): &&(String, Vec<u8>)| name.starts_with("queue.db");
    let files = files(folder.directory.path());
    files.iter().filter(database).any(|(_, bytes)| bytes.windows(needle.len()).any(|window| window == needle))
}

/// The sealed bytes of every payload, as they stand in the file.
pub fn sealed_payloads(folder: &Folder) -> Vec<Vec<u8>> {
    let conn = Connection::open(folder.path()).unwrap();
    let sql = "SELECT plan FROM payload WHERE plan IS NOT NULL \
               UNION ALL SELECT body FROM payload WHERE body IS NOT NULL";
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_share_commits() {
    let folder = Folder::new();
    let store = Arc::new(folder.sqlite(START));
    let before = *store.stats().borrow();
    let puts = (0..300).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { draft("shop", "anna@example.com", START).stored(&*store).await })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap();
    }
    let after = *store.stats().borrow();
    assert_eq!(after.jobs - before.jobs, 300);
    assert!(after.commits - before.commits < 300, "{after:?}");
    let (oldest, oldest_urgent) = (Some(START), Some(START));
    let depth = Depth { urgent: 300, oldest, oldest_urgent, ..Depth::default() };
    assert_eq!(store.depth().await.unwrap(), depth);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_message_can_be_read_in_the_file() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    draft("shop", "anna@example.com", START).payload(mail("the code is 739154\r\n")).stored(&store).await;
    draft("shop", "+12025550100", START).payload(sms("820473")).stored(&store).await;
    let claimed = claim(&store, Class::Urgent, 1, START).await;
    let mut answered = settlement(State::HandedOver, START);
    answered.reference = Some("2.0.0 queued for anna".to_owned());
    commit(&store, settle(&claimed[0], answered, START)).await;
    // What may be read, such as a client's name, shows that the search would find something.
    assert!(holds(&folder, b"shop"));
    for secret in
        ["739154", "820473", "anna", "example.com", "12025550100", "1@app", "2.0.0 queued", "relay.example"]
    {
        assert!(!holds(&folder, secret.as_bytes()), "{secret}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_an_ended_message_is_left_after_a_scrub() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    let mut random = fastrand::Rng::with_seed(7);
    let mut ids = Vec::new();
    for index in 0..150 {
        // Small cells, cells that nearly fill a page, and bodies on pages of their own.
        let size = [random.usize(0..300), random.usize(2500..4200), random.usize(4200..12_000)][index % 3];
        let draft = draft("shop", "anna@example.com", START).payload(mail(&noise(size)));
        ids.push(draft.stored(&store).await);
    }
    store.scrub().await.unwrap();
    let sealed = sealed_payloads(&folder);
    let bytes = folder_bytes(&folder);
    assert_eq!(sealed.len(), 300);
    assert!(sealed.iter().all(|one| holds_chunk(&bytes, one)));

    random.shuffle(&mut ids);
    let (live, ended) = ids.split_at(15);
    for chunk in ended.chunks(10) {
        let remove = |id: &_| Change::Operate { id: *id, operation: Operation::Remove, at: after(1) };
        store.commit(chunk.iter().map(remove).collect()).await.unwrap();
        // New ones come in between, and the record is pruned beside those that live.
        draft("shop", "bert@example.com", START).stored(&store).await;
        commit(&store, Change::Prune { before: after(2), archive: None, limit: 500 }).await;
    }
    store.scrub().await.unwrap();
    let kept = sealed_payloads(&folder);
    let bytes = folder_bytes(&folder);
    let left = sealed.iter().filter(|one| !kept.contains(one) && holds_chunk(&bytes, one)).count();
    assert_eq!((left, kept.len()), (0, 2 * (live.len() + ended.len().div_ceil(10))));
    for id in live {
        assert!(store.message(*id).await.unwrap().is_some());
    }
}

pub fn folder_bytes(folder: &Folder) -> std::collections::HashSet<[u8; 16]> {
    let files = files(folder.directory.path());
    let database = files.iter().filter(|(name, _)| name.starts_with("queue.db"));
    database.flat_map(|(_, bytes)| bytes.windows(16).map(|window| window.try_into().unwrap())).collect()
}

/// Whether any piece of `sealed` from its nonce on (what comes before is the same in all) is among the `pieces`.
pub fn holds_chunk(pieces: &std::collections::HashSet<[u8; 16]>, sealed: &[u8]) -> bool {
    sealed[5..].chunks_exact(16).any(|chunk| pieces.contains(chunk))
}

#[tokio::test]
async fn the_log_is_truncated_in_time() {
    let folder = Folder::new();
    let (path, keyring) = (folder.path(), Arc::clone(&folder.keyring));
    let soon = Duration::from_millis(50);
    let store = SqliteStore::open_scrubbing(&path, keyring, Clock::simulated(START), soon).unwrap();
    let mut stats = store.stats();
    // The one at the start.
    let scrubs = stats.wait_for(|stats| stats.scrubs > 0).await.unwrap().scrubs;
    let id = draft("shop", "anna@example.com", START).stored(&store).await;
    commit(&store, Change::Operate { id, operation: Operation::Remove, at: START }).await;
    stats.wait_for(|stats| stats.scrubs > scrubs).await.unwrap();
    assert_eq!(std::fs::metadata(folder.directory.path().join("queue.db-wal")).unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_row_ends_and_the_others_go_on() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(draft("shop", "anna@example.com", START).stored(&store).await);
    }
    let conn = Connection::open(folder.path()).unwrap();
    let damage = |sql: &str, id: usize| assert_eq!(conn.execute(sql, [ids[id].as_bytes()]).unwrap(), 1);
    damage(
        "UPDATE payload SET body = zeroblob(50) WHERE number = (SELECT payload FROM message WHERE id = ?1)",
        0,
    );
    damage("UPDATE payload SET plan = NULL WHERE number = (SELECT payload FROM message WHERE id = ?1)", 1);
    damage("UPDATE message SET recipient = zeroblob(99) WHERE id = ?1", 2);
    assert_eq!(claim_one(&store, START).await.entry().id, ids[3]);
    for id in &ids[..3] {
        let row = entry(&store, *id).await;
        assert_eq!((row.state, row.reason.unwrap().class), (State::Failed, ReasonClass::Local));
        assert_eq!(told(&store, *id).await, [Kind::Received, Kind::Failed]);
    }
    let row = entry(&store, ids[2]).await;
    assert_eq!(row.recipient.as_str(), "unreadable@invalid.invalid");
}

#[tokio::test(start_paused = true)]
async fn a_store_belongs_to_its_keyring() {
    let folder = Folder::new();
    let key = folder.directory.path().join("queue.key");
    let id = draft("shop", "anna@example.com", START).stored(&folder.sqlite(START)).await;
    let stranger = Folder { keyring: Folder::new().keyring, ..folder };
    let problem = refusal(&stranger);
    assert!(problem.starts_with("it was sealed with another key: give the key file"), "{problem}");
    assert!(open_read_only(&stranger).is_err());
    // A rotated one opens what the older sealed, and from then on the older alone does not do.
    let old = Arc::new(Keyring::load(&key).unwrap());
    let rotated = Folder { keyring: Arc::new(Keyring::rotate(&key).unwrap()), ..stranger };
    let store = rotated.sqlite(START);
    assert_eq!(claim_one(&store, START).await.entry().id, id);
    drop(store);
    assert!(refusal(&Folder { keyring: old, ..rotated }).starts_with("it was sealed with another key"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_is_refused() {
    let folder = Folder::new();
    std::fs::write(folder.path(), "no database at all ".repeat(100)).unwrap();
    let problem = refusal(&folder);
    assert!(
        problem.starts_with("it is no queue, or damaged: stop the daemon and run `authrelay queue rescue`"),
        "{problem}"
    );

    let folder = Folder::new();
    let conn = Connection::open(folder.path()).unwrap();
    conn.execute_batch("CREATE TABLE other (x); INSERT INTO other VALUES (1)").unwrap();
    drop(conn);
    assert!(refusal(&folder).starts_with("it is another program's database"));

    let folder = Folder::new();
    drop(folder.sqlite(START));
    let conn = Connection::open(folder.path()).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    for refused in [open(&folder), open_read_only(&folder)] {
        let Err(StoreError::NewerSchema { found, known }) = refused else { panic!("{refused:?}") };
        assert_eq!((found, known), (99, 5));
    }

    // A file that was made and nothing more, by a start that was cut off, is a new one.
    let folder = Folder::new();
    std::fs::write(folder.path(), "").unwrap();
    assert_eq!(folder.sqlite(START).depth().await.unwrap(), Depth::default());
}

#[tokio::test(start_paused = true)]
async fn one_daemon_at_a_time() {
    let folder = Folder::new();
    let first = folder.sqlite(START);
    let problem = refusal(&folder);
    assert!(problem.starts_with("another authrelay is using it"), "{problem}");
    first.close().await.unwrap();
    drop(folder.sqlite(START));
}

#[tokio::test(start_paused = true)]
async fn the_files_are_their_owners_alone() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    draft("shop", "anna@example.com", START).stored(&store).await;
    let modes = || -> Vec<(String, u32)> {
        let names = files(folder.directory.path()).into_iter().map(|(name, _)| name);
        let mode =
            |name: &String| folder.directory.path().join(name).metadata().unwrap().permissions().mode();
        names.map(|name| (name.clone(), mode(&name) & 0o777)).collect()
    };
    assert_eq!(modes().len(), 5);
    assert!(modes().iter().all(|(_, mode)| *mode == 0o600), "{:?}", modes());
    drop(store);
    // A restored copy that is too open is closed again.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let _store = folder.sqlite(START);
    assert!(modes().iter().all(|(_, mode)| *mode == 0o600), "{:?}", modes());
}

#[tokio::test(start_paused = true)]
async fn looking_changes_nothing() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    let id = draft("shop", "anna@example.com", START).leased(after(900)).stored(&store).await;
    let look = async |folder: &Folder| {
        let before = files(folder.directory.path());
        let offline = open_read_only(folder).unwrap();
        assert_eq!(state(&offline, id).await, State::Attempting);
        assert_eq!(told(&offline, id).await, [Kind::Received]);
        assert_eq!(offline.message(id).await.unwrap().unwrap(), "hello\r\n");
        let refused = offline.commit(vec![mark(id, after(900))]).await.unwrap_err();
        assert_eq!(refused.to_string(), "the queue's store failed: it was opened for reading only");
        offline.close().await.unwrap();
        drop(offline);
        let names =
            |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&files(folder.directory.path())), names(&before));
        before == files(folder.directory.path())
    };
    // Beside a running daemon: reading takes locks, which SQLite keeps in the index.
    look(&folder).await;
    // As a crash leaves it.
    let crashed = Folder { directory: tempfile::tempdir().unwrap(), keyring: Arc::clone(&folder.keyring) };
    for (name, bytes) in files(folder.directory.path()) {
        std::fs::write(crashed.directory.path().join(name), bytes).unwrap();
    }
    assert!(look(&crashed).await);
    // After a clean stop.
    store.close().await.unwrap();
    assert!(!folder.directory.path().join("queue.db-wal").exists());
    assert!(look(&folder).await);
    // And what the crash left is found by the next start.
    let found = crashed.sqlite(after(1));
    assert_eq!(claim_one(&found, after(1)).await.entry().id, id);
    found.scrub().await.unwrap();
    draft("shop", "anna@example.com", after(1)).stored(&found).await;
    // A log without its index can't be read without making one.
    let torn = Folder { directory: tempfile::tempdir().unwrap(), keyring: Arc::clone(&folder.keyring) };
    for name in ["queue.db", "queue.db-wal"] {
        std::fs::copy(crashed.directory.path().join(name), torn.directory.path().join(name)).unwrap();
    }
    assert!(open_read_only(&torn).unwrap_err().to_string().contains("start the daemon once"));
    assert_eq!(files(torn.directory.path()).len(), 2);
}

#[tokio::test]
async fn callers_that_go_away_leave_nothing_half_done() {
    let folder = Folder::new();
    let store: Arc<SqliteStore> = Arc::new(folder.sqlite(START));
    let mut ids = Vec::new();
    for index in 0..200 {
        let store = Arc::clone(&store);
        let draft = draft_to("shop", &["anna@example.com", "bert@example.com"], START);
        ids.push(draft.put.entries[0].entry.id);
        let put = tokio::spawn(async move { draft.store(&*store).await });
        if index % 2 == 0 {
            tokio::task::yield_now().await;
        }
        put.abort();
    }
    // Everything asked before this is done when it is answered.
    let last = draft("shop", "carl@example.com", START).stored(&*store).await;
    let mut whole = 0;
    for id in ids {
        let rows = store.find(Query { id: Some(id), limit: 10, ..Query::default() }).await.unwrap();
        assert!(matches!(rows.len(), 0 | 2));
        assert_eq!(rows.is_empty(), store.message(id).await.unwrap().is_none());
        whole += rows.len();
    }
    assert!(whole > 0);

    // A claim whose caller is gone is given back.
    for _ in 0..5 {
        let store = Arc::clone(&store);
        let claim = tokio::spawn(async move { claim(&*store, Class::Urgent, 1000, START).await });
        tokio::task::yield_now().await;
        claim.abort();
    }
    let mut stats = store.stats();
    let mut again = 0;
    let all = async {
        while again < whole + 1 {
            again += claim(&*store, Class::Urgent, 1000, after(599)).await.len();
            stats.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_mins(1), all).await.expect("every row is handed out again");
    assert_eq!(state(&*store, last).await, State::Attempting);
}

#[tokio::test(start_paused = true)]
async fn the_file_shrinks_when_the_record_is_pruned() {
    let folder = Folder::new();
    let store = folder.sqlite(START);
    for _ in 0..100 {
        let id = draft("shop", "anna@example.com", START).payload(mail(&noise(20_000))).stored(&store).await;
        commit(&store, Change::Operate { id, operation: Operation::Remove, at: START }).await;
    }
    let large = draft("shop", "anna@example.com", START).payload(mail(&noise(2_000_000)));
    let id = large.stored(&store).await;
    commit(&store, Change::Operate { id, operation: Operation::Remove, at: START }).await;
    store.scrub().await.unwrap();
    let before = folder.path().metadata().unwrap().len();
    assert_eq!(
        commit(&store, Change::Prune { before: after(1), archive: None, limit: 500 }).await.result,
        Effect::Rows(101)
    );
    for _ in 0..10 {
        commit(&store, Change::Prune { before: after(1), archive: None, limit: 500 }).await;
    }
    store.scrub().await.unwrap();
    let after = folder.path().metadata().unwrap().len();
    assert!(after < before / 4, "{before} -> {after}");
}
