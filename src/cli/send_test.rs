//! `authrelay send-test`

use std::process::ExitCode;

use anyhow::Context as _;

use super::control::Control;
use super::{Place, block_on, print_json};
use crate::admin::{SendTest, Sent};
use crate::ident::{BusinessName, CategoryName};
use crate::mail::Address;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// To whom.
    #[arg(long)]
    to: String,
    /// As which category.
    #[arg(long, default_value = "signin")]
    category: String,
    /// On behalf of which business: its own sender is used.
    #[arg(long)]
    business: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(place: &Place, args: Args) -> anyhow::Result<ExitCode> {
    let test = SendTest {
        to: Address::parse(&args.to).context("--to is not a mail address")?,
        category: CategoryName::new(args.category),
        business: args.business.map(BusinessName::new),
    };
    let control = Control::open(place)?;
    let sent: Sent = block_on(control.post("/v1/send-test", &test))?;
    if args.json {
        print_json(&sent)?;
    } else {
        say!("{}", sent.reply);
        if let Some(id) = &sent.id {
            say!("follow it with: authrelay trace {id}");
        }
    }
    Ok(if sent.accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
