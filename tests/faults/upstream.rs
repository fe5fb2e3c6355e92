//! An upstream that misbehaves at every step of a dialogue: it hangs, resets, answers garbage, lines without an end or
//! codes that mean something else, closes before it answers the final dot, is slow by the byte, or the connection is cut
//! in the middle of anything. Several at once, at random. Nothing stops the relay, so no repeat is excused by a fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;

use super::Arguments;
use super::cable::{Cable, Unheard};
use super::scene::{Scene, Settings, USUAL};
use crate::harness::Watched;
use crate::harness::relay::Home;
use crate::harness::upstream::{Answer, Moment, Upstream};

static ENDLESS: [u8; 1 << 18] = [b'x'; 1 << 18];

/// Lines of one reply that does not end.
const MORE: &[u8] = b"250-and more\r\n250-and more\r\n250-and more\r\n250-and more\r\n250-and more\r\n";

/// At any step. A pause of 100 ms before each byte is longer than the relay waits, one of 2 ms is not.
const ANYWHERE: [Answer; 14] = [
    Answer::Hang,
    Answer::Reset,
    Answer::Drop,
    Answer::Garbage(b"\xff\xfe\0 garbage\r\n"),
    Answer::Garbage(b"250\rinjected\n"),
    Answer::Garbage(&ENDLESS),
    Answer::Garbage(MORE),
    Answer::Garbage(b"25"),
    Answer::Reply("421 4.3.2 Going down"),
    Answer::Reply("451 4.3.0 Not now"),
    Answer::Reply("354 Go ahead"),
    Answer::Reply("999 9.9.9 What"),
    Answer::Reply("150 1.0.0 Wait"),
    Answer::Slow(Duration::from_millis(2)),
];

/// How many of its steps go wrong, in hundred; how many misdeeds there are before it mends its ways.
const WRONG: usize = 35;
const MISDEEDS: usize = 25;

pub fn run(arguments: Arguments) {
    let upstream = Upstream::accepting();
    let unheard = Unheard::default();
    let cable = Cable::to(upstream.address(), Arc::clone(&unheard));
    let mut scene = Scene::behind(Home::new(), upstream, cable.address(), Settings::default());
    scene.unheard = unheard;
    let mut rng = Rng::with_seed(arguments.seed);
    let rounds = arguments.rounds.unwrap_or(20);
    for _ in 0..rounds {
        let misdeeds = Arc::new(Watched::new(0));
        let bad = script(rng.u64(..), Arc::clone(&misdeeds));
        scene.upstream.become_(move |moment| bad(&moment));
        cable.cut_after(rng.u64(..), 1..6000);
        scene.load(USUAL);
        // Where everything has come through, there is nobody to misbehave to.
        let idle = || scene.is_at_rest();
        for _ in 0..20 {
            let enough =
                misdeeds.wait(Duration::from_millis(500), |count| (*count >= MISDEEDS).then_some(()));
            if enough.is_some() || idle() {
                break;
            }
        }
        scene.upstream.become_(|_| Answer::Accept);
        cable.mend();
        scene.judge_round("an upstream's misdeeds");
    }
    let verdict = scene.judge_fit();
    let cuts = cable.cuts();
    println!("  {rounds} rounds, {cuts} connections cut; {verdict}");
    assert!(verdict.accepted > 0 && cuts > 0, "nothing went wrong");
}

/// Misbehaves at random, the same for the same seed and the same steps.
fn script(seed: u64, misdeeds: Arc<Watched<usize>>) -> impl Fn(&Moment<'_>) -> Answer + Send + Sync {
    let step = AtomicUsize::new(0);
    move |moment| {
        let number = step.fetch_add(1, Ordering::Relaxed) as u64;
        let mut rng = Rng::with_seed(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        if rng.usize(..100) >= WRONG {
            return Answer::Accept;
        }
        misdeeds.change(|count| *count += 1);
        let answer = ANYWHERE[rng.usize(..ANYWHERE.len())];
        match (moment, answer) {
            (Moment::Mail(_) | Moment::Rcpt(_), Answer::Slow(_)) => Answer::Slow(Duration::from_millis(100)),
            (Moment::Dot(_) | Moment::Connect | Moment::Data | Moment::Mail(_) | Moment::Rcpt(_), other) => {
                other
            }
        }
    }
}
