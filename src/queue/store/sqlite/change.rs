//! The changes to one row: each checked against the table of transitions, told, and its payload erased where it ends.
//!
//! Everything here runs inside the writer's transaction.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::row::{Medium, Stored, Told, failed, json, not_sealed, or_null, sealed, state_number};
use crate::clock::Timestamp;
use crate::event::{Event, Kind};
use crate::ident::{MessageId, UpstreamName};
use crate::outcome::{Reason, ReasonClass};
use crate::queue::State;
use crate::queue::keyring::Keyring;
use crate::queue::report::superseded;
use crate::queue::store::outbox::Audience;
use crate::queue::store::{Applied, Effect, Operation, Settle, StoreError, operator_reason};

/// How long a provider is given to report by itself before it is asked for the first time.
const FIRST_POLL: Duration = Duration::from_secs(5);

/// One change under way: what it works on, and what it leaves for its caller.
pub(super) struct Work<'a> {
    pub(super) conn: &'a Connection,
    pub(super) keyring: &'a Keyring,
    /// Told so far.
    pub(super) events: Vec<Event>,
    /// See [`Applied::wakes`].
    pub(super) wakes: bool,
    /// Something was erased: the write-ahead log still holds it.
    pub(super) erased: bool,
    /// Who is told of what happens.
    pub(super) audience: Arc<Audience>,
    /// Who else has something to do now.
    pub(super) stirs: Stirs,
}

/// Who has something to do after a commit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stirs {
    /// A text came to await its provider's report.
    pub(super) reports: bool,
    /// There is something new in the outbox of webhooks.
    pub(super) outbox: bool,
}

impl Stirs {
    pub(super) fn add(&mut self, other: Self) {
        self.reports |= other.reports;
        self.outbox |= other.outbox;
    }
}

impl<'a> Work<'a> {
    pub(super) fn new(conn: &'a Connection, keyring: &'a Keyring, audience: Arc<Audience>) -> Self {
        Self {
            conn,
            keyring,
            events: Vec::new(),
            wakes: false,
            erased: false,
            audience,
            stirs: Stirs::default(),
        }
    }

    /// What is told to the caller of the change that ends here.
    pub(super) fn applied(&mut self, result: Effect) -> Applied {
        let wakes = std::mem::take(&mut self.wakes);
        Applied { result, events: std::mem::take(&mut self.events), wakes }
    }

    pub(super) fn row(&self, id: MessageId) -> Result<Option<Stored>, StoreError> {
        Stored::by_id(self.conn, self.keyring, id)
    }

    /// What came of an attempt.
    pub(super) fn settle(&mut self, settle: Settle) -> Result<Effect, StoreError> {
        let mut row = match self.leased(settle.id, settle.lease)? {
            Ok(row) => row,
            Err(effect) => return Ok(effect),
        };
        let next = settle.settlement;
        if !row.entry.state.may_become(next.state) {
            return Ok(Effect::NotAllowed(row.entry.state));
        }
        row.marked = false;
        row.entry.next_attempt = next.next_attempt;
        row.entry.attempts = next.attempts;
        row.entry.in_doubt = next.in_doubt;
        row.entry.reason = next.reason;
        row.entry.reference = next.reference;
        if settle.upstream.is_some() {
            row.entry.upstream = settle.upstream;
        }
        self.advance(row, next.state, settle.at, Some(next.event))?;
        Ok(Effect::Done)
    }

    /// Notes that an attempt is being made which must not be repeated after a crash, and with whom.
    pub(super) fn mark(
        &mut self,
        id: MessageId,
        lease: Timestamp,
        upstream: &UpstreamName,
    ) -> Result<Effect, StoreError> {
        match self.leased(id, lease)? {
            Ok(row) => {
                let sql = "UPDATE message SET marked = 1, upstream = ?2 WHERE number = ?1";
                let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
                statement.execute(params![row.number, upstream.as_str()]).map_err(failed)?;
                Ok(Effect::Done)
            }
            Err(effect) => Ok(effect),
        }
    }

