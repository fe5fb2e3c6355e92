//! `authrelay send-test`

use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;

use super::control::Control;
use super::{Place, block_on, print_json};
use crate::admin::{SendTest, SendTestCode, Sent};
use crate::ident::{BusinessName, CategoryName};
use crate::mail::Address;
use crate::secret::Secret;
use crate::sms;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// To which mail address.
    #[arg(long, required_unless_present = "sms", conflicts_with = "sms")]
    to: Option<String>,
    /// To which phone number: a random code, in the text that every code has.
    #[arg(long, value_name = "NUMBER")]
    sms: Option<String>,
    /// As which category (mail).
    #[arg(long, default_value = "signin", conflicts_with = "sms")]
    category: String,
    /// For which factor (SMS).
    #[arg(long, value_enum, default_value_t = Factor::Primary, conflicts_with = "to")]
    factor: Factor,
    /// On behalf of which business: its own sender is used, or its host named in the text.
    #[arg(long)]
    business: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Factor {
    Primary,
    Secondary,
}

pub(super) fn run(place: &Place, args: Args) -> anyhow::Result<ExitCode> {
    let business = args.business.map(BusinessName::new);
    let (path, test) = match (args.to, args.sms) {
        (_, Some(number)) => {
            let factor = match args.factor {
                Factor::Primary => sms::Factor::Primary,
                Factor::Secondary => sms::Factor::Secondary,
            };
            let test = SendTestCode { to: Secret::new(number), factor, business };
            ("/v1/send-test/sms", serde_json::to_value(test)?)
        }
        (to, None) => {
            let to = Address::parse(&to.unwrap_or_default()).context("--to is not a mail address")?;
            let test = SendTest { to, category: CategoryName::new(args.category), business };
            ("/v1/send-test", serde_json::to_value(test)?)
        }
    };
    let control = Control::open(place)?;
    let sent: Sent = block_on(control.post(path, &test))?;
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
