//! `authrelay queue rescue`: the way out of a queue that is damaged.

use std::process::ExitCode;

use super::{Place, print_json};
use crate::queue::Keyring;
use crate::queue::store::sqlite::{Rescued, rescue};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct View<'a> {
    messages: u64,
    waiting: u64,
    torn: &'a [String],
    damaged: String,
}

pub(super) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let queue = place.load()?.config.queue;
    let keyring = Keyring::load(queue.key.path())?;
    let Rescued { messages, waiting, torn, damaged } = rescue(&queue.path, &keyring)?;
    if args.json {
        let damaged = damaged.display().to_string();
        print_json(&View { messages, waiting, torn: &torn, damaged })?;
        return Ok(ExitCode::SUCCESS);
    }
    say!("kept: {messages} messages and records of messages, {waiting} of them not ended");
    match torn.as_slice() {
        [] => say!("everything could be read"),
        torn => say!("not everything of these could be read: {}", torn.join(", ")),
    }
    say!(
        "the damaged queue is now {}, with what belongs to it: keep it until all is well",
        damaged.display()
    );
    say!("start the daemon: what waits is handed over, and a message of which a part is lost ends as failed");
    Ok(ExitCode::SUCCESS)
}
