//! Reading beside the writer: a few read-only connections, and the queries that run on them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};
use tokio::sync::Semaphore;

use super::claim::Leased;
use super::pack;
use super::prepare::SmsPlan;
use super::row::{COLUMN_COUNT, COLUMNS, Medium, Stored, failed, sealed, state_number, time};
use super::schema::connect_reader;
use crate::clock::Timestamp;
use crate::ident::MessageId;
use crate::queue::keyring::Keyring;
use crate::queue::store::{Depth, Query, StoreError};
use crate::queue::{Awaited, Claimed, Entry, Payload, State};
use crate::secret::Digest;

/// The most readings at once.
const READERS: u32 = 4;

/// The read-only connections.
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    /// An offline store has one connection, which is never replaced by an ordinary one.
    may_open: bool,
}

impl Readers {
    /// Connections to a store that a writer of this process has open. The first one is opened here and now.
    pub(super) fn beside_writer(path: PathBuf) -> Result<Self, StoreError> {
        let first = connect_reader(&path)?;
        Ok(Self::of(path, first, READERS, true))
    }

    /// One connection to a store that is only looked at.
    pub(super) fn offline(path: PathBuf, conn: Connection) -> Self {
        Self::of(path, conn, 1, false)
    }

    fn of(path: PathBuf, conn: Connection, most: u32, may_open: bool) -> Self {
        let permits = Arc::new(Semaphore::new(most as usize));
        Self { path, idle: Arc::new(Mutex::new(vec![conn])), permits, may_open }
    }

    /// Runs `query` on a connection, on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (idle, path, may_open) = (Arc::clone(&self.idle), self.path.clone(), self.may_open);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let reused = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let conn = match reused {
                Some(conn) => conn,
                None if may_open => connect_reader(&path)?,
                None => return Err(StoreError::Closed),
            };
            let answer = query(&conn);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            answer
        });
        task.await.unwrap_or_else(|error| Err(StoreError::Failed(format!("a reading was cut off: {error}"))))
    }

    /// Waits for the readings under way and closes the connections.
    pub(super) async fn close(&self) {
        let most = if self.may_open { READERS } else { 1 };
        let all = Arc::clone(&self.permits).acquire_many_owned(most).await;
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        drop(all);
    }
}

/// Rows, newest first.
pub(super) fn find(conn: &Connection, keyring: &Keyring, query: &Query) -> Result<Vec<Entry>, StoreError> {
    let mut conditions = vec!["1 = 1".to_owned()];
    let mut values: Vec<Vec<u8>> = Vec::new();
    if let Some(id) = query.id {
        values.push(id.as_bytes().to_vec());
        let number = values.len();
        conditions.push(format!(
            "m.number IN (SELECT number FROM message WHERE id = ?{number} UNION ALL \
             SELECT number FROM message WHERE submission = ?{number} AND submission <> id)"
        ));
    }
    if let Some(key) = &query.recipient_key {
        values.push(key.as_bytes().to_vec());
        conditions.push(format!("m.recipient_key = ?{}", values.len()));
    }
    if let Some(burst) = &query.burst {
        values.push(burst.as_str().as_bytes().to_vec());
        let number = values.len();
        conditions.push(format!(
            "m.burst IS NOT NULL AND m.burst = (SELECT number FROM burst WHERE id = CAST(?{number} AS TEXT))"
        ));
    }
    if let Some(state) = query.state {
        let number = state_number(state);
        conditions.push(match state {
            // Few: their indexes hold nothing else. The number is written out so that SQLite sees that they fit.
            State::Held | State::Suppressed | State::AwaitingReport => format!("m.state = {number}"),
            State::Attempting => format!("m.state = {number} AND m.class IN (0, 1)"),
            // Many: read from the newest on (the plus keeps indexes out).
            State::Queued
            | State::HandedOver
            | State::Failed
            | State::Expired
            | State::Superseded
            | State::Removed
            | State::Delivered
            | State::Unknown => format!("+m.state = {number}"),
        });
    }
    if let Some(client) = &query.client {
        values.push(client.as_str().as_bytes().to_vec());
        conditions.push(format!("+m.client = CAST(?{} AS TEXT)", values.len()));
    }
    let conditions = conditions.join(" AND ");
    let sql = format!(
        "SELECT {COLUMNS} FROM message m WHERE {conditions} ORDER BY m.number DESC LIMIT {}",
        query.limit
    );
    let mut statement = conn.prepare_cached(&sql).map_err(failed)?;
    let rows =
        statement.query_map(params_from_iter(values), |row| Stored::read(row, keyring)).map_err(failed)?;
    rows.map(|row| row.map(|row| row.entry).map_err(failed)).collect()
}

