//! `authrelay recognition export`: the shipped data files of recognition, to read or to change.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::plural;
use crate::policy::Recognition;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write the shipped files into a folder. Keep the ones you change, delete the others, and name the folder as
    /// `directory` under [recognition].
    Export {
        /// The folder; made where it is missing. No file in it is overwritten.
        directory: PathBuf,
        /// Only this language, such as `de`; or `categories` or `structure`.
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
    },
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Command::Export { directory, only } = &args.command;
    let wanted = only.as_ref().map(|only| format!("{only}.toml"));
    let files: Vec<_> = Recognition::shipped_files()
        .iter()
        .filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| wanted == name))
        .collect();
    anyhow::ensure!(!files.is_empty(), "{}", unknown(&wanted.unwrap_or_default()));
    std::fs::create_dir_all(directory).with_context(|| format!("{} can't be made", directory.display()))?;
    // All or nothing: half of an export beside somebody's own files would be taken for the whole.
    if let Some(there) = files.iter().map(|(name, _)| directory.join(name)).find(|path| path.exists()) {
        anyhow::bail!("{} is there already; nothing was written", there.display());
    }
    for (name, text) in &files {
        let path = directory.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("{} can't be made", path.display()))?;
        file.write_all(text.as_bytes()).with_context(|| format!("{} can't be written", path.display()))?;
    }
    say!("{} in {}", plural(files.len(), "file"), directory.display());
    Ok(ExitCode::SUCCESS)
}

fn unknown(wanted: &str) -> String {
    let names: Vec<&str> = Recognition::shipped_files()
        .iter()
        .map(|(name, _)| name.strip_suffix(".toml").unwrap_or(name))
        .collect();
    format!("there is no shipped file {wanted}; there are {}", names.join(", "))
}
