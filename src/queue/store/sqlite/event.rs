//! Events in the store. They are written by the store itself, in the transaction of the change they tell of.
//!
//! An event about a stored message keeps only what the message's row does not say: for most of them no more than what
//! happened and when, which costs a put next to nothing. It is put together again from both when it is read, and it is
//! deleted together with its row. An event without a row (a refusal) is kept whole, sealed.

use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};

use super::change::Work;
use super::row::{Stored, failed, json, not_sealed, sealed, time};
use crate::event::{Event, Kind};
use crate::ident::{BurstId, MessageId, UpstreamName};
use crate::mail::Recipient;
use crate::outcome::Reason;
use crate::queue::keyring::Keyring;
use crate::queue::store::{Effect, History, StoreError};
use crate::secret::Digest;

/// Kinds by their stored number. Only ever grows at its end.
const KINDS: [Kind; 14] = [
    Kind::Received,
    Kind::Refused,
    Kind::Suppressed,
    Kind::Held,
    Kind::Released,
    Kind::Deferred,
    Kind::HandedOver,
    Kind::Failed,
    Kind::Expired,
    Kind::Superseded,
    Kind::Removed,
    Kind::Unknown,
    Kind::Delivered,
    Kind::BurstHeld,
];

/// What an event says beyond its message's row.
#[derive(Serialize, Deserialize, Default)]
struct Detail {
    reason: Option<Reason>,
    upstream: Option<UpstreamName>,
    reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<BurstId>,
}

/// An event without a row, sealed and ready to be stored.
pub(super) struct Loose {
    event: Event,
    recipient_key: Digest,
    sealed: Vec<u8>,
}

impl Loose {
    /// Seals an event that belongs to no row. A number is not kept: such an event is found by the key alone.
    pub(super) fn seal(recipient_key: Digest, event: Event, keyring: &Keyring) -> Result<Self, StoreError> {
        let plain = match &event.subject.recipient {
            Recipient::Phone(_) => {
                let mut kept = event.clone();
                kept.subject.recipient = Recipient::Forgotten;
                json(&kept)?
            }
            Recipient::Mail(_) | Recipient::Forgotten => json(&event)?,
        };
        let sealed = keyring.seal(sealed::DETAIL, event.id.as_bytes(), &plain).map_err(not_sealed)?;
        Ok(Self { event, recipient_key, sealed })
    }
}

impl Work<'_> {
    /// Stores an event about the row with this number.
    pub(super) fn tell(&mut self, number: i64, event: Event) -> Result<(), StoreError> {
        let plain = event.reason.is_none() && event.upstream.is_none() && event.reference.is_none();
        let plain = plain && event.burst.is_none();
        let detail = if plain {
            None
        } else {
            let detail = Detail {
                reason: event.reason.clone(),
                upstream: event.upstream.clone(),
                reference: event.reference.clone(),
                burst: event.burst.clone(),
            };
            let sealed = self.keyring.seal(sealed::DETAIL, event.id.as_bytes(), &json(&detail)?);
            Some(sealed.map_err(not_sealed)?)
        };
        let sql =
            "INSERT INTO event (id, kind, at, attempts, message, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let at = event.at.as_millis();
        let values = (event.id.as_bytes(), kind_number(event.kind), at, event.attempts, number, detail);
        statement.execute(values).map_err(failed)?;
        self.notify_of(&event)?;
        self.events.push(event);
        Ok(())
    }

    /// Stores events that belong to no row.
    pub(super) fn record_all(&mut self, events: &[Loose]) -> Result<Effect, StoreError> {
        for event in events {
            self.record(event)?;
        }
        Ok(Effect::Done)
    }

    fn record(&mut self, loose: &Loose) -> Result<(), StoreError> {
        let Loose { event, recipient_key, sealed } = loose;
        let sql = "INSERT INTO event (id, kind, at, attempts, message_id, submission, recipient_key, detail) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let values = (
            event.id.as_bytes(),
            kind_number(event.kind),
            event.at.as_millis(),
            event.attempts,
            event.subject.message.as_bytes(),
            event.subject.submission.as_bytes(),
            recipient_key.as_bytes(),
            sealed,
        );
        statement.execute(values).map_err(failed)?;
        self.notify_of(event)?;
        self.events.push(event.clone());
        Ok(())
    }
}

/// The events of a message, of all messages of a submission, of all messages for a recipient, or the latest of all, oldest
/// first.
pub(super) fn history(conn: &Connection, keyring: &Keyring, of: History) -> Result<Vec<Event>, StoreError> {
    let (rows, mut found) = match of {
        History::Id(id) => (numbers(conn, id)?, loose(conn, keyring, LOOSE_BY_ID, id.as_bytes())?),
        History::Recipient(key) => {
            let rows = select_numbers(conn, NUMBERS_BY_RECIPIENT, key.as_bytes())?;
            (rows, loose(conn, keyring, LOOSE_BY_RECIPIENT, key.as_bytes())?)
        }
        History::Latest(most) => return latest(conn, keyring, most),
    };
    for number in rows {
        found.extend(events_of(conn, keyring, number)?);
    }
    found.sort_by_key(|(number, _)| *number);
    Ok(found.into_iter().map(|(_, event)| event).collect())
}