    /// Takes a claimed message back without an attempt having been made.
    pub(super) fn give_back(
        &mut self,
        id: MessageId,
        lease: Timestamp,
        next_attempt: Timestamp,
        reason: Option<Reason>,
    ) -> Result<Effect, StoreError> {
        match self.leased(id, lease)? {
            Ok(mut row) => {
                row.entry.reason = reason.or(row.entry.reason);
                self.requeue(row, next_attempt, next_attempt)?;
                Ok(Effect::Done)
            }
            Err(effect) => Ok(effect),
        }
    }

    /// An operator's hand.
    pub(super) fn operate(
        &mut self,
        id: MessageId,
        operation: Operation,
        at: Timestamp,
    ) -> Result<Effect, StoreError> {
        let Some(mut row) = self.row(id)? else { return Ok(Effect::NotFound) };
        let state = row.entry.state;
        let releasable = row.payload.is_some() && row.entry.expires > at;
        let (allowed, next, kind) = match operation {
            Operation::Retry => (state == State::Queued, State::Queued, None),
            Operation::Hold => (state == State::Queued, State::Held, Some(Kind::Held)),
            Operation::Release | Operation::Force => (
                matches!(state, State::Held | State::Suppressed) && releasable,
                State::Queued,
                Some(Kind::Released),
            ),
            Operation::Remove => (state.may_become(State::Removed), State::Removed, Some(Kind::Removed)),
        };
        if !allowed {
            return Ok(Effect::NotAllowed(state));
        }
        if matches!(operation, Operation::Retry | Operation::Release | Operation::Force) {
            row.entry.next_attempt = at;
            self.stands_alone(row.number)?;
        }
        if kind.is_some() {
            row.entry.reason = Some(operator_reason(operation));
        }
        self.advance(row, next, at, kind)?;
        Ok(Effect::Done)
    }

    /// Puts a row whose attempt ended without an outcome back into the queue.
    pub(super) fn requeue(
        &mut self,
        mut row: Stored,
        due: Timestamp,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        row.marked = false;
        row.entry.next_attempt = due;
        self.advance(row, State::Queued, at, None)
    }

    /// Ends or requeues a row whose worker is gone: after a crash, or when its lease has passed.
    pub(super) fn recover(&mut self, mut row: Stored, now: Timestamp) -> Result<(), StoreError> {
        if row.marked {
            let text = "an attempt was cut off, and it is not known whether it arrived";
            row.entry.reason = Some(Reason::new(ReasonClass::Local, text));
            row.entry.in_doubt = row.entry.in_doubt.saturating_add(1);
            row.marked = false;
            let (next, kind) = match row.medium {
                // Its provider can tell, and names the attempt by its number: so it counts.
                Medium::Text => {
                    row.entry.attempts = row.entry.attempts.saturating_add(1);
                    let lives = row.entry.expires > now;
                    if lives {
                        (State::AwaitingReport, Kind::Deferred)
                    } else {
                        (State::Unknown, Kind::Unknown)
                    }
                }
                Medium::Mail => (State::Unknown, Kind::Unknown),
            };
            return self.advance(row, next, now, Some(kind));
        }
        self.requeue(row, now, now)
    }

    /// Makes a row's next state so. The caller has checked that it may follow, and set what else changes in `row`.
    ///
    /// An attempted row that a newer one supersedes does not go back into the queue: it ends here. Whatever follows an
    /// attempt, the newer one that waited for it is free now. A text that awaits its report stays superseded, so that
    /// no report has it sent again.
    pub(super) fn advance(
        &mut self,
        mut row: Stored,
        mut next: State,
        at: Timestamp,
        mut kind: Option<Kind>,
    ) -> Result<(), StoreError> {
        let was = row.entry.state;
        if was == State::Attempting {
            row.lease = None;
            if let Some(newer) = row.superseded_by {
                self.free(newer)?;
                if next != State::AwaitingReport {
                    row.superseded_by = None;
                }
                if next == State::Queued {
                    next = State::Superseded;
                    kind = Some(Kind::Superseded);
                    row.entry.reason = Some(superseded());
                }
            }
        }
        self.set_poll(&mut row, next, at);
        row.entry.state = next;
        // A held message at the end of its life is suppressed, and can't be released any more.
        if next.is_final() || next == State::Suppressed {
            if let Some(payload) = row.payload.take() {
                self.erase(payload)?;
            }
            self.write(&row, None, Some(at))?;
        } else {
            self.write(&row, Some(row.entry.expires), None)?;
        }
        match kind {
            Some(kind) => self.tell_of(&row, was, kind, at),
            None => Ok(()),
        }
    }

