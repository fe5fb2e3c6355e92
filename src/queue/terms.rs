//! The terms under which a message is kept, and what they make of its put: by what it is known as the same, as a newer one
//! of the same kind, or as one of many.

use std::time::Duration;

use super::{Counter, Entry, NewEntry, Settling, State};
use crate::clock::Timestamp;
use crate::ident::BurstId;
use crate::mail::{Address, ReversePath};
use crate::outcome::Reason;
use crate::policy::{BurstLimit, Shape, Submission, Text, Verdict, shape, shape_of};
use crate::secret::{Digest, LookupKey};

/// What is asked beside the message itself when it is kept.
#[derive(Debug, Default)]
pub struct Terms {
    /// Within this time the same bytes from the same client in the same envelope are one message.
    pub dedupe: Option<Duration>,
    /// Counters to check and count up; one at its limit refuses the message.
    pub counters: Vec<Counter>,
    /// What of its client is a burst.
    pub burst: Option<BurstLimit>,
    /// Not before these times, one a recipient, and why; empty: at once.
    pub delay: Option<(Vec<Timestamp>, Reason)>,
    /// How many messages of the normal lane may wait; one of them beyond that is not stored.
    pub most_waiting: Option<u64>,
}

/// The keys of one submission, made only where something asks for them.
pub(super) struct Keys<'a> {
    lookup: &'a LookupKey,
    submission: &'a Submission,
    verdict: &'a Verdict,
    shape: Option<Shape>,
}

impl<'a> Keys<'a> {
    /// The keys of a submission whose rows begin in `state`, with its text where that was decoded before.
    pub(super) fn new(
        lookup: &'a LookupKey,
        submission: &'a Submission,
        verdict: &'a Verdict,
        state: State,
        text: Option<&Text>,
    ) -> Self {
        let wanted = state == State::Queued && (verdict.supersedes() || !verdict.settle().is_zero());
        let (message, recipients) = (&submission.message, &submission.envelope.recipients);
        let shape = wanted.then(|| match text {
            Some(text) => shape_of(text, message, recipients),
            None => shape(message, recipients),
        });
        Self { lookup, submission, verdict, shape }
    }

    /// By what an equal submission is known, and since when it counts.
    pub(super) fn dedupe(&self, within: Option<Duration>) -> Option<(Digest, Timestamp)> {
        let within = within.filter(|within| !within.is_zero())?;
        let envelope = &self.submission.envelope;
        let from = match &envelope.reverse_path {
            ReversePath::Null => "",
            ReversePath::Address(address) => address.as_str(),
        };
        let client = self.submission.client.as_str();
        let mut parts = vec![client.as_bytes(), from.as_bytes(), self.submission.message.raw()];
        let mut recipients: Vec<&str> = envelope.recipients.iter().map(Address::as_str).collect();
        recipients.sort_unstable();
        parts.extend(recipients.into_iter().map(str::as_bytes));
        Some((self.lookup.digest("dedupe", &parts), self.submission.accepted.minus(within)))
    }

    /// By what an older message to the same person is known, whose place this one takes.
    pub(super) fn supersede(&self, entry: &Entry) -> Option<Digest> {
        let shape = self.shape.as_ref().filter(|_| self.verdict.supersedes())?;
        let recipient = entry.recipient.lookup_form();
        let [subject, template] = shape.parts();
        let named = [entry.client.as_str(), &recipient, entry.category.as_str()].map(str::as_bytes);
        let [client, recipient, category] = named;
        Some(self.lookup.digest("supersede", &[client, recipient, category, subject, template]))
    }

    /// How it is seen among others of its shape.
    pub(super) fn settling(&self, burst: Option<BurstLimit>) -> Option<Settling> {
        let settle = self.verdict.settle();
        let shape = self.shape.as_ref().filter(|_| !settle.is_zero())?;
        let [subject, template] = shape.parts();
        let (client, category) = (self.submission.client.as_str(), self.verdict.category.name.as_str());
        let parts = [client.as_bytes(), category.as_bytes(), subject, template];
        let shape = self.lookup.digest("shape", &parts);
        burst.map(|burst| Settling { shape, settle, burst, id: BurstId::generate() })
    }
}

/// Says of each row that is to be sent when it may go, and why not at once.
pub(super) fn schedule(
    entries: &mut [NewEntry],
    verdict: &Verdict,
    delay: Option<&(Vec<Timestamp>, Reason)>,
) {
    let settle = verdict.settle();
    for (index, entry) in entries.iter_mut().map(|new| &mut new.entry).enumerate() {
        if entry.state != State::Queued {
            continue;
        }
        if !settle.is_zero() {
            entry.next_attempt = entry.accepted.plus(settle);
            entry.reason = Some(own(format!("waits for {} s in case it is one of many", settle.as_secs())));
        }
        let slot = delay.and_then(|(times, why)| Some((*times.get(index)?, why)));
        if let Some((at, why)) = slot.filter(|(at, _)| *at > entry.next_attempt) {
            entry.next_attempt = at;
            entry.reason = Some(why.clone());
        }
    }
}

/// A reason in our own words, whose numbers may be seen.
fn own(text: String) -> Reason {
    Reason { text, ..Reason::new(crate::outcome::ReasonClass::Policy, "") }
}
