//! Erasing payloads, so that nothing of an ended message is left in the file.
//!
//! `secure_delete` overwrites what is deleted. It does not reach copies that `SQLite` itself leaves behind when it moves
//! *live* cells between or within pages while it rebalances a tree (`rebuildPage` does not clear what it leaves; in a
//! measurement 1 of 33,000 deleted values stayed in the file). So the cells of `payload` never move: rows are only
//! appended, a payload is erased by setting its columns to NULL (which zeroes the cell and its overflow pages and never
//! rebalances), and the empty rows that remain, a few bytes each, are deleted only far behind the oldest payload still
//! alive.

use rusqlite::OptionalExtension as _;

use super::change::Work;
use super::row::failed;
use crate::queue::store::StoreError;

/// Empty rows this close to a live one stay. An empty row takes at least 7 bytes, so three pages, which is what one
/// rebalancing looks at, hold fewer than 2,000.
const MARGIN: i64 = 4096;

impl Work<'_> {
    /// A row no longer needs its payload: erases it, unless other rows do.
    pub(super) fn erase(&mut self, payload: i64) -> Result<(), StoreError> {
        let sql = "UPDATE payload_refs SET refs = refs - 1 WHERE payload = ?1 RETURNING refs";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let left: Option<i64> =
            statement.query_row([payload], |row| row.get(0)).optional().map_err(failed)?;
        match left {
            Some(left) if left > 0 => return Ok(()),
            Some(_) => self.execute_one("DELETE FROM payload_refs WHERE payload = ?1", payload)?,
            None => {}
        }
        self.execute_one("UPDATE payload SET plan = NULL, body = NULL WHERE number = ?1", payload)?;
        self.erased = true;
        Ok(())
    }

    /// Deletes at most `limit` of the empty rows that erased payloads leave.
    pub(super) fn delete_empty_payloads(&self, limit: i64) -> Result<(), StoreError> {
        // Looks no further than what it may delete and the margin behind that.
        let sql = "SELECT min(number) FILTER (WHERE plan IS NOT NULL OR body IS NOT NULL), max(number) \
                   FROM (SELECT number, plan, body FROM payload ORDER BY number LIMIT ?1)";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let (live, last): (Option<i64>, Option<i64>) =
            statement.query_row([limit + MARGIN], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
        let Some(bound) = live.or(last) else { return Ok(()) };
        let sql = "DELETE FROM payload WHERE number IN \
                   (SELECT number FROM payload WHERE number < ?1 ORDER BY number LIMIT ?2)";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        statement.execute([bound - MARGIN, limit]).map(drop).map_err(failed)
    }

    fn execute_one(&self, sql: &str, number: i64) -> Result<(), StoreError> {
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        statement.execute([number]).map(drop).map_err(failed)
    }
}