/// The bytes of a mail, while they are kept.
pub(super) fn message(
    conn: &Connection,
    keyring: &Keyring,
    id: MessageId,
) -> Result<Option<Bytes>, StoreError> {
    let sql = "SELECT m.submission, p.body, p.packed FROM message m JOIN payload p ON p.number = m.payload \
               WHERE p.body IS NOT NULL AND m.kind = 0 AND (m.id = ?1 OR m.submission = ?1 AND m.submission <> m.id) LIMIT 1";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let read =
        |row: &rusqlite::Row<'_>| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, Vec<u8>>(1)?, row.get(2)?));
    let Some((submission, body, packed)) =
        statement.query_row([id.as_bytes()], read).optional().map_err(failed)?
    else {
        return Ok(None);
    };
    let opened = pack::open(keyring, &submission, &body, packed);
    opened.map(Some).map_err(|error| StoreError::Failed(format!("message {id}: {error}")))
}

/// How full the queue is. Counts in indexes that hold nothing but what waits.
pub(super) fn depth(conn: &Connection) -> Result<Depth, StoreError> {
    let count = |sql: &str| -> Result<(u64, Option<i64>), StoreError> {
        let mut statement = conn.prepare_cached(sql).map_err(failed)?;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, u32>(0)?.into(), row.get(1)?));
        statement.query_row([], read).map_err(failed)
    };
    let mut lanes = [0; 2];
    let mut oldest: [Option<i64>; 2] = [None; 2];
    for (class, lane) in lanes.iter_mut().enumerate() {
        for waits in ["state = 0 AND waits_for IS NULL", "state = 0 AND waits_for IS NOT NULL", "state = 1"] {
            let sql =
                format!("SELECT count(*), min(accepted) FROM message WHERE {waits} AND class = {class}");
            let (found, first) = count(&sql)?;
            *lane += found;
            oldest[class] = oldest[class].into_iter().chain(first).min();
        }
    }
    let (held, _) = count("SELECT count(*), NULL FROM message WHERE state = 2")?;
    let (suppressed, _) = count("SELECT count(*), NULL FROM message WHERE state = 3 AND ends IS NOT NULL")?;
    Ok(Depth {
        urgent: lanes[0],
        normal: lanes[1],
        held,
        suppressed,
        oldest: oldest.into_iter().flatten().min().map(time),
        oldest_urgent: oldest[0].map(time),
        oldest_normal: oldest[1].map(time),
    })
}

/// When the next row's life ends.
pub(super) fn next_expiry(conn: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT min(ends) FROM message WHERE ends IS NOT NULL";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let ends: Option<i64> = statement.query_row([], |row| row.get(0)).map_err(failed)?;
    Ok(ends.map(time))
}

/// What a claim made of one row.
pub(super) enum Opened {
    /// It can be worked on.
    Claimed(Box<Claimed>),
    /// It was leased, but something of it can't be opened.
    Damaged(Box<Stored>),
}

/// Reads claimed rows with their payloads. Rows that have been taken over in the meantime are left out.
pub(super) fn open_claimed(
    conn: &Connection,
    keyring: &Keyring,
    leased: &[Leased],
) -> Result<Vec<Opened>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, p.plan, p.body, p.packed FROM message m LEFT JOIN payload p ON p.number = m.payload \
         WHERE m.number = ?1"
    );
    let mut statement = conn.prepare_cached(&sql).map_err(failed)?;
    let mut opened = Vec::with_capacity(leased.len());
    for claim in leased {
        let read = |row: &rusqlite::Row<'_>| {
            let stored = Stored::read(row, keyring)?;
            let payload = payload(row, stored.medium, keyring)?;
            Ok((stored, payload))
        };
        let Some((stored, payload)) = statement.query_row([claim.number], read).optional().map_err(failed)?
        else {
            continue;
        };
        if stored.entry.state != State::Attempting || stored.lease != Some(claim.lease) {
            continue;
        }
        opened.push(match payload {
            Some(payload) if !stored.damaged => {
                Opened::Claimed(Box::new(Claimed { entry: stored.entry, payload, lease: claim.lease }))
            }
            Some(_) | None => Opened::Damaged(Box::new(stored)),
        });
    }
    Ok(opened)
}

