//! SIGKILL at each system call of the accept and deliver paths in turn: before each fsync, each write to the database and
//! its log (a commit is the last of these and the fsync behind it), each answer to a client, each word to an upstream.

use fastrand::Rng;

use super::Arguments;
use super::scene::{Scene, USUAL};
use super::trace::{choose, points, under};

const CALLS: &[&str] =
    &["fsync", "fdatasync", "pwrite64", "ftruncate", "write", "writev", "sendto", "recvfrom"];

pub fn run(arguments: Arguments) {
    let mut scene = Scene::start();
    let mut rng = Rng::with_seed(arguments.seed);
    let points = points(&mut scene, CALLS);
    let chosen = choose(&points, arguments.rounds, &mut rng);
    let (mut struck, mut at_start) = (0, 0);
    for point in &chosen {
        if scene.relay.try_restart(&under(point, "signal=KILL", "")).is_err() {
            at_start += 1;
        } else {
            scene.load(USUAL);
            // Where the call did not come, the end of the load is the moment.
            if scene.relay.ended().is_some() {
                struck += 1;
            } else {
                scene.relay.kill9();
            }
        }
        scene.fault();
        scene.relay.try_restart(&[]).unwrap_or_else(|status| panic!("after {point:?}: {status}"));
        let verdict = scene.verdict();
        let found: Vec<String> = verdict.breaches.iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "after SIGKILL at {point:?}: {}", found.join("; "));
        scene.relay.kill9();
        scene.fault();
    }
    scene.relay.restart();
    let verdict = scene.judge_fit();
    println!(
        "  {} of {} points: {struck} struck under load, {at_start} at the start; {verdict}",
        chosen.len(),
        points.len()
    );
    assert!(struck > 0 && verdict.accepted > 0, "no kill struck under load");
}
