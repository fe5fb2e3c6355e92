//! What a provider's word makes of a text. Pure: the one place that says which report moves a text, and where to.
//!
//! Reports come late, twice, out of order and about attempts that were given up. So a text only moves forward: what
//! speaks of another attempt, of another text at the provider, or of less than is known already changes nothing.

use std::time::Duration;

use super::{Entry, News, Report, State};
use crate::clock::Timestamp;
use crate::event::Kind;
use crate::outcome::{Reason, ReasonClass};

/// How soon a text that certainly did not arrive is sent once more.
const PAUSE_BEFORE_RESENDING: Duration = Duration::from_secs(1);

/// How much life a text must have left to be worth sending once more.
const WORTH_RESENDING: Duration = Duration::from_secs(8);

/// A text as a report finds it.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    /// Its row.
    pub(super) entry: &'a Entry,
    /// Its attempt was marked, so that it may have been posted.
    pub(super) marked: bool,
    /// How often a report had it sent again.
    pub(super) resent: u32,
    /// A newer code took its place.
    pub(super) superseded: bool,
}

/// What a report does.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// Nothing: the text went another way, so it is not this upstream's to speak of.
    Foreign,
    /// Nothing: it was known before, or more is known.
    Stale,
    /// It moves the text.
    Move(Box<Moved>),
}

/// How a text stands after a report.
#[derive(Debug, PartialEq)]
pub(super) struct Moved {
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) resent: u32,
    pub(super) next_attempt: Timestamp,
    pub(super) reason: Option<Reason>,
    /// The provider's id of it.
    pub(super) reference: Option<String>,
    /// What is told, in this order.
    pub(super) events: Vec<Kind>,
}

/// Decides what `report` makes of `text`.
pub(super) fn decide(text: &Standing<'_>, report: &Report) -> Decision {
    let entry = text.entry;
    if entry.upstream.as_ref().is_some_and(|known| *known != report.upstream) {
        return Decision::Foreign;
    }
    // The attempt under way is counted when it ends.
    let under_way = u32::from(entry.state == State::Attempting);
    let attempt = entry.attempts.saturating_add(under_way);
    if report.attempt != attempt || entry.reference.as_ref().is_some_and(|known| *known != report.reference) {
        return Decision::Stale;
    }
    let base = Moved {
        state: entry.state,
        attempts: attempt,
        resent: text.resent,
        next_attempt: entry.next_attempt,
        reason: None,
        reference: Some(report.reference.clone()),
        events: Vec::new(),
    };
    match moved(text, report, base) {
        Some(moved) => Decision::Move(Box::new(moved)),
        None => Decision::Stale,
    }
}

fn moved(text: &Standing<'_>, report: &Report, base: Moved) -> Option<Moved> {
    let lives = match text.entry.state {
        State::AwaitingReport => true,
        // Not marked, nothing of this attempt was posted yet.
        State::Attempting if text.marked => true,
        State::HandedOver | State::Unknown => false,
        State::Attempting
        | State::Queued
        | State::Held
        | State::Suppressed
        | State::Failed
        | State::Expired
        | State::Superseded
        | State::Removed
        | State::Delivered => return None,
    };
    // That it was handed over is told once, before whatever follows from it.
    let told = text.entry.reference.is_some();
    Some(match &report.news {
        News::Underway if told => return None,
        News::Underway if lives => base.to(State::AwaitingReport, &[Kind::HandedOver]),
        News::Underway => base.to(State::HandedOver, &[Kind::HandedOver]),
        News::Delivered if told => base.to(State::Delivered, &[Kind::Delivered]),
        News::Delivered => base.to(State::Delivered, &[Kind::HandedOver, Kind::Delivered]),
        News::Retry(reason) if lives => retry(text, report.at, reason, base),
        // After its life there is nothing to try any more.
        News::Retry(reason) | News::Failed(reason) => failed(reason, base),
    })
}

impl Moved {
    fn to(self, state: State, events: &[Kind]) -> Self {
        Self { state, events: events.to_vec(), ..self }
    }
}

fn failed(reason: &Reason, base: Moved) -> Moved {
    Moved { state: State::Failed, reason: Some(reason.clone()), events: vec![Kind::Failed], ..base }
}

/// It certainly did not arrive: sent once more where that is of use to somebody.
fn retry(text: &Standing<'_>, at: Timestamp, reason: &Reason, base: Moved) -> Moved {
    if text.superseded {
        let reason = Some(superseded());
        return Moved { state: State::Superseded, reason, events: vec![Kind::Superseded], ..base };
    }
    if text.resent > 0 || text.entry.expires < at.plus(WORTH_RESENDING) {
        return failed(reason, base);
    }
    Moved {
        state: State::Queued,
        resent: 1,
        next_attempt: at.plus(PAUSE_BEFORE_RESENDING),
        reason: Some(reason.clone()),
        reference: None,
        events: vec![Kind::Deferred],
        ..base
    }
}

