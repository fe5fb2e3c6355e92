//! `queue`, `trace` and `status`.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};

use super::control::Control;
use super::listing::{print_status, print_table, print_trace};
use super::offline::Offline;
use super::{Place, block_on, plural, print_json, rescue};
use crate::admin::{Acted, EventView, ListView, MessageView, StatusView, TraceView};
use crate::queue::{History, Query, State};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List messages, newest first.
    List {
        /// Only those in this state: queued, attempting, held, suppressed, handed-over, failed, expired, ...
        #[arg(long, value_parser = parse_state)]
        state: Option<State>,
        /// Only those of this client.
        #[arg(long)]
        client: Option<String>,
        /// Only those that are or were held in this burst.
        #[arg(long)]
        burst: Option<String>,
        /// Only those for this mail address or phone number.
        #[arg(long)]
        to: Option<String>,
        /// The most to list.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        view: View,
    },
    /// Show one message and what happened to it.
    Show {
        /// Its id, as told in the reply to the client.
        id: String,
        #[command(flatten)]
        view: View,
    },
    /// Try a waiting message now.
    Retry(One),
    /// Keep a waiting message back.
    Hold(One),
    /// Let a held or suppressed message go, or all that a burst holds.
    Release(Release),
    /// End a message, or all that a burst holds: it won't be handed over.
    Remove(OneOrBurst),
    /// Keep all that can be read of a damaged queue, while the daemon is stopped. The damaged files are put aside.
    Rescue(rescue::Args),
}

