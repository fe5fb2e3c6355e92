//! Which keys something in the store is sealed with, and sealing anew what an older key sealed.
//!
//! Invariants:
//! - A key is written down as in use before the first value is sealed with it, and crossed out only when no value of it is in
//!   the file or in the write-ahead log any more, and no reader sees an older state of either. So what is not written down can
//!   be taken off the keyring, and a keyring that lacks what is written down is refused at the start.
//! - Sealing anew changes no length, so `SQLite` overwrites each value where it stands (see `erase` for why that matters).
//! - What can't be opened stays as it is: another key would not make it whole.

use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::watch;

use super::SqliteStore;
use super::row::{Medium, failed, not_sealed, sealed};
use super::writer::Request;
use crate::queue::keyring::{Keyring, sealing_key};
use crate::queue::store::StoreError;

/// The rows of one step, and the bytes of payload after which it ends: others wait for the writer meanwhile.
const STEP_ROWS: i64 = 200;
const STEP_BYTES: usize = 1 << 20;

/// What comes before the id of a key in the table `meta`.
const IN_USE: &str = "sealed-with-";

/// How far sealing anew has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resealed {
    /// There is more to do.
    Part,
    /// Everything is sealed with the newest key, and no other is in use.
    All,
}

impl SqliteStore {
    /// The ids of the keys that something is sealed with, ascending, as they change.
    pub fn keys_in_use(&self) -> watch::Receiver<Vec<u32>> {
        self.inner.keys_in_use.clone()
    }

    /// Writes down that `key` is in use. To be done before the keyring takes it over.
    pub async fn announce_key(&self, key: u32) -> Result<(), StoreError> {
        self.inner.ask(|answer| Request::AnnounceKey(key, answer)).await
    }

    /// Seals a part of what older keys sealed with the newest one.
    pub async fn reseal(&self) -> Result<Resealed, StoreError> {
        self.inner.ask(Request::Reseal).await
    }
}

/// The keys that are written down as in use. What another program version wrote there and does not parse counts as none.
pub(super) fn in_use(conn: &Connection) -> rusqlite::Result<Vec<u32>> {
    let mut statement = conn.prepare_cached("SELECT name FROM meta WHERE name GLOB ?1 || '*'")?;
    let names = statement.query_map([IN_USE], |row| row.get::<_, String>(0))?;
    let mut ids = Vec::new();
    for name in names {
        ids.extend(name?.strip_prefix(IN_USE).and_then(|id| id.parse::<u32>().ok()));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Writes keys down as in use.
pub(super) fn announce(conn: &Connection, keys: &[u32]) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, X'')")?;
    for key in keys {
        statement.execute([format!("{IN_USE}{key}")])?;
    }
    Ok(())
}

/// Crosses out all keys but one.
pub(super) fn cross_out_all_but(conn: &Connection, key: u32) -> rusqlite::Result<()> {
    let sql = "DELETE FROM meta WHERE name GLOB ?1 || '*' AND name <> ?1 || ?2";
    conn.prepare_cached(sql)?.execute(params![IN_USE, key.to_string()]).map(drop)
}

/// A pass through everything that is sealed. Copied before a step, so that one that is not committed is made again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    /// The key that everything is being sealed with.
    target: u32,
    /// `None`: everything has been gone through.
    table: Option<Table>,
    /// The last row of the table that is done.
    after: i64,
    /// Something that an older key had sealed was stored while the pass went on.
    pub(super) overtaken: bool,
}

#[derive(Debug, Clone, Copy)]
enum Table {
    Message,
    Event,
    Outbox,
    Archive,
}

impl Pass {
    pub(super) fn new(target: u32) -> Self {
        Self { target, table: Some(Table::Message), after: 0, overtaken: false }
    }

    /// Whether it is for this key and its end still counts.
    pub(super) fn is_for(&self, key: u32) -> bool {
        self.target == key && !(self.overtaken && self.table.is_none())
    }

    pub(super) fn is_through(&self) -> bool {
        self.table.is_none()
    }

    /// Goes on, inside a transaction.
    pub(super) fn step(&mut self, conn: &Connection, keyring: &Keyring) -> Result<(), StoreError> {
        let Some(table) = self.table else { return Ok(()) };
        let at = Step { conn, keyring, after: self.after };
        let (last, next) = match table {
            Table::Message => (at.messages()?, Some(Table::Event)),
            Table::Event => (at.events()?, Some(Table::Outbox)),
            Table::Outbox => (at.outbox()?, Some(Table::Archive)),
            Table::Archive => (at.archive()?, None),
        };
        if let Some(last) = last {
            self.after = last;
        } else {
            (self.table, self.after) = (next, 0);
        }
        Ok(())
    }
}

/// One step. Each method gives the last row it has done, `None` behind the end of its table.
struct Step<'a> {
    conn: &'a Connection,
    keyring: &'a Keyring,
    after: i64,
}

/// The sealed values of a row of `message`, and what they are sealed for.
struct MessageRow {
    number: i64,
    id: [u8; 16],
    submission: [u8; 16],
    medium: Medium,
    values: [Option<Vec<u8>>; 4],
    payload: Option<i64>,
}

