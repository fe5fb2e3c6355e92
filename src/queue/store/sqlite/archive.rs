//! Decisions: read from the record of messages while that is kept, and from the archive afterwards.
//!
//! Nothing is written at the time of a decision: the events are its record. The archive gets what was decided in the
//! transaction that deletes the record.

use rusqlite::{Connection, params};

use super::change::Work;
use super::event::{events_of, loose_event};
use super::row::{failed, json, not_sealed, sealed, time};
use crate::clock::Timestamp;
use crate::queue::keyring::Keyring;
use crate::queue::store::StoreError;
use crate::queue::store::decision::{Decision, DecisionPlace, DecisionQuery, Shelf};
use crate::secret::Digest;

impl Work<'_> {
    /// Keeps what was decided of a row that is about to be deleted, where it was since `since`.
    pub(super) fn archive_row(&self, number: i64, since: Timestamp) -> Result<(), StoreError> {
        match of_row(self.conn, self.keyring, number)? {
            Some(decision) if decision.at >= since => self.archive(&decision),
            Some(_) | None => Ok(()),
        }
    }

    /// Deletes events without a row from before `before`, keeping what was decided since `since`.
    pub(super) fn prune_loose(
        &self,
        before: Timestamp,
        since: Option<Timestamp>,
        limit: i64,
    ) -> Result<usize, StoreError> {
        let sql = "SELECT number FROM event WHERE message IS NULL AND at < ?1 ORDER BY at LIMIT ?2";
        let numbers: Vec<i64> = {
            let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
            let found =
                statement.query_map(params![before.as_millis(), limit], |row| row.get(0)).map_err(failed)?;
            found.collect::<Result<_, _>>().map_err(failed)?
        };
        for number in &numbers {
            let decision = since.map(|_| of_loose(self.conn, self.keyring, *number)).transpose()?.flatten();
            if let Some(decision) = decision
                && since.is_some_and(|since| decision.at >= since)
            {
                self.archive(&decision)?;
            }
            let mut statement =
                self.conn.prepare_cached("DELETE FROM event WHERE number = ?1").map_err(failed)?;
            statement.execute([number]).map_err(failed)?;
        }
        Ok(numbers.len())
    }

    /// Deletes what was decided before `since`; without it, everything.
    pub(super) fn prune_archive(&self, since: Option<Timestamp>, limit: i64) -> Result<usize, StoreError> {
        let before = since.map_or(i64::MAX, Timestamp::as_millis);
        let sql = "DELETE FROM archive WHERE number IN \
                   (SELECT number FROM archive WHERE at < ?1 ORDER BY at LIMIT ?2)";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        statement.execute([before, limit]).map_err(failed)
    }

    fn archive(&self, decision: &Decision) -> Result<(), StoreError> {
        let id = decision.id.as_bytes();
        let kept = self.keyring.seal(sealed::DECISION, id, &json(decision)?).map_err(not_sealed)?;
        let sql = "INSERT INTO archive (id, at, recipient_key, decision) VALUES (?1, ?2, ?3, ?4)";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let values = params![id, decision.at.as_millis(), decision.recipient_key.as_bytes(), kept];
        statement.execute(values).map(drop).map_err(failed)
    }
}

/// Decisions in the order in which they were made, with their places.
pub(super) fn decisions(
    conn: &Connection,
    keyring: &Keyring,
    query: &DecisionQuery,
) -> Result<Vec<(DecisionPlace, Option<Decision>)>, StoreError> {
    let mut found = archived(conn, keyring, query)?;
    found.extend(recorded(conn, keyring, query)?);
    found.sort_by_key(|(place, _)| *place);
    found.truncate(query.limit);
    Ok(found)
}

fn archived(
    conn: &Connection,
    keyring: &Keyring,
    query: &DecisionQuery,
) -> Result<Vec<(DecisionPlace, Option<Decision>)>, StoreError> {
    let sql = "SELECT number, id, at, decision FROM archive WHERE (at, number) > (?1, ?2) AND at < ?3 \
               ORDER BY at, number LIMIT ?4";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let read = |row: &rusqlite::Row<'_>| {
        let (id, sealed_text): ([u8; 16], Vec<u8>) = (row.get(1)?, row.get(3)?);
        let place = DecisionPlace { at: time(row.get(2)?), shelf: Shelf::Archive, number: row.get(0)? };
        let opened = keyring.open(sealed::DECISION, &id, &sealed_text).ok();
        Ok((place, opened.and_then(|bytes| serde_json::from_slice(&bytes).ok())))
    };
    let found = statement.query_map(behind(query, Shelf::Archive), read).map_err(failed)?;
    found.collect::<Result<_, _>>().map_err(failed)
}

fn recorded(
    conn: &Connection,
    keyring: &Keyring,
    query: &DecisionQuery,
) -> Result<Vec<(DecisionPlace, Option<Decision>)>, StoreError> {
    let sql = "SELECT e.number, e.message, e.at FROM event e WHERE (e.at, e.number) > (?1, ?2) AND e.at < ?3 \
               AND (e.message IS NULL OR NOT EXISTS \
               (SELECT 1 FROM event f WHERE f.message = e.message AND f.number < e.number)) \
               ORDER BY e.at, e.number LIMIT ?4";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?, time(row.get(2)?)))
    };
    let found = statement.query_map(behind(query, Shelf::Record), read).map_err(failed)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(failed)?;
    let mut decisions = Vec::new();
    for (number, row, at) in found {
        let decision = match row {
            Some(row) => of_row(conn, keyring, row)?,
            None => of_loose(conn, keyring, number)?,
        };
        let place = DecisionPlace { at, shelf: Shelf::Record, number };
        decisions.push((place, decision));
    }
    Ok(decisions)
}

/// The bounds of a query on one shelf.
fn behind(query: &DecisionQuery, shelf: Shelf) -> [i64; 4] {
    let (at, number) = match query.after {
        // Of those of the same time the archive comes first.
        Some(after) if after.shelf == shelf => (after.at, after.number),
        Some(after) if after.shelf < shelf => (after.at, -1),
        Some(after) => (after.at, i64::MAX),
        None => (query.since, -1),
    };
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    [at.as_millis(), number, query.until.as_millis(), limit]
}

fn of_row(conn: &Connection, keyring: &Keyring, number: i64) -> Result<Option<Decision>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT recipient_key FROM message WHERE number = ?1").map_err(failed)?;
    let key: Result<Vec<u8>, _> = statement.query_row([number], |row| row.get(0));
    let Some(key) = key.ok().and_then(|key| Digest::from_bytes(&key)) else { return Ok(None) };
    let mut events = events_of(conn, keyring, number)?;
    events.sort_by_key(|(number, _)| *number);
    Ok(Decision::of(key, events.into_iter().map(|(_, event)| event).collect()))
}

fn of_loose(conn: &Connection, keyring: &Keyring, number: i64) -> Result<Option<Decision>, StoreError> {
    let found = loose_event(conn, keyring, number)?;
    Ok(found.and_then(|(key, event)| Decision::of(key, vec![event])))
}
