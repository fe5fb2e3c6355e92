//! The way out of a damaged file: all that can still be read is copied into a new one, which takes its place.
//!
//! Nothing of the damaged files is changed or thrown away: they stand beside the new one afterwards. What is sealed is
//! copied as it is, so it opens only where it is what was sealed: a message is handed over with its own bytes or not at
//! all. A row of which a part is lost ends when it is claimed, and is told as any other failure.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, chown, fchown};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::row::failed;
use super::row::sealed::RECIPIENT;
use super::schema::{
    check_identity, explain, let_log_go, lock, open_writer, sibling, sync_directory, unreadable,
};
use super::sound::Mark;
use crate::queue::keyring::Keyring;
use crate::queue::store::StoreError;

/// What the files that `SQLite` makes are called behind the name of the database.
const BESIDE: [&str; 3] = ["", "-wal", "-shm"];

/// Between the last row that can be read from the front and the first from the back, numbers are tried singly, until so
/// many in a row are none.
const MISSES: u32 = 20_000;

/// What was rescued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescued {
    /// Messages and the records of ended ones.
    pub messages: u64,
    /// Of these, how many are still to be handed over or kept for an operator.
    pub waiting: u64,
    /// The parts of the queue that could not be read to their end.
    pub torn: Vec<String>,
    /// Where the damaged file is now, with what belongs to it.
    pub damaged: PathBuf,
}

/// Copies what can be read of the store at `path` into a new one in its place. Blocks; no daemon may be running.
pub fn rescue(path: &Path, keyring: &Keyring) -> Result<Rescued, StoreError> {
    let mut held = lock(path)?;
    let draft = sibling(path, ".rescue");
    remove(&draft)?;
    let old = open_damaged(path, keyring)?;
    let mut held_draft = lock(&draft)?;
    let mut new = open_writer(&draft, keyring, &mut held_draft)?;
    let torn = copy_all(&old, &mut new)?;
    mend(&new).map_err(failed)?;
    let count = |sql: &str| new.query_row(sql, [], |row| row.get::<_, u32>(0)).map(u64::from).map_err(failed);
    let messages = count("SELECT count(*) FROM message")?;
    let waiting = count("SELECT count(*) FROM message WHERE ended IS NULL")?;
    let_log_go(&new).map_err(failed)?;
    old.close().map_err(|(_, error)| failed(error))?;
    new.close().map_err(|(_, error)| failed(error))?;
    drop(held_draft);
    let put = |error: io::Error| unreadable(path, &format!("what was rescued can't take its place: {error}"));
    let damaged = take_place(path, &draft, &mut held).map_err(put)?;
    Ok(Rescued { messages, waiting, torn, damaged })
}

/// Opens what is there for reading. Nothing is written into it, and its log stays.
fn open_damaged(path: &Path, keyring: &Keyring) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|error| explain(path, &error))?;
    let setup = || -> rusqlite::Result<()> {
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // writable_schema: a file that was cut short is opened all the same.
        conn.execute_batch(
            "PRAGMA writable_schema = ON; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;
             PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;",
        )
    };
    setup().and_then(|()| first_page(&conn)).map_err(|_| {
        let problem = "not even its beginning can be read, so nothing can be rescued: put back a copy, or move it away \
                       (with its -wal and -shm) to begin with an empty one";
        super::sound::damaged(path, problem)
    })?;
    if check_identity(&conn, path)? == 0 {
        return Err(unreadable(path, "it is empty: there is nothing to rescue"));
    }
    check_some(&conn, path, keyring)?;
    Ok(conn)
}

/// Refuses a keyring that opens none of the latest rows. The word in the file that tells may itself be damaged.
fn check_some(conn: &Connection, path: &Path, keyring: &Keyring) -> Result<(), StoreError> {
    let sql =
        "SELECT id, recipient FROM message NOT INDEXED WHERE recipient <> X'' ORDER BY number DESC LIMIT 100";
    let opens = |row: &rusqlite::Row<'_>| -> rusqlite::Result<bool> {
        let (id, sealed): ([u8; 16], Vec<u8>) = (row.get(0)?, row.get(1)?);
        Ok(keyring.open(RECIPIENT, &id, &sealed).is_ok())
    };
    let Ok(mut statement) = conn.prepare(sql) else { return Ok(()) };
    let found = statement.query_map([], opens).map_err(failed)?;
    let opened: Vec<bool> = found.filter_map(Result::ok).collect();
    if !opened.is_empty() && !opened.contains(&true) {
        return Err(unreadable(
            path,
            "it was sealed with another key: give the key file it was written with",
        ));
    }
    Ok(())
}

