//! The machine's clock is set forwards and back while the relay runs, and while it does not. The monotonic clock goes on
//! as it should, and by it all is judged: nothing is lost, nothing is handed over beyond its life, nothing waits for a
//! time that was, and nobody is stormed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::Arguments;
use super::checker::{Answer as Told, Way};
use super::scene::{Load, Scene, Settings};
use crate::harness::relay::Home;
use crate::harness::upstream::{Answer, Moment, Upstream};
use crate::harness::{Watched, now};

/// How long a mail of this campaign lives, and what its way from the last look at the clock to the final dot may take.
const LIFE: Duration = Duration::from_secs(10);
const ON_THE_WAY: Duration = Duration::from_secs(2);
const SETTINGS: Settings = Settings { of_mail: "life = \"10s\"\n", of_queue: "" };

/// In seconds. A step there and back is two of them.
const STEPS: [i64; 8] = [-86_400, -3_600, -10, -1, 1, 10, 3_600, 86_400];

const LOAD: Load = Load { connections: 2, mails: 3, codes: 1, padding: 0 };

/// Why it can't be done here.
pub fn missing() -> Option<String> {
    let folder = tempfile::tempdir().ok()?;
    build(folder.path()).err()
}

pub fn run(arguments: Arguments) {
    let seen = Arc::new(Watched::new(Tried::default()));
    let home = Home::new();
    let clock = Shifted::new(home.path());
    let mut scene = Scene::start_with(home, Upstream::start(script(&seen)), SETTINGS);
    scene.relay.stop();
    scene.fault();
    scene.relay.try_restart(&clock.wrapper()).expect("it starts under another clock");
    let mut rng = Rng::with_seed(arguments.seed);
    let rounds = arguments.rounds.unwrap_or(40);
    let mut expired = 0;
    for round in 0..rounds {
        let (step, back, restart) = (STEPS[rng.usize(..STEPS.len())], rng.u8(..4) == 0, rng.u8(..3) == 0);
        let done = format!("clock step {round} by {step} s, there and back: {back}, restarted: {restart}");
        let before = scene.submissions().len();
        seen.change(|seen| *seen = Tried { defers: true, ..Tried::default() });
        let began = now();
        scene.load(LOAD);
        clock.step(step);
        if back {
            clock.step(-step);
        }
        if restart {
            scene.relay.kill9();
            scene.fault();
            scene.relay.try_restart(&clock.wrapper()).unwrap_or_else(|status| panic!("{done}: {status}"));
        }
        scene.load(LOAD);
        let accepted = now();
        // Some rounds end within the life of the mail, some after it.
        seen.wait(Duration::from_millis(rng.u64(200..14_000)), |_| None::<()>);
        let healed = now();
        let tries = seen.change(|seen| {
            seen.defers = false;
            seen.tries
        });
        // By the monotonic clock everything has come through or ended by then, whatever the other one shows.
        scene.rest_within(LIFE + Duration::from_secs(12));
        let verdict = scene.judge_round(&done);
        let late = accepted + LIFE + ON_THE_WAY;
        // A life that began before a restart on another clock may begin anew, once.
        let late = if restart { late + LIFE } else { late };
        let arrived = seen.get().arrived.clone();
        assert!(arrived.values().all(|at| *at <= late), "{done}: handed over beyond its life");
        let mails = scene.submissions()[before..].iter().filter(|one| one.way == Way::Mail).count();
        assert_no_storm(&done, tries, mails, healed.duration_since(began));
        if step < 0 && !restart && healed + ON_THE_WAY < began + LIFE {
            let mut sent = scene.submissions();
            sent.drain(..before);
            sent.retain(|one| one.way == Way::Mail && matches!(one.answer, Told::Accepted(_)));
            let missing = sent.iter().filter(|one| !arrived.contains_key(&one.to));
            assert_eq!(missing.count(), 0, "{done}: waited for a time that was");
        }
        expired = verdict.ended;
    }
    let verdict = scene.judge_fit();
    println!("  {rounds} rounds, {expired} expired; {verdict}");
    assert!(verdict.accepted > expired, "nothing came through");
}

/// Each message is tried at once and every 300 ms at most (with jitter), and once more after a restart.
fn assert_no_storm(done: &str, tries: usize, mails: usize, lasted: Duration) {
    let most = usize::try_from(lasted.as_millis() / 150).unwrap_or(usize::MAX) + 3;
    assert!(tries <= mails * most, "{done}: {tries} tries of {mails} mails in {lasted:?}");
}

/// What the upstream saw in a round.
#[derive(Default)]
struct Tried {
    /// It takes nothing.
    defers: bool,
    tries: usize,
    /// The first copies, by recipient.
    arrived: BTreeMap<String, Instant>,
}

fn script(seen: &Arc<Watched<Tried>>) -> impl Fn(Moment<'_>) -> Answer + Send + Sync + use<> {
    let seen = Arc::clone(seen);
    move |moment| {
        seen.change(|seen| match moment {
            Moment::Rcpt(_) => {
                seen.tries += 1;
                if seen.defers { Answer::Reply("451 4.2.1 Not now") } else { Answer::Accept }
            }
            Moment::Dot(mail) => {
                for to in &mail.recipients {
                    seen.arrived.entry(to.clone()).or_insert_with(now);
                }
                Answer::Accept
            }
            Moment::Connect | Moment::Mail(_) | Moment::Data => Answer::Accept,
        })
    }
}

/// A wall clock of the relay alone.
struct Shifted {
    library: PathBuf,
    file: PathBuf,
    by: std::cell::Cell<i64>,
}

impl Shifted {
    fn new(folder: &Path) -> Self {
        let file = folder.join("shift");
        std::fs::write(&file, 0_i64.to_ne_bytes()).expect("written");
        let library = build(folder).expect("as it was tried before");
        Self { library, file, by: std::cell::Cell::new(0) }
    }

    /// What starts the relay under it.
    fn wrapper(&self) -> Vec<String> {
        let set = |name: &str, path: &Path| format!("{name}={}", path.display());
        vec!["env".to_owned(), set("LD_PRELOAD", &self.library), set("SHIFT_FILE", &self.file)]
    }

    fn step(&self, seconds: i64) {
        use std::os::unix::fs::FileExt as _;
        self.by.set(self.by.get() + seconds * 1_000_000_000);
        // In place: the relay has it mapped.
        let file = std::fs::OpenOptions::new().write(true).open(&self.file).expect("the file");
        file.write_all_at(&self.by.get().to_ne_bytes(), 0).expect("written");
    }
}

/// Builds the library that shifts a clock, and tries it.
fn build(folder: &Path) -> Result<PathBuf, String> {
    let library = folder.join("clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/clock.c");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).stderr(Stdio::null());
    match cc.status() {
        Ok(status) if status.success() => {}
        Ok(_) => return Err("cc can't build a shared library here".to_owned()),
        Err(_) => return Err("there is no cc".to_owned()),
    }
    let file = folder.join("try");
    std::fs::write(&file, (86_400_000_000_000_i64 * 365).to_ne_bytes()).map_err(|error| error.to_string())?;
    let year = |preload: Option<&Path>| {
        let mut date = Command::new("date");
        date.arg("+%Y").env("SHIFT_FILE", &file);
        date.envs(preload.map(|library| ("LD_PRELOAD", library)));
        date.output().map(|output| output.stdout).map_err(|error| error.to_string())
    };
    if year(None)? == year(Some(&library))? {
        return Err("a library can't be preloaded here".to_owned());
    }
    Ok(library)
}
