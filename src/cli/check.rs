//! `authrelay check`

use std::path::PathBuf;
use std::process::ExitCode;

use super::{EX_CONFIG, Place, print_json};
use crate::config;

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
}

#[derive(serde::Serialize)]
struct Report<'a> {
    valid: bool,
    errors: Option<&'a config::Errors>,
    warnings: &'a [config::Problem],
}

pub(super) fn run(place: &Place, args: &Args) -> ExitCode {
    let place = Place { config: args.file.clone().or_else(|| place.config.clone()), ..place.clone() };
    let loaded = place.load();
    if args.json {
        return json(&loaded);
    }
    match loaded {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                complain!("{warning}");
            }
            if !args.quiet {
                say!("{}", config::describe(&loaded.config));
                say!("# {}: valid", name(&place));
            }
            ExitCode::SUCCESS
        }
        Err(errors) => {
            complain!("{errors}");
            ExitCode::from(EX_CONFIG)
        }
    }
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
