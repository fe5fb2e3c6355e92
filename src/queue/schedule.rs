//! When the next attempt is made, and what an outcome makes of a message. Pure.

use std::time::Duration;

use super::{Entry, State};
use crate::clock::Timestamp;
use crate::event::Kind;
use crate::ident::Class;
use crate::mail::Recipient;
use crate::outcome::{Outcome, Reason, ReasonClass};

/// How long to wait before an urgent message without an answer is sent a second time, and any other again.
const PAUSE_IN_DOUBT: Duration = Duration::from_secs(5);

/// How long before its end a message is tried for the last time.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// The same for a text: its provider wants more than five seconds left.
const LAST_CHANCE_TEXT: Duration = Duration::from_secs(8);

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
        Outcome::Taken { reference } => Settlement {
            state: State::AwaitingReport,
            reference: Some(reference.clone()),
            event: Kind::HandedOver,
            ..base
        },
        Outcome::Refused(reason) => {
            Settlement { state: State::Failed, reason: Some(reason.clone()), event: Kind::Failed, ..base }
        }
        Outcome::Deferred(reason) => {
            let next = now.plus(pause(retry, attempts, jitter));
            again(entry, Settlement { next_attempt: next, reason: Some(reason.clone()), ..base }, now)
        }
        Outcome::UpstreamUnavailable(reason) => {
            // The breaker decides when; the message's own clock is the floor against a busy loop.
            let next = not_before.unwrap_or_else(|| now.plus(pause(retry, attempts, jitter))).max(now);
            again(entry, Settlement { next_attempt: next, reason: Some(reason.clone()), ..base }, now)
        }
        Outcome::InDoubt(reason) => {
            let in_doubt = entry.in_doubt.saturating_add(1);
            let settled = Settlement { in_doubt, reason: Some(reason.clone()), ..base };
            // A text is never posted twice by itself: only its provider can tell whether it was sent.
            if matches!(entry.recipient, Recipient::Phone(_)) {
                return Settlement { state: State::AwaitingReport, ..settled };
            }
            match entry.class {
                Class::Urgent if in_doubt > 1 => {
                    Settlement { state: State::Unknown, event: Kind::Unknown, ..settled }
                }
                Class::Urgent => {
                    again(entry, Settlement { next_attempt: now.plus(PAUSE_IN_DOUBT), ..settled }, now)
                }
                Class::Normal => {
                    let pause = pause(retry, attempts, jitter).max(PAUSE_IN_DOUBT);
                    again(entry, Settlement { next_attempt: now.plus(pause), ..settled }, now)
                }
            }
        }
    }
}

/// Another attempt, if there is still one to be made before the message expires. A pause that crosses the end is cut
/// short, so that a message is tried as long as it is of use.
fn again(entry: &Entry, settled: Settlement, now: Timestamp) -> Settlement {
    if settled.next_attempt < entry.expires {
        return settled;
    }
    let before = match entry.recipient {
        Recipient::Mail(_) => LAST_CHANCE,
        Recipient::Phone(_) | Recipient::Forgotten => LAST_CHANCE_TEXT,
    };
    let last_chance = entry.expires.minus(before);
    if last_chance > now.plus(Duration::from_secs(1)) {
        return Settlement { next_attempt: last_chance, ..settled };
    }
    // An attempt in doubt may have arrived: to say "expired" would be to say that it did not.
    let (state, event) =
        if settled.in_doubt > 0 { (State::Unknown, Kind::Unknown) } else { (State::Expired, Kind::Expired) };
    let words = "its life ended before another attempt; last: ";
    let reason = match &settled.reason {
        Some(last) => Reason::quoting(ReasonClass::Expired, words, last),
        None => Reason::new(ReasonClass::Expired, "its life ended before another attempt"),
    };
    Settlement { state, event, reason: Some(reason), ..settled }
}

