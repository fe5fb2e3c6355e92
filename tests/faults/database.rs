//! The database and its log are damaged on the disk, between two lives of the relay or while it runs. What can be told is
//! refused with what to do next, and that is done; whatever is handed over afterwards is what was promised, octet by octet.
//! What is lost is counted, and only where docs/durability.md says so may it be lost without a word.

use std::time::Duration;

use fastrand::Rng;

use super::Arguments;
use super::checker::{Breach, Observed};
use super::damage::Damage;
use super::scene::{Load, Scene, Settings};
use crate::harness::look_until;
use crate::harness::relay::Home;
use crate::harness::upstream::{Answer, Moment, Upstream};

/// No codes: what a lost log held is done again, and of a text that would be a second one.
const LOAD: Load = Load { connections: 3, mails: 6, codes: 0, padding: 2_000 };

/// What can't come to rest because a row lies about itself is not waited for longer.
const REST: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    rescued: usize,
    beyond_rescue: usize,
    unseen: usize,
    in_life: usize,
    accepted: usize,
    arrived: usize,
    lost_after_refusal: usize,
    lost_unseen: usize,
}

pub fn run(arguments: Arguments) {
    let mut rng = Rng::with_seed(arguments.seed);
    let mut tally = Tally::default();
    let mut kinds = Damage::ALL;
    rng.shuffle(&mut kinds);
    for round in 0..arguments.rounds.unwrap_or(300) {
        let kind = kinds[round % kinds.len()];
        one_life(kind, &mut rng, &mut tally);
    }
    println!("  {tally:?}");
    assert!(tally.refused > 0 && tally.arrived > 0, "nothing was refused, or nothing came through");
}

fn one_life(kind: Damage, rng: &mut Rng, tally: &mut Tally) {
    let mut scene = Scene::start_with(Home::new(), Upstream::start(deferring), Settings::default());
    let state = scene.relay.home.file("state");
    scene.load(LOAD);
    let in_life = rng.u8(..3) == 0;
    let done = format!("{kind:?} (in life: {in_life})");
    let before = scene.put_off();
    if in_life {
        tally.in_life += 1;
        kind.strike(&state, rng);
        scene.load(LOAD);
        // What it can hand over it may.
        scene.upstream.become_(|_| Answer::Accept);
        scene.rest_or_not(Duration::from_secs(2));
        scene.upstream.become_(deferring);
    }
    if scene.relay.ended().is_none() {
        // A log is left only by who is killed.
        if kind.is_of_log() || rng.bool() {
            scene.relay.kill9();
        } else {
            scene.relay.stop();
        }
    }
    scene.fault();
    if !in_life && !kind.strike(&state, rng) {
        return;
    }
    // A commit that failed on a damaged file may be found by the next start.
    let put_off = scene.put_off() - before;
    scene.doubt(put_off);
    let refused = start_somehow(&mut scene, &done, tally);
    scene.upstream.become_(|_| Answer::Accept);
    scene.rest_or_not(REST);
    judge(&scene, &scene.observe_now(), kind, refused, &done, tally);
}

fn deferring(moment: Moment<'_>) -> Answer {
    match moment {
        Moment::Rcpt(_) => Answer::Reply("451 4.2.1 Not now"),
        Moment::Connect | Moment::Mail(_) | Moment::Data | Moment::Dot(_) => Answer::Accept,
    }
}

/// Starts it, by the way out where it is refused. Whether it was refused.
fn start_somehow(scene: &mut Scene, done: &str, tally: &mut Tally) -> bool {
    let log = scene.relay.log_length();
    let Err(status) = scene.relay.try_restart(&[]) else { return false };
    tally.refused += 1;
    // Its last words are read by another thread.
    let said = look_until("the reason", || {
        let said = scene.relay.log_since(log);
        said.contains("\"ERROR\"").then_some(said)
    });
    assert_eq!(status.code(), Some(78), "{done}: {said}");
    let ways_out =
        ["queue rescue", "put back", "put that file back", "name another path", "give the key file"];
    assert!(said.contains("queue.db") && ways_out.iter().any(|way| said.contains(way)), "{done}: {said}");
    let rescue = scene.relay.cli(&["queue", "rescue"]);
    if rescue.status.success() {
        tally.rescued += 1;
    } else {
        // Nothing is left of it: an empty queue is begun, by an operator who knows.
        tally.beyond_rescue += 1;
        assert!(rescue.stderr.contains("queue.db"), "{done}: {}", rescue.stderr);
        for suffix in ["", "-wal", "-shm"] {
            let file = scene.relay.home.file(&format!("state/queue.db{suffix}"));
            let _ = std::fs::rename(&file, file.with_extension(format!("away{suffix}")));
        }
    }
    scene.relay.try_restart(&[]).unwrap_or_else(|status| {
        panic!("{done}, after {}{}: {status}\n{}", rescue.stdout, rescue.stderr, scene.relay.log_since(log))
    });
    true
}

/// Nothing wrong ever arrives; what is lost was refused, or is known to pass unseen.
fn judge(scene: &Scene, seen: &Observed, kind: Damage, refused: bool, done: &str, tally: &mut Tally) {
    let verdict = scene.verdict_on(seen);
    let lost = verdict.breaches.iter().filter(|breach| is_loss(breach)).count();
    // What a lost log held of hand-overs is done again.
    let again = |breach: &Breach| kind.is_of_log() && matches!(breach, Breach::RepeatedTooOften { .. });
    let others = verdict.breaches.iter().filter(|breach| !is_loss(breach) && !again(breach));
    let others: Vec<String> = others.map(ToString::to_string).collect();
    assert!(others.is_empty(), "{done}, refused: {refused}: {}", others.join("; "));
    if refused {
        tally.lost_after_refusal += lost;
    } else {
        tally.unseen += 1;
        tally.lost_unseen += lost;
        assert!(lost == 0 || kind.may_pass_unseen(), "{done}: {lost} were lost without a word");
    }
    tally.accepted += verdict.accepted;
    tally.arrived += verdict.accepted - verdict.ended;
}

fn is_loss(breach: &Breach) -> bool {
    match breach {
        Breach::Lost { .. } | Breach::EndNotTold { .. } => true,
        Breach::Altered { .. }
        | Breach::RefusedArrived { .. }
        | Breach::PutOffArrived { .. }
        | Breach::RepeatedWithoutFault { .. }
        | Breach::RepeatedTooOften { .. }
        | Breach::TextRepeated { .. }
        | Breach::Stray { .. } => false,
    }
}
