//! The model: what is known of each row, and what each change makes of it.

use std::time::Duration;

use authrelay::clock::Timestamp;
use authrelay::event::Kind;
use authrelay::ident::MessageId;
use authrelay::queue::{Effect, News, Operation, Report, Settlement, State};

use crate::support::*;

/// How an attempt ends: in a state, or for a text without an answer.
#[derive(Debug, Clone, Copy)]
pub enum End {
    In(State),
    InDoubt,
}

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "as independent as they are in the store")]
pub struct Row {
    pub id: MessageId,
    pub key: Option<u8>,
    pub state: State,
    pub expires: Timestamp,
    pub next: Timestamp,
    pub lease: Option<Timestamp>,
    pub marked: bool,
    pub in_doubt: bool,
    /// Its payload is kept.
    pub alive: bool,
    pub superseded_by: Option<usize>,
    pub waits_for: Option<usize>,
    pub told: Vec<Kind>,
    pub text: bool,
    pub attempts: u32,
    pub resent: bool,
    pub reference: Option<&'static str>,
    pub upstream: Option<&'static str>,
    pub polls: u32,
    pub next_poll: Option<Timestamp>,
}

impl Row {
    pub fn ends(&self) -> Option<Timestamp> {
        self.alive.then(|| self.lease.map_or(self.expires, |lease| lease.max(self.expires)))
    }
}

#[derive(Debug, Default)]
pub struct Model {
    pub rows: Vec<Row>,
    /// Every lease ever given, the lost ones too.
    pub leases: Vec<(usize, Timestamp)>,
}

impl Model {
    pub fn become_(&mut self, index: usize, mut next: State, mut kind: Option<Kind>, now: Timestamp) {
        let row = &mut self.rows[index];
        if row.state == State::Attempting {
            (row.lease, row.marked) = (None, false);
            if let Some(newer) = row.superseded_by {
                if next != State::AwaitingReport {
                    row.superseded_by = None;
                }
                if next == State::Queued {
                    (next, kind) = (State::Superseded, Some(Kind::Superseded));
                }
                self.rows[newer].waits_for = None;
            }
        }
        let row = &mut self.rows[index];
        if next != State::AwaitingReport {
            row.next_poll = None;
        } else if row.state != next {
            (row.polls, row.next_poll) = (0, Some(now.plus(Duration::from_secs(5))));
        }
        row.state = next;
        row.alive &= !next.is_final() && next != State::Suppressed;
        row.told.extend(kind);
    }

    pub fn recover(&mut self, index: usize, now: Timestamp) {
        let row = &mut self.rows[index];
        if !row.marked {
            row.next = now;
            return self.become_(index, State::Queued, None, now);
        }
        row.in_doubt = true;
        row.attempts += u32::from(row.text);
        let (next, kind) = if row.text && row.expires > now {
            (State::AwaitingReport, Kind::Deferred)
        } else {
            (State::Unknown, Kind::Unknown)
        };
        self.become_(index, next, Some(kind), now);
    }

    pub fn put(&mut self, mut row: Row, lease: Option<Timestamp>, now: Timestamp) -> Effect {
        let newest = self.rows.len();
        if row.state == State::Queued && row.key.is_some() {
            for index in 0..newest {
                let older = &mut self.rows[index];
                match older.state {
                    State::Queued | State::Held if older.key == row.key => {
                        self.become_(index, State::Superseded, Some(Kind::Superseded), now);
                    }
                    State::AwaitingReport if older.key == row.key => older.superseded_by = Some(newest),
                    State::Attempting if older.key == row.key => {
                        older.superseded_by = Some(newest);
                        row.waits_for = Some(index);
                    }
                    _ => {}
                }
            }
        }
        let waits = row.waits_for.is_some() && lease.is_some();
        let effect = if waits { Effect::Waiting(vec![row.id]) } else { Effect::Done };
        if let Some(lease) = lease.filter(|_| row.state == State::Queued && !waits) {
            (row.state, row.lease) = (State::Attempting, Some(lease));
            self.leases.push((newest, lease));
        }
        self.rows.push(row);
        effect
    }

    pub fn due(&self, now: Timestamp) -> Vec<MessageId> {
        let due = |row: &&Row| {
            row.state == State::Queued && row.waits_for.is_none() && row.next <= now && row.expires > now
        };
        self.rows.iter().filter(due).map(|row| row.id).collect()
    }

    pub fn lapse(&mut self, now: Timestamp) {
        for index in 0..self.rows.len() {
            if self.rows[index].lease.is_some_and(|lease| lease <= now) {
                self.recover(index, now);
            }
        }
    }

    /// The leased row, if the lease is still its own.
    pub fn holds(&self, index: usize, lease: Timestamp) -> bool {
        self.rows[index].state == State::Attempting && self.rows[index].lease == Some(lease)
    }

    /// What the worker asks for; a mail awaits no report.
    pub fn settlement(&self, index: usize, end: End, next: Timestamp) -> Settlement {
        let row = &self.rows[index];
        let doubt = row.text && matches!(end, End::InDoubt);
        let end = match end {
            End::In(State::AwaitingReport) if !row.text => State::HandedOver,
            End::In(end) => end,
            End::InDoubt if row.text => State::AwaitingReport,
            End::InDoubt => State::Unknown,
        };
        let mut settlement = Settlement { attempts: row.attempts + 1, ..settlement(end, next) };
        if doubt {
            (settlement.reference, settlement.event, settlement.in_doubt) = (None, Kind::Deferred, 1);
        }
        settlement
    }