/// Why a superseded row ended.
pub(super) fn superseded() -> Reason {
    Reason::new(ReasonClass::Superseded, "a newer message took its place")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{Class, MessageId};
    use crate::mail::{PhoneNumber, Recipient};

    const START: Timestamp = Timestamp::from_millis(0);

    fn at(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    fn text(state: State, reference: Option<&str>) -> Entry {
        let id = MessageId::generate();
        Entry {
            id,
            submission: id,
            client: "shop".into(),
            business: None,
            category: "mfa".into(),
            rule: "otp".to_owned(),
            class: Class::Urgent,
            recipient: Recipient::Phone(PhoneNumber::parse("+12025550100").unwrap()),
            application_id: None,
            report_to: None,
            accepted: START,
            expires: at(600),
            next_attempt: START,
            // The attempt under way is the second; otherwise two were made.
            attempts: if state == State::Attempting { 1 } else { 2 },
            in_doubt: u32::from(reference.is_none()),
            state,
            reason: None,
            upstream: Some("sms".into()),
            reference: reference.map(str::to_owned),
        }
    }

    fn standing(entry: &Entry) -> Standing<'_> {
        Standing { entry, marked: entry.state == State::Attempting, resent: 0, superseded: false }
    }

    fn busy() -> Reason {
        Reason::new(ReasonClass::Reply, "unreachable handset")
    }

    fn says(news: News) -> Report {
        let id = MessageId::generate();
        Report { id, upstream: "sms".into(), attempt: 2, reference: "SM1".to_owned(), news, at: at(100) }
    }

    /// Where it goes and what is told; `None` where it stays.
    fn outcome(text: &Standing<'_>, news: News) -> Option<(State, Vec<Kind>)> {
        match decide(text, &says(news)) {
            Decision::Move(moved) => Some((moved.state, moved.events)),
            Decision::Stale => None,
            Decision::Foreign => panic!("its own upstream"),
        }
    }

    #[test]
    fn every_state_and_every_word() {
        use Kind::{Deferred, Delivered, Failed, HandedOver};
        let to = |state, events: &[Kind]| Some((state, events.to_vec()));
        // State, what is known of it, then what follows from Underway, Retry, Failed, Delivered.
        let again = to(State::Queued, &[Deferred]);
        let lost = to(State::Failed, &[Failed]);
        let first = to(State::Delivered, &[HandedOver, Delivered]);
        let second = to(State::Delivered, &[Delivered]);
        let on_its_way = to(State::AwaitingReport, &[HandedOver]);
        let late = to(State::HandedOver, &[HandedOver]);
        let mut table = vec![
            (State::Attempting, None, [on_its_way.clone(), again.clone(), lost.clone(), first.clone()]),
            (State::AwaitingReport, None, [on_its_way, again.clone(), lost.clone(), first.clone()]),
            (State::AwaitingReport, Some("SM1"), [None, again, lost.clone(), second.clone()]),
            (State::HandedOver, Some("SM1"), [None, lost.clone(), lost.clone(), second]),
            (State::Unknown, None, [late, lost.clone(), lost, first]),
        ];
        for state in State::ALL {
            if !table.iter().any(|(known, ..)| *known == state) {
                table.push((state, None, [const { None }; 4]));
            }
        }
        for (state, reference, expected) in table {
            let entry = text(state, reference);
            let news = [News::Underway, News::Retry(busy()), News::Failed(busy()), News::Delivered];
            for (news, expected) in news.into_iter().zip(expected) {
                let got = outcome(&standing(&entry), news.clone());
                assert_eq!(got, expected, "{state:?} {reference:?} {news:?}");
                if let Some((next, _)) = got {
                    assert!(next == state || state.may_become(next), "{state:?} {next:?}");
                }
            }
        }
    }

    #[test]
    fn what_was_not_marked_was_not_posted() {
        let entry = text(State::Attempting, None);
        let idle = Standing { marked: false, ..standing(&entry) };
        for news in [News::Underway, News::Retry(busy()), News::Failed(busy()), News::Delivered] {
            assert_eq!(outcome(&idle, news), None);
        }
    }

    #[test]
    fn only_its_own_upstream_attempt_and_reference_count() {
        let entry = text(State::AwaitingReport, Some("SM1"));
        let stands = standing(&entry);
        let foreign = Report { upstream: "other".into(), ..says(News::Delivered) };
        assert_eq!(decide(&stands, &foreign), Decision::Foreign);
        for attempt in [0, 1, 3] {
            assert_eq!(decide(&stands, &Report { attempt, ..says(News::Delivered) }), Decision::Stale);
        }
        let other = Report { reference: "SM2".to_owned(), ..says(News::Delivered) };
        assert_eq!(decide(&stands, &other), Decision::Stale);
        // After a crash it may not be known who was asked.
        let entry = Entry { upstream: None, ..text(State::AwaitingReport, None) };
        assert!(matches!(decide(&standing(&entry), &foreign), Decision::Move(_)));
    }

    #[test]
    fn a_text_is_sent_again_once_and_only_while_it_is_of_use() {
        let entry = text(State::AwaitingReport, Some("SM1"));
        let Decision::Move(moved) = decide(&standing(&entry), &says(News::Retry(busy()))) else { panic!() };
        assert_eq!((moved.next_attempt, moved.resent, moved.attempts), (at(101), 1, 2));
        assert_eq!((moved.reference, moved.reason), (None, Some(busy())));

        let retry = |text: &Standing<'_>| outcome(text, News::Retry(busy())).map(|(state, _)| state);
        assert_eq!(retry(&Standing { resent: 1, ..standing(&entry) }), Some(State::Failed));
        for state in [State::AwaitingReport, State::Attempting] {
            let entry = text(state, None);
            let superseded = Standing { superseded: true, ..standing(&entry) };
            assert_eq!(retry(&superseded), Some(State::Superseded));
        }
        for (expires, state) in [(108, State::Queued), (107, State::Failed)] {
            let entry = Entry { expires: at(expires), ..entry.clone() };
            assert_eq!(retry(&standing(&entry)), Some(state));
        }
    }

    #[test]
    fn a_report_that_overtakes_the_answer_counts_the_attempt() {
        let entry = text(State::Attempting, None);
        let Decision::Move(moved) = decide(&standing(&entry), &says(News::Underway)) else { panic!() };
        assert_eq!((moved.attempts, moved.reference.as_deref()), (2, Some("SM1")));
    }
}
