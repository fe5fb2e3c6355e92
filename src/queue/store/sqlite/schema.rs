//! The file: making it, opening it, bringing it to this version's schema, and refusing what is not ours to open.
//!
//! A store belongs to one process at a time (a lock on a file beside it) and to one keyring (a sealed value in it that
//! only this keyring opens). The schema's version is `user_version`; [`MIGRATIONS`] only ever grows at its end.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};

use super::reseal;
use super::sound::{Mark, WAY_OUT, check_begun, check_log, check_whole, damaged};
use crate::queue::keyring::{Keyring, sealing_key};
use crate::queue::store::StoreError;
use crate::secret::Digest;

/// Marks the file as ours (`PRAGMA application_id`): "ARLY".
const APPLICATION_ID: i64 = 0x4152_4C59;

/// How long a connection waits for another one. Only an operator's `sqlite3` or a checkpoint can stand in the way.
pub(super) const BUSY: Duration = Duration::from_secs(2);

/// Step `n` brings a store from schema version `n` to `n + 1`, in one transaction. Never change a step that was
/// released.
const MIGRATIONS: [&str; 5] = [
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
];

/// The name under which a store remembers its keyring.
const KEY_CHECK: &str = "key-check";

/// The newest schema this program knows.
pub(super) fn known_schema() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Takes the lock that keeps a second daemon out. It lasts until the file is dropped.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let beside = sibling(path, ".lock");
    let open =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&beside);
    let file = open.map_err(|error| unreadable(&beside, &error.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(unreadable(
            path,
            "another authrelay is using it: stop that one first, or give this one its own",
        )),
        Err(TryLockError::Error(error)) => Err(unreadable(&beside, &error.to_string())),
    }
}

/// Opens the store for the writer: makes the file where there is none, migrates it, and checks that it is whole and
/// belongs to `keyring`. The caller holds the lock, which says from here on that the store is in use.
pub(super) fn open_writer(path: &Path, keyring: &Keyring, lock: &mut File) -> Result<Connection, StoreError> {
    let of_lock = |error: io::Error| unreadable(&sibling(path, ".lock"), &error.to_string());
    let mark = Mark::read(lock).map_err(of_lock)?;
    check_log(path, mark)?;
    let was_there = make_private(path).map_err(|error| unreadable(path, &error.to_string()))?;
    let mut conn = connect(path)?;
    let version = check_identity(&conn, path)?;
    check_begun(path, mark, version, was_there)?;
    if version == 0 {
        // Both can be set only while the file is empty.
        conn.execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;")
            .map_err(|error| explain(path, &error))?;
    }
    let mode: String = conn
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(|error| explain(path, &error))?;
    if mode != "wal" {
        return Err(unreadable(path, "its file system does not allow a write-ahead log"));
    }
    migrate(&mut conn, version).map_err(|error| explain(path, &error))?;
    check_key(&conn, path, keyring)?;
    check_whole(&conn, path)?;
    announce_keys(&conn, path, keyring)?;
    sync_directory(path).map_err(|error| unreadable(path, &error.to_string()))?;
    Mark::InUse.write(lock).map_err(of_lock)?;
    Ok(conn)
}

/// A writer's connection to a store that [`open_writer`] has opened before.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|error| explain(path, &error))?;
    let setup = || -> rusqlite::Result<()> {
        conn.busy_timeout(BUSY)?;
        steady_plans(&conn)?;
        // The log goes only with [`let_log_go`]: whoever finds the store not closed has to find the log as well.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        conn.set_prepared_statement_cache_capacity(64);
        // secure_delete: what is freed is overwritten with zeros. temp_store: nothing spills into a temporary file.
        conn.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -16000; PRAGMA wal_autocheckpoint = 4000; PRAGMA trusted_schema = OFF;",
        )
    };
    setup().map_err(|error| explain(path, &error))?;
    Ok(conn)
}

/// Closing this connection takes the write-ahead log with it, if it is the last one.
pub(super) fn let_log_go(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map(drop)
}

/// A reader's connection, beside a writer of this process.
pub(super) fn connect_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|error| explain(path, &error))?;
    reader_setup(&conn).map_err(|error| explain(path, &error))?;
    Ok(conn)
}

/// A connection for looking into a store that need not be in use, without changing a byte of it or beside it.
pub(super) fn connect_offline(path: &Path, keyring: &Keyring) -> Result<Connection, StoreError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let conn =
        Connection::open_with_flags(offline_uri(path)?, flags).map_err(|error| explain(path, &error))?;
    reader_setup(&conn).map_err(|error| explain(path, &error))?;
    let version = check_identity(&conn, path)?;
    if version < known_schema() {
        return Err(unreadable(
            path,
            "an older version wrote it: start the daemon once, it brings it up to date",
        ));
    }
    check_key(&conn, path, keyring)?;
    Ok(conn)
}

/// How to open the file so that nothing is written. After a clean stop there is no log, and the file alone is
/// everything. Otherwise the log is read through its index where that is there (`readonly_shm`); `SQLite` would make a
/// missing one, so that case is refused.
fn offline_uri(path: &Path) -> Result<String, StoreError> {
    let size = |suffix: &str| fs::metadata(sibling(path, suffix)).map(|meta| meta.len());
    let mode = match (size("-wal"), size("-shm")) {
        (Err(_) | Ok(0), Err(_)) => "immutable=1",
        (_, Ok(_)) => "mode=ro&readonly_shm=1",
        (Ok(_), Err(_)) => {
            let problem = "its write-ahead log has lost its index: start the daemon once, it makes a new one";
            return Err(unreadable(path, problem));
        }
    };
    let full = fs::canonicalize(path).map_err(|error| unreadable(path, &error.to_string()))?;
    let mut uri = "file:".to_owned();
    for byte in std::os::unix::ffi::OsStrExt::as_bytes(full.as_os_str()) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                uri.push(char::from(*byte));
            }
            other => drop(write!(uri, "%{other:02X}")),
        }
    }
    Ok(format!("{uri}?{mode}"))
}