    pub fn settle(&mut self, index: usize, end: &Settlement, now: Timestamp) -> Effect {
        if !State::Attempting.may_become(end.state) {
            return Effect::NotAllowed(State::Attempting);
        }
        let row = &mut self.rows[index];
        row.next = end.next_attempt;
        row.in_doubt = end.in_doubt > 0;
        row.attempts = end.attempts;
        row.reference = end.reference.as_deref().map(|text| if text == "SM1" { "SM1" } else { "mail" });
        row.upstream = Some("provider");
        self.become_(index, end.state, Some(end.event), now);
        Effect::Done
    }

    pub fn report(
        &mut self,
        index: usize,
        report: &Report,
        reference: &'static str,
        from: &'static str,
    ) -> Effect {
        use State::{Attempting, AwaitingReport, HandedOver, Unknown};
        let row = &mut self.rows[index];
        if !row.text || row.upstream.is_some_and(|known| known != from) {
            return Effect::NotFound;
        }
        let attempt = row.attempts + u32::from(row.state == Attempting);
        let moves = matches!(row.state, AwaitingReport | HandedOver | Unknown)
            || row.state == Attempting && row.marked;
        let other = row.reference.is_some_and(|known| known != reference);
        if !moves || other || report.attempt != attempt {
            return Effect::Stale;
        }
        let alive = matches!(row.state, Attempting | AwaitingReport);
        let again = alive && !row.resent && report.at.plus(Duration::from_secs(5)) <= row.expires;
        let told = row.reference.is_some();
        let (next, kind) = match report.news {
            News::Underway if told => return Effect::Stale,
            News::Underway => (if alive { AwaitingReport } else { HandedOver }, Kind::HandedOver),
            News::Delivered => (State::Delivered, Kind::Delivered),
            News::Retry(_) if alive && row.superseded_by.is_some() => (State::Superseded, Kind::Superseded),
            News::Retry(_) if again => (State::Queued, Kind::Deferred),
            News::Retry(_) | News::Failed(_) => (State::Failed, Kind::Failed),
        };
        if next == State::Delivered && !told {
            row.told.push(Kind::HandedOver);
        }
        (row.attempts, row.in_doubt, row.upstream) = (attempt, false, Some(from));
        row.reference = Some(reference);
        if next == State::Queued {
            (row.resent, row.reference, row.next) = (true, None, report.at.plus(Duration::from_secs(1)));
        }
        self.become_(index, next, Some(kind), report.at);
        Effect::Done
    }

    pub fn postpone(&mut self, index: usize, until: Option<Timestamp>) -> Effect {
        let row = &mut self.rows[index];
        match (row.text, row.state) {
            (false, _) => Effect::NotFound,
            (true, State::AwaitingReport) => {
                row.polls += 1;
                row.next_poll = until.filter(|until| *until < row.expires);
                Effect::Done
            }
            (true, state) => Effect::NotAllowed(state),
        }
    }

    pub fn operate(&mut self, index: usize, operation: Operation, now: Timestamp) -> Effect {
        let row = &mut self.rows[index];
        let (next, kind) = match (operation, row.state) {
            (Operation::Retry, State::Queued) => (State::Queued, None),
            (Operation::Hold, State::Queued) => (State::Held, Some(Kind::Held)),
            (Operation::Release | Operation::Force, State::Held | State::Suppressed)
                if row.alive && row.expires > now =>
            {
                (State::Queued, Some(Kind::Released))
            }
            (Operation::Remove, State::Queued | State::Held | State::Suppressed | State::AwaitingReport) => {
                (State::Removed, Some(Kind::Removed))
            }
            (_, state) => return Effect::NotAllowed(state),
        };
        if next == State::Queued {
            row.next = now;
        }
        self.become_(index, next, kind, now);
        Effect::Done
    }

    /// Which rows `Expire` may end now.
    pub fn over(&self, now: Timestamp) -> Vec<usize> {
        (0..self.rows.len())
            .filter(|index| self.rows[*index].ends().is_some_and(|ends| ends <= now))
            .collect()
    }

    pub fn end(&mut self, index: usize, now: Timestamp) {
        let row = &self.rows[index];
        let (next, kind) = match row.state {
            State::Attempting if row.marked => return self.recover(index, now),
            State::AwaitingReport if row.reference.is_some() => (State::HandedOver, None),
            State::AwaitingReport => (State::Unknown, Some(Kind::Unknown)),
            State::Attempting if row.superseded_by.is_some() => (State::Superseded, Some(Kind::Superseded)),
            State::Held => (State::Suppressed, Some(Kind::Suppressed)),
            State::Suppressed => (State::Suppressed, None),
            _ if row.in_doubt => (State::Unknown, Some(Kind::Unknown)),
            _ => (State::Expired, Some(Kind::Expired)),
        };
        self.become_(index, next, kind, now);
    }
}
