//! The judge: holds a world that has ended to what the queue and the delivery promise. Pure.
//!
//! - `ends`: what was answered `250` is there, was handed over or has another end that is told, for a cause that was seen; what was
//!   not answered so left no trace; counters and numbers are those of the rows.
//! - `copies`: the bytes are those that were promised; a second copy only where the first was not answered or was in flight at a
//!   fault; no older code after a newer one; nothing after its life.
//! - `timing`: pauses between attempts; in calm weather also how long urgent mail has to wait.

mod copies;
mod ends;
mod timing;

use std::collections::BTreeMap;

use authrelay::clock::Timestamp;
use authrelay::event::Event;
use authrelay::ident::MessageId;
use authrelay::queue::{Entry, Operation};

use crate::ledger::{Fault, Moment, Put, Said, Try};
use crate::letters::Desk;
use crate::scenario::Kind;
use crate::world::Past;

/// For so long after a step forward a lease that was lost by it may show: longer than a lease.
const STEP_SHOWS: Moment = 20 * 60 * 1000;

/// A broken promise, and the submission it was given for.
#[derive(Debug)]
pub struct Breach {
    pub what: String,
    serial: Option<usize>,
}

/// Judges a world.
pub fn judge(past: &Past, desk: &Desk) -> Vec<Breach> {
    let case = Case::of(past);
    let mut found: Vec<Breach> =
        past.ledger.breaches.iter().map(|what| Breach { what: what.clone(), serial: None }).collect();
    ends::judge(&case, &mut found);
    copies::judge(&case, &mut found);
    timing::judge(&case, desk, &mut found);
    found
}

/// All that is known of one submission, in words.
pub fn story(past: &Past, breach: &Breach) -> String {
    let mut story = format!("{}\n", breach.what);
    let Some(serial) = breach.serial else { return story };
    let case = Case::of(past);
    let submission = &past.scenario.submissions[serial];
    let kind = past.scenario.kind_of(serial);
    let mut line = |text: String| story.extend(["    ", &text, "\n"]);
    line(format!("submission {serial} of {} ({}) to {:?}", kind.client, kind.category, submission.to));
    for put in past.ledger.puts.iter().filter(|put| put.serial == serial) {
        let commit = past.ledger.commits.get(&put.id);
        line(format!("{:>9} put {} answered {:?}, committed {commit:?}", put.began, put.id, put.answer));
    }
    for ((_, to), tries) in case.tries.range((serial, "")..(serial + 1, "")) {
        for one in tries {
            let (upstream, dot, said) = (&one.upstream, one.dot, one.said);
            line(format!(
                "{:>9} {upstream} asked for {to}, data {:?}, dot {dot:?}, said {said:?}",
                one.at, one.data
            ));
        }
    }
    for life in case.lives().filter(|life| life.put.serial == serial) {
        let settled = past.ledger.settled.get(&life.row.id);
        line(format!("row {} {:?} {:?}, settled {settled:?}", life.row.id, life.row.state, life.row.reason));
        for event in life.events {
            line(format!("  {:?} {:?} {:?}", event.at, event.kind, event.reason));
        }
    }
    for (at, id, operation) in &past.ledger.operated {
        if case.lives().any(|life| life.put.serial == serial && life.row.id == *id) {
            line(format!("{at:>9} operator: {operation:?}"));
        }
    }
    line(format!("faults: {:?}", past.ledger.faults));
    story
}

/// One message to one recipient that is on stable storage.
struct Life<'a> {
    put: &'a Put,
    kind: &'static Kind,
    to: &'a str,
    row: &'a Entry,
    events: &'a [&'a Event],
    tries: &'a [&'a Try],
    /// Its bytes were stored once only, so that all tries are its own.
    alone: bool,
    committed: Moment,
}

impl Life<'_> {
    fn breach(&self, what: &str) -> Breach {
        let what = format!("{what}: number {} of {} to {}", self.put.serial, self.kind.client, self.to);
        Breach { what, serial: Some(self.put.serial) }
    }

    /// What an upstream may have of it.
    fn copies(&self) -> impl Iterator<Item = &Try> {
        self.tries.iter().copied().filter(|one| one.is_copy())
    }
}

impl Try {
    /// The upstream may have it: all of it came, and it did not say no.
    fn is_copy(&self) -> bool {
        let said = self.said.map(|(_, said)| said);
        self.dot.is_some() && !matches!(said, Some(Said::Deferred | Said::Refused | Said::Unavailable))
    }

    fn was_taken(&self) -> bool {
        matches!(self.said, Some((_, Said::Taken)))
    }
}

