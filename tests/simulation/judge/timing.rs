//! When attempts are made: in the order and with the pauses of the category's clock; and in calm weather, that urgent mail does not
//! wait behind normal mail.

use authrelay::ident::Class;

use super::{Breach, Case, Life, expires};
use crate::ledger::{Answer, Moment, Said, Try};
use crate::letters::Desk;
use crate::scenario::Weather;
use crate::upstream::THINKS;

/// How much longer than its pause an urgent message waits at most, in calm weather: for the one under way, and the disk.
const SLACK: Moment = THINKS + 4_000;

/// This many urgent messages have room beside all others, whatever waits.
const ROOM: usize = 3;

/// Before the end of its life a message gets a last chance, whatever its clock says.
const LAST_CHANCE: std::time::Duration = std::time::Duration::from_secs(7);

pub fn judge(case: &Case<'_>, desk: &Desk, found: &mut Vec<Breach>) {
    let calm = case.past.scenario.weather == Weather::Calm;
    for life in case.lives().filter(|life| life.alone && !case.operated(life.row.id, |_| true)) {
        for pair in life.tries.windows(2) {
            pauses(case, desk, &life, (pair[0], pair[1]), found);
        }
        if calm && life.kind.class == Class::Urgent {
            starved(case, &life, found);
        }
    }
}

fn pauses(
    case: &Case<'_>,
    desk: &Desk,
    life: &Life<'_>,
    (first, second): (&Try, &Try),
    found: &mut Vec<Breach>,
) {
    let Some((at, Said::Deferred)) = first.said else { return };
    let settled = case.past.ledger.settled.get(&life.row.id);
    let Some(attempts) = settled.map(|all| all.iter().take_while(|moment| **moment < at).count()) else {
        return;
    };
    let wall_ends = expires(life.put, life.kind).minus(LAST_CHANCE);
    let is_last = second.data.is_none_or(|(_, wall)| wall >= wall_ends);
    let near_end = second.at.saturating_sub(life.put.began) + 10_000 > millis(life.kind.life);
    if case.disturbed(life.put.began, second.at) || (is_last && near_end) {
        return;
    }
    let clock = desk.retry(life.kind);
    let pause = millis(clock[attempts.min(clock.len() - 1)]);
    let waited = second.at - at;
    if waited + 5 < pause {
        found.push(life.breach(&format!("tried again after {waited} ms, and its clock says {pause}")));
    }
    let calm = case.past.scenario.weather == Weather::Calm;
    if calm && life.kind.class == Class::Urgent && waited > pause + pause / 4 + SLACK {
        found.push(life.breach(&format!("tried again only after {waited} ms, and its clock says {pause}")));
    }
}

/// An urgent message is tried at once, however much normal mail waits.
fn starved(case: &Case<'_>, life: &Life<'_>, found: &mut Vec<Breach>) {
    if life.put.answer != Some(Answer::Taken) {
        return;
    }
    let Some(first) = life.tries.first() else { return };
    let waited = first.at.saturating_sub(life.committed);
    if waited <= SLACK || case.disturbed(life.committed, first.at) {
        return;
    }
    let beside = case.past.ledger.tries.iter().filter(|one| {
        let urgent = case.past.scenario.kind_of(one.serial).class == Class::Urgent;
        urgent && one.at <= first.at && one.said.is_none_or(|(at, _)| at >= life.committed)
    });
    // One that is being handed over to the same person is waited for.
    let behind_older = case.past.ledger.tries.iter().any(|one| {
        one.to == life.to
            && one.serial != life.put.serial
            && one.at <= first.at
            && one.said.is_none_or(|(at, _)| at >= life.committed)
    });
    if beside.count() <= ROOM && !behind_older {
        found.push(life.breach(&format!("starved: it waited {waited} ms for its first attempt")));
    }
}

fn millis(time: std::time::Duration) -> Moment {
    Moment::try_from(time.as_millis()).unwrap_or(Moment::MAX)
}
