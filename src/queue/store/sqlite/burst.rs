//! Bursts: many messages of one shape to many new recipients, which are held together.
//!
//! A message that settles waits before its first attempt, and while others of its shape keep coming to new recipients it
//! goes on waiting, but never past the time within which a burst shows. So when the last one that makes it a burst is put,
//! the first ones are still here. All of that is decided in the transaction of the put: neither a race nor a restart lets
//! one of them slip out.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::change::Work;
use super::prepare::{PreparedPut, PreparedRow};
use super::row::{COLUMNS, failed, time};
use crate::clock::Timestamp;
use crate::event::Kind;
use crate::ident::{BurstId, CategoryName, ClientName, MessageId};
use crate::outcome::{Reason, ReasonClass};
use crate::queue::State;
use crate::queue::store::{Effect, OpenBurst, Operation, Settling, StoreError};

/// Nothing is put off to less than this before the end of its life, in milliseconds.
const LAST_CHANCE: i64 = 5_000;

/// A burst that goes on.
pub(super) struct Burst {
    pub(super) number: i64,
    pub(super) id: BurstId,
}

/// What a row of a put has to do with bursts.
#[derive(Default)]
pub(super) struct Part {
    /// Whose shape it has.
    pub(super) counted: bool,
    /// The burst it is held in, by its number, and why.
    pub(super) held: Option<(i64, Reason)>,
}

impl Work<'_> {
    /// The burst that goes on for a put's shape, if there is one. It lasts longer by this put.
    pub(super) fn burst_under_way(&self, put: &PreparedPut) -> Result<Option<Burst>, StoreError> {
        let (Some(settling), Some(first)) = (&put.settling, put.rows.first()) else { return Ok(None) };
        let now = first.new.entry.accepted;
        let sql = "UPDATE burst SET last = max(last, ?2), over = max(over, ?3) \
                   WHERE shape = ?1 AND over > ?2 RETURNING number, id";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let over = now.plus(settling.burst.within);
        let values = params![settling.shape.as_bytes(), now.as_millis(), over.as_millis()];
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Burst { number: row.get(0)?, id: BurstId::new(row.get::<_, String>(1)?) })
        };
        statement.query_row(values, read).optional().map_err(failed)
    }

    /// What a row that is about to be stored has to do with bursts.
    pub(super) fn part(
        &self,
        put: &PreparedPut,
        row: &PreparedRow,
        burst: Option<&Burst>,
    ) -> Result<Part, StoreError> {
        if let Some(burst) = burst {
            return Ok(Part { counted: false, held: Some((burst.number, because(&burst.id))) });
        }
        let Some(settling) = &put.settling else { return Ok(Part::default()) };
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM message WHERE shape IS NOT NULL AND shape = ?1 \
                   AND recipient_key = ?2 AND accepted > ?3)";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let since = row.new.entry.accepted.minus(settling.burst.within);
        let values = params![settling.shape.as_bytes(), row.new.recipient_key.as_bytes(), since.as_millis()];
        let counted = statement.query_row(values, |row| row.get(0)).map_err(failed)?;
        Ok(Part { counted, held: None })
    }

    /// Looks whether the rows that were just stored complete a burst. If they do, everything of it that was not attempted
    /// yet is held; if not, it goes on waiting.
    pub(super) fn after_put(&mut self, put: &PreparedPut, number: i64) -> Result<Option<Burst>, StoreError> {
        let (Some(settling), Some(first)) = (&put.settling, put.rows.first()) else { return Ok(None) };
        let now = first.new.entry.accepted;
        let since = now.minus(settling.burst.within);
        let sql =
            "SELECT count(*), min(accepted) FROM message WHERE counted = 1 AND shape = ?1 AND accepted > ?2";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let values = params![settling.shape.as_bytes(), since.as_millis()];
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, u32>(0)?, row.get::<_, Option<i64>>(1)?));
        let (recipients, began) = statement.query_row(values, read).map_err(failed)?;
        if recipients < settling.burst.recipients {
            self.put_off(settling, now, since)?;
            return Ok(None);
        }
        let burst = self.begin_burst(put, settling, began.map_or(now, time))?;
        self.hold_burst(settling, &burst, now, since)?;
        let entry = &first.new.entry;
        let within = settling.burst.within.as_secs();
        let told = format!("burst {}: {recipients} recipients within {within} s, all held", burst.id);
        let event = crate::event::Event::new(Kind::BurstHeld, now, entry.about()).because(own(told));
        self.tell(number, crate::event::Event { burst: Some(burst.id.clone()), ..event })?;
        Ok(Some(burst))
    }

    /// What waits for its first attempt waits a while longer.
    fn put_off(&self, settling: &Settling, now: Timestamp, since: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE message SET next_attempt = max(next_attempt, min(?3, accepted + ?4, expires - ?6)) \
                   WHERE shape IS NOT NULL AND state = 0 AND shape = ?1 AND accepted > ?2 \
                   AND attempts = 0 AND next_attempt > ?5";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let within = i64::try_from(settling.burst.within.as_millis()).unwrap_or(i64::MAX);
        let until = now.plus(settling.settle).as_millis();
        let values = params![
            settling.shape.as_bytes(),
            since.as_millis(),
            until,
            within,
            now.as_millis(),
            LAST_CHANCE
        ];
        statement.execute(values).map(drop).map_err(failed)
    }

    fn begin_burst(
        &self,
        put: &PreparedPut,
        settling: &Settling,
        began: Timestamp,
    ) -> Result<Burst, StoreError> {
        let entry = match put.rows.first() {
            Some(row) => &row.new.entry,
            None => return Err(StoreError::Failed("a burst of nothing".to_owned())),
        };
        let sql = "INSERT OR IGNORE INTO burst (id, shape, client, category, began, last, over) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let (now, over) = (entry.accepted.as_millis(), entry.accepted.plus(settling.burst.within));
        let mut id = settling.id.clone();
        // The id was used before once in many millions of times.
        loop {
            let values = params![
                id.as_str(),
                settling.shape.as_bytes(),
                entry.client.as_str(),
                entry.category.as_str(),
                began.as_millis(),
                now,
                over.as_millis()
            ];
            if statement.execute(values).map_err(failed)? == 1 {
                return Ok(Burst { number: self.conn.last_insert_rowid(), id });
            }
            id = BurstId::generate();
        }
    }

    fn hold_burst(
        &mut self,
        settling: &Settling,
        burst: &Burst,
        now: Timestamp,
        since: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM message m WHERE m.shape IS NOT NULL AND m.state = 0 AND m.shape = ?1 \
             AND m.accepted > ?2 AND m.attempts = 0 ORDER BY m.number"
        );
        for mut row in self.rows(&sql, params![settling.shape.as_bytes(), since.as_millis()])? {
            let mut statement = self
                .conn
                .prepare_cached("UPDATE message SET burst = ?2, counted = 0 WHERE number = ?1")
                .map_err(failed)?;
            statement.execute([row.number, burst.number]).map_err(failed)?;
            row.entry.reason = Some(because(&burst.id));
            self.advance(row, State::Held, now, Some(Kind::Held))?;
        }
        Ok(())
    }

    /// What an operator has let go or tried is no part of a burst that is yet to be seen.
    pub(super) fn stands_alone(&self, number: i64) -> Result<(), StoreError> {
        let sql = "UPDATE message SET shape = NULL, counted = 0 WHERE number = ?1 AND shape IS NOT NULL";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        statement.execute([number]).map(drop).map_err(failed)
    }

    /// An operator's hand on what a burst holds, at most `limit` rows.
    pub(super) fn operate_burst(
        &mut self,
        burst: &BurstId,
        operation: Operation,
        at: Timestamp,
        limit: usize,
    ) -> Result<Effect, StoreError> {
        let sql = "SELECT number FROM burst WHERE id = ?1";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let number: Option<i64> =
            statement.query_row([burst.as_str()], |row| row.get(0)).optional().map_err(failed)?;
        let Some(number) = number else { return Ok(Effect::NotFound) };
        let after = match operation {
            Operation::Release | Operation::Force => at,
            Operation::Remove => Timestamp::from_millis(i64::MIN),
            // All of it is held, so there is nothing to try, or to hold again.
            Operation::Retry | Operation::Hold => return Ok(Effect::NotAllowed(State::Held)),
        };
        let sql = "SELECT id FROM message WHERE burst IS NOT NULL AND burst = ?1 AND state = 2 AND expires > ?2 \
                   ORDER BY expires LIMIT ?3";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = statement
            .query_map([number, after.as_millis(), limit], |row| row.get(0).map(MessageId::from_bytes))
            .map_err(failed)?;
        let ids: Vec<MessageId> = found.collect::<Result<_, _>>().map_err(failed)?;
        let mut done = 0;
        for id in ids {
            done += usize::from(self.operate(id, operation, at)? == Effect::Done);
        }
        Ok(Effect::Rows(done))
    }
}

