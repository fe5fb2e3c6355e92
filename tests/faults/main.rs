//! Fault campaigns: the real binary under faults from outside, judged by the invariant checker.
//!
//! `cargo test --test faults` runs a short round of each that this machine allows. One of them alone, longer, with a seed:
//!
//! ```text
//! cargo test --test faults -- kill --seed 7 --rounds 40
//! cargo test --test faults -- kill --rounds all
//! ```
//!
//! What each does stands in docs/durability.md. Without the tools for one it is skipped, and says so.
#![allow(
    missing_docs,
    clippy::panic,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program that prints what it measured"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod cable;
mod checker;
mod clock;
mod damage;
mod database;
mod errors;
mod full;
mod kill;
mod memory;
mod mount;
mod planted;
mod power;
mod scene;
mod trace;
mod upstream;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a campaign is run.
#[derive(Debug, Clone, Copy)]
pub struct Arguments {
    /// What it draws its choices from.
    pub seed: u64,
    /// How many rounds; `None`: every one there is.
    pub rounds: Option<usize>,
}

/// One test of this program.
struct Campaign {
    name: &'static str,
    run: fn(Arguments),
    /// Rounds of the short form.
    rounds: usize,
    /// Why it can't be run here.
    missing: fn() -> Option<String>,
}

const CAMPAIGNS: &[Campaign] = &[
    checked("checker::each_planted_breach_is_found", |_| planted::each_planted_breach_is_found()),
    checked("checker::repeats_are_judged_by_the_fault_between", |_| {
        planted::repeats_are_judged_by_the_fault_between();
    }),
    checked("checker::an_end_that_was_told_and_silence_are_no_breach", |_| {
        planted::an_end_that_was_told_and_silence_are_no_breach();
    }),
    Campaign { name: "kill", run: kill::run, rounds: 9, missing: trace::missing },
    Campaign { name: "errors", run: errors::run, rounds: 9, missing: trace::missing },
    Campaign { name: "database", run: database::run, rounds: 14, missing: || None },
    Campaign { name: "upstream", run: upstream::run, rounds: 3, missing: || None },
    Campaign { name: "power", run: power::run, rounds: 5, missing: power::missing },
    Campaign { name: "memory", run: memory::run, rounds: 4, missing: memory::missing },
    Campaign { name: "clock", run: clock::run, rounds: 5, missing: clock::missing },
    Campaign { name: "full", run: full::run, rounds: 4, missing: full::missing },
];

const fn checked(name: &'static str, run: fn(Arguments)) -> Campaign {
    Campaign { name, run, rounds: 1, missing: || None }
}

/// How many rounds of each campaign.
#[derive(Debug, Default, Clone, Copy)]
enum Rounds {
    /// Those of its short form.
    #[default]
    Short,
    All,
    Of(usize),
}

/// What the command line says. Words are filters, as those of other tests are; flags of other tests are passed over.
#[derive(Debug, Default)]
struct Line {
    filters: Vec<String>,
    seed: Option<u64>,
    rounds: Rounds,
    list: bool,
}

fn main() -> std::process::ExitCode {
    let line = read(std::env::args().skip(1));
    let wanted = |campaign: &&Campaign| {
        line.filters.is_empty() || line.filters.iter().any(|filter| campaign.name.contains(filter.as_str()))
    };
    let campaigns: Vec<&Campaign> = CAMPAIGNS.iter().filter(wanted).collect();
    if line.list {
        for campaign in &campaigns {
            println!("{}: test", campaign.name);
        }
        return std::process::ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", campaigns.len());
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    for campaign in &campaigns {
        if let Some(why) = (campaign.missing)() {
            harness::skipped(&format!("fault campaign {}: {why}", campaign.name));
            println!("test {} ... ignored", campaign.name);
            ignored += 1;
            continue;
        }
        let rounds = match line.rounds {
            Rounds::Short => Some(campaign.rounds),
            Rounds::All => None,
            Rounds::Of(rounds) => Some(rounds),
        };
        let arguments = Arguments { seed: line.seed.unwrap_or(1), rounds };
        let ok = catch_unwind(AssertUnwindSafe(|| (campaign.run)(arguments))).is_ok();
        println!("test {} ... {}", campaign.name, if ok { "ok" } else { "FAILED" });
        if ok {
            passed += 1;
        } else {
            failed += 1;
            let rounds = rounds.map_or("all".to_owned(), |rounds| rounds.to_string());
            let (name, seed) = (campaign.name, arguments.seed);
            println!("  again: cargo test --test faults -- {name} --seed {seed} --rounds {rounds}");
        }
    }
    let outcome = if failed == 0 { "ok" } else { "FAILED" };
    let left = CAMPAIGNS.len() - campaigns.len();
    println!(
        "\ntest result: {outcome}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; {left} filtered out\n"
    );
    std::process::ExitCode::from(if failed == 0 { 0 } else { 101 })
}

fn read(words: impl Iterator<Item = String>) -> Line {
    let mut line = Line::default();
    let mut words = words;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seed" => {
                let seed = words.next().and_then(|seed| seed.parse().ok());
                line.seed = Some(seed.expect("--seed takes a number"));
            }
            "--rounds" => {
                let rounds = words.next().expect("--rounds takes a number, or all");
                let number = || rounds.parse().expect("--rounds takes a number, or all");
                line.rounds = if rounds == "all" { Rounds::All } else { Rounds::Of(number()) };
            }
            "--list" => line.list = true,
            flag if flag.starts_with('-') => {}
            filter => line.filters.push(filter.to_owned()),
        }
    }
    line
}
