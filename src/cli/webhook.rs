//! `authrelay webhook`

use std::process::ExitCode;

use clap::Subcommand;

use super::control::Control;
use super::{Place, block_on, print_json};
use crate::admin::{WebhookEnabled, WebhookTested, WebhookView, WebhooksView};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how the endpoints stand: what waits for them, and what went wrong last.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send a signed test request to an endpoint now, and say what it answered.
    Test {
        /// Its name, as in [webhooks.NAME].
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let an endpoint be told again that answered 410, and try at once what waits for another try.
    Enable {
        /// Its name, as in [webhooks.NAME].
        name: String,
    },
}

pub(super) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let control = Control::open(place)?;
    match &args.command {
        Command::List { json } => {
            let list: WebhooksView = block_on(control.get("/v1/webhooks", &[]))?;
            if *json {
                print_json(&list)?;
            } else {
                print_list(&list.webhooks);
            }
        }
        Command::Test { name, json } => {
            let tested: WebhookTested = block_on(control.post(&path(name, "test"), &()))?;
            if *json {
                print_json(&tested)?;
            } else {
                let verdict = if tested.taken { "taken" } else { "not taken" };
                say!("{verdict}: {} (after {} ms)", tested.detail, tested.milliseconds);
            }
            if !tested.taken {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Enable { name } => {
            let WebhookEnabled {} = block_on(control.post(&path(name, "enable"), &()))?;
            say!("{name}: told again");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(name: &str, verb: &str) -> String {
    let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    format!("/v1/webhooks/{name}/{verb}")
}

fn print_list(webhooks: &[WebhookView]) {
    if webhooks.is_empty() {
        say!("no webhooks are configured");
    }
    for webhook in webhooks {
        let when = match (webhook.state.as_str(), &webhook.since_or_until) {
            ("disabled", Some(at)) => {
                format!(" since {at}: it answered 410; `authrelay webhook enable {}`", webhook.name)
            }
            (_, Some(at)) => format!(" until {at}"),
            (_, None) => String::new(),
        };
        say!("{}  {}  {}{when}", webhook.name, webhook.target, webhook.state);
        let oldest = webhook.oldest.as_ref().map(|at| format!(", the oldest of {at}")).unwrap_or_default();
        say!(
            "  waiting {}{oldest}; delivered {}; dropped {}",
            webhook.waiting,
            webhook.delivered,
            webhook.dropped
        );
        if let (Some(at), Some(error)) = (&webhook.last_failed, &webhook.last_error) {
            say!("  last error {at}: {error}");
        }
    }
}