fn first_page(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// Copies every table; the names of those that could not be read to their end.
fn copy_all(old: &Connection, new: &mut Connection) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT name, wr FROM pragma_table_list \
               WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> 'meta'";
    let tables: Vec<(String, bool)> = {
        let mut statement = new.prepare(sql).map_err(failed)?;
        let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
        found.collect::<Result<_, _>>().map_err(failed)?
    };
    let mut torn = Vec::new();
    let transaction = new.transaction().map_err(failed)?;
    for (name, without_rowid) in tables {
        let table = Table::of(old, &transaction, name, without_rowid)?;
        if !table.copy(old, &transaction)? {
            torn.push(table.name);
        }
    }
    transaction.commit().map_err(failed)?;
    Ok(torn)
}

/// A table of both files.
struct Table {
    name: String,
    /// The columns that both have, with commas between.
    columns: String,
    /// What its rows are ordered by.
    key: String,
    has_numbers: bool,
    insert: String,
}

impl Table {
    fn of(old: &Connection, new: &Connection, name: String, without_rowid: bool) -> Result<Self, StoreError> {
        let columns = |conn: &Connection| -> rusqlite::Result<Vec<(String, u32)>> {
            let mut statement = conn.prepare("SELECT name, pk FROM pragma_table_info(?1)")?;
            let found = statement.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?;
            found.collect()
        };
        let had = columns(old).unwrap_or_default();
        let mut both = columns(new).map_err(failed)?;
        both.retain(|(column, _)| had.iter().any(|(other, _)| other == column));
        let mut keys: Vec<&(String, u32)> = both.iter().filter(|(_, place)| *place > 0).collect();
        keys.sort_by_key(|(_, place)| *place);
        let key = keys.iter().map(|(column, _)| format!("{column} DESC")).collect::<Vec<_>>().join(", ");
        let names: Vec<&str> = both.iter().map(|(column, _)| column.as_str()).collect();
        let places = vec!["?"; names.len()].join(", ");
        let columns = names.join(", ");
        let insert = format!("INSERT OR IGNORE INTO {name} ({columns}) VALUES ({places})");
        let key = if without_rowid { key } else { "rowid DESC".to_owned() };
        Ok(Self { name, columns, key, has_numbers: !without_rowid, insert })
    }

    /// Copies what can be read: from the front, and where that ends too early from the back, and what is between singly.
    /// Whether all of it could be.
    fn copy(&self, old: &Connection, new: &Connection) -> Result<bool, StoreError> {
        let Self { name, columns, key, has_numbers, .. } = self;
        if columns.is_empty() {
            return Ok(false);
        }
        let number = if *has_numbers { "rowid" } else { "0" };
        let select = format!("SELECT {number}, {columns} FROM {name} NOT INDEXED");
        let front = self.read(old, new, &format!("{select} ORDER BY {}", key.replace(" DESC", "")))?;
        let Err(first_lost) = front else { return Ok(true) };
        let Err(last_lost) = self.read(old, new, &format!("{select} ORDER BY {key}"))? else {
            return Ok(false);
        };
        if *has_numbers {
            let from = first_lost.unwrap_or(0).saturating_add(1);
            self.copy_singly(old, new, from..last_lost.unwrap_or(i64::MAX), &select)?;
        }
        Ok(false)
    }

