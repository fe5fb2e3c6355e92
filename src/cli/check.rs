//! `authrelay check`

use std::path::PathBuf;
use std::process::ExitCode;

use super::{EX_CONFIG, Place, key, live, print_json};
use crate::config;
use crate::doctor::DnsServer;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to check, instead of the one in use.
    file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print only what is wrong.
    #[arg(long, short)]
    quiet: bool,
    /// Also try everything the configuration depends on: upstreams, certificates, logins, senders, DNS records, disk and
    /// clock. Nothing is sent.
    #[arg(long)]
    live: bool,
    /// Ask this DNS server instead of the system's.
    #[arg(long, value_name = "ADDRESS", requires = "live")]
    dns: Option<DnsServer>,
}

#[derive(serde::Serialize)]
struct Report<'a> {
    valid: bool,
    errors: Option<&'a config::Errors>,
    warnings: &'a [config::Problem],
}

pub(super) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let place = Place { config: args.file.clone().or_else(|| place.config.clone()), ..place.clone() };
    let loaded = place.load();
    if args.live {
        return try_all(loaded, args);
    }
    if args.json {
        return Ok(json(&loaded));
    }
    match loaded {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                complain!("{warning}");
            }
            key::complain_of(&loaded.config);
            if !args.quiet {
                say!("{}", config::describe(&loaded.config));
                say!("# {}: valid", name(&place));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => {
            complain!("{errors}");
            Ok(ExitCode::from(EX_CONFIG))
        }
    }
}

/// A configuration that can't be used is told in the same form as without `--live`.
fn try_all(loaded: Result<config::Loaded, config::Errors>, args: &Args) -> anyhow::Result<ExitCode> {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(_) if args.json => return Ok(json(&loaded)),
        Err(errors) => return Err(errors.into()),
    };
    for warning in &loaded.warnings {
        complain!("{warning}");
    }
    let form = match (args.json, args.quiet) {
        (true, _) => live::Form::Json,
        (false, true) => live::Form::Wrong,
        (false, false) => live::Form::Lines,
    };
    live::run(loaded.config, args.dns, form)
}

fn json(loaded: &Result<config::Loaded, config::Errors>) -> ExitCode {
    let (report, code) = match loaded {
        Ok(loaded) => (Report { valid: true, errors: None, warnings: &loaded.warnings }, ExitCode::SUCCESS),
        Err(bad) => (Report { valid: false, errors: Some(bad), warnings: &[] }, ExitCode::from(EX_CONFIG)),
    };
    if let Err(error) = print_json(&report) {
        complain!("authrelay: {error}");
        return ExitCode::FAILURE;
    }
    code
}

fn name(place: &Place) -> String {
    place
        .file()
        .ok()
        .flatten()
        .map_or_else(|| "built-in defaults".to_owned(), |file| file.display().to_string())
}
