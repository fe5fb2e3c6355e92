//! Nothing is lost, and nothing is invented: every answer has its rows, every row its end, every end its event and its cause.

use std::collections::BTreeMap;

use authrelay::clock::Timestamp;
use authrelay::event::Kind;
use authrelay::policy::Action;
use authrelay::queue::{Operation, State};

use super::{Breach, Case, Life, expires};
use crate::ledger::{Answer, Put, Said};
use crate::scenario::{COUNTED, Weather};
use crate::world::{DEDUPE, window};

pub fn judge(case: &Case<'_>, found: &mut Vec<Breach>) {
    answers(case, found);
    for life in case.lives() {
        if let Some(what) = not_told(&life).or_else(|| without_cause(case, &life)) {
            found.push(life.breach(&what));
        }
    }
    strays(case, found);
    counters(case, found);
}

/// What clients were told is what is on stable storage.
fn answers(case: &Case<'_>, found: &mut Vec<Breach>) {
    for put in &case.past.ledger.puts {
        let stored = case.past.ledger.commits.contains_key(&put.id);
        let rows = case.past.scenario.submissions[put.serial].to.iter();
        let whole = rows.clone().all(|to| case.rows.contains_key(&(put.id, to)));
        let any = rows.clone().any(|to| case.rows.contains_key(&(put.id, to)));
        let what = match &put.answer {
            Some(Answer::Taken | Answer::Held) if !whole => "LOST: answered 250, and not all of it is stored",
            Some(Answer::OverLimit | Answer::Full | Answer::Failed | Answer::Duplicate(_))
                if stored || any =>
            {
                "answered that it is not stored, and it is"
            }
            Some(Answer::Duplicate(of)) if !is_equal(case, put, *of) => "taken for one that is not the same",
            None if whole != any => "half of it is stored",
            _ => continue,
        };
        found.push(Breach { what: format!("{what}: {put:?}"), serial: Some(put.serial) });
    }
    for puts in case.committed.values().filter(|puts| puts.len() > 1) {
        for pair in puts.windows(2).filter(|pair| missed_repeat(case, pair[0], pair[1])) {
            let what = format!("the same again, and it was not noticed: {:?}", pair[1]);
            found.push(Breach { what, serial: Some(pair[1].serial) });
        }
    }
}

fn is_equal(case: &Case<'_>, put: &Put, of: authrelay::ident::MessageId) -> bool {
    case.committed.get(&put.serial).is_some_and(|puts| puts.iter().any(|one| one.id == of))
}

/// Whether the first stood when the second was stored, and was young enough to be seen.
fn missed_repeat(case: &Case<'_>, first: &Put, second: &Put) -> bool {
    let (Some((_, before)), Some((_, at))) =
        (case.past.ledger.commits.get(&first.id), case.past.ledger.commits.get(&second.id))
    else {
        return false;
    };
    let young = second.accepted.since(first.accepted) < DEDUPE && second.accepted >= first.accepted;
    let to = &case.past.scenario.submissions[first.serial].to;
    let stands = |to: &String| {
        case.life(first, to).is_some_and(|life| {
            matches!(life.row.state, State::HandedOver)
                || life.row.state == State::Suppressed && life.kind.action == Action::Suppress
        })
    };
    young && before < at && second.began >= *before && !case.disturbed(*before, *at) && to.iter().all(stands)
}

/// The event that tells of a row's end is there, once, and none of another end.
fn not_told(life: &Life<'_>) -> Option<String> {
    let state = life.row.state;
    let expected = match state {
        State::HandedOver => Kind::HandedOver,
        State::Failed => Kind::Failed,
        State::Expired => Kind::Expired,
        State::Superseded => Kind::Superseded,
        State::Removed => Kind::Removed,
        State::Unknown => Kind::Unknown,
        State::Suppressed => Kind::Suppressed,
        State::Queued | State::Attempting | State::Held | State::AwaitingReport | State::Delivered => {
            return Some(format!("left over as {state:?}"));
        }
    };
    let told = |kind: Kind| life.events.iter().filter(|event| event.kind == kind).count();
    if told(expected) == 0 {
        return Some(format!("it ended as {state:?}, and nobody was told"));
    }
    let ends =
        [Kind::HandedOver, Kind::Failed, Kind::Expired, Kind::Superseded, Kind::Removed, Kind::Unknown];
    let others: usize = ends.into_iter().filter(|kind| *kind != expected).map(told).sum();
    let twice = expected != Kind::Suppressed && told(expected) > 1;
    (others > 0 || twice).then(|| format!("more than one end is told, and it is {state:?}"))
}

