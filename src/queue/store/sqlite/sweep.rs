//! What time does to rows: recovery after a stop, the end of a life, and the end of the record.

use rusqlite::params;

use super::change::Work;
use super::row::{COLUMNS, Stored, failed};
use crate::clock::Timestamp;
use crate::event::Kind;
use crate::outcome::{Reason, ReasonClass};
use crate::queue::State;
use crate::queue::store::{Effect, StoreError};

/// How many free pages one prune gives back to the file system.
const PAGES: usize = 256;

impl Work<'_> {
    /// After a start nobody holds a lease: rows that were attempted are due now, or their end is not known.
    pub(super) fn recover_all(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM message m WHERE m.state = 1");
        for row in self.rows(&sql, [])? {
            self.recover(row, now)?;
        }
        self.follow_clock(now)
    }

    /// What was accepted in the future was accepted before the clock was set back: it is due, and has no more than its
    /// life before it. A running process does not follow such a step, so only a start can find this.
    fn follow_clock(&self, now: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE message SET accepted = ?1, next_attempt = min(next_attempt, ?1), \
                   expires = ?1 + (expires - accepted), \
                   ends = CASE WHEN ends IS NULL THEN NULL ELSE min(ends, ?1 + (expires - accepted)) END \
                   WHERE ended IS NULL AND accepted > ?1";
        let moved = self.conn.execute(sql, [now.as_millis()]).map_err(failed)?;
        if moved > 0 {
            tracing::warn!(
                messages = moved,
                "the clock was set back since these were accepted: they are due now, and live for no longer than their life from here"
            );
        }
        Ok(())
    }

    /// Ends what has expired.
    pub(super) fn expire(&mut self, now: Timestamp, limit: usize) -> Result<Effect, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM message m WHERE m.ends <= ?1 ORDER BY m.ends LIMIT ?2");
        let rows = self.rows(&sql, [now.as_millis(), count(limit)])?;
        let ended = rows.len();
        for row in rows {
            self.end_of_life(row, now)?;
        }
        Ok(Effect::Rows(ended))
    }

    fn end_of_life(&mut self, mut row: Stored, now: Timestamp) -> Result<(), StoreError> {
        let (next, kind) = match row.entry.state {
            State::Attempting if row.marked => return self.recover(row, now),
            State::Attempting if row.superseded_by.is_some() => return self.requeue(row, now, now),
            // It may have arrived: to say "expired" would be to say that it did not.
            State::Queued | State::Attempting if row.entry.in_doubt > 0 => {
                (State::Unknown, Some(Kind::Unknown))
            }
            State::AwaitingReport if row.entry.reference.is_some() => (State::HandedOver, None),
            State::AwaitingReport => (State::Unknown, Some(Kind::Unknown)),
            State::Queued | State::Attempting => (State::Expired, Some(Kind::Expired)),
            State::Held => (State::Suppressed, Some(Kind::Suppressed)),
            // It stays what it was, but can't be released any more.
            State::Suppressed => (State::Suppressed, None),
            State::HandedOver
            | State::Failed
            | State::Expired
            | State::Superseded
            | State::Removed
            | State::Delivered
            | State::Unknown => return Ok(()),
        };
        if kind.is_some() {
            row.entry.reason = Some(match &row.entry.reason {
                Some(last) => Reason::quoting(ReasonClass::Expired, "its life ended; last: ", last),
                None => Reason::new(ReasonClass::Expired, "its life ended"),
            });
        }
        self.advance(row, next, now, kind)
    }

    /// Deletes the record of what ended before `before`, and counters and requests that are over by `now`. A row that a
    /// repeated request may ask for stays. What was decided since `archive` goes into the archive.
    pub(super) fn prune(
        &mut self,
        before: Timestamp,
        archive: Option<Timestamp>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Effect, StoreError> {
        let bound = params![before.as_millis(), count(limit)];
        let sql = "DELETE FROM idempotency WHERE key IN \
                   (SELECT key FROM idempotency WHERE until <= ?1 ORDER BY until LIMIT ?2)";
        let requests = self.execute(sql, params![now.as_millis(), count(limit)])?;
        let sql = "SELECT number FROM message m WHERE ended < ?1 AND (kind = 0 OR NOT EXISTS \
                   (SELECT 1 FROM idempotency i WHERE i.message = m.id)) ORDER BY ended LIMIT ?2";
        let numbers: Vec<i64> = {
            let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
            let found = statement.query_map(bound, |row| row.get(0)).map_err(failed)?;
            found.collect::<Result<_, _>>().map_err(failed)?
        };
        for number in &numbers {
            if let Some(since) = archive {
                self.archive_row(*number, since)?;
            }
            self.execute("DELETE FROM event WHERE message = ?1", [number])?;
            self.execute("DELETE FROM message WHERE number = ?1", [number])?;
        }
        let events = self.prune_loose(before, archive, count(limit))?;
        let archived = self.prune_archive(archive, count(limit))?;
        let sql = "DELETE FROM counter WHERE (key, window_start) IN \
                   (SELECT key, window_start FROM counter WHERE window_end <= ?1 ORDER BY window_end LIMIT ?2)";
        let counters = self.execute(sql, params![now.as_millis(), count(limit)])?;
        let sql = "DELETE FROM burst WHERE number IN (SELECT number FROM burst b WHERE over < ?1 AND NOT EXISTS \
                   (SELECT 1 FROM message WHERE burst IS NOT NULL AND burst = b.number) ORDER BY over LIMIT ?2)";
        self.execute(sql, bound)?;
        self.delete_empty_payloads(count(limit))?;
        self.shrink()?;
        Ok(Effect::Rows(numbers.len().max(events).max(archived).max(counters).max(requests)))
    }

    /// Gives some free pages back. The pragma works page by page as its rows are read.
    fn shrink(&self) -> Result<(), StoreError> {
        let mut statement =
            self.conn.prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES})")).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while rows.next().map_err(failed)?.is_some() {}
        Ok(())
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        statement.execute(values).map_err(failed)
    }
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
