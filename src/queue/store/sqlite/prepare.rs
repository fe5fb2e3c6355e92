//! What a caller does before the writer is asked: everything of a change that is to be sealed is sealed here, so that
//! the one writer only writes.

use super::event::Loose;
use super::pack::{self, Body};
use super::row::{Medium, Told, json, not_sealed, sealed};
use crate::clock::Timestamp;
use crate::event::UpstreamNews;
use crate::ident::{BurstId, Class, ClientName, MessageId, UpstreamName};
use crate::mail::Recipient;
use crate::outcome::Reason;
use crate::queue::keyring::Keyring;
use crate::queue::store::outbox::OutboxChange;
use crate::queue::store::{Change, Counter, Operation, Put, Report, Settle, Settling, StoreError};
use crate::queue::{Entry, Idempotency, NewEntry, Payload, State};
use crate::secret::{Digest, Secret};
use crate::sms::Factor;
use serde::{Deserialize, Serialize};

/// A change, ready for the writer.
pub(super) enum Prepared {
    Put(Box<PreparedPut>),
    Settle(Box<Settle>),
    Mark { id: MessageId, lease: Timestamp, upstream: UpstreamName },
    GiveBack { id: MessageId, lease: Timestamp, next_attempt: Timestamp, reason: Option<Reason> },
    Operate { id: MessageId, operation: Operation, at: Timestamp },
    OperateBurst { burst: BurstId, operation: Operation, at: Timestamp, limit: usize },
    Expire { now: Timestamp, limit: usize },
    Report(Box<Report>),
    Postpone { id: MessageId, until: Option<Timestamp> },
    Feedback(Box<Feedback>),
    Record(Vec<Loose>),
    Prune { before: Timestamp, archive: Option<Timestamp>, limit: usize },
    Announce(Box<UpstreamNews>),
    Outbox(Box<OutboxChange>),
}

/// What a client says of its code.
pub(super) struct Feedback {
    pub(super) id: MessageId,
    pub(super) client: ClientName,
    pub(super) used: bool,
    pub(super) counters: Vec<Counter>,
}

/// A submission with its columns sealed.
pub(super) struct PreparedPut {
    pub(super) rows: Vec<PreparedRow>,
    pub(super) medium: Medium,
    pub(super) plan: Vec<u8>,
    /// A mail's bytes, or a text's number.
    pub(super) body: Body,
    /// What the payload weighs in memory.
    pub(super) size: usize,
    pub(super) dedupe: Option<(Digest, Timestamp)>,
    pub(super) settling: Option<Settling>,
    pub(super) counters: Vec<Counter>,
    pub(super) idempotency: Option<Idempotency>,
    pub(super) lease: Option<Timestamp>,
}

/// A row with its columns sealed.
pub(super) struct PreparedRow {
    pub(super) new: NewEntry,
    /// Empty for a text: its number stands beside its code.
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
    #[serde(default)]
    pub(super) origin_bound: bool,
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
        | Change::OperateBurst { .. }
        | Change::Expire { .. }
        | Change::Report(_)
        | Change::Postpone { .. }
        | Change::Feedback { .. }
        | Change::Announce(_)
        | Change::Outbox(_)
        | Change::Prune { .. } => 512,
    };
    changes.iter().map(weigh).sum()
}

/// The lane in which the writer serves the changes. What frees a worker or answers a person is urgent.
pub(super) fn lane(changes: &[Change]) -> Class {
    let normal = changes.iter().all(|change| match change {
        Change::Put(put) => put.entries.iter().all(|new| new.entry.class == Class::Normal),
        Change::Record(_) | Change::Prune { .. } | Change::Announce(_) | Change::Outbox(_) => true,
        Change::Settle(_)
        | Change::Mark { .. }
        | Change::GiveBack { .. }
        | Change::Operate { .. }
        | Change::OperateBurst { .. }
        | Change::Report(_)
        | Change::Postpone { .. }
        | Change::Feedback { .. }
        | Change::Expire { .. } => false,
    });
    if normal { Class::Normal } else { Class::Urgent }
}

