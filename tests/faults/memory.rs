//! Memory that runs out: data that may not grow any more, so that an allocation fails and the process aborts, and a control group in which the kernel kills whoever needs too much.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fastrand::Rng;

use super::Arguments;
use super::scene::{Load, Scene, USUAL};

const LARGE: Load = Load { padding: 500_000, ..USUAL };

/// Why it can't be done here.
pub fn missing() -> Option<String> {
    let ran = Command::new("prlimit").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    ran.map_or(true, |status| !status.success()).then(|| "prlimit (util-linux) is not installed".to_owned())
}

pub fn run(arguments: Arguments) {
    let mut scene = Scene::start();
    let mut rng = Rng::with_seed(arguments.seed);
    let group = Group::new();
    if group.is_none() {
        crate::harness::skipped("the kernel's memory killer: no control group can be made here");
    }
    let rounds = arguments.rounds.unwrap_or(60);
    let (mut aborted, mut by_kernel, mut survived) = (0, 0, 0);
    for round in 0..rounds {
        let process = scene.relay.process();
        let more = rng.u64(..8 << 20);
        let grouped = group.as_ref().filter(|_| round % 2 == 1);
        match grouped {
            Some(group) => group.limit(process, more),
            None => limit_data(process, more),
        }
        scene.load(LARGE);
        match scene.relay.ended() {
            Some(_) if grouped.is_some() => by_kernel += 1,
            Some(_) => aborted += 1,
            None => {
                survived += 1;
                scene.relay.kill9();
            }
        }
        scene.fault();
        scene.relay.try_restart(&[]).unwrap_or_else(|status| panic!("after round {round}: {status}"));
        scene.judge_round(&format!("memory {round}, {more} octets left"));
    }
    // And with room again.
    scene.load(USUAL);
    let verdict = scene.judge_fit();
    println!(
        "  {rounds} limits: {aborted} aborted, {by_kernel} killed by the kernel, {survived} got through; {verdict}"
    );
    assert!(aborted + by_kernel > 0 && verdict.accepted > 0, "no limit was met");
}

/// What it may write to may grow by so much.
fn limit_data(process: u32, more: u64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a running relay");
    let size = status.lines().find_map(|line| line.strip_prefix("VmData:")).expect("its size");
    let size: u64 = size.trim().trim_end_matches(" kB").parse().expect("a number");
    let limit = format!("--data={}", (size << 10) + more);
    let limited = Command::new("prlimit").args(["--pid", &process.to_string(), &limit]).status();
    assert!(limited.expect("prlimit runs").success());
}

/// A control group of our own, of either version.
struct Group {
    place: PathBuf,
    limit: &'static str,
    usage: &'static str,
}

impl Group {
    fn new() -> Option<Self> {
        let name = format!("authrelay-faults-{}", std::process::id());
        let first = |root: &str| {
            let place = Path::new(root).join(&name);
            std::fs::create_dir(&place).ok().map(|()| place)
        };
        let files = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
            ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ];
        files.into_iter().find_map(|(root, limit, usage)| {
            let group = Self { place: first(root)?, limit, usage };
            group.place.join(limit).exists().then_some(group)
        })
    }

    /// The process may use so much more than it does.
    fn limit(&self, process: u32, more: u64) {
        let write =
            |file: &str, value: String| std::fs::write(self.place.join(file), value).expect("written");
        write(self.limit, (1_u64 << 40).to_string());
        write("cgroup.procs", process.to_string());
        // What it used before it came here is counted elsewhere: from here on it may use this much.
        let usage = std::fs::read_to_string(self.place.join(self.usage)).expect("the usage");
        let usage: u64 = usage.trim().parse().expect("a number");
        write(self.limit, (usage + (1 << 20) + more).to_string());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty once the relay is gone; one that is left holds nothing.
        let _ = std::fs::remove_dir(&self.place);
    }
}
