//! What a server and all its processes use: CPU time and memory, and their end.
//!
//! A server gets a control group of its own where the machine lets us make one: then the time of every process counts,
//! also of those that have ended and that nobody waited for. Elsewhere it is added up from the process tree, where such
//! processes are missing; the report says which it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

/// The processes of one server.
pub struct Group {
    folder: Option<PathBuf>,
    root: u32,
}

/// Where control groups with a count of CPU time may be made.
const PLACES: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// Clock ticks of `/proc/PID/stat`, which are 100 a second on every Linux since it was asked about.
const TICK: Duration = Duration::from_millis(10);

impl Group {
    /// An empty group under this name.
    pub fn new(name: &str) -> Self {
        let name = format!("authrelay-bench-{}-{name}", std::process::id());
        let make = |place: &str| {
            let folder = Path::new(place).join(&name);
            let is_v2 = Path::new(place).join("cgroup.controllers").exists();
            (is_v2 && fs::create_dir(&folder).is_ok()).then_some(folder)
        };
        Self { folder: PLACES.into_iter().find_map(make), root: 0 }
    }

    /// How CPU time is counted.
    pub fn method(&self) -> &'static str {
        if self.folder.is_some() { "control group" } else { "process tree" }
    }

    /// A command that will run in this group.
    pub fn command(&self, program: &Path) -> Command {
        match &self.folder {
            Some(folder) => {
                let mut command = Command::new("sh");
                let into = folder.join("cgroup.procs");
                command.arg("-c").arg("echo $$ > \"$0\" && exec \"$@\"").arg(into).arg(program);
                command
            }
            None => Command::new(program),
        }
    }

    /// The first of its processes, from which the tree is found.
    pub fn rooted(&mut self, root: u32) {
        self.root = root;
    }

    /// The processor time that all its processes have used.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        if let Some(folder) = &self.folder {
            let text = fs::read_to_string(folder.join("cpu.stat"))?;
            let used = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
            return Ok(Duration::from_micros(used.context("no usage in cpu.stat")?.parse()?));
        }
        let ticks = self.processes().iter().filter_map(|&process| ticks(process)).sum::<u64>();
        Ok(TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    /// The memory of all its processes, in octets; shared pages count in parts (PSS).
    pub fn memory(&self) -> u64 {
        self.processes().iter().filter_map(|&process| pss(process)).sum()
    }

    /// Its processes.
    pub fn processes(&self) -> Vec<u32> {
        if let Some(folder) = &self.folder {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            return text.lines().filter_map(|line| line.parse().ok()).collect();
        }
        let mut found = vec![self.root];
        let all = all_processes();
        let mut at = 0;
        while at < found.len() {
            let parent = found[at];
            found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(process, _)| *process));
            at += 1;
        }
        found
    }

    /// Ends every process in it, by its number, and waits until they are gone.
    pub async fn end(&self) {
        for signal in ["-TERM", "-KILL"] {
            for _ in 0..200 {
                let left: Vec<u32> =
                    self.processes().into_iter().filter(|&process| is_alive(process)).collect();
                if left.is_empty() {
                    return;
                }
                let numbers = left.iter().map(u32::to_string);
                let _ = Command::new("kill")
                    .arg(signal)
                    .args(numbers)
                    .stderr(std::process::Stdio::null())
                    .status();
                // There is no event for the end of a process that is not our child.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

impl Drop for Group {
    /// What a failed measurement left is ended too.
    fn drop(&mut self) {
        for process in self.processes().into_iter().filter(|&process| process != 0 && is_alive(process)) {
            let _ = Command::new("kill").arg("-KILL").arg(process.to_string()).status();
        }
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Its own time and that of the children it has waited for.
fn ticks(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // utime, stime, cutime, cstime are fields 14 to 17; the name, field 2, is cut off.
    fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

fn pss(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

fn is_alive(process: u32) -> bool {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    text.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn all_processes() -> Vec<(u32, u32)> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let with_parent = |process: u32| {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let parent = text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((process, parent))
    };
    numbers.filter_map(with_parent).collect()
}
