//! What upstreams got: whole, once, in time, and never the older code after the newer.

use std::collections::BTreeMap;

use authrelay::ident::Class;

use super::{Breach, Case, Life, expires};
use crate::ledger::{Moment, Try};

pub fn judge(case: &Case<'_>, found: &mut Vec<Breach>) {
    let mut in_flight: BTreeMap<Moment, usize> = BTreeMap::new();
    for life in case.lives() {
        altered(&life, found);
        late(case, &life, found);
        if life.alone {
            repeats(case, &life, &mut in_flight, found);
        }
    }
    for (at, count) in in_flight {
        let workers = case.past.scenario.workers;
        if count > workers {
            let what = format!("{count} copies twice at the fault at {at}, with {workers} workers");
            found.push(Breach { what, serial: None });
        }
    }
    out_of_order(case, found);
}

fn altered(life: &Life<'_>, found: &mut Vec<Breach>) {
    if life.copies().any(|copy| !copy.whole) {
        found.push(life.breach("not the bytes that were promised"));
    }
}

/// No message begins after the end of its life.
fn late(case: &Case<'_>, life: &Life<'_>, found: &mut Vec<Breach>) {
    let ends = expires(life.put, life.kind);
    let begun = life.tries.iter().filter_map(|one| one.data);
    for (at, wall) in begun.filter(|(_, wall)| life.alone && *wall > ends) {
        // Set forward in the middle of an attempt, the clock ends a life at once.
        if !case.jumped(at) {
            found.push(life.breach(&format!("sent at {wall:?}, after its end at {ends:?}")));
        }
    }
}

/// A second copy needs an excuse: the first got no answer, or its answer was in flight at a fault.
fn repeats(
    case: &Case<'_>,
    life: &Life<'_>,
    in_flight: &mut BTreeMap<Moment, usize>,
    found: &mut Vec<Breach>,
) {
    let copies: Vec<&Try> = life.copies().collect();
    let mut unanswered = 0;
    for pair in copies.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        let stop = case.forgotten_at(first, life.row.id).filter(|at| *at <= second.at);
        if let Some(at) = stop {
            *in_flight.entry(at).or_default() += 1;
            continue;
        }
        if case.jumped(second.at) {
            continue;
        }
        if first.was_taken() {
            found.push(life.breach(&format!("a second copy at {}, and the first was taken", second.at)));
            continue;
        }
        unanswered += 1;
        if life.kind.class == Class::Urgent && unanswered > 1 {
            found.push(life.breach("a third copy of an urgent message"));
        }
        if first.upstream != second.upstream {
            let what = format!("{} may have it, and {} was given it too", first.upstream, second.upstream);
            found.push(life.breach(&what));
        }
    }
}

/// When a copy came, its place in the order of commits, and its number.
type Came = (Moment, u64, usize);

/// Of two codes to one person the older never comes after the newer.
fn out_of_order(case: &Case<'_>, found: &mut Vec<Breach>) {
    let mut people: BTreeMap<(&str, String), Vec<Came>> = BTreeMap::new();
    for life in case.lives().filter(|life| life.kind.supersede) {
        let order = case.past.ledger.commits[&life.put.id].0;
        let came = people.entry((life.kind.client, life.to.to_owned())).or_default();
        // Where the same was stored twice, a copy is of the one that was stored last before it came.
        let last = |dot: Moment| {
            let own = &case.committed[&life.put.serial];
            own.iter()
                .filter(|put| case.past.ledger.commits[&put.id].1 <= dot)
                .map(|put| case.past.ledger.commits[&put.id].0)
                .max()
        };
        let dots = life.copies().filter_map(|copy| copy.dot).filter(|dot| last(*dot) == Some(order));
        came.extend(dots.map(|dot| (dot, order, life.put.serial)));
    }
    for ((client, to), mut came) in people {
        came.sort_unstable();
        let mut newest: Option<(u64, usize)> = None;
        for (dot, order, serial) in came {
            if let Some((newer, by)) = newest.filter(|(newer, _)| *newer > order && !case.jumped(dot)) {
                let what = format!(
                    "{client} to {to}: number {serial} (stored {order}.) came at {dot}, after number {by} ({newer}.)"
                );
                found.push(Breach { what, serial: Some(serial) });
            }
            newest = newest.max(Some((order, serial)));
        }
    }
}
