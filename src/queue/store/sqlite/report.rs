//! What providers and clients tell of texts that were posted, made so in their rows.
//!
//! Which report moves a text is decided in `queue::report`; here it is looked up, written and told.

use rusqlite::params;

use super::change::Work;
use super::prepare::Feedback;
use super::row::{Medium, Stored, failed, or_null};
use crate::clock::Timestamp;
use crate::ident::MessageId;
use crate::queue::State;
use crate::queue::report::{Decision, Moved, Standing, decide};
use crate::queue::store::{Effect, Report, StoreError};

impl Work<'_> {
    /// What a provider says became of a text.
    pub(super) fn report(&mut self, report: &Report) -> Result<Effect, StoreError> {
        let Some(row) = self.text(report.id)? else { return Ok(Effect::NotFound) };
        let standing = Standing {
            entry: &row.entry,
            marked: row.marked,
            resent: row.resent,
            superseded: row.superseded_by.is_some(),
        };
        match decide(&standing, report) {
            Decision::Foreign => Ok(Effect::NotFound),
            Decision::Stale => Ok(Effect::Stale),
            Decision::Move(moved) => self.move_on(row, *moved, report),
        }
    }

    fn move_on(&mut self, mut row: Stored, moved: Moved, report: &Report) -> Result<Effect, StoreError> {
        let was = row.entry.state;
        if was != moved.state && !was.may_become(moved.state) {
            return Ok(Effect::NotAllowed(was));
        }
        row.marked = false;
        row.resent = moved.resent;
        row.entry.attempts = moved.attempts;
        // Whatever is reported, its provider has answered.
        row.entry.in_doubt = 0;
        row.entry.next_attempt = moved.next_attempt;
        row.entry.reason = moved.reason;
        row.entry.reference = moved.reference;
        row.entry.upstream = Some(report.upstream.clone());
        // It is due sooner than whoever looks for work knows.
        self.wakes |= moved.state == State::Queued;
        let mut events = moved.events;
        let last = events.pop();
        for kind in events {
            self.tell_of(&row, was, kind, report.at)?;
        }
        self.advance(row, moved.state, report.at, last)?;
        Ok(Effect::Done)
    }

    /// Its provider was asked and had nothing to say.
    pub(super) fn postpone(&mut self, id: MessageId, until: Option<Timestamp>) -> Result<Effect, StoreError> {
        let Some(row) = self.text(id)? else { return Ok(Effect::NotFound) };
        if row.entry.state != State::AwaitingReport {
            return Ok(Effect::NotAllowed(row.entry.state));
        }
        let sql = "UPDATE message SET polls = polls + 1, next_poll = ?2 WHERE number = ?1";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        // Behind the end of its life there is nothing to ask for.
        let until = until.filter(|until| *until < row.entry.expires);
        let values = params![row.number, or_null(until.map(Timestamp::as_millis))];
        statement.execute(values).map_err(failed)?;
        Ok(Effect::Done)
    }

    /// Whether a code was used, as its client says. The first word counts.
    pub(super) fn feedback(&mut self, feedback: &Feedback) -> Result<Effect, StoreError> {
        let row = self.text(feedback.id)?;
        let Some(row) = row.filter(|row| row.entry.client == feedback.client) else {
            return Ok(Effect::NotFound);
        };
        let sql = "UPDATE message SET used = ?2 WHERE number = ?1 AND used IS NULL";
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        if statement.execute(params![row.number, feedback.used]).map_err(failed)? == 0 {
            return Ok(Effect::Stale);
        }
        self.count(&feedback.counters)?;
        Ok(Effect::Done)
    }

    fn text(&self, id: MessageId) -> Result<Option<Stored>, StoreError> {
        Ok(self.row(id)?.filter(|row| row.medium == Medium::Text))
    }
}
