//! Handing out work: which rows a lane gets next.
//!
//! Turns go round by client, so that one client's backlog costs the others nothing: each round takes one row of every
//! client that has one due, and the next claim begins behind the client that was served last. Which clients have rows
//! is found by jumping through the index, not by reading the rows.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::change::Work;
use super::row::{COLUMNS, Stored, class_number, failed};
use crate::clock::Timestamp;
use crate::ident::{Class, MessageId};
use crate::queue::store::{ClaimRequest, StoreError};

/// At most so many leases that have passed are looked after by one claim.
const LAPSED: i64 = 100;

/// Who was served last, by lane.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns {
    last: [Option<String>; 2],
}

/// A row that was claimed, to be read once the claim is on stable storage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leased {
    pub(super) number: i64,
    pub(super) id: MessageId,
    pub(super) lease: Timestamp,
}

struct Head {
    number: i64,
    id: MessageId,
    size: usize,
    expires: Timestamp,
}

impl Work<'_> {
    /// Leases due rows of a lane.
    pub(super) fn claim(
        &mut self,
        request: &ClaimRequest,
        turns: &mut Turns,
    ) -> Result<Vec<Leased>, StoreError> {
        self.recover_lapsed(request)?;
        let lane = usize::from(request.class == Class::Normal);
        let mut order = clients(self.conn, request.class)?;
        let begin = turns.last[lane].as_ref().and_then(|last| order.iter().position(|client| client > last));
        order.rotate_left(begin.unwrap_or(0));

        let mut taken = Vec::new();
        let mut bytes = request.bytes;
        while taken.len() < request.messages && !order.is_empty() {
            let left = request.messages - taken.len();
            let share = left.div_ceil(order.len());
            let mut heads = Vec::with_capacity(order.len());
            for client in &order {
                heads.push(self.heads(request, client, share)?.into_iter());
            }
            let before = taken.len();
            // One row of each client a round, until all are through.
            let mut dry = vec![false; order.len()];
            for round in 0..share * order.len() {
                let turn = round % order.len();
                if taken.len() == request.messages || dry.iter().all(|dry| *dry) {
                    break;
                }
                let Some(head) = heads[turn].next() else {
                    dry[turn] = true;
                    continue;
                };
                if head.size > bytes && !taken.is_empty() {
                    return Ok(taken);
                }
                bytes = bytes.saturating_sub(head.size);
                turns.last[lane] = Some(order[turn].clone());
                taken.push(self.lease(&head, request)?);
            }
            if taken.len() == before {
                break;
            }
            let mut dry = dry.into_iter();
            order.retain(|_| !dry.next().unwrap_or(true));
        }
        Ok(taken)
    }

    /// Rows whose worker has been silent for longer than its lease are due again, or end.
    fn recover_lapsed(&mut self, request: &ClaimRequest) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM message m WHERE m.state = 1 AND m.class = ?1 AND m.lease <= ?2 \
             ORDER BY m.lease LIMIT ?3"
        );
        let values = params![class_number(request.class), request.now.as_millis(), LAPSED];
        for row in self.rows(&sql, values)? {
            self.recover(row, request.now)?;
        }
        Ok(())
    }

    /// The rows a query finds.
    pub(super) fn rows(&self, sql: &str, values: impl rusqlite::Params) -> Result<Vec<Stored>, StoreError> {
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let found = statement.query_map(values, |row| Stored::read(row, self.keyring)).map_err(failed)?;
        found.collect::<Result<_, _>>().map_err(failed)
    }

    /// A client's next due rows.
    fn heads(&self, request: &ClaimRequest, client: &str, most: usize) -> Result<Vec<Head>, StoreError> {
        let sql = "SELECT number, id, size, expires FROM message \
                   WHERE state = 0 AND waits_for IS NULL AND class = ?1 AND client = ?2 \
                   AND next_attempt <= ?3 AND expires > ?3 ORDER BY next_attempt LIMIT ?4";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let values = params![class_number(request.class), client, request.now.as_millis(), most];
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Head {
                number: row.get(0)?,
                id: MessageId::from_bytes(row.get(1)?),
                size: row.get::<_, i64>(2).map(|size| usize::try_from(size).unwrap_or(usize::MAX))?,
                expires: Timestamp::from_millis(row.get(3)?),
            })
        };
        let found = statement.query_map(values, read).map_err(failed)?;
        found.collect::<Result<_, _>>().map_err(failed)
    }

    fn lease(&self, head: &Head, request: &ClaimRequest) -> Result<Leased, StoreError> {
        let lease = request.now.plus(request.lease);
        let sql = "UPDATE message SET state = 1, lease = ?2, ends = ?3 WHERE number = ?1";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let ends = head.expires.max(lease);
        statement.execute([head.number, lease.as_millis(), ends.as_millis()]).map_err(failed)?;
        Ok(Leased { number: head.number, id: head.id, lease })
    }
}

/// When the next row of a lane is due: the earliest of all clients, or the end of a lease.
pub(super) fn next_due(conn: &Connection, class: Class) -> Result<Option<Timestamp>, StoreError> {
    let lane = class_number(class);
    let one = |sql: &str, values: &[&dyn rusqlite::ToSql]| -> Result<Option<i64>, StoreError> {
        let mut statement = conn.prepare_cached(sql).map_err(failed)?;
        statement.query_row(values, |row| row.get(0)).optional().map(Option::flatten).map_err(failed)
    };
    let mut next = one("SELECT min(lease) FROM message WHERE state = 1 AND class = ?1", &[&lane])?;
    for client in clients(conn, class)? {
        let sql = "SELECT min(next_attempt) FROM message \
                   WHERE state = 0 AND waits_for IS NULL AND class = ?1 AND client = ?2";
        let due = one(sql, &[&lane, &client])?;
        next = next.into_iter().chain(due).min();
    }
    Ok(next.map(Timestamp::from_millis))
}

/// The clients that have claimable rows in a lane, by name.
fn clients(conn: &Connection, class: Class) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT client FROM message WHERE state = 0 AND waits_for IS NULL AND class = ?1 AND client > ?2 \
               ORDER BY client LIMIT 1";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let mut clients: Vec<String> = Vec::new();
    loop {
        // No client has an empty name.
        let behind = clients.last().map_or("", String::as_str);
        let next: Option<String> = statement
            .query_row(params![class_number(class), behind], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        match next {
            Some(client) => clients.push(client),
            None => return Ok(clients),
        }
    }
}