/// The bursts that go on or still hold something, newest first.
pub(super) fn open_bursts(conn: &Connection, now: Timestamp) -> Result<Vec<OpenBurst>, StoreError> {
    let sql = "SELECT id, client, category, began, last, over > ?1, \
               (SELECT count(*) FROM message WHERE burst IS NOT NULL AND burst = b.number), \
               (SELECT count(*) FROM message WHERE burst IS NOT NULL AND burst = b.number AND state = 2) \
               FROM burst b WHERE over > ?1 OR EXISTS \
               (SELECT 1 FROM message WHERE burst IS NOT NULL AND burst = b.number AND state = 2) \
               ORDER BY number DESC LIMIT 100";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(OpenBurst {
            id: BurstId::new(row.get::<_, String>(0)?),
            client: ClientName::new(row.get::<_, String>(1)?),
            category: CategoryName::new(row.get::<_, String>(2)?),
            began: time(row.get(3)?),
            last: time(row.get(4)?),
            goes_on: row.get(5)?,
            messages: row.get::<_, u32>(6)?.into(),
            held: row.get::<_, u32>(7)?.into(),
        })
    };
    let found = statement.query_map([now.as_millis()], read).map_err(failed)?;
    found.collect::<Result<_, _>>().map_err(failed)
}

/// Why a row of a burst is held.
fn because(burst: &BurstId) -> Reason {
    own(format!("burst {burst}"))
}

/// A reason in our own words, whose numbers and names may be seen.
fn own(text: String) -> Reason {
    Reason { text, ..Reason::new(ReasonClass::Policy, "") }
}
