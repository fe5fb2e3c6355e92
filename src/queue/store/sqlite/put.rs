//! Storing a submission: the look for the same request or an equal one, the counters, what it supersedes, and its rows. All in one
//! transaction, so that none of it can be true without the others.

use rusqlite::{OptionalExtension as _, params};

use super::burst::Part;
use super::change::Work;
use super::prepare::{PreparedPut, PreparedRow};
use super::row::{COLUMNS, Stored, class_number, failed, or_null, state_number};
use crate::clock::Timestamp;
use crate::event::{Event, Kind};
use crate::ident::MessageId;
use crate::queue::report::superseded;
use crate::queue::store::{Counter, Effect, StoreError};
use crate::queue::{Idempotency, State};
use crate::secret::Digest;

impl Work<'_> {
    /// Stores a submission, or nothing where an equal one is there or a counter is at its limit.
    pub(super) fn put(&mut self, put: &PreparedPut) -> Result<Effect, StoreError> {
        if let Some(known) = self.known_request(put)? {
            return Ok(known);
        }
        if let Some((key, since)) = put.dedupe
            && let Some(equal) = self.equal(key, since)?
        {
            return Ok(Effect::Duplicate(equal));
        }
        if let Some(index) = self.over_limit(&put.counters)? {
            return Ok(Effect::OverLimit(index));
        }
        self.count(&put.counters)?;
        let stored = self.store_rows(put)?;
        if let (Some(request), Some(first)) = (&put.idempotency, put.rows.first()) {
            self.remember(request, first.new.entry.id)?;
        }
        Ok(stored)
    }

    /// Stores every row in its place among those that are there.
    fn store_rows(&mut self, put: &PreparedPut) -> Result<Effect, StoreError> {
        let under_way = self.burst_under_way(put)?;
        let payload = self.store_payload(put)?;
        let (mut waiting, mut first, mut news) = (Vec::new(), None, false);
        for (index, row) in put.rows.iter().enumerate() {
            let entry = &row.new.entry;
            let part = self.part(put, row, under_way.as_ref())?;
            news |= part.counted;
            let is_sent = entry.state == State::Queued && part.held.is_none();
            // Only what will itself be sent takes another's place.
            let waits_for = match row.new.supersede_key {
                Some(key) if is_sent => self.supersede(key, row)?,
                Some(_) | None => None,
            };
            let lease = put.lease.filter(|_| is_sent);
            if lease.is_some() && waits_for.is_some() {
                waiting.push(entry.id);
            }
            let place = Place {
                payload,
                waits_for,
                lease: lease.filter(|_| waits_for.is_none()),
                // One row is enough to find the submission by.
                dedupe: put.dedupe.map(|(key, _)| key).filter(|_| index == 0),
                part,
            };
            let number = self.store_row(put, row, &place)?;
            first = first.or(Some(number));
        }
        let burst = match (under_way, first) {
            (Some(burst), _) => Some(burst),
            (None, Some(first)) if news => self.after_put(put, first)?,
            (None, _) => None,
        };
        Ok(match burst {
            Some(burst) => Effect::Held(burst.id),
            None if waiting.is_empty() => Effect::Done,
            None => Effect::Waiting(waiting),
        })
    }

    /// What is told of a request that came before, where it did and is not to be forgotten yet.
    fn known_request(&self, put: &PreparedPut) -> Result<Option<Effect>, StoreError> {
        let (Some(request), Some(first)) = (&put.idempotency, put.rows.first()) else { return Ok(None) };
        let sql = "SELECT fingerprint, message FROM idempotency WHERE key = ?1 AND until > ?2";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let key = params![request.key.as_bytes(), first.new.entry.accepted.as_millis()];
        let read =
            |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, MessageId::from_bytes(row.get(1)?)));
        let known = statement.query_row(key, read).optional().map_err(failed)?;
        Ok(known.map(|(fingerprint, message)| {
            let same = Digest::from_bytes(&fingerprint) == Some(request.fingerprint);
            if same { Effect::Repeated(message) } else { Effect::Mismatch }
        }))
    }

    /// Remembers a request. One with the same key that is still there is to be forgotten by now.
    fn remember(&self, request: &Idempotency, message: MessageId) -> Result<(), StoreError> {
        let sql =
            "INSERT OR REPLACE INTO idempotency (key, fingerprint, message, until) VALUES (?1, ?2, ?3, ?4)";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let (key, fingerprint) = (request.key.as_bytes(), request.fingerprint.as_bytes());
        let values = params![key, fingerprint, message.as_bytes(), request.until.as_millis()];
        statement.execute(values).map(drop).map_err(failed)
    }

    /// A submission with the same key, all of whose rows wait or were handed over.
    fn equal(&self, key: Digest, since: Timestamp) -> Result<Option<MessageId>, StoreError> {
        let sql = "SELECT submission FROM message WHERE dedupe_key = ?1 AND accepted >= ?2 \
                   ORDER BY accepted DESC, number DESC";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let read = |row: &rusqlite::Row<'_>| row.get(0).map(MessageId::from_bytes);
        let found = statement.query_map(params![key.as_bytes(), since.as_millis()], read).map_err(failed)?;
        for submission in found {
            let submission = submission.map_err(failed)?;
            let mut stands = true;
            for number in super::event::numbers(self.conn, submission)? {
                stands &= self.stands(number)?;
            }
            if stands {
                return Ok(Some(submission));
            }
        }
        Ok(None)
    }

    /// Whether a row waits, can still be released, or was handed over.
    fn stands(&self, number: i64) -> Result<bool, StoreError> {
        let sql = "SELECT ends IS NOT NULL OR state = ?2 FROM message WHERE number = ?1";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let handed_over = state_number(State::HandedOver);
        statement.query_row([number, handed_over], |row| row.get(0)).map_err(failed)
    }

    /// The first counter that would pass its limit. Counters of one put with the same key add up.
    fn over_limit(&self, counters: &[Counter]) -> Result<Option<usize>, StoreError> {
        for (index, counter) in counters.iter().enumerate() {
            let sql = "SELECT amount FROM counter WHERE key = ?1 AND window_start = ?2";
            let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
            let key = params![counter.key.as_bytes(), counter.window_start.as_millis()];
            let stored: Option<i64> =
                statement.query_row(key, |row| row.get(0)).optional().map_err(failed)?;
            let same =
                |other: &&Counter| other.key == counter.key && other.window_start == counter.window_start;
            let own: i64 = counters[..=index].iter().filter(same).map(|other| i64::from(other.amount)).sum();
            if stored.unwrap_or(0).saturating_add(own) > i64::from(counter.limit) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    pub(super) fn count(&self, counters: &[Counter]) -> Result<(), StoreError> {
        for counter in counters {
            let sql = "INSERT INTO counter (key, window_start, window_end, amount) VALUES (?1, ?2, ?3, ?4) \
                       ON CONFLICT DO UPDATE SET amount = amount + excluded.amount, \
                       window_end = max(window_end, excluded.window_end)";
            let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
            let (start, end) = (counter.window_start.as_millis(), counter.window_end.as_millis());
            let values = params![counter.key.as_bytes(), start, end, counter.amount];
            statement.execute(values).map_err(failed)?;
        }
        Ok(())
    }

    /// Ends the older waiting rows with this key. One that is being handed over can't be stopped: it is told that it
    /// will not be tried again, and its id is returned for the new row to wait for. A text that was posted is not sent
    /// again whatever is reported of it.
    fn supersede(&mut self, key: Digest, newer: &PreparedRow) -> Result<Option<MessageId>, StoreError> {
        let (id, at) = (newer.new.entry.id, newer.new.entry.accepted);
        let submission = newer.new.entry.submission;
        let sql = format!(
            "SELECT {COLUMNS} FROM message m WHERE m.supersede_key = ?1 AND m.ended IS NULL \
             AND m.submission <> ?2 ORDER BY m.number"
        );
        let mut statement = self.conn.prepare_cached(&sql).map_err(failed)?;
        let keyring = self.keyring;
        let older = statement
            .query_map(params![key.as_bytes(), submission.as_bytes()], |row| Stored::read(row, keyring));
        let older: Vec<Stored> = older.and_then(Iterator::collect).map_err(failed)?;
        let mut waits_for = None;
        for mut row in older {
            match row.entry.state {
                State::Queued | State::Held => {
                    row.entry.reason = Some(superseded());
                    self.advance(row, State::Superseded, at, Some(Kind::Superseded))?;
                }
                State::Attempting => {
                    self.mark_superseded(row.number, id)?;
                    waits_for = Some(row.entry.id);
                }
                State::AwaitingReport => self.mark_superseded(row.number, id)?,
                // A suppressed one is not on its way; an operator may still release it.
                State::Suppressed
                | State::HandedOver
                | State::Failed
                | State::Expired
                | State::Superseded
                | State::Removed
                | State::Delivered
                | State::Unknown => {}
            }
        }
        Ok(waits_for)
    }

    fn mark_superseded(&self, number: i64, newer: MessageId) -> Result<(), StoreError> {
        let sql = "UPDATE message SET superseded_by = ?2 WHERE number = ?1";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        statement.execute(params![number, newer.as_bytes()]).map(drop).map_err(failed)
    }

    fn store_payload(&self, put: &PreparedPut) -> Result<i64, StoreError> {
        let sql = "INSERT INTO payload (plan, body, packed) VALUES (?1, ?2, ?3)";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        statement.execute(params![put.plan, put.body.sealed, put.body.packed]).map_err(failed)?;
        let payload = self.conn.last_insert_rowid();
        if put.rows.len() > 1 {
            let sql = "INSERT INTO payload_refs (payload, refs) VALUES (?1, ?2)";
            let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
            let refs = i64::try_from(put.rows.len()).unwrap_or(i64::MAX);
            statement.execute([payload, refs]).map_err(failed)?;
        }
        Ok(payload)
    }

    fn store_row(&mut self, put: &PreparedPut, row: &PreparedRow, place: &Place) -> Result<i64, StoreError> {
        let entry = &row.new.entry;
        let (state, reason) = match &place.part.held {
            Some((_, reason)) => (State::Held, Some(reason)),
            None => (entry.state, entry.reason.as_ref()),
        };
        self.insert_row(put, row, place, state)?;
        let number = self.conn.last_insert_rowid();
        let kind = match state {
            State::Held => Kind::Held,
            State::Suppressed => Kind::Suppressed,
            State::Queued
            | State::Attempting
            | State::HandedOver
            | State::Failed
            | State::Expired
            | State::Superseded
            | State::Removed
            | State::AwaitingReport
            | State::Delivered
            | State::Unknown => Kind::Received,
        };
        let mut event = Event::new(kind, entry.accepted, entry.about());
        event.reason = reason.cloned();
        self.tell(number, event)?;
        Ok(number)
    }

    fn insert_row(
        &self,
        put: &PreparedPut,
        row: &PreparedRow,
        place: &Place,
        state: State,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO message (id, submission, kind, class, state, client, business, category, rule, \
                   recipient, recipient_key, application_id, report_to, supersede_key, waits_for, dedupe_key, accepted, \
                   expires, next_attempt, attempts, in_doubt, marked, lease, ends, outcome, upstream, payload, size, shape, counted, burst) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
                   ?20, ?21, 0, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30)";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let entry = &row.new.entry;
        let (in_table, ends) = match place.lease {
            Some(lease) => (State::Attempting, entry.expires.max(lease)),
            None => (state, entry.expires),
        };
        let held = place.part.held.as_ref();
        let outcome = match held {
            Some((_, reason)) => self.seal_told(entry.id, Some(reason.clone()), None)?,
            None => row.outcome.clone(),
        };
        let digest = |digest: Option<Digest>| or_null(digest.map(|digest| digest.as_bytes().to_vec()));
        let values = params![
            entry.id.as_bytes(),
            entry.submission.as_bytes(),
            put.medium.number(),
            class_number(entry.class),
            state_number(in_table),
            entry.client.as_str(),
            entry.business.as_ref().map(crate::ident::BusinessName::as_str),
            entry.category.as_str(),
            entry.rule,
            row.recipient,
            row.new.recipient_key.as_bytes(),
            row.application_id,
            row.report_to,
            digest(row.new.supersede_key),
            or_null(place.waits_for.map(|id| id.as_bytes().to_vec())),
            digest(place.dedupe),
            entry.accepted.as_millis(),
            entry.expires.as_millis(),
            entry.next_attempt.as_millis(),
            entry.attempts,
            entry.in_doubt,
            or_null(place.lease.map(Timestamp::as_millis)),
            ends.as_millis(),
            outcome,
            entry.upstream.as_ref().map(crate::ident::UpstreamName::as_str),
            place.payload,
            i64::try_from(put.size).unwrap_or(i64::MAX),
            digest(put.settling.as_ref().map(|settling| settling.shape)),
            place.part.counted,
            held.map(|(burst, _)| *burst),
        ];
        statement.execute(values).map(drop).map_err(failed)
    }
}

/// Where a new row stands among the others.
struct Place {
    payload: i64,
    waits_for: Option<MessageId>,
    lease: Option<Timestamp>,
    dedupe: Option<Digest>,
    part: Part,
}
