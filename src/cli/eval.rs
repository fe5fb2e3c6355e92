//! `authrelay eval`: how well recognition does on a folder of labelled messages. Exit status 1 where a goal is missed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use super::{Place, print_json};
use crate::ident::CategoryName;
use crate::mail::Message;
use crate::policy::evaluation::{Goal, Judged, Report, manifest};
use crate::policy::{Recognition, Strictness, Text, TextLimits};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder: `manifest.tsv` (file, language, category, allowed, ambiguous; tabs between) and `eml/` with the files.
    /// The application is the file's name up to its last hyphen.
    directory: PathBuf,
    /// The least share of allowed mail that has to pass, in percent. Messages marked ambiguous never count.
    #[arg(long, value_name = "PERCENT")]
    min_passed: Option<f64>,
    /// The least share of allowed mail that has to get its exact category, signin and mfa as one.
    #[arg(long, value_name = "PERCENT")]
    min_exact: Option<f64>,
    /// The most of other mail that may pass, security notices apart.
    #[arg(long, value_name = "PERCENT")]
    max_leaked: Option<f64>,
    /// The most of security notices that may pass.
    #[arg(long, value_name = "PERCENT")]
    max_notices_leaked: Option<f64>,
    /// As if the configuration said this.
    #[arg(long)]
    strictness: Option<StrictnessWord>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Name every message that was taken for something wrong.
    #[arg(long)]
    list: Option<Listed>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Listed {
    Wrong,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum StrictnessWord {
    Strict,
    Balanced,
    Lenient,
}

impl From<StrictnessWord> for Strictness {
    fn from(word: StrictnessWord) -> Self {
        match word {
            StrictnessWord::Strict => Self::Strict,
            StrictnessWord::Balanced => Self::Balanced,
            StrictnessWord::Lenient => Self::Lenient,
        }
    }
}

pub(super) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let mut recognition = Arc::clone(&place.load()?.config.policy.recognition);
    if let Some(strictness) = args.strictness {
        recognition = Arc::new(recognition.at(strictness.into()));
    }
    let judged = judge(&recognition, &args.directory)?;
    let report = Report::of(&recognition, &judged);
    let missed = report.missed(&goals(args));
    if args.json {
        print_json(&report)?;
    } else {
        say!("{}", report.to_string().trim_end());
    }
    if let Some(Listed::Wrong) = args.list {
        list(&judged);
    }
    for missed in &missed {
        complain!("missed: {missed}");
    }
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn goals(args: &Args) -> Vec<Goal> {
    let goals = [
        args.min_passed.map(Goal::MinPassed),
        args.min_exact.map(Goal::MinExact),
        args.max_leaked.map(Goal::MaxLeaked),
        args.max_notices_leaked.map(Goal::MaxNoticesLeaked),
    ];
    goals.into_iter().flatten().collect()
}

fn judge(recognition: &Recognition, directory: &Path) -> anyhow::Result<Vec<Judged>> {
    let file = directory.join("manifest.tsv");
    let text = std::fs::read_to_string(&file).with_context(|| format!("{} can't be read", file.display()))?;
    let guarded: Vec<&str> = recognition.guarded().map(CategoryName::as_str).collect();
    let labels = manifest(&text, &guarded).with_context(|| file.display().to_string())?;
    let folder = directory.join("eml");
    labels
        .into_iter()
        .map(|label| {
            let file = folder.join(&label.file);
            let raw = std::fs::read(&file).with_context(|| format!("{} can't be read", file.display()))?;
            let examination = recognition.examine(&Text::of(&Message::new(raw), &TextLimits::default()));
            Ok(Judged::new(recognition, label, &examination))
        })
        .collect()
}

fn list(judged: &[Judged]) {
    say!("\nwrong");
    for one in judged.iter().filter(|one| one.is_wrong()) {
        let ambiguous = if one.label.ambiguous { ", ambiguous" } else { "" };
        say!(
            "  {:32} {:8} {:20} got {}{ambiguous}",
            one.label.file,
            one.label.language,
            one.label.wanted.category(),
            one.got.name()
        );
    }
}