#[derive(Debug, clap::Args)]
struct OneOrBurst {
    /// The message's id.
    #[arg(required_unless_present = "burst", conflicts_with = "burst")]
    id: Option<String>,
    /// All that this burst holds, instead of one message.
    #[arg(long)]
    burst: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Release {
    #[command(flatten)]
    what: OneOrBurst,
    /// Also where the guards object to its links, names or attachments; that goes on record.
    #[arg(long, conflicts_with = "burst")]
    force: bool,
}

impl OneOrBurst {
    /// Where the control interface has it.
    fn path(&self) -> String {
        match (&self.burst, &self.id) {
            (Some(burst), _) => format!("/v1/bursts/{burst}"),
            (None, id) => format!("/v1/queue/{}", id.as_deref().unwrap_or_default()),
        }
    }
}

#[derive(Debug, clap::Args)]
struct One {
    /// The message's id.
    id: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct View {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Show whole addresses (only for the daemon's own user and root).
    #[arg(long)]
    full: bool,
    /// Read the queue's file instead of asking the daemon.
    #[arg(long)]
    offline: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct TraceArgs {
    /// A message id, a mail address, or a phone number in any form.
    target: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Show whole addresses (only for the daemon's own user and root).
    #[arg(long)]
    full: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Hand {
    Retry,
    Hold,
    Release,
    Force,
    Remove,
}

fn parse_state(text: &str) -> Result<State, String> {
    State::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
        let all: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
        format!("not a state; one of {}", all.join(", "))
    })
}

pub(super) fn run(place: &Place, args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List { state, client, burst, to, limit, view } => {
            list(place, &Wanted { state, client, burst, to, limit }, view)
        }
        Command::Show { id, view } => show(place, &id, view),
        Command::Retry(One { id, json }) => operate(place, &format!("/v1/queue/{id}"), json, Hand::Retry),
        Command::Hold(One { id, json }) => operate(place, &format!("/v1/queue/{id}"), json, Hand::Hold),
        Command::Release(Release { what, force }) => {
            let hand = if force { Hand::Force } else { Hand::Release };
            operate(place, &what.path(), what.json, hand)
        }
        Command::Rescue(args) => rescue::run(place, &args),
        Command::Remove(what) => operate(place, &what.path(), what.json, Hand::Remove),
    }
}

/// What is to be listed.
struct Wanted {
    state: Option<State>,
    client: Option<String>,
    burst: Option<String>,
    to: Option<String>,
    limit: usize,
}

fn list(place: &Place, wanted: &Wanted, view: View) -> anyhow::Result<ExitCode> {
    let list =
        if view.offline { list_offline(place, wanted, view)? } else { list_online(place, wanted, view)? };
    if view.json {
        print_json(&list)?;
    } else {
        print_table(&list.messages);
    }
    Ok(ExitCode::SUCCESS)
}

fn list_online(place: &Place, wanted: &Wanted, view: View) -> anyhow::Result<ListView> {
    let mut query = vec![("limit", wanted.limit.to_string()), ("full", view.full.to_string())];
    query.extend(wanted.state.map(|state| ("state", state.as_str().to_owned())));
    query.extend(wanted.client.clone().map(|client| ("client", client)));
    query.extend(wanted.burst.clone().map(|burst| ("burst", burst)));
    query.extend(wanted.to.clone().map(|to| ("to", to)));
    let control = Control::open(place)?;
    block_on(control.get("/v1/queue", &query))
}

fn list_offline(place: &Place, wanted: &Wanted, view: View) -> anyhow::Result<ListView> {
    let offline = Offline::open(place)?;
    let query = Query {
        id: None,
        recipient_key: wanted.to.as_deref().map(|to| offline.key_of(to)).transpose()?,
        state: wanted.state,
        client: wanted.client.as_deref().map(Into::into),
        burst: wanted.burst.as_deref().map(Into::into),
        limit: wanted.limit,
    };
    let found = block_on(async { Ok(offline.store.find(query).await?) })?;
    Ok(ListView { messages: found.iter().map(|entry| MessageView::of(entry, view.full)).collect() })
}

fn show(place: &Place, id: &str, view: View) -> anyhow::Result<ExitCode> {
    let trace: TraceView = if view.offline {
        let store = Offline::open(place)?.store;
        let id = id.parse().context("this is not a message id")?;
        let (found, events) = block_on(async {
            let found = store.find(Query { id: Some(id), limit: 1000, ..Query::default() }).await?;
            Ok((found, store.history(History::Id(id)).await?))
        })?;
        TraceView {
            messages: found.iter().map(|entry| MessageView::of(entry, view.full)).collect(),
            events: events.iter().map(|event| EventView::of(event, view.full)).collect(),
            to_key: None,
        }
    } else {
        let control = Control::open(place)?;
        let path = format!("/v1/queue/{id}");
        block_on(control.get(&path, &[("full", view.full.to_string())]))?
    };
    print_trace(&trace, view.json)
}

fn operate(place: &Place, path: &str, json: bool, hand: Hand) -> anyhow::Result<ExitCode> {
    let control = Control::open(place)?;
    let (verb, done) = match hand {
        Hand::Retry => ("retry", "will be tried now"),
        Hand::Hold => ("hold", "held"),
        Hand::Release => ("release", "released"),
        Hand::Force => ("force", "released"),
        Hand::Remove => ("remove", "removed"),
    };
    let acted: Acted = block_on(control.post(&format!("{path}/{verb}"), &()))?;
    if json {
        print_json(&acted)?;
        return Ok(ExitCode::SUCCESS);
    }
    say!("{}: {done}", plural(acted.done, "message"));
    if !acted.not_allowed.is_empty() {
        say!("left alone: {} ({})", acted.not_allowed.len(), acted.not_allowed.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn trace(place: &Place, args: &TraceArgs) -> anyhow::Result<ExitCode> {
    let control = Control::open(place)?;
    let query = [("q", args.target.clone()), ("full", args.full.to_string())];
    let trace: TraceView = block_on(control.get("/v1/trace", &query))?;
    print_trace(&trace, args.json)
}

pub(super) fn status(place: &Place, args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let control = Control::open(place)?;
    let status: StatusView = block_on(control.get("/v1/status", &[]))?;
    if args.json {
        print_json(&status)?;
    } else {
        print_status(&status);
    }
    Ok(ExitCode::SUCCESS)
}