/// What is known of a world, by whom it is of.
struct Case<'a> {
    past: &'a Past,
    rows: BTreeMap<(MessageId, &'a str), &'a Entry>,
    told: BTreeMap<MessageId, Vec<&'a Event>>,
    tries: BTreeMap<(usize, &'a str), Vec<&'a Try>>,
    /// The puts of each submission that were committed.
    committed: BTreeMap<usize, Vec<&'a Put>>,
}

impl<'a> Case<'a> {
    fn of(past: &'a Past) -> Self {
        let rows = past.rows.iter().map(|row| ((row.submission, address(row)), row)).collect();
        let mut told: BTreeMap<MessageId, Vec<&Event>> = BTreeMap::new();
        for event in &past.events {
            told.entry(event.subject.message).or_default().push(event);
        }
        let mut tries: BTreeMap<(usize, &str), Vec<&Try>> = BTreeMap::new();
        for one in &past.ledger.tries {
            tries.entry((one.serial, &one.to)).or_default().push(one);
        }
        let mut committed: BTreeMap<usize, Vec<&Put>> = BTreeMap::new();
        for put in past.ledger.puts.iter().filter(|put| past.ledger.commits.contains_key(&put.id)) {
            committed.entry(put.serial).or_default().push(put);
        }
        Self { past, rows, told, tries, committed }
    }

    /// Every life that has a row.
    fn lives(&self) -> impl Iterator<Item = Life<'_>> {
        self.committed.iter().flat_map(|(serial, puts)| puts.iter().map(move |put| (*serial, *put))).flat_map(
            move |(serial, put)| {
                let to = &self.past.scenario.submissions[serial].to;
                to.iter().filter_map(move |to| self.life(put, to))
            },
        )
    }

    fn life<'b>(&'b self, put: &'b Put, to: &'b str) -> Option<Life<'b>> {
        let row = self.rows.get(&(put.id, to))?;
        Some(Life {
            put,
            kind: self.past.scenario.kind_of(put.serial),
            to,
            row,
            events: self.told.get(&row.id).map_or(&[], Vec::as_slice),
            tries: self.tries.get(&(put.serial, to)).map_or(&[], Vec::as_slice),
            alone: self.committed[&put.serial].len() == 1,
            committed: self.past.ledger.commits[&put.id].1,
        })
    }

    /// The faults between two moments.
    fn faults(&self, from: Moment, to: Moment) -> impl Iterator<Item = (Moment, Fault)> {
        let faults = self.past.ledger.faults.iter().copied();
        faults.filter(move |(at, fault)| (from..=to).contains(at) && *fault != Fault::Reload)
    }

    fn disturbed(&self, from: Moment, to: Moment) -> bool {
        self.faults(from, to).next().is_some()
    }

    /// Whether the clock was set forward shortly before a moment, so that leases and lives may have ended in a jump.
    fn jumped(&self, at: Moment) -> bool {
        self.faults(at.saturating_sub(STEP_SHOWS), at).any(|(_, fault)| matches!(fault, Fault::Step(1..)))
    }

    /// By how much the clock was set back after a moment. A start gives what was accepted in its future one life from then on.
    fn set_back(&self, since: Moment) -> std::time::Duration {
        let back =
            |(_, fault)| if let Fault::Step(millis @ ..0) = fault { i64::unsigned_abs(millis) } else { 0 };
        std::time::Duration::from_millis(self.faults(since, Moment::MAX).map(back).sum())
    }

    /// The fault at which what an upstream said of a copy was in flight: nothing of it is on record before.
    fn forgotten_at(&self, copy: &Try, row: MessageId) -> Option<Moment> {
        let dot = copy.dot?;
        let settled = self.past.ledger.settled.get(&row).and_then(|at| at.iter().find(|at| **at >= dot));
        let until = settled.copied().unwrap_or(Moment::MAX);
        let stops = |(_, fault): &(Moment, Fault)| matches!(fault, Fault::Crash | Fault::Restart);
        self.faults(dot, until).find(stops).map(|(at, _)| at)
    }

    fn operated(&self, row: MessageId, done: impl Fn(Operation) -> bool) -> bool {
        self.past.ledger.operated.iter().any(|(_, id, operation)| *id == row && done(*operation))
    }
}

fn address(row: &Entry) -> &str {
    match &row.recipient {
        authrelay::mail::Recipient::Mail(address) => address.as_str(),
        authrelay::mail::Recipient::Phone(_) | authrelay::mail::Recipient::Forgotten => "",
    }
}

/// When a put's messages are of no use any more.
fn expires(put: &Put, kind: &Kind) -> Timestamp {
    put.accepted.plus(kind.life)
}