/// The latest events, oldest first: read from the end of the table, so that it costs the same however long that is.
fn latest(conn: &Connection, keyring: &Keyring, most: u32) -> Result<Vec<Event>, StoreError> {
    let sql =
        "SELECT number, id, kind, at, attempts, detail, message FROM event ORDER BY number DESC LIMIT ?1";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query([most]).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(event) = rows.next().map_err(failed)? {
        let row: Option<i64> = event.get(6).map_err(failed)?;
        let Some(row) = row else {
            let number = event.get(0).map_err(failed)?;
            found.extend(loose_event(conn, keyring, number)?.map(|(_, event)| event));
            continue;
        };
        if let Some(row) = by_number(conn, keyring, row)? {
            found.push(about(event, &row, keyring).map_err(failed)?.1);
        }
    }
    found.reverse();
    Ok(found)
}

/// The events of the row with this number, each with its own number.
pub(super) fn events_of(
    conn: &Connection,
    keyring: &Keyring,
    number: i64,
) -> Result<Vec<(i64, Event)>, StoreError> {
    let Some(row) = by_number(conn, keyring, number)? else { return Ok(Vec::new()) };
    let sql = "SELECT number, id, kind, at, attempts, detail FROM event WHERE message = ?1";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query([number]).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(event) = rows.next().map_err(failed)? {
        found.push(about(event, &row, keyring).map_err(failed)?);
    }
    Ok(found)
}

/// An event without a row, and the key of its recipient.
pub(super) fn loose_event(
    conn: &Connection,
    keyring: &Keyring,
    number: i64,
) -> Result<Option<(Digest, Event)>, StoreError> {
    let sql = "SELECT id, detail, recipient_key FROM event WHERE message IS NULL AND number = ?1";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<([u8; 16], Vec<u8>, Vec<u8>)> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    };
    let found = statement.query_row([number], read).optional().map_err(failed)?;
    Ok(found.and_then(|(id, detail, key)| {
        let event = serde_json::from_slice(&keyring.open(sealed::DETAIL, &id, &detail).ok()?).ok()?;
        Some((Digest::from_bytes(&key)?, event))
    }))
}

/// An event of a row, put together from both.
fn about(event: &rusqlite::Row<'_>, row: &Stored, keyring: &Keyring) -> rusqlite::Result<(i64, Event)> {
    let id = MessageId::from_bytes(event.get(1)?);
    let opened =
        event.get_ref(5)?.as_blob_or_null()?.map(|blob| keyring.open(sealed::DETAIL, id.as_bytes(), blob));
    let detail: Detail = match opened {
        Some(Ok(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
        // A damaged one still says what happened and when.
        Some(Err(_)) | None => Detail::default(),
    };
    let event_read = Event {
        id,
        kind: kind_from(event.get(2)?)?,
        at: time(event.get(3)?),
        subject: row.entry.about(),
        attempts: event.get(4)?,
        reason: detail.reason,
        upstream: detail.upstream,
        reference: detail.reference,
        burst: detail.burst,
    };
    Ok((event.get(0)?, event_read))
}

/// The rows an id stands for: a submission's rows, or the one row.
pub(super) fn numbers(conn: &Connection, id: MessageId) -> Result<Vec<i64>, StoreError> {
    select_numbers(conn, NUMBERS_BY_ID, id.as_bytes())
}

const NUMBERS_BY_ID: &str = "SELECT number FROM message WHERE id = ?1 \
    UNION ALL SELECT number FROM message WHERE submission = ?1 AND submission <> id";
const NUMBERS_BY_RECIPIENT: &str =
    "SELECT number FROM message WHERE recipient_key = ?1 ORDER BY number DESC LIMIT 1000";
const LOOSE_BY_ID: &str = "SELECT number, id, detail FROM event WHERE message IS NULL AND message_id = ?1 \
    UNION SELECT number, id, detail FROM event WHERE message IS NULL AND submission = ?1";
const LOOSE_BY_RECIPIENT: &str = "SELECT number, id, detail FROM event \
    WHERE message IS NULL AND recipient_key = ?1 ORDER BY number DESC LIMIT 1000";

fn select_numbers(conn: &Connection, sql: &str, key: &[u8]) -> Result<Vec<i64>, StoreError> {
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let rows = statement.query_map([key], |row| row.get(0)).map_err(failed)?;
    rows.collect::<Result<_, _>>().map_err(failed)
}

fn by_number(conn: &Connection, keyring: &Keyring, number: i64) -> Result<Option<Stored>, StoreError> {
    let sql = format!("SELECT {} FROM message m WHERE m.number = ?1", super::row::COLUMNS);
    let mut statement = conn.prepare_cached(&sql).map_err(failed)?;
    statement.query_row([number], |row| Stored::read(row, keyring)).optional().map_err(failed)
}

fn loose(
    conn: &Connection,
    keyring: &Keyring,
    sql: &str,
    key: &[u8],
) -> Result<Vec<(i64, Event)>, StoreError> {
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(i64, [u8; 16], Vec<u8>)> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    };
    let rows = statement.query_map([key], read).map_err(failed)?;
    let mut found = Vec::new();
    for row in rows {
        let (number, event, detail) = row.map_err(failed)?;
        let opened = keyring.open(sealed::DETAIL, &event, &detail).ok();
        if let Some(event) = opened.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            found.push((number, event));
        }
    }
    Ok(found)
}

fn kind_number(kind: Kind) -> i64 {
    (0..).zip(KINDS).find(|(_, other)| *other == kind).map_or(-1, |(number, _)| number)
}

fn kind_from(number: i64) -> rusqlite::Result<Kind> {
    let kind = usize::try_from(number).ok().and_then(|index| KINDS.get(index));
    kind.copied().ok_or(rusqlite::Error::IntegralValueOutOfRange(2, number))
}
