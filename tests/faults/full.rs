//! A full disk: the relay's whole state is on a file system of a few MiB, which something else fills up to any octet
//! while mail comes in. What can't be kept is put off, and what was accepted goes out as soon as there is room.

use std::path::Path;

use fastrand::Rng;

use super::Arguments;
use super::mount::Mounted;
use super::scene::{Load, Scene, Settings, USUAL};
use crate::harness::relay::Home;
use crate::harness::upstream::Upstream;

const LARGE: Load = Load { padding: 20_000, ..USUAL };

/// Nothing is kept back, so that the disk itself says no.
const SETTINGS: Settings = Settings { of_mail: "", of_queue: "disk_reserve = 0\ninode_reserve = 0\n" };

/// Why it can't be done here.
pub fn missing() -> Option<String> {
    let folder = tempfile::tempdir().ok()?;
    Mounted::memory(&folder.path().join("place"), "1m").err()
}

pub fn run(arguments: Arguments) {
    let home = Home::new();
    let state = home.file("state");
    let mounted = Mounted::memory(&state, "6m").expect("as it was tried before");
    let (mut scene, _mounted) = (Scene::start_with(home, Upstream::accepting(), SETTINGS), mounted);
    let mut rng = Rng::with_seed(arguments.seed);
    let rounds = arguments.rounds.unwrap_or(60);
    let (mut put_off, mut at_start) = (0, 0);
    for round in 0..rounds {
        let (before, log) = (scene.put_off(), scene.relay.log_length());
        let room = rng.u64(..300_000);
        fill(&state, room);
        scene.load(LARGE);
        let crash = rng.bool();
        if crash {
            scene.relay.kill9();
            scene.fault();
            // On a full disk it may start or not; it must not lose anything by trying.
            if scene.relay.try_restart(&[]).is_err() {
                at_start += 1;
            } else {
                scene.relay.kill9();
            }
        }
        std::fs::remove_file(state.join("ballast")).expect("room");
        if crash {
            scene.relay.restart();
        }
        let doubtful = scene.put_off() - before;
        put_off += doubtful;
        if scene.relay.log_since(log).contains("has to be started again") {
            scene.doubt(doubtful);
            if scene.relay.ended().is_some() {
                scene.fault();
                scene.relay.restart();
            }
        }
        scene.judge_round(&format!("full disk {round}, {room} octets left, crash: {crash}"));
    }
    let verdict = scene.judge_fit();
    println!("  {rounds} times full, {at_start} times it could not start; {put_off} put off; {verdict}");
    assert!(put_off > 0 && verdict.accepted > 0, "the disk was never full");
}

/// Fills the file system, and gives back so much.
fn fill(place: &Path, room: u64) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(place.join("ballast")).expect("a file");
    let block = [0x55; 16 << 10];
    let mut octets = 0;
    while file.write_all(&block).is_ok() {
        octets += block.len() as u64;
    }
    file.set_len(octets.saturating_sub(room)).expect("cut");
}
