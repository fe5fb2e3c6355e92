//! What it was measured on, and what was measured.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::relay::Programs;

/// To be published with the figures.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub date: String,
    pub processor: String,
    pub cores: usize,
    pub memory: String,
    pub kernel: String,
    pub file_system: String,
    pub load_before: String,
    pub cpu_by: &'static str,
    pub versions: Vec<String>,
}

impl Machine {
    /// Looks around; `scratch` is where the queues are.
    pub fn here(scratch: &Path, programs: &Programs, cpu_by: &'static str) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned()).unwrap_or_default()
        };
        Self {
            date: said(Command::new("date").arg("--iso-8601=minutes")),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory: field(&read("/proc/meminfo"), "MemTotal"),
            kernel: said(Command::new("uname").arg("-r")),
            file_system: said(
                Command::new("findmnt").args(["-n", "-o", "FSTYPE,OPTIONS", "-T"]).arg(scratch),
            ),
            load_before: read("/proc/loadavg").trim().to_owned(),
            cpu_by,
            versions: vec![
                said(Command::new(&programs.authrelay).arg("--version")),
                said(Command::new("postconf").args(["-d", "mail_version"]))
                    .replace("mail_version =", "postfix"),
                said(Command::new(&programs.exim).arg("--version")),
            ],
        }
    }
}

/// The first line of what a command says.
fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").trim().to_owned()
}
