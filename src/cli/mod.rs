//! The command line. The only place that prints.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the command line")]

mod check;
mod client_add;
mod control;
mod explain;
mod keygen;
mod queue;
mod run;
mod send_test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Environment};

/// Where an installed configuration lies.
const INSTALLED: &str = "/etc/authrelay/authrelay.toml";

/// Exit status for a configuration that can't be used (`EX_CONFIG` of sysexits).
pub const EX_CONFIG: u8 = 78;

/// A relay that lets only authentication mail through.
#[derive(Debug, Parser)]
#[command(name = "authrelay", version, about, max_term_width = 100)]
struct Cli {
    /// The configuration file. Without it /etc/authrelay/authrelay.toml is read where it exists, else the built-in
    /// defaults are used.
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The control socket of the running daemon, where it is not the configured one.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay in the foreground.
    Run,
    /// Check a configuration: every error at once, then the settings in force.
    Check(check::Args),
    /// Show step by step what would become of a message. Nothing is sent.
    Explain(explain::Args),
    /// Look at the queue, or lend a hand.
    Queue(queue::Args),
    /// Find out what became of a message, by its id or by its recipient.
    Trace(queue::TraceArgs),
    /// Show how the running daemon does.
    Status(queue::StatusArgs),
    /// Send a test message through the running daemon.
    SendTest(send_test::Args),
    /// Work with clients.
    Client(client_add::Args),
    /// Make a DKIM key and print its DNS record.
    Keygen(keygen::Args),
}

/// Runs the command line and gives the exit status.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("authrelay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let place = Place { config: cli.config, socket: cli.socket };
    match cli.command {
        Command::Run => run::run(&place),
        Command::Check(args) => Ok(check::run(&place, &args)),
        Command::Explain(args) => explain::run(&place, &args),
        Command::Queue(args) => queue::run(&place, args),
        Command::Trace(args) => queue::trace(&place, &args),
        Command::Status(args) => queue::status(&place, &args),
        Command::SendTest(args) => send_test::run(&place, args),
        Command::Client(args) => client_add::run(&args),
        Command::Keygen(args) => keygen::run(&args),
    }
}

/// Where the configuration and the control socket are, as said on the command line.
#[derive(Debug, Clone)]
struct Place {
    config: Option<PathBuf>,
    socket: Option<PathBuf>,
}

/// A configuration that can't be used: it was printed, and the process ends with status 78.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadConfig(config::Errors);

impl Place {
    /// The file to read, where there is one.
    fn file(&self) -> Option<PathBuf> {
        let installed = PathBuf::from(INSTALLED);
        self.config.clone().or_else(|| installed.exists().then_some(installed))
    }

    fn load(&self) -> Result<config::Loaded, BadConfig> {
        config::load(self.file().as_deref(), &Environment::of_process()).map_err(BadConfig)
    }

    /// The configuration, or the exit status after having said what is wrong with it.
    fn load_or_exit(&self) -> Result<config::Loaded, ExitCode> {
        self.load().map_err(|error| {
            eprintln!("{error}");
            ExitCode::from(EX_CONFIG)
        })
    }
}

/// Runs one asynchronous command to its end.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Prints a value as JSON for scripts.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}