/// An end without what leads to it.
fn without_cause(case: &Case<'_>, life: &Life<'_>) -> Option<String> {
    let said = |what: Said| life.tries.iter().any(|one| one.said.is_some_and(|(_, said)| said == what));
    // Bytes that were under way when an upstream hung up may have come or not, as far as the sender can tell.
    let in_doubt = life.tries.iter().any(|one| one.data.is_some() && one.said.is_none());
    let calm = case.past.scenario.weather == Weather::Calm;
    let handled = case.operated(life.row.id, |_| true) || !case.past.ledger.operated_bursts.is_empty();
    let holds = match life.row.state {
        State::HandedOver => said(Said::Taken),
        State::Failed => said(Said::Refused),
        State::Superseded => life.kind.supersede && has_newer(case, life),
        State::Removed => {
            case.operated(life.row.id, |operation| operation == Operation::Remove)
                || case.past.ledger.operated_bursts.contains(&Operation::Remove)
        }
        State::Unknown => in_doubt,
        State::Suppressed => life.kind.action != Action::Relay || handled || was_held(life),
        State::Expired => !calm || handled,
        State::Queued | State::Attempting | State::Held | State::AwaitingReport | State::Delivered => false,
    };
    if !holds {
        return Some(format!("it is {:?} without a cause", life.row.state));
    }
    let at = life.events.last().map(|event| event.at)?;
    // A last chance is five seconds before the end, and one second of that is not worth waiting for.
    let early = life.row.state == State::Expired
        && at
            < expires(life.put, life.kind)
                .minus(std::time::Duration::from_secs(7))
                .minus(case.set_back(life.put.began));
    if early {
        return Some(format!("it expired at {at:?}, before its time"));
    }
    let taken =
        life.copies().find(|copy| copy.was_taken() && life.alone && life.row.state != State::HandedOver)?;
    let excused = case.forgotten_at(taken, life.row.id).is_some()
        || taken.dot.is_some_and(|dot| case.jumped(dot + 180_000));
    (!excused).then(|| format!("an upstream said that it took it, and it is {:?}", life.row.state))
}

fn was_held(life: &Life<'_>) -> bool {
    life.events.iter().any(|event| event.kind == Kind::Held)
}

/// Whether a later one to the same person was stored.
fn has_newer(case: &Case<'_>, life: &Life<'_>) -> bool {
    let commits = &case.past.ledger.commits;
    let own = commits[&life.put.id].0;
    case.past.ledger.puts.iter().any(|put| {
        let newer = commits.get(&put.id).is_some_and(|(order, _)| *order > own);
        newer
            && case.past.scenario.kind_of(put.serial).client == life.kind.client
            && case.past.scenario.submissions[put.serial].to.iter().any(|to| to == life.to)
    })
}

/// Rows and tries of what was never stored.
fn strays(case: &Case<'_>, found: &mut Vec<Breach>) {
    for row in case.past.rows.iter().filter(|row| !case.past.ledger.commits.contains_key(&row.submission)) {
        found.push(Breach { what: format!("a row that nobody stored: {}", row.id), serial: None });
    }
    for (serial, to) in case.tries.keys().filter(|(serial, _)| !case.committed.contains_key(serial)) {
        let what = format!("{to} was asked for with number {serial}, which is not stored");
        found.push(Breach { what, serial: Some(*serial) });
    }
}

/// Counters are what was stored, and only a full one refuses.
fn counters(case: &Case<'_>, found: &mut Vec<Breach>) {
    let mut stored: BTreeMap<(&str, Timestamp), u64> = BTreeMap::new();
    for put in case.committed.values().flatten() {
        if case.past.scenario.kind_of(put.serial).client == COUNTED.0 {
            let to = &case.past.scenario.submissions[put.serial].to[0];
            *stored.entry((to, window(put.accepted))).or_default() += 1;
        }
    }
    for (to, at, amount) in &case.past.counters {
        let rows = stored.get(&(to.as_str(), *at)).copied().unwrap_or(0);
        if rows != *amount || rows > u64::from(COUNTED.1) {
            found.push(Breach {
                what: format!("{to} is counted {amount} times, and has {rows}"),
                serial: None,
            });
        }
    }
    for put in case.past.ledger.puts.iter().filter(|put| put.answer == Some(Answer::OverLimit)) {
        let to = &case.past.scenario.submissions[put.serial].to[0];
        if stored.get(&(to.as_str(), window(put.accepted))) != Some(&u64::from(COUNTED.1)) {
            let what = format!("{to} was refused before its limit");
            found.push(Breach { what, serial: Some(put.serial) });
        }
    }
}