/// Plans don't depend on bound values; otherwise each binding makes `SQLite` prepare the statement anew.
fn steady_plans(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn reader_setup(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY)?;
    steady_plans(conn)?;
    conn.set_prepared_statement_cache_capacity(32);
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;")
}

/// The schema version; 0 for an empty file. Refuses what is not ours or newer than this program.
pub(super) fn check_identity(conn: &Connection, path: &Path) -> Result<i64, StoreError> {
    let pragma = |name: &str| -> Result<i64, StoreError> {
        conn.pragma_query_value(None, name, |row| row.get(0)).map_err(|error| explain(path, &error))
    };
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    if application != APPLICATION_ID {
        let tables: i64 = conn
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(|error| explain(path, &error))?;
        if application != 0 || version != 0 || tables != 0 {
            return Err(unreadable(
                path,
                "it is another program's database: name another path for the queue",
            ));
        }
    }
    if version > known_schema() {
        return Err(StoreError::NewerSchema { found: version, known: known_schema() });
    }
    Ok(version)
}

fn migrate(conn: &mut Connection, from: i64) -> rusqlite::Result<()> {
    for (version, step) in (1..).zip(MIGRATIONS).skip(usize::try_from(from).unwrap_or(0)) {
        let transaction = conn.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", i64::from(version))?;
        transaction.commit()?;
    }
    Ok(())
}

/// A store remembers its keyring by a digest under the look-up key, sealed for a random id of the store.
fn check_key(conn: &Connection, path: &Path, keyring: &Keyring) -> Result<(), StoreError> {
    let wrong = || {
        unreadable(
            path,
            "it was sealed with another key: give the key file it was written with, or start a new queue; where it is \
             the right key, a part of the file is damaged: run `authrelay queue rescue`",
        )
    };
    let value = keyring.lookup_key().digest(KEY_CHECK, &[]);
    let stored: Option<Vec<u8>> = conn
        .query_row("SELECT value FROM meta WHERE name = ?1", [KEY_CHECK], |row| row.get(0))
        .optional()
        .map_err(|error| explain(path, &error))?;
    let sealed_by = stored.as_deref().and_then(sealing_key);
    if let Some(stored) = stored {
        let opened = keyring.open("meta.value", KEY_CHECK.as_bytes(), &stored).map_err(|_| wrong())?;
        if Digest::from_bytes(&opened) != Some(value) {
            return Err(wrong());
        }
    }
    check_in_use(conn, path, keyring)?;
    // Sealed anew after a rotation, so that the oldest key can go one day.
    if sealed_by != Some(keyring.newest()) && !conn.is_readonly("main").unwrap_or(true) {
        remember_key(conn, keyring)?;
    }
    Ok(())
}

/// Writes down which keyring the store belongs to, sealed with the newest key.
pub(super) fn remember_key(conn: &Connection, keyring: &Keyring) -> Result<(), StoreError> {
    let value = keyring.lookup_key().digest(KEY_CHECK, &[]);
    let sealed =
        keyring.seal("meta.value", KEY_CHECK.as_bytes(), value.as_bytes()).map_err(super::row::not_sealed)?;
    conn.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", (KEY_CHECK, sealed))
        .map(drop)
        .map_err(super::row::failed)
}

/// Refuses a keyring that lacks a key with which something may still be sealed.
fn check_in_use(conn: &Connection, path: &Path, keyring: &Keyring) -> Result<(), StoreError> {
    let needed = reseal::in_use(conn).map_err(|error| explain(path, &error))?;
    let ids = keyring.ids();
    match needed.iter().find(|id| !ids.contains(id)) {
        None => Ok(()),
        Some(lost) => Err(unreadable(
            path,
            &format!(
                "messages in it are still sealed with key {lost}, and the key file has no `seal {lost}` any more: put that \
                 line back, and take it out once `authrelay key list` says that nothing needs it"
            ),
        )),
    }
}

/// Writes down which keys are in use: the newest one, and where that was never done all that there are.
fn announce_keys(conn: &Connection, path: &Path, keyring: &Keyring) -> Result<(), StoreError> {
    let known = reseal::in_use(conn).map_err(|error| explain(path, &error))?;
    let newest = keyring.newest();
    let keys = if known.is_empty() { keyring.ids() } else { vec![newest] };
    if known.contains(&newest) {
        return Ok(());
    }
    reseal::announce(conn, &keys).map_err(|error| explain(path, &error))
}

/// Makes the file where it is missing, and keeps it and what `SQLite` puts beside it to its owner. Whether it was there.
fn make_private(path: &Path) -> io::Result<bool> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all()?;
            return sync_directory(path).map(|()| false);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    for file in [path.to_owned(), sibling(path, "-wal"), sibling(path, "-shm")] {
        match fs::metadata(&file) {
            Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
                fs::set_permissions(&file, Permissions::from_mode(0o600))?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn unreadable(path: &Path, problem: &str) -> StoreError {
    StoreError::Unreadable(format!("queue {}: {problem}", path.display()))
}

/// What an error while opening means to the one who has to do something about it.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            damaged(path, &format!("it is no queue, or damaged: {WAY_OUT}"))
        }
        _ => unreadable(path, &error.to_string()),
    }
}
