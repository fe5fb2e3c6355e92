//! The outbox of webhooks: one row a notice and endpoint, written in the transaction of what it tells of.
//!
//! Of the notices about one message only the oldest has a time at which it is due; the next one gets it when that one is
//! gone. So they are told in their order, however long one of them takes. A notice is sealed once for all its endpoints,
//! as a payload: when the last of them has it, nothing of it is left (see `erase`).

use rusqlite::{Connection, OptionalExtension as _, params};

use super::change::Work;
use super::row::{failed, json, not_sealed, sealed, time};
use crate::clock::Timestamp;
use crate::event::{Event, Notice};
use crate::ident::{EndpointName, MessageId};
use crate::queue::keyring::Keyring;
use crate::queue::store::outbox::{EndpointState, OutboxChange, Subscription, Waiting};
use crate::queue::store::{Effect, StoreError};
use crate::secret::Digest;

/// An error in our own words is shorter than this.
const ERROR_MOST: usize = 200;

impl Work<'_> {
    /// Puts an event into the outbox of everybody who is to be told of it.
    pub(super) fn notify_of(&mut self, event: &Event) -> Result<(), StoreError> {
        if self.audience.subscriptions.is_empty() {
            return Ok(());
        }
        let mut event = event.clone();
        // Nobody is told whom a report would go to.
        event.subject.report_to = None;
        self.notify(&Notice::Event(Box::new(event)))
    }

    /// Puts a notice into the outbox of everybody who is to be told of it.
    pub(super) fn notify(&mut self, notice: &Notice) -> Result<(), StoreError> {
        let Some(topic) = notice.topic() else { return Ok(()) };
        let audience = std::sync::Arc::clone(&self.audience);
        let mut takers = Vec::new();
        for subscription in audience.wanting(topic, notice.business()) {
            if self.take_room(subscription, subscription.room_for(topic))? {
                takers.push(&subscription.endpoint);
            }
        }
        if takers.is_empty() {
            return Ok(());
        }
        let payload = self.store_notice(notice, takers.len())?;
        for endpoint in takers {
            self.store_outbox(notice, endpoint, payload)?;
        }
        self.stirs.outbox = true;
        Ok(())
    }

    /// Counts one more that waits, where there is room for it; else one more that is dropped.
    fn take_room(&self, subscription: &Subscription, room: u32) -> Result<bool, StoreError> {
        let name = subscription.endpoint.as_str();
        let sql = "INSERT INTO endpoint (name, waiting) VALUES (?1, 1) \
                   ON CONFLICT DO UPDATE SET waiting = waiting + 1 WHERE waiting < ?2";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        if statement.execute(params![name, room]).map_err(failed)? == 1 {
            return Ok(true);
        }
        self.drop_counted(name, 1)?;
        Ok(false)
    }

    fn drop_counted(&self, endpoint: &str, count: usize) -> Result<(), StoreError> {
        let sql = "UPDATE endpoint SET dropped = dropped + ?2 WHERE name = ?1";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        statement.execute(params![endpoint, count]).map(drop).map_err(failed)
    }

    fn store_notice(&self, notice: &Notice, takers: usize) -> Result<i64, StoreError> {
        let id = notice.id();
        let body = self.keyring.seal(sealed::NOTICE, id.as_bytes(), &json(notice)?).map_err(not_sealed)?;
        let mut statement =
            self.conn.prepare_cached("INSERT INTO payload (plan, body) VALUES (NULL, ?1)").map_err(failed)?;
        statement.execute([body]).map_err(failed)?;
        let payload = self.conn.last_insert_rowid();
        if takers > 1 {
            let sql = "INSERT INTO payload_refs (payload, refs) VALUES (?1, ?2)";
            let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
            let refs = i64::try_from(takers).unwrap_or(i64::MAX);
            statement.execute([payload, refs]).map_err(failed)?;
        }
        Ok(payload)
    }

    fn store_outbox(&self, notice: &Notice, endpoint: &EndpointName, payload: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO outbox (endpoint, id, subject, at, due, payload) VALUES (?1, ?2, ?3, ?4, \
                   CASE WHEN EXISTS (SELECT 1 FROM outbox WHERE subject = ?3 AND endpoint = ?1) \
                   THEN NULL ELSE ?4 END, ?5)";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let (id, at) = (notice.id(), notice.at().as_millis());
        let values = params![endpoint.as_str(), id.as_bytes(), notice.subject_key(), at, payload];
        statement.execute(values).map(drop).map_err(failed)
    }

    /// Makes a change in the outbox.
    pub(super) fn change_outbox(&mut self, change: &OutboxChange) -> Result<Effect, StoreError> {
        match change {
            OutboxChange::Delivered { number, at } => {
                let Some(endpoint) = self.forget(*number, *at)? else { return Ok(Effect::NotFound) };
                let sql =
                    "UPDATE endpoint SET delivered = delivered + 1, last_delivered = ?2 WHERE name = ?1";
                self.run(sql, params![endpoint, at.as_millis()])?;
                Ok(Effect::Done)
            }
            OutboxChange::Failed { number, at, error, pause } => {
                let endpoint = if let Some(pause) = pause {
                    self.put_notice_off(*number, at.plus(*pause))?
                } else {
                    let endpoint = self.forget(*number, *at)?;
                    endpoint.iter().try_for_each(|endpoint| self.drop_counted(endpoint, 1))?;
                    endpoint
                };
                let Some(endpoint) = endpoint else { return Ok(Effect::NotFound) };
                self.note_failure(&endpoint, *at, error)?;
                Ok(Effect::Done)
            }
            OutboxChange::Disable { endpoint, configured, at, error } => {
                self.note_failure(endpoint.as_str(), *at, error)?;
                let sql = "UPDATE endpoint SET disabled = ?2, disabled_as = ?3 WHERE name = ?1";
                let values = params![endpoint.as_str(), at.as_millis(), configured.as_bytes()];
                Ok(if self.run(sql, values)? == 1 { Effect::Done } else { Effect::NotFound })
            }
            OutboxChange::Enable { endpoint, at } => self.enable(endpoint, *at),
            OutboxChange::Sweep { keep, limit } => self.sweep_outbox(keep, *limit),
        }
    }

    fn enable(&mut self, endpoint: &EndpointName, at: Timestamp) -> Result<Effect, StoreError> {
        let sql = "UPDATE endpoint SET disabled = NULL, disabled_as = NULL WHERE name = ?1";
        let known = self.run(sql, [endpoint.as_str()])? == 1;
        // Few: while an endpoint fails, no more than one notice at a time is tried and put off.
        let sql = "UPDATE outbox SET due = ?2 WHERE endpoint = ?1 AND due IS NOT NULL AND due > ?2";
        self.run(sql, params![endpoint.as_str(), at.as_millis()])?;
        self.stirs.outbox = true;
        Ok(if known { Effect::Done } else { Effect::NotFound })
    }

    fn put_notice_off(&self, number: i64, until: Timestamp) -> Result<Option<String>, StoreError> {
        let sql = "UPDATE outbox SET attempts = attempts + 1, due = ?2 WHERE number = ?1 RETURNING endpoint";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        statement.query_row([number, until.as_millis()], |row| row.get(0)).optional().map_err(failed)
    }

    fn note_failure(&self, endpoint: &str, at: Timestamp, error: &str) -> Result<(), StoreError> {
        let error: String = error.chars().take(ERROR_MOST).collect();
        let sql = "UPDATE endpoint SET last_failed = ?2, last_error = ?3 WHERE name = ?1";
        self.run(sql, params![endpoint, at.as_millis(), error]).map(drop)
    }

    /// Takes a notice out of the outbox and erases it; the next one about the same is due. Gives its endpoint.
    fn forget(&mut self, number: i64, at: Timestamp) -> Result<Option<String>, StoreError> {
        let sql = "DELETE FROM outbox WHERE number = ?1 RETURNING endpoint, subject, payload";
        let read = |row: &rusqlite::Row<'_>| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, i64>(2)?))
        };
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let gone = statement.query_row([number], read).optional().map_err(failed)?;
        let Some((endpoint, subject, payload)) = gone else { return Ok(None) };
        self.erase(payload)?;
        self.run("UPDATE endpoint SET waiting = max(waiting - 1, 0) WHERE name = ?1", [endpoint.as_str()])?;
        let sql = "UPDATE outbox SET due = ?3 WHERE number = \
                   (SELECT min(number) FROM outbox WHERE subject = ?1 AND endpoint = ?2) AND due IS NULL";
        self.run(sql, params![subject, endpoint, at.as_millis()])?;
        Ok(Some(endpoint))
    }

    fn sweep_outbox(
        &mut self,
        keep: &[(EndpointName, Timestamp)],
        limit: usize,
    ) -> Result<Effect, StoreError> {
        let mut names: Vec<String> = Vec::new();
        {
            let mut statement = self.conn.prepare_cached("SELECT name FROM endpoint").map_err(failed)?;
            let found = statement.query_map([], |row| row.get(0)).map_err(failed)?;
            for name in found {
                names.push(name.map_err(failed)?);
            }
        }
        let mut swept = 0;
        for name in names {
            let kept = keep.iter().find(|(endpoint, _)| endpoint.as_str() == name);
            let before = kept.map_or(i64::MAX, |(_, since)| since.as_millis());
            let numbers = self.older(&name, before, limit - swept)?;
            for number in &numbers {
                self.forget(*number, time(before.min(i64::MAX / 2)))?;
            }
            swept += numbers.len();
            self.drop_counted(&name, numbers.len())?;
            if swept >= limit {
                return Ok(Effect::Rows(swept));
            }
            if kept.is_none() {
                self.run("DELETE FROM endpoint WHERE name = ?1", [name.as_str()])?;
            }
        }
        Ok(Effect::Rows(swept))
    }

    fn older(&self, endpoint: &str, before: i64, limit: usize) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT number FROM outbox WHERE endpoint = ?1 AND at < ?2 ORDER BY at LIMIT ?3";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found =
            statement.query_map(params![endpoint, before, limit], |row| row.get(0)).map_err(failed)?;
        found.collect::<Result<_, _>>().map_err(failed)
    }

    fn run(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
        self.conn.prepare_cached(sql).map_err(failed)?.execute(values).map_err(failed)
    }
}