fn prepare_one(change: Change, keyring: &Keyring) -> Result<Prepared, StoreError> {
    Ok(match change {
        Change::Put(put) => Prepared::Put(Box::new(prepare_put(*put, keyring)?)),
        Change::Settle(settle) => Prepared::Settle(settle),
        Change::Mark { id, lease, upstream } => Prepared::Mark { id, lease, upstream },
        Change::GiveBack { id, lease, next_attempt, reason } => {
            Prepared::GiveBack { id, lease, next_attempt, reason }
        }
        Change::Operate { id, operation, at } => Prepared::Operate { id, operation, at },
        Change::OperateBurst { burst, operation, at, limit } => {
            Prepared::OperateBurst { burst, operation, at, limit }
        }
        Change::Expire { now, limit } => Prepared::Expire { now, limit },
        Change::Record(events) => {
            let sealed = events.into_iter().map(|(key, event)| Loose::seal(key, event, keyring));
            Prepared::Record(sealed.collect::<Result<_, _>>()?)
        }
        Change::Prune { before, archive, limit } => Prepared::Prune { before, archive, limit },
        Change::Announce(news) => Prepared::Announce(news),
        Change::Outbox(change) => Prepared::Outbox(change),
        Change::Report(report) => Prepared::Report(report),
        Change::Postpone { id, until } => Prepared::Postpone { id, until },
        Change::Feedback { id, client, used, counters } => {
            Prepared::Feedback(Box::new(Feedback { id, client, used, counters }))
        }
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
        if put.settling.is_some() && (entry.state != State::Queued || put.lease.is_some()) {
            return Err(refuse("a row that settles, and is not to be sent or is leased"));
        }
        if entry.submission != submission {
            return Err(refuse("rows of two submissions"));
        }
    }
    let seal =
        |column: &str, plain: &[u8]| keyring.seal(column, submission.as_bytes(), plain).map_err(not_sealed);
    let size = put.payload.weight();
    let (medium, plan, body) = match put.payload {
        Payload::Mail { plan, message } => {
            if put.entries.iter().any(|new| !matches!(new.entry.recipient, Recipient::Mail(_))) {
                return Err(refuse("a mail to something else than an address"));
            }
            let body = pack::seal(keyring, submission.as_bytes(), &message)?;
            (Medium::Mail, seal(sealed::PLAN, &json(&plan)?)?, body)
        }
        Payload::Sms { code, host, factor, origin_bound } => {
            let [NewEntry { entry, .. }] = put.entries.as_slice() else {
                return Err(refuse("a text to more than one"));
            };
            if !matches!(entry.recipient, Recipient::Phone(_)) {
                return Err(refuse("a text to something else than a phone"));
            }
            let plan = SmsPlan { code, host, factor, origin_bound };
            let number = Body { sealed: seal_recipient(entry, keyring)?, packed: false };
            (Medium::Text, seal(sealed::PLAN, &json(&plan)?)?, number)
        }
    };
    let row = |new| prepare_row(new, medium, keyring);
    let rows = put.entries.into_iter().map(row).collect::<Result<_, _>>()?;
    let Put { dedupe, settling, counters, idempotency, lease, .. } = put;
    Ok(PreparedPut { rows, medium, plan, body, size, dedupe, settling, counters, idempotency, lease })
}

fn seal_recipient(entry: &Entry, keyring: &Keyring) -> Result<Vec<u8>, StoreError> {
    keyring.seal(sealed::RECIPIENT, entry.id.as_bytes(), &json(&entry.recipient)?).map_err(not_sealed)
}

fn prepare_row(new: NewEntry, medium: Medium, keyring: &Keyring) -> Result<PreparedRow, StoreError> {
    let entry = &new.entry;
    let seal =
        |column: &str, plain: &[u8]| keyring.seal(column, entry.id.as_bytes(), plain).map_err(not_sealed);
    let recipient = match medium {
        Medium::Mail => seal_recipient(entry, keyring)?,
        Medium::Text => Vec::new(),
    };
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