    /// Tells of a row that stood at `was`. What is said of an upstream's part in it names the upstream.
    pub(super) fn tell_of(
        &mut self,
        row: &Stored,
        was: State,
        kind: Kind,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut event = Event::new(kind, at, row.entry.about());
        event.attempts = row.entry.attempts;
        event.reason.clone_from(&row.entry.reason);
        event.reference.clone_from(&row.entry.reference);
        if matches!(was, State::Attempting | State::AwaitingReport | State::HandedOver | State::Unknown) {
            event.upstream.clone_from(&row.entry.upstream);
        }
        self.tell(row.number, event)
    }

    /// A provider that owes a report is asked for it after a while, and not any more once it is of no use.
    fn set_poll(&mut self, row: &mut Stored, next: State, at: Timestamp) {
        if next != State::AwaitingReport {
            row.next_poll = None;
        } else if row.entry.state != State::AwaitingReport {
            row.polls = 0;
            row.next_poll = Some(at.plus(FIRST_POLL));
            self.stirs.reports = true;
        }
    }

    pub(super) fn write(
        &self,
        row: &Stored,
        ends: Option<Timestamp>,
        ended: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let entry = &row.entry;
        let outcome = self.seal_told(entry.id, entry.reason.clone(), entry.reference.clone())?;
        let sql = "UPDATE message SET state = ?2, next_attempt = ?3, attempts = ?4, in_doubt = ?5, marked = ?6, \
                   superseded_by = ?7, lease = ?8, ends = ?9, ended = ?10, outcome = ?11, upstream = ?12, \
                   payload = ?13, resent = ?14, polls = ?15, next_poll = ?16, \
                   recipient = CASE WHEN kind = 1 AND ?13 IS NULL THEN X'' ELSE recipient END WHERE number = ?1";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let values = params![
            row.number,
            state_number(entry.state),
            entry.next_attempt.as_millis(),
            entry.attempts,
            entry.in_doubt,
            row.marked,
            or_null(row.superseded_by.map(|id| id.as_bytes().to_vec())),
            or_null(row.lease.map(Timestamp::as_millis)),
            or_null(ends.map(Timestamp::as_millis)),
            or_null(ended.map(Timestamp::as_millis)),
            outcome,
            entry.upstream.as_ref().map(crate::ident::UpstreamName::as_str),
            row.payload,
            row.resent,
            row.polls,
            or_null(row.next_poll.map(Timestamp::as_millis)),
        ];
        statement.execute(values).map(drop).map_err(failed)
    }

    /// The column that says why a row stands where it stands.
    pub(super) fn seal_told(
        &self,
        id: MessageId,
        reason: Option<Reason>,
        reference: Option<String>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if reason.is_none() && reference.is_none() {
            return Ok(None);
        }
        let told = json(&Told { reason, reference })?;
        self.keyring.seal(sealed::OUTCOME, id.as_bytes(), &told).map(Some).map_err(not_sealed)
    }

    /// The row under its lease, or what the caller is told instead.
    fn leased(&self, id: MessageId, lease: Timestamp) -> Result<Result<Stored, Effect>, StoreError> {
        Ok(match self.row(id)? {
            None => Err(Effect::NotFound),
            Some(row) if row.entry.state == State::Attempting && row.lease == Some(lease) => Ok(row),
            Some(_) => Err(Effect::LostLease),
        })
    }

    /// Lets a message that waited for an older one go.
    fn free(&mut self, id: MessageId) -> Result<(), StoreError> {
        let sql = "UPDATE message SET waits_for = NULL WHERE id = ?1 RETURNING state";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let state: Option<i64> =
            statement.query_row([id.as_bytes()], |row| row.get(0)).optional().map_err(failed)?;
        self.wakes |= state == Some(state_number(State::Queued));
        Ok(())
    }
}
