//! `authrelay audit`

use std::process::ExitCode;

use clap::Subcommand;

use super::control::Control;
use super::offline::Offline;
use super::{Place, block_on};
use crate::admin::AuditPage;
use crate::clock::Timestamp;
use crate::plain::json_for_terminal;
use crate::queue::DecisionQuery;

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
        /// Read the queue's file instead of asking the daemon.
        #[arg(long)]
        offline: bool,
    },
}

pub(super) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let Command::Export { since, until, to, offline } = &args.command;
    if *offline {
        return export_offline(place, *since, *until, to.as_deref());
    }
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
            print(&page)?;
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(ExitCode::SUCCESS),
            }
        }
    })
}

fn export_offline(
    place: &Place,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    to: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let offline = Offline::open(place)?;
    let to = to.map(|to| offline.key_of(to)).transpose()?;
    let mut query = DecisionQuery {
        since: since.unwrap_or(Timestamp::from_millis(i64::MIN)),
        until: until.unwrap_or(Timestamp::from_millis(i64::MAX)),
        after: None,
        limit: AuditPage::SIZE,
    };
    block_on(async {
        loop {
            let found = offline.store.decisions(query).await?;
            query.after = found.last().map(|(last, _)| *last);
            let page = AuditPage::of(found, to);
            print(&page)?;
            if page.next.is_none() {
                return Ok(ExitCode::SUCCESS);
            }
        }
    })
}

fn print(page: &AuditPage) -> anyhow::Result<()> {
    for decision in &page.decisions {
        say!("{}", json_for_terminal(&serde_json::to_string(decision)?));
    }
    Ok(())
}

fn moment(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse(text).ok_or("write it like 2026-11-23 or 2026-11-23T13:00:00Z")
}
