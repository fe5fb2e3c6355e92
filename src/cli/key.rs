//! `authrelay key`: the keys that the queue is sealed with. Numbers are shown, never a key.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::control::Control;
use super::{Place, block_on, print_json};
use crate::admin::{KeysView, StatusView};
use crate::clock::Clock;
use crate::config::Config;
use crate::queue::Keyring;
use crate::queue::store::sqlite::SqliteStore;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key file for a new queue.
    Make {
        /// Where to write it; never over a file that is there.
        file: PathBuf,
    },
    /// Show which keys there are, and which are still needed.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Add a new key to the key file. It seals after the next reload; what older ones sealed is then sealed anew.
    Rotate {
        /// Another file than the configured one: the original of a systemd credential.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Take a key that nothing needs any more out of the key file.
    Remove {
        /// Its number.
        number: u32,
        /// Another file than the configured one: the original of a systemd credential.
        #[arg(long)]
        file: Option<PathBuf>,
    },
}

pub(super) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Make { file } => make(file)?,
        Command::List { json } => list(place, *json)?,
        Command::Rotate { file } => rotate(place, file.as_deref())?,
        Command::Remove { number, file } => remove(place, *number, file.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn make(file: &Path) -> anyhow::Result<()> {
    let file = std::path::absolute(file)?;
    Keyring::create(&file)?;
    say!("{} is made. Keep a copy apart from the queue's backups.", file.display());
    say!("\n# For the service, which has to read it:");
    say!("#   chown root:authrelay {0}\n#   chmod 0640 {0}", file.display());
    say!("\n# For the configuration, before the first start with it:\n[queue]");
    say!("key_file = {}", toml::Value::String(file.display().to_string()));
    Ok(())
}

fn list(place: &Place, json: bool) -> anyhow::Result<()> {
    let config = place.load()?.config;
    let keys = in_use(place, &config)?;
    if json {
        return print_json(&keys);
    }
    let file = Keyring::load(config.queue.key.path())?.ids();
    say!("key {} seals the queue {}", keys.seals, config.queue.path.display());
    keys.lines().iter().for_each(|line| say!("{line}"));
    for key in file.iter().filter(|key| !keys.known.contains(key)) {
        say!("key {key} is new in {}: authrelay reload", config.queue.key.path().display());
    }
    Ok(())
}

fn rotate(place: &Place, file: Option<&Path>) -> anyhow::Result<()> {
    let config = place.load()?.config;
    let path = file.unwrap_or(config.queue.key.path());
    let key = Keyring::rotate(path)?.newest();
    say!("key {key} is in {}; copy that file to where its copy is kept. Next:", path.display());
    say!("  authrelay reload      # seals with it; where the key is a systemd credential: restart");
    say!("  authrelay key list    # says when the old one can go");
    Ok(())
}

fn remove(place: &Place, number: u32, file: Option<&Path>) -> anyhow::Result<()> {
    let config = place.load()?.config;
    let keys = in_use(place, &config).context("without knowing which keys are needed none is removed")?;
    if keys.in_use.contains(&number) {
        bail!("key {number} is still needed: a part of the queue is sealed with it; see authrelay key list");
    }
    let path = file.unwrap_or(config.queue.key.path());
    Keyring::retire(path, number)?;
    say!("key {number} is no longer in {}; a running daemon forgets it at authrelay reload", path.display());
    Ok(())
}

/// Which keys are in use: the running daemon knows, else the queue's file says it.
pub(super) fn in_use(place: &Place, config: &Config) -> anyhow::Result<KeysView> {
    let asked = Control::open(place).and_then(|control| {
        let status: StatusView = block_on(control.get("/v1/status", &[]))?;
        Ok(status.keys)
    });
    match asked {
        Ok(keys) if keys.seals > 0 => Ok(keys),
        Ok(_) | Err(_) => of_file(config),
    }
}

/// What `check` says of the keys of a queue that is there.
pub(super) fn complain_of(config: &Config) {
    // What can't be looked at without the daemon's rights is no fault of the configuration.
    let queue = &config.queue;
    if [queue.path.as_path(), queue.key.path()].iter().any(|path| std::fs::File::open(path).is_err()) {
        return;
    }
    match of_file(config) {
        Ok(keys) => keys.lines().iter().for_each(|line| complain!("note: {line}")),
        Err(error) => complain!("warning: {error:#}"),
    }
}

/// What the file says of a queue that no daemon has open, or whose daemon can't be asked.
pub(super) fn of_file(config: &Config) -> anyhow::Result<KeysView> {
    let keyring = Keyring::load(config.queue.key.path())?;
    let (seals, known) = (keyring.newest(), keyring.ids());
    if !config.queue.path.try_exists()? {
        return Ok(KeysView { seals, known, in_use: Vec::new() });
    }
    let store = SqliteStore::open_read_only(&config.queue.path, Arc::new(keyring), Clock::System)?;
    let in_use = store.keys_in_use().borrow().clone();
    Ok(KeysView { seals, known, in_use })
}
