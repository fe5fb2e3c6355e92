//! The command line. The only place that prints.

#[macro_use]
mod output;

mod audit;
mod check;
mod client_add;
mod clients;
mod control;
mod eval;
mod explain;
mod generate;
mod intake;
mod key;
mod keygen;
mod links;
mod listing;
mod live;
mod log;
mod mend;
mod offline;
mod onward;
mod privacy;
mod queue;
mod recognition;
mod reload;
mod rescue;
mod run;
mod send_test;
mod steps;
mod webhook;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Environment, Known};
use crate::plain::json_for_terminal;

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
    Run(run::Args),
    /// Check a configuration: every error at once, then the settings in force; with --live everything it depends on too.
    Check(check::Args),
    /// Show step by step what would become of a message. Nothing is sent.
    Explain(explain::Args),
    /// Measure recognition on a folder of labelled messages.
    Eval(eval::Args),
    /// Work with the data files of recognition.
    Recognition(recognition::Args),
    /// Look at the queue, or lend a hand.
    Queue(queue::Args),
    /// Find out what became of a message, by its id or by its recipient.
    Trace(queue::TraceArgs),
    /// Show how the running daemon does.
    Status(queue::StatusArgs),
    /// Show how much the running daemon logs, or change it.
    Log(log::Args),
    /// Let the running daemon read its configuration again, and wait for the verdict.
    Reload(reload::Args),
    /// Send a test message through the running daemon.
    SendTest(send_test::Args),
    /// Work with clients.
    Client(client_add::Args),
    /// Look at webhooks, send a test, or enable one again.
    Webhook(webhook::Args),
    /// Export the audit trail.
    Audit(audit::Args),
    /// Show what each client was seen to do, and what to change in it.
    Clients(clients::Args),
    /// Work with the keys that the queue is sealed with.
    Key(key::Args),
    /// Make a DKIM key and print its DNS record.
    Keygen(keygen::Args),
    /// Write man pages and shell completions into a folder, for packages.
    #[command(hide = true)]
    Generate(generate::Args),
}

/// Runs the command line and gives the exit status.
pub fn main() -> ExitCode {
    // The one TLS provider of this process; an error would mean that there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let private = privacy::keep_memory_private();
    let cli = Cli::parse();
    if let Err(error) = private {
        complain!("authrelay: core dumps can't be turned off: {error}");
    }
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

/// An unusable configuration has a status of its own, whichever command met it.
fn failed(error: &anyhow::Error) -> ExitCode {
    if let Some(errors) = error.downcast_ref::<config::Errors>() {
        complain!("{errors}");
        return ExitCode::from(EX_CONFIG);
    }
    complain!("authrelay: {error:#}");
    ExitCode::FAILURE
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let place = Place { config: cli.config, socket: cli.socket };
    match cli.command {
        Command::Run(args) => run::run(&place, args),
        Command::Check(args) => check::run(&place, &args),
        Command::Explain(args) => explain::run(&place, &args),
        Command::Eval(args) => eval::run(&place, &args),
        Command::Recognition(args) => recognition::run(&args),
        Command::Queue(args) => queue::run(&place, args),
        Command::Trace(args) => queue::trace(&place, &args),
        Command::Status(args) => queue::status(&place, &args),
        Command::Log(args) => log::run(&place, args),
        Command::Reload(args) => reload::run(&place, &args),
        Command::SendTest(args) => send_test::run(&place, args),
        Command::Client(args) => client_add::run(&args),
        Command::Webhook(args) => webhook::run(&place, &args),
        Command::Audit(args) => audit::run(&place, &args),
        Command::Clients(args) => clients::run(&place, &args),
        Command::Key(args) => key::run(&place, &args),
        Command::Keygen(args) => keygen::run(&args),
        Command::Generate(args) => generate::run(&args),
    }
}

/// Where the configuration and the control socket are, as said on the command line.
#[derive(Debug, Clone)]
struct Place {
    config: Option<PathBuf>,
    socket: Option<PathBuf>,
}

impl Place {
    /// The file to read, where there is one.
    fn file(&self) -> Result<Option<PathBuf>, config::Errors> {
        match &self.config {
            Some(file) => Ok(Some(file.clone())),
            None => installed(Path::new(INSTALLED)),
        }
    }

    fn load(&self) -> Result<config::Loaded, config::Errors> {
        self.load_knowing(&Known::default())
    }

    /// The same, for what reads it again and again.
    fn load_knowing(&self, known: &Known) -> Result<config::Loaded, config::Errors> {
        let env = Environment { known: known.clone(), ..Environment::of_process() };
        config::load(self.file()?.as_deref(), &env)
    }
}

/// The installed configuration, where there is one. One that can't be seen is not taken for one that is not there: the
/// defaults are another relay than the one that runs here.
fn installed(path: &Path) -> Result<Option<PathBuf>, config::Errors> {
    match path.try_exists() {
        Ok(true) => Ok(Some(path.to_owned())),
        Ok(false) => Ok(None),
        Err(error) => Err(config::Errors {
            errors: vec![config::Problem {
                severity: config::Severity::Error,
                message: format!("can't read {}: {error}", path.display()),
                help: Some("use sudo, or name a file with --config".to_owned()),
                place: None,
            }],
            warnings: Vec::new(),
        }),
    }
}

/// Runs one asynchronous command to its end.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// A count with its noun.
fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Prints a value as JSON for scripts.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say!("{}", json_for_terminal(&serde_json::to_string_pretty(value)?));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_file_that_cannot_be_seen_is_not_taken_for_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authrelay.toml");
        assert_eq!(installed(&path), Ok(None));
        std::fs::write(&path, "").unwrap();
        assert_eq!(installed(&path), Ok(Some(path.clone())));
        // Root may look into every folder, so the test takes a folder that is none.
        let errors = installed(&path.join("authrelay.toml")).unwrap_err().to_string();
        assert!(errors.contains("can't read") && errors.contains("use sudo"), "{errors}");
    }
}
