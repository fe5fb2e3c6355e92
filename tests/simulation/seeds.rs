//! Which worlds are lived: first those that once failed (`seeds.txt`), then as many new ones as are asked for.
//!
//! `AUTHRELAY_SIMULATION_SEED` lives one world alone, `AUTHRELAY_SIMULATION_LIVES` sets how many lives there are to be, and
//! `AUTHRELAY_SIMULATION_FIRST` with which seed the new worlds begin.

use std::io::Write as _;
use std::path::PathBuf;

/// What is asked for.
pub struct Wanted {
    one: Option<u64>,
    first: u64,
    lives: usize,
    kept: Vec<u64>,
}

impl Wanted {
    /// What the environment asks for, or so many lives.
    pub fn from_environment(lives: usize) -> Self {
        let number = |name: &str| {
            let text = std::env::var(format!("AUTHRELAY_SIMULATION_{name}")).ok()?;
            Some(text.parse::<u64>().expect("the variables of the simulation are numbers"))
        };
        let lives = number("LIVES").map_or(lives, |lives| usize::try_from(lives).expect("as many as fit"));
        Self { one: number("SEED"), first: number("FIRST").unwrap_or(1), lives, kept: kept() }
    }

    /// The seeds in order, without an end.
    pub fn seeds(&self) -> Box<dyn Iterator<Item = u64> + '_> {
        match self.one {
            Some(seed) => Box::new(std::iter::once(seed)),
            None => Box::new(
                self.kept.iter().copied().chain((self.first..).filter(|seed| !self.kept.contains(seed))),
            ),
        }
    }

    /// Whether that was all.
    pub fn enough(&self, lives: usize, worlds: usize) -> bool {
        lives >= self.lives && worlds >= self.kept.len()
    }
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/seeds.txt")
}

/// The seeds that once failed: the first word of each line.
fn kept() -> Vec<u64> {
    let text = std::fs::read_to_string(file()).expect("the seeds that are kept");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(|line| line.split_whitespace().next().unwrap_or_default().parse().expect("a seed")).collect()
}

/// Keeps a seed for all later runs. Where that can't be, the caller has printed it.
pub fn keep(seed: u64, what: &str) -> std::io::Result<()> {
    if kept().contains(&seed) {
        return Ok(());
    }
    let mut file = std::fs::OpenOptions::new().append(true).open(file())?;
    writeln!(file, "{seed} {what}")
}