impl Step<'_> {
    fn messages(&self) -> Result<Option<i64>, StoreError> {
        const COLUMNS: [&str; 4] =
            [sealed::RECIPIENT, sealed::APPLICATION_ID, sealed::REPORT_TO, sealed::OUTCOME];
        let mut last = None;
        let mut bytes = 0;
        for row in self.message_rows()? {
            let MessageRow { number, id, submission, medium, values, payload } = row;
            let mut renewed: [Option<Vec<u8>>; 4] = Default::default();
            for ((new, old), column) in renewed.iter_mut().zip(&values).zip(COLUMNS) {
                *new = self.renewed(column, &id, old.as_deref())?;
            }
            if renewed.iter().any(Option::is_some) {
                let [recipient, application_id, report_to, outcome] = renewed;
                let sql = "UPDATE message SET recipient = ifnull(?2, recipient), \
                           application_id = ifnull(?3, application_id), report_to = ifnull(?4, report_to), \
                           outcome = ifnull(?5, outcome) WHERE number = ?1";
                self.run(sql, params![number, recipient, application_id, report_to, outcome])?;
            }
            if let Some(payload) = payload {
                bytes += match medium {
                    Medium::Mail => self.payload(payload, &submission, (sealed::BODY, &submission))?,
                    Medium::Text => self.payload(payload, &submission, (sealed::RECIPIENT, &id))?,
                };
            }
            last = Some(number);
            if bytes > STEP_BYTES {
                break;
            }
        }
        Ok(last)
    }

    fn message_rows(&self) -> Result<Vec<MessageRow>, StoreError> {
        let sql = "SELECT number, id, submission, kind, recipient, application_id, report_to, outcome, payload \
                   FROM message WHERE number > ?1 ORDER BY number LIMIT ?2";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(MessageRow {
                number: row.get(0)?,
                id: row.get(1)?,
                submission: row.get(2)?,
                medium: Medium::from(row.get(3)?),
                values: [row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?],
                payload: row.get(8)?,
            })
        };
        let rows = statement.query_map([self.after, STEP_ROWS], read).map_err(failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    /// Seals the plan and the body of a payload anew. The bytes it took.
    fn payload(
        &self,
        number: i64,
        submission: &[u8],
        (body_column, body_row): (&str, &[u8]),
    ) -> Result<usize, StoreError> {
        let sql = "SELECT plan, body, packed FROM payload WHERE number = ?1";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let found = statement.query_row([number], read).optional().map_err(failed)?;
        let Some((plan, body, packed)) = found else { return Ok(0) };
        let body_column = if packed { sealed::PACKED } else { body_column };
        let plan = self.renewed(sealed::PLAN, submission, Option::<Vec<u8>>::as_deref(&plan))?;
        let body = self.renewed(body_column, body_row, Option::<Vec<u8>>::as_deref(&body))?;
        if plan.is_none() && body.is_none() {
            return Ok(0);
        }
        let bytes = plan.as_ref().map_or(0, Vec::len) + body.as_ref().map_or(0, Vec::len);
        let sql = "UPDATE payload SET plan = ifnull(?2, plan), body = ifnull(?3, body) WHERE number = ?1";
        self.run(sql, params![number, plan, body])?;
        Ok(bytes)
    }

    fn events(&self) -> Result<Option<i64>, StoreError> {
        let select = "SELECT number, id, detail FROM event WHERE number > ?1 ORDER BY number LIMIT ?2";
        self.column(select, "UPDATE event SET detail = ?2 WHERE number = ?1", sealed::DETAIL)
    }

    fn archive(&self) -> Result<Option<i64>, StoreError> {
        let select = "SELECT number, id, decision FROM archive WHERE number > ?1 ORDER BY number LIMIT ?2";
        self.column(select, "UPDATE archive SET decision = ?2 WHERE number = ?1", sealed::DECISION)
    }

    /// A notice may have several takers; it is sealed anew for the first of them.
    fn outbox(&self) -> Result<Option<i64>, StoreError> {
        let select = "SELECT o.number, o.id, p.body FROM outbox o LEFT JOIN payload p ON p.number = o.payload \
                      WHERE o.number > ?1 ORDER BY o.number LIMIT ?2";
        let update =
            "UPDATE payload SET body = ?2 WHERE number = (SELECT payload FROM outbox WHERE number = ?1)";
        self.column(select, update, sealed::NOTICE)
    }

    /// Goes through a table with one sealed column.
    fn column(&self, select: &str, update: &str, column: &str) -> Result<Option<i64>, StoreError> {
        let rows: Vec<(i64, [u8; 16], Option<Vec<u8>>)> = {
            let mut statement = self.conn.prepare_cached(select).map_err(failed)?;
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let rows = statement.query_map([self.after, STEP_ROWS], read).map_err(failed)?;
            rows.collect::<Result<_, _>>().map_err(failed)?
        };
        for (number, id, value) in &rows {
            if let Some(renewed) = self.renewed(column, id, value.as_deref())? {
                self.run(update, params![number, renewed])?;
            }
        }
        Ok(rows.last().map(|(number, ..)| *number))
    }

    /// The value under the newest key; `None` where it need not or can't be sealed anew.
    fn renewed(&self, column: &str, row: &[u8], value: Option<&[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(value) = value.filter(|value| sealing_key(value) != Some(self.keyring.newest())) else {
            return Ok(None);
        };
        let Ok(opened) = self.keyring.open(column, row, value) else { return Ok(None) };
        self.keyring.seal(column, row, &opened).map(Some).map_err(not_sealed)
    }

    fn run(&self, sql: &str, values: impl rusqlite::Params) -> Result<(), StoreError> {
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        statement.execute(values).map(drop).map_err(failed)
    }
}
