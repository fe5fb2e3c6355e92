//! Measures authrelay, Postfix and Exim as the same gateway, side by side: `bench/run`.
//!
//! The generator and the sink are tasks of this process, on one clock. Every measurement starts the server anew.

mod certificate;
mod client;
mod group;
mod ledger;
mod machine;
mod mail;
mod relay;
mod report;
mod scenario;
mod sink;
mod wire;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use clap::{Parser, ValueEnum as _};

use crate::group::Group;
use crate::machine::Machine;
use crate::relay::{PEERS, Peer, Programs};
use crate::report::Report;
use crate::scenario::{Bench, Scenario, Sizes};

/// Measures authrelay beside Postfix, Exim and a straight copy to the sink.
#[derive(Debug, Parser)]
struct Arguments {
    /// One small round of everything.
    #[arg(long)]
    quick: bool,
    /// Only these; may be repeated.
    #[arg(long, value_enum)]
    only: Vec<Scenario>,
    /// Only these servers; may be repeated.
    #[arg(long)]
    server: Vec<String>,
    /// How many interleaved rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each load lasts, in seconds; for profiling.
    #[arg(long)]
    seconds: Option<u64>,
    /// Also writes every figure of every round to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The release binary.
    #[arg(long)]
    authrelay: PathBuf,
    /// Exim's binary.
    #[arg(long, default_value = "/usr/sbin/exim4")]
    exim: PathBuf,
    /// Where queues are kept: on the disk that is meant.
    #[arg(long)]
    scratch: PathBuf,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("a second provider of cryptography");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&arguments))
}

async fn measure(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&arguments.scratch)?;
    let programs = Programs { authrelay: arguments.authrelay.clone(), exim: arguments.exim.clone() };
    let machine = Machine::here(&arguments.scratch, &programs, Group::new("look").method());
    let mut sizes = if arguments.quick { Sizes::QUICK } else { Sizes::FULL };
    sizes.load = arguments.seconds.map_or(sizes.load, Duration::from_secs);
    let bench = Bench {
        programs,
        scratch: arguments.scratch.clone(),
        sizes,
        tls: certificate::make(&arguments.scratch)?,
        runs: AtomicUsize::new(0),
    };
    let rounds = if arguments.quick { 1 } else { arguments.rounds };
    let mut report = Report::default();
    let mut failures = 0;
    for round in 1..=rounds {
        for scenario in wanted(&arguments.only) {
            let once = !scenario.repeats() && round > 1;
            for peer in servers(&arguments.server).filter(|peer| !once && scenario.concerns(*peer)) {
                eprintln!("round {round} of {rounds}: {scenario:?}, {}", peer.name());
                match bench.measure(scenario, peer).await {
                    Ok(figures) => report.add(peer, round, figures),
                    Err(error) => {
                        failures += 1;
                        eprintln!("  failed: {error:#}");
                    }
                }
            }
        }
        // A long run that is broken off has its whole rounds.
        if let Some(path) = &arguments.json {
            std::fs::write(path, serde_json::to_string_pretty(&report.json(&machine))?)?;
        }
    }
    println!("{machine:#?}\n\n{}", report.table());
    report.notes().iter().for_each(|note| println!("- {note}"));
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn wanted(only: &[Scenario]) -> Vec<Scenario> {
    let all = Scenario::value_variants().iter().copied();
    all.filter(|scenario| only.is_empty() || only.contains(scenario)).collect()
}

fn servers(only: &[String]) -> impl Iterator<Item = Peer> {
    PEERS.into_iter().filter(|peer| only.is_empty() || only.iter().any(|name| name == peer.name()))
}