    fn copy_singly(
        &self,
        old: &Connection,
        new: &Connection,
        numbers: Range<i64>,
        select: &str,
    ) -> Result<(), StoreError> {
        let one = format!("{select} WHERE rowid = ?1");
        let mut misses = 0;
        for number in numbers {
            let row = old
                .prepare_cached(&one)
                .and_then(|mut statement| statement.query_row([number], |row| self.values(row)));
            match row {
                Ok(values) => {
                    misses = 0;
                    self.put(new, values)?;
                }
                Err(_) if misses < MISSES => misses += 1,
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Copies the rows of a query until one can't be read: then the number of the one before.
    fn read(
        &self,
        old: &Connection,
        new: &Connection,
        sql: &str,
    ) -> Result<Result<(), Option<i64>>, StoreError> {
        let mut last = None;
        let Ok(mut statement) = old.prepare(sql) else { return Ok(Err(last)) };
        let Ok(mut rows) = statement.query([]) else { return Ok(Err(last)) };
        loop {
            match rows.next() {
                Ok(Some(row)) => {
                    let Ok(values) = self.values(row) else { return Ok(Err(last)) };
                    last = row.get(0).ok();
                    self.put(new, values)?;
                }
                Ok(None) => return Ok(Ok(())),
                Err(_) => return Ok(Err(last)),
            }
        }
    }

    fn values(&self, row: &rusqlite::Row<'_>) -> rusqlite::Result<Vec<Value>> {
        (1..=self.columns.split(", ").count()).map(|index| row.get(index)).collect()
    }

    /// A row that the new table does not take is damaged: it is left out.
    fn put(&self, new: &Connection, values: Vec<Value>) -> Result<(), StoreError> {
        let mut statement = new.prepare_cached(&self.insert).map_err(failed)?;
        match statement.execute(params_from_iter(values)) {
            Ok(_) => Ok(()),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                Ok(())
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// Rows speak of others, and some of these may be lost.
fn mend(new: &Connection) -> rusqlite::Result<()> {
    new.execute_batch(
        "BEGIN IMMEDIATE;
         DELETE FROM outbox WHERE payload NOT IN (SELECT number FROM payload);
         DELETE FROM payload WHERE number NOT IN
             (SELECT payload FROM message WHERE payload IS NOT NULL UNION SELECT payload FROM outbox);
         DELETE FROM payload_refs;
         INSERT INTO payload_refs (payload, refs) SELECT payload, count(*) FROM
             (SELECT payload FROM message WHERE payload IS NOT NULL UNION ALL SELECT payload FROM outbox)
             GROUP BY payload HAVING count(*) > 1;
         UPDATE message SET waits_for = NULL WHERE waits_for IS NOT NULL
             AND waits_for NOT IN (SELECT id FROM message WHERE ended IS NULL);
         UPDATE outbox SET due = at WHERE due IS NULL AND NOT EXISTS (SELECT 1 FROM outbox older
             WHERE older.subject = outbox.subject AND older.endpoint = outbox.endpoint
             AND older.number < outbox.number);
         UPDATE endpoint SET waiting = (SELECT count(*) FROM outbox WHERE outbox.endpoint = endpoint.name);
         COMMIT; PRAGMA wal_checkpoint(TRUNCATE);",
    )
}

/// Puts the damaged files aside and the new one in their place.
fn take_place(path: &Path, draft: &Path, held: &mut File) -> io::Result<PathBuf> {
    // Whoever ran this, the daemon has to be able to open it.
    let owner = fs::metadata(path)?;
    chown(draft, Some(owner.uid()), Some(owner.gid()))?;
    fchown(&*held, Some(owner.uid()), Some(owner.gid()))?;
    File::open(draft)?.sync_all()?;
    let damaged = free_name(path)?;
    for suffix in BESIDE {
        let _ = remove_if_there(&sibling(draft, &format!(".lock{suffix}")));
        match fs::rename(sibling(path, suffix), sibling(&damaged, suffix)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    fs::rename(draft, path)?;
    sync_directory(path)?;
    Mark::Closed.write(held)?;
    Ok(damaged)
}

fn free_name(path: &Path) -> io::Result<PathBuf> {
    for number in 1_u32.. {
        let name = sibling(path, &format!(".damaged-{number}"));
        if !name.try_exists()? {
            return Ok(name);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes what a rescue that was cut off left.
fn remove(draft: &Path) -> Result<(), StoreError> {
    for suffix in BESIDE.into_iter().chain([".lock"]) {
        let file = sibling(draft, suffix);
        remove_if_there(&file).map_err(|error| unreadable(&file, &error.to_string()))?;
    }
    Ok(())
}

fn remove_if_there(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