/// What is to be asked of providers.
pub(super) struct Due {
    pub(super) awaited: Vec<Awaited>,
    /// Rows of which something can't be opened: nobody can be asked about them.
    pub(super) damaged: Vec<MessageId>,
}

/// Texts whose provider is due to be asked, the longest due first.
pub(super) fn due_reports(
    conn: &Connection,
    keyring: &Keyring,
    now: Timestamp,
    limit: usize,
) -> Result<Due, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, p.plan, p.body, p.packed FROM message m LEFT JOIN payload p ON p.number = m.payload \
         WHERE m.state = 10 AND m.next_poll IS NOT NULL AND m.next_poll <= ?1 ORDER BY m.next_poll LIMIT ?2"
    );
    let mut statement = conn.prepare_cached(&sql).map_err(failed)?;
    let read = |row: &rusqlite::Row<'_>| {
        let stored = Stored::read(row, keyring)?;
        let payload = payload(row, stored.medium, keyring)?;
        Ok((stored, payload))
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map([now.as_millis(), limit], read).map_err(failed)?;
    let mut due = Due { awaited: Vec::new(), damaged: Vec::new() };
    for row in rows {
        match row.map_err(failed)? {
            (row, Some(payload)) if !row.damaged => {
                due.awaited.push(Awaited { entry: row.entry, payload, polls: row.polls });
            }
            (row, _) => due.damaged.push(row.entry.id),
        }
    }
    Ok(due)
}

/// When the next provider is due to be asked.
pub(super) fn next_report(conn: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT min(next_poll) FROM message WHERE state = 10 AND next_poll IS NOT NULL";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let next: Option<i64> = statement.query_row([], |row| row.get(0)).map_err(failed)?;
    Ok(next.map(time))
}

/// How far counters have come.
pub(super) fn amounts(conn: &Connection, of: &[(Digest, Timestamp)]) -> Result<Vec<u64>, StoreError> {
    let sql = "SELECT amount FROM counter WHERE key = ?1 AND window_start = ?2";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let mut amount = |(key, start): &(Digest, Timestamp)| {
        let key = rusqlite::params![key.as_bytes(), start.as_millis()];
        let found = statement.query_row(key, |row| row.get::<_, i64>(0)).optional().map_err(failed)?;
        Ok(found.and_then(|amount| u64::try_from(amount).ok()).unwrap_or(0))
    };
    of.iter().map(&mut amount).collect()
}

/// The payload behind a row that starts with [`COLUMNS`]; `None` where it can't be opened.
fn payload(row: &rusqlite::Row<'_>, medium: Medium, keyring: &Keyring) -> rusqlite::Result<Option<Payload>> {
    let submission: [u8; 16] = row.get(2)?;
    let open = |index: usize, column: &str| -> rusqlite::Result<Option<_>> {
        let sealed = row.get_ref(index)?.as_blob_or_null()?;
        Ok(sealed.and_then(|sealed| keyring.open(column, &submission, sealed).ok()))
    };
    let Some(plan) = open(COLUMN_COUNT, sealed::PLAN)? else { return Ok(None) };
    if medium == Medium::Text {
        let sms: Option<SmsPlan> = serde_json::from_slice(&plan).ok();
        return Ok(sms.map(|SmsPlan { code, host, factor, origin_bound }| Payload::Sms {
            code,
            host,
            factor,
            origin_bound,
        }));
    }
    let Some(body) = row.get_ref(COLUMN_COUNT + 1)?.as_blob_or_null()? else { return Ok(None) };
    let message = pack::open(keyring, &submission, body, row.get(COLUMN_COUNT + 2)?).ok();
    let plan = serde_json::from_slice(&plan).ok();
    Ok(plan.zip(message).map(|(plan, message)| Payload::Mail { plan, message }))
}
