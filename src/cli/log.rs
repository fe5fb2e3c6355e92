//! `authrelay log`: how much the running daemon logs.

use std::process::ExitCode;

use clap::Subcommand;

use super::control::Control;
use super::{Place, block_on};
use crate::admin::{LogView, SetLog};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Change it until the daemon ends.
    Set {
        /// LEVEL for everything, or MODULE=LEVEL, such as smtp=debug.
        #[arg(required = true)]
        levels: Vec<String>,
    },
    /// Back to what is configured.
    Reset,
}

pub(super) fn run(place: &Place, args: Args) -> anyhow::Result<ExitCode> {
    let control = Control::open(place)?;
    let wanted = match args.command {
        None => None,
        Some(Command::Set { levels }) => Some(SetLog { reset: false, levels }),
        Some(Command::Reset) => Some(SetLog { reset: true, levels: Vec::new() }),
    };
    let LogView { all, modules } = match wanted {
        None => block_on(control.get("/v1/log", &[]))?,
        Some(wanted) => block_on(control.post("/v1/log", &wanted))?,
    };
    say!("{all} {}", modules.join(" "));
    Ok(ExitCode::SUCCESS)
}
