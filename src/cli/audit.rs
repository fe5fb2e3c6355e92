//! `authrelay audit`

use std::process::ExitCode;

use clap::Subcommand;

use super::control::Control;
use super::{Place, block_on};
use crate::admin::AuditPage;
use crate::clock::Timestamp;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what was decided of every message, by which rule, and how it ended: one JSON object a line.
    Export {
        /// Decided then or later: 2026-11-23, or 2026-11-23T13:00:00Z. Default: from the beginning.
        #[arg(long, value_parser = moment)]
        since: Option<Timestamp>,
        /// Decided before this. Default: now.
        #[arg(long, value_parser = moment)]
        until: Option<Timestamp>,
        /// Only of this mail address or phone number.
        #[arg(long)]
        to: Option<String>,
    },
}

pub(super) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let Command::Export { since, until, to } = &args.command;
    let control = Control::open(place)?;
    let mut query: Vec<(&str, String)> = Vec::new();
    query.extend(since.map(|at| ("since", at.as_millis().to_string())));
    query.extend(until.map(|at| ("until", at.as_millis().to_string())));
    query.extend(to.iter().map(|to| ("to", to.clone())));
    block_on(async {
        let mut after: Option<String> = None;
        loop {
            let mut asked = query.clone();
            asked.extend(after.iter().map(|after| ("after", after.clone())));
            let page: AuditPage = control.get("/v1/audit", &asked).await?;
            for decision in &page.decisions {
                say!("{}", serde_json::to_string(decision)?);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(ExitCode::SUCCESS),
            }
        }
    })
}

fn moment(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse(text).ok_or("write it like 2026-11-23 or 2026-11-23T13:00:00Z")
}
