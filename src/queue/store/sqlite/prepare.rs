//! What a caller does before the writer is asked: everything of a change that is to be sealed is sealed here, so that
//! the one writer only writes.

use super::event::Loose;
use super::row::{Told, json, not_sealed, sealed};
use crate::clock::Timestamp;
use crate::ident::{Class, MessageId};
use crate::outcome::Reason;
use crate::queue::keyring::Keyring;
use crate::queue::store::{Change, Counter, Operation, Put, Settle, StoreError};
use crate::queue::{Factor, NewEntry, Payload, State};
use crate::secret::{Digest, Secret};
use serde::{Deserialize, Serialize};

/// A change, ready for the writer.
pub(super) enum Prepared {
    Put(Box<PreparedPut>),
    Settle(Box<Settle>),
    Mark { id: MessageId, lease: Timestamp },
    GiveBack { id: MessageId, lease: Timestamp, next_attempt: Timestamp, reason: Option<Reason> },
    Operate { id: MessageId, operation: Operation, at: Timestamp },
    Expire { now: Timestamp, limit: usize },
    Record(Vec<Loose>),
    Prune { before: Timestamp, limit: usize },
}

/// A submission with its columns sealed.
pub(super) struct PreparedPut {
    pub(super) rows: Vec<PreparedRow>,
    /// 0 for a mail, 1 for a text message.
    pub(super) kind: i64,
    pub(super) plan: Vec<u8>,
    pub(super) body: Option<Vec<u8>>,
    /// What the payload weighs in memory.
    pub(super) size: usize,
    pub(super) dedupe: Option<(Digest, Timestamp)>,
    pub(super) counters: Vec<Counter>,
    pub(super) lease: Option<Timestamp>,
}

/// A row with its columns sealed.
pub(super) struct PreparedRow {
    pub(super) new: NewEntry,
    pub(super) recipient: Vec<u8>,
    pub(super) application_id: Option<Vec<u8>>,
    pub(super) report_to: Option<Vec<u8>>,
    pub(super) outcome: Option<Vec<u8>>,
}

/// A text message, as sealed in the column of the plan.
#[derive(Serialize, Deserialize)]
pub(super) struct SmsPlan {
    pub(super) code: Secret,
    pub(super) host: String,
    pub(super) factor: Factor,
}

/// Seals what is to be sealed of all changes.
pub(super) fn prepare(changes: Vec<Change>, keyring: &Keyring) -> Result<Vec<Prepared>, StoreError> {
    changes.into_iter().map(|change| prepare_one(change, keyring)).collect()
}

/// About how many bytes of payload the changes carry.
pub(super) fn weight(changes: &[Change]) -> usize {
    let weigh = |change: &Change| match change {
        Change::Put(put) => put.payload.weight(),
        Change::Record(events) => events.len() * 512,
        Change::Settle(_)
        | Change::Mark { .. }
        | Change::GiveBack { .. }
        | Change::Operate { .. }
        | Change::Expire { .. }
        | Change::Prune { .. } => 512,
    };
    changes.iter().map(weigh).sum()
}

/// The lane in which the writer serves the changes. What frees a worker or answers a person is urgent.
pub(super) fn lane(changes: &[Change]) -> Class {
    let normal = changes.iter().all(|change| match change {
        Change::Put(put) => put.entries.iter().all(|new| new.entry.class == Class::Normal),
        Change::Record(_) | Change::Prune { .. } => true,
        Change::Settle(_)
        | Change::Mark { .. }
        | Change::GiveBack { .. }
        | Change::Operate { .. }
        | Change::Expire { .. } => false,
    });
    if normal { Class::Normal } else { Class::Urgent }
}

fn prepare_one(change: Change, keyring: &Keyring) -> Result<Prepared, StoreError> {
    Ok(match change {
        Change::Put(put) => Prepared::Put(Box::new(prepare_put(*put, keyring)?)),
        Change::Settle(settle) => Prepared::Settle(settle),
        Change::Mark { id, lease } => Prepared::Mark { id, lease },
        Change::GiveBack { id, lease, next_attempt, reason } => {
            Prepared::GiveBack { id, lease, next_attempt, reason }
        }
        Change::Operate { id, operation, at } => Prepared::Operate { id, operation, at },
        Change::Expire { now, limit } => Prepared::Expire { now, limit },
        Change::Record(events) => {
            let sealed = events.into_iter().map(|(key, event)| Loose::seal(key, event, keyring));
            Prepared::Record(sealed.collect::<Result<_, _>>()?)
        }
        Change::Prune { before, limit } => Prepared::Prune { before, limit },
    })
}

fn prepare_put(put: Put, keyring: &Keyring) -> Result<PreparedPut, StoreError> {
    let refuse = |problem: &str| StoreError::Failed(format!("a put was made wrongly: {problem}"));
    let first = put.entries.first().ok_or_else(|| refuse("no recipient"))?;
    let submission = first.entry.submission;
    for NewEntry { entry, .. } in &put.entries {
        if !matches!(entry.state, State::Queued | State::Held | State::Suppressed) {
            return Err(refuse("a state that a new row can't have"));
        }
        if entry.submission != submission {
            return Err(refuse("rows of two submissions"));
        }
    }
    let seal =
        |column: &str, plain: &[u8]| keyring.seal(column, submission.as_bytes(), plain).map_err(not_sealed);
    let size = put.payload.weight();
    let (kind, plan, body) = match put.payload {
        Payload::Mail { plan, message } => {
            (0, seal(sealed::PLAN, &json(&plan)?)?, Some(seal(sealed::BODY, &message)?))
        }
        Payload::Sms { code, host, factor } => {
            (1, seal(sealed::PLAN, &json(&SmsPlan { code, host, factor })?)?, None)
        }
    };
    let rows = put.entries.into_iter().map(|new| prepare_row(new, keyring)).collect::<Result<_, _>>()?;
    let (dedupe, counters, lease) = (put.dedupe, put.counters, put.lease);
    Ok(PreparedPut { rows, kind, plan, body, size, dedupe, counters, lease })
}

fn prepare_row(new: NewEntry, keyring: &Keyring) -> Result<PreparedRow, StoreError> {
    let entry = &new.entry;
    let seal =
        |column: &str, plain: &[u8]| keyring.seal(column, entry.id.as_bytes(), plain).map_err(not_sealed);
    let recipient = seal(sealed::RECIPIENT, &json(&entry.recipient)?)?;
    let application_id =
        entry.application_id.as_ref().map(|id| seal(sealed::APPLICATION_ID, id.as_bytes())).transpose()?;
    let report_to = entry.report_to.as_ref().map(|to| seal(sealed::REPORT_TO, to.as_str().as_bytes()));
    let report_to = report_to.transpose()?;
    let outcome = match (&entry.reason, &entry.reference) {
        (None, None) => None,
        (reason, reference) => {
            let told = Told { reason: reason.clone(), reference: reference.clone() };
            Some(seal(sealed::OUTCOME, &json(&told)?)?)
        }
    };
    Ok(PreparedRow { new, recipient, application_id, report_to, outcome })
}
