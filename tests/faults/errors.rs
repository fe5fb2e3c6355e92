//! A disk that fails: EIO, ENOSPC and EROFS at each system call by which the store writes and reads, once, for a while or
//! for good. What a client was told must be what is kept; a relay that can't know ends, so that its manager starts it anew.

use fastrand::Rng;

use super::Arguments;
use super::scene::{Scene, USUAL};
use super::trace::{choose, points, under};

const CALLS: &[&str] = &["fsync", "fdatasync", "pwrite64", "pread64", "ftruncate"];
const ERRORS: [&str; 3] = ["EIO", "ENOSPC", "EROFS"];

/// How long it lasts, in calls of the same thread.
const LASTS: [&str; 3] = ["", "..+6", "+"];

pub fn run(arguments: Arguments) {
    let mut scene = Scene::start();
    let mut rng = Rng::with_seed(arguments.seed);
    let points = points(&mut scene, CALLS);
    let all = arguments.rounds.is_none();
    let (mut rounds, mut put_off, mut gave_up, mut at_start) = (0, 0, 0, 0);
    for point in choose(&points, arguments.rounds, &mut rng) {
        let errors: &[&str] = if all { &ERRORS } else { &[ERRORS[rng.usize(..ERRORS.len())]] };
        for error in errors {
            let lasts = match LASTS[rng.usize(..LASTS.len())] {
                "..+6" => format!("..{}", point.1 + 6),
                other => other.to_owned(),
            };
            rounds += 1;
            let before = scene.put_off();
            if scene.relay.try_restart(&under(&point, &format!("error={error}"), &lasts)).is_err() {
                at_start += 1;
            } else {
                scene.load(USUAL);
                let ended = scene.relay.ended();
                if ended.is_none() {
                    // A polite end, while the disk may still be failing: a queue that can't be closed says so.
                    scene.relay.stop();
                }
                let doubtful = scene.put_off() - before;
                put_off += doubtful;
                let told_anew = scene.relay.log().contains("has to be started again");
                if ended.is_some() || told_anew {
                    // The fate of what was put off then is what the next start finds.
                    gave_up += 1;
                    scene.doubt(doubtful);
                }
            }
            scene.fault();
            scene
                .relay
                .try_restart(&[])
                .unwrap_or_else(|status| panic!("after {error} at {point:?}{lasts}: {status}"));
            let verdict = scene.verdict();
            let found: Vec<String> = verdict.breaches.iter().map(ToString::to_string).collect();
            assert!(found.is_empty(), "after {error} at {point:?}{lasts}: {}", found.join("; "));
            scene.relay.stop();
            scene.fault();
        }
    }
    scene.relay.restart();
    let verdict = scene.judge_fit();
    println!(
        "  {rounds} faults, {} points: {put_off} put off, {gave_up} times the relay gave up, {at_start} times at the start; {verdict}",
        points.len()
    );
    assert!(put_off > 0 && verdict.accepted > 0, "no fault struck");
}
