//! When the next attempt is made, and what an outcome makes of a message. Pure.

use std::time::Duration;

use super::{Entry, State};
use crate::clock::Timestamp;
use crate::event::Kind;
use crate::ident::Class;
use crate::outcome::{Outcome, Reason, ReasonClass};

/// How long to wait before an urgent message without an answer is sent a second time, and any other again.
const PAUSE_IN_DOUBT: Duration = Duration::from_secs(5);

/// What an attempt made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The state that follows.
    pub state: State,
    /// When it is tried again, for `Queued`.
    pub next_attempt: Timestamp,
    /// Attempts made, this one included where it counts.
    pub attempts: u32,
    /// Attempts without an answer, this one included.
    pub in_doubt: u32,
    /// Why.
    pub reason: Option<Reason>,
    /// The upstream's reference.
    pub reference: Option<String>,
    /// What is told.
    pub event: Kind,
}

/// Settles an attempt that ended at `now`. `retry` is the category's clock; `jitter` is in 0..=1 and lengthens a pause
/// by up to a quarter. `not_before` is what a breaker demands for an upstream that is unavailable.
pub fn settle(
    entry: &Entry,
    outcome: &Outcome,
    now: Timestamp,
    retry: &[Duration],
    jitter: f64,
    not_before: Option<Timestamp>,
) -> Settlement {
    let attempts = entry.attempts.saturating_add(1);
    let base = Settlement {
        state: State::Queued,
        next_attempt: now,
        attempts,
        in_doubt: entry.in_doubt,
        reason: None,
        reference: None,
        event: Kind::Deferred,
    };
    match outcome {
        Outcome::HandedOver { reference, remark } => Settlement {
            state: State::HandedOver,
            reference: Some(reference.clone()),
            reason: remark.clone(),
            event: Kind::HandedOver,
            ..base
        },
        Outcome::Refused(reason) => {
            Settlement { state: State::Failed, reason: Some(reason.clone()), event: Kind::Failed, ..base }
        }
        Outcome::Deferred(reason) => {
            let next = now.plus(pause(retry, attempts, jitter));
            again(entry, Settlement { next_attempt: next, reason: Some(reason.clone()), ..base })
        }
        Outcome::UpstreamUnavailable(reason) => {
            // The breaker decides when; the message's own clock is the floor against a busy loop.
            let next = not_before.unwrap_or_else(|| now.plus(pause(retry, attempts, jitter))).max(now);
            again(entry, Settlement { next_attempt: next, reason: Some(reason.clone()), ..base })
        }
        Outcome::InDoubt(reason) => {
            let in_doubt = entry.in_doubt.saturating_add(1);
            let settled = Settlement { in_doubt, reason: Some(reason.clone()), ..base };
            match entry.class {
                Class::Urgent if in_doubt > 1 => {
                    Settlement { state: State::Unknown, event: Kind::Unknown, ..settled }
                }
                Class::Urgent => {
                    again(entry, Settlement { next_attempt: now.plus(PAUSE_IN_DOUBT), ..settled })
                }
                Class::Normal => {
                    let pause = pause(retry, attempts, jitter).max(PAUSE_IN_DOUBT);
                    again(entry, Settlement { next_attempt: now.plus(pause), ..settled })
                }
            }
        }
    }
}

/// Another attempt, if there is still one to be made before the message expires.
fn again(entry: &Entry, settled: Settlement) -> Settlement {
    if settled.next_attempt < entry.expires {
        return settled;
    }
    // An attempt in doubt may have arrived: to say "expired" would be to say that it did not.
    let (state, event) =
        if settled.in_doubt > 0 { (State::Unknown, Kind::Unknown) } else { (State::Expired, Kind::Expired) };
    let last = settled.reason.as_ref().map(ToString::to_string).unwrap_or_default();
    let reason =
        Reason::new(ReasonClass::Expired, format!("its life ended before another attempt; last: {last}"));
    Settlement { state, event, reason: Some(reason), ..settled }
}

fn pause(retry: &[Duration], attempts: u32, jitter: f64) -> Duration {
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let base = retry.get(index).or(retry.last()).copied().unwrap_or(Duration::from_secs(15));
    base + base.mul_f64(jitter.clamp(0.0, 1.0) / 4.0)
}
