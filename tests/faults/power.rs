//! The power is cut at random moments: the file system of the queue is shut down without its journal, the relay is
//! killed, the file system is mounted again with what had reached the disk, and the relay starts on that.

use fastrand::Rng;

use super::Arguments;
use super::mount::Mounted;
use super::scene::{Scene, Settings, USUAL, finish};
use crate::harness::relay::Home;
use crate::harness::upstream::Upstream;

const OCTETS: u64 = 64 << 20;

/// The image is small: nothing of it is kept back.
const SETTINGS: Settings = Settings { of_mail: "", of_queue: "disk_reserve = 0\ninode_reserve = 0\n" };

/// Why it can't be done here.
pub fn missing() -> Option<String> {
    let folder = tempfile::tempdir().ok()?;
    match Mounted::image(&folder.path().join("place"), &folder.path().join("image"), OCTETS) {
        Ok(mounted) => {
            let pulled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| mounted.pull()));
            pulled.is_err().then(|| "a file system can't be shut down by xfs_io (xfsprogs)".to_owned())
        }
        Err(why) => Some(why),
    }
}

pub fn run(arguments: Arguments) {
    let home = Home::new();
    let image = home.file("image");
    let mounted = Mounted::image(&home.file("state"), &image, OCTETS).expect("as it was tried before");
    let (mut scene, mounted) = (Scene::start_with(home, Upstream::accepting(), SETTINGS), mounted);
    let mut rng = Rng::with_seed(arguments.seed);
    let rounds = arguments.rounds.unwrap_or(100);
    let all = USUAL.connections * USUAL.mails + USUAL.codes;
    for round in 0..rounds {
        let (before, put_off) = (scene.submissions().len(), scene.put_off());
        let senders = scene.begin(USUAL);
        let answered = rng.usize(..all);
        scene.wait_answered(before + answered);
        let done = scene.done();
        mounted.pull();
        scene.relay.kill9();
        senders.into_iter().for_each(finish);
        // The file system goes down at once, but the machine goes on until the kill, and a sync that was under way may
        // still be told to have worked.
        scene.unpowered(done);
        // Whoever was told to come again between the cut and the kill was told so by a machine without power.
        scene.doubt(scene.put_off() - put_off);
        scene.fault();
        mounted.again(&image);
        scene.relay.try_restart(&[]).unwrap_or_else(|status| panic!("after cut {round}: {status}"));
        scene.judge_round(&format!("cut {round}, at {answered} answers"));
    }
    let verdict = scene.judge_fit();
    println!("  {rounds} power cuts; {verdict}");
    assert!(verdict.accepted > 0, "nothing was accepted");
}