/// Takes out what a put of unknown fate may have told of a message.
pub(super) fn take_out(conn: &Connection, message: MessageId) -> rusqlite::Result<()> {
    let sql = "DELETE FROM outbox WHERE subject = ?1 RETURNING endpoint, payload";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
    let gone: Vec<(String, i64)> = {
        let mut statement = conn.prepare(sql)?;
        let gone = statement.query_map([message.as_bytes()], read)?;
        gone.collect::<Result<_, _>>()?
    };
    for (endpoint, payload) in gone {
        conn.execute("UPDATE endpoint SET waiting = max(waiting - 1, 0) WHERE name = ?1", [endpoint])?;
        conn.execute("DELETE FROM payload_refs WHERE payload = ?1", [payload])?;
        conn.execute("UPDATE payload SET plan = NULL, body = NULL WHERE number = ?1", [payload])?;
    }
    Ok(())
}

/// What is due for an endpoint, the longest due first.
pub(super) fn due(
    conn: &Connection,
    keyring: &Keyring,
    endpoint: &EndpointName,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Waiting>, StoreError> {
    let sql = "SELECT o.number, o.attempts, o.id, p.body FROM outbox o LEFT JOIN payload p ON p.number = o.payload \
               WHERE o.endpoint = ?1 AND o.due IS NOT NULL AND o.due <= ?2 ORDER BY o.due, o.number LIMIT ?3";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let read = |row: &rusqlite::Row<'_>| {
        let id: [u8; 16] = row.get(2)?;
        let body = row.get_ref(3)?.as_blob_or_null()?;
        let opened = body.and_then(|body| keyring.open(sealed::NOTICE, &id, body).ok());
        Ok(Waiting {
            number: row.get(0)?,
            attempts: row.get(1)?,
            notice: opened.and_then(|bytes| serde_json::from_slice(&bytes).ok()),
        })
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = params![endpoint.as_str(), now.as_millis(), limit];
    let found = statement.query_map(values, read).map_err(failed)?;
    found.collect::<Result<_, _>>().map_err(failed)
}

/// When the next notice is due for an endpoint after `now`.
pub(super) fn next(
    conn: &Connection,
    endpoint: &EndpointName,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT min(due) FROM outbox WHERE endpoint = ?1 AND due IS NOT NULL AND due > ?2";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let due: Option<i64> =
        statement.query_row(params![endpoint.as_str(), now.as_millis()], |row| row.get(0)).map_err(failed)?;
    Ok(due.map(time))
}

/// How the endpoints stand.
pub(super) fn endpoints(conn: &Connection) -> Result<Vec<EndpointState>, StoreError> {
    let sql = "SELECT name, waiting, delivered, dropped, last_delivered, last_failed, last_error, disabled, \
               disabled_as, (SELECT min(at) FROM outbox WHERE endpoint = name) FROM endpoint ORDER BY name";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let read = |row: &rusqlite::Row<'_>| {
        let at = |index: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(index)?.map(time));
        let configured: Option<Vec<u8>> = row.get(8)?;
        let configured = configured.and_then(|bytes| Digest::from_bytes(&bytes));
        Ok(EndpointState {
            name: EndpointName::new(row.get::<_, String>(0)?),
            waiting: row.get::<_, u32>(1)?.into(),
            delivered: count(row.get(2)?),
            dropped: count(row.get(3)?),
            oldest: at(9)?,
            last_delivered: at(4)?,
            last_failure: at(5)?.zip(row.get(6)?),
            disabled: at(7)?.zip(configured),
        })
    };
    let found = statement.query_map([], read).map_err(failed)?;
    found.collect::<Result<_, _>>().map_err(failed)
}

fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}