fn pause(retry: &[Duration], attempts: u32, jitter: f64) -> Duration {
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let base = retry.get(index).or(retry.last()).copied().unwrap_or(Duration::from_secs(15));
    base + base.mul_f64(jitter.clamp(0.0, 1.0) / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::MessageId;
    use crate::mail::{Address, Recipient};

    const URGENT: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5)];

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn entry(class: Class, attempts: u32, in_doubt: u32) -> Entry {
        let id = MessageId::generate();
        Entry {
            id,
            submission: id,
            client: "shop".into(),
            business: None,
            category: "signin".into(),
            rule: "none".to_owned(),
            class,
            recipient: Recipient::Mail(Address::parse("anna@example.com").unwrap()),
            application_id: None,
            report_to: None,
            accepted: at(0),
            expires: at(600),
            next_attempt: at(0),
            attempts,
            in_doubt,
            state: State::Attempting,
            reason: None,
            upstream: None,
            reference: None,
        }
    }

    fn busy() -> Reason {
        Reason::reply(450, "4.2.1 mailbox busy")
    }

    fn settled(entry: &Entry, outcome: &Outcome, now: i64) -> Settlement {
        settle(entry, outcome, at(now), &URGENT, 0.0, None)
    }

    #[test]
    fn the_clock_goes_through_its_pauses_and_repeats_the_last() {
        let pauses: Vec<i64> = (0..5)
            .map(|attempts| {
                let settled = settled(&entry(Class::Urgent, attempts, 0), &Outcome::Deferred(busy()), 100);
                assert_eq!((settled.state, settled.event), (State::Queued, Kind::Deferred));
                assert_eq!(settled.attempts, attempts + 1);
                settled.next_attempt.as_millis() - 100_000
            })
            .collect();
        assert_eq!(pauses, [1000, 2000, 5000, 5000, 5000]);
    }

    #[test]
    fn jitter_lengthens_a_pause_by_a_quarter_at_most() {
        let entry = entry(Class::Urgent, 1, 0);
        let next =
            |jitter| settle(&entry, &Outcome::Deferred(busy()), at(100), &URGENT, jitter, None).next_attempt;
        assert_eq!(
            (next(0.0), next(1.0), next(7.0)),
            (at(102), at(102).plus(Duration::from_millis(500)), next(1.0))
        );
    }

    #[test]
    fn an_answer_for_good_ends_it() {
        let handed = Outcome::HandedOver { reference: "2.0.0 Ok".to_owned(), remark: None };
        let settled_well = settled(&entry(Class::Urgent, 0, 0), &handed, 1);
        assert_eq!((settled_well.state, settled_well.event), (State::HandedOver, Kind::HandedOver));
        assert_eq!(settled_well.reference.as_deref(), Some("2.0.0 Ok"));
        let refused = settled(&entry(Class::Urgent, 0, 0), &Outcome::Refused(busy()), 1);
        assert_eq!(
            (refused.state, refused.event, refused.reason),
            (State::Failed, Kind::Failed, Some(busy()))
        );
    }

    #[test]
    fn a_breaker_decides_when_its_upstream_is_asked_again() {
        let entry = entry(Class::Urgent, 0, 0);
        let outcome = Outcome::UpstreamUnavailable(busy());
        let next = |not_before| settle(&entry, &outcome, at(100), &URGENT, 0.0, not_before).next_attempt;
        assert_eq!(next(Some(at(130))), at(130));
        assert_eq!(next(Some(at(90))), at(100), "never in the past");
        assert_eq!(next(None), at(101));
    }

    #[test]
    fn urgent_mail_in_doubt_is_repeated_once_and_other_mail_by_its_clock() {
        let outcome = Outcome::InDoubt(Reason::new(ReasonClass::Timeout, "no answer"));
        let first = settled(&entry(Class::Urgent, 0, 0), &outcome, 100);
        assert_eq!((first.state, first.in_doubt, first.next_attempt), (State::Queued, 1, at(105)));
        let second = settled(&entry(Class::Urgent, 1, 1), &outcome, 106);
        assert_eq!((second.state, second.event), (State::Unknown, Kind::Unknown));
        let normal = settled(&entry(Class::Normal, 3, 2), &outcome, 100);
        assert_eq!((normal.state, normal.in_doubt, normal.next_attempt), (State::Queued, 3, at(105)));
    }

    #[test]
    fn a_text_awaits_its_providers_word_and_is_never_posted_again_by_itself() {
        let phone = Recipient::Phone(crate::mail::PhoneNumber::parse("+12025550100").unwrap());
        for class in [Class::Urgent, Class::Normal] {
            let text = Entry { recipient: phone.clone(), ..entry(class, 1, 0) };
            let outcome = Outcome::InDoubt(Reason::new(ReasonClass::Timeout, "no answer"));
            let doubt = settled(&text, &outcome, 100);
            assert_eq!((doubt.state, doubt.event), (State::AwaitingReport, Kind::Deferred));
            assert_eq!((doubt.attempts, doubt.in_doubt, doubt.reference), (2, 1, None));
            let taken = settled(&text, &Outcome::Taken { reference: "SM1".to_owned() }, 100);
            assert_eq!((taken.state, taken.event), (State::AwaitingReport, Kind::HandedOver));
            assert_eq!((taken.attempts, taken.in_doubt, taken.reference.as_deref()), (2, 0, Some("SM1")));
        }
    }

    #[test]
    fn a_message_is_tried_until_shortly_before_its_end() {
        let deferred = Outcome::Deferred(busy());
        let entry_late = entry(Class::Urgent, 9, 0);
        let cut_short = settle(&entry_late, &deferred, at(580), &[Duration::from_mins(15)], 0.0, None);
        assert_eq!((cut_short.state, cut_short.next_attempt), (State::Queued, at(595)));
        let over = settled(&entry_late, &deferred, 596);
        assert_eq!((over.state, over.event), (State::Expired, Kind::Expired));
        let reason = over.reason.unwrap();
        assert_eq!(reason.class, ReasonClass::Expired);
        assert!(reason.text.contains("450 4.2.1 mailbox busy"), "{reason}");
    }

    #[test]
    fn what_may_have_arrived_does_not_expire_but_ends_unknown() {
        let over = settled(&entry(Class::Normal, 9, 1), &Outcome::Deferred(busy()), 599);
        assert_eq!((over.state, over.event), (State::Unknown, Kind::Unknown));
    }
}
