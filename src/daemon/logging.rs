//! The log: in which form it is written, and how much of it, which can be changed while the daemon runs.
//!
//! The log belongs to the process, not to a daemon: there is one, and it is set up before anything else happens.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use super::journal::Journal;
use crate::config::{LogConfig, LogFormat};

/// The parts of the program whose level can be set on its own: their names in the log's `target`, after `authrelay::`.
pub const MODULES: [&str; 18] = [
    "admin",
    "auth",
    "callback",
    "client",
    "config",
    "daemon",
    "deliver",
    "event",
    "guard",
    "http",
    "otp",
    "pipeline",
    "policy",
    "queue",
    "reception",
    "rewrite",
    "smtp",
    "webhook",
];

/// What is logged at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    /// Of everything that is not named.
    pub all: Level,
    /// Of single modules.
    pub modules: BTreeMap<&'static str, Level>,
}

impl Levels {
    fn targets(&self) -> Targets {
        let modules = self.modules.iter().map(|(module, level)| (format!("authrelay::{module}"), *level));
        Targets::new().with_default(self.all).with_targets(modules)
    }
}

struct Log {
    handle: reload::Handle<Targets, Registry>,
    levels: Mutex<Levels>,
    configured: Mutex<Level>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Begins to log.
pub fn start(config: &LogConfig) {
    let levels = Levels { all: config.level, modules: BTreeMap::new() };
    let (targets, handle) = reload::Layer::new(levels.targets());
    let _ = LOG.set(Log { handle, levels: Mutex::new(levels), configured: Mutex::new(config.level) });
    let (form, trouble) = form(config.format);
    let output = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match form {
        Form::Journal(journal) => journal.boxed(),
        Form::Json => output.json().flatten_event(true).boxed(),
        // The journal adds the time.
        Form::Text if under_systemd() => output.with_ansi(false).without_time().boxed(),
        Form::Text => output.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    // A second start in one process keeps the first log.
    let _ = tracing_subscriber::registry().with(layer.with_filter(targets)).try_init();
    if let Some(error) = trouble {
        tracing::warn!(%error, "systemd's journal can't be reached: the log is written as text");
    }
}

/// What is logged at the moment. `None` where nothing is.
pub fn levels() -> Option<Levels> {
    LOG.get().map(|log| log.levels.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// Sets the level of a module until the daemon ends or it is set again; of everything with `None`.
pub fn set(module: Option<&'static str>, level: Level) {
    change(|levels| match module {
        Some(module) => drop(levels.modules.insert(module, level)),
        None => levels.all = level,
    });
}

/// Back to what is configured.
pub fn reset() {
    if let Some(log) = LOG.get() {
        let all = *log.configured.lock().unwrap_or_else(PoisonError::into_inner);
        change(|levels| *levels = Levels { all, modules: BTreeMap::new() });
    }
}

/// Another configuration came into force. What was set for single modules stays.
pub fn configured(level: Level) {
    let Some(log) = LOG.get() else { return };
    let before =
        std::mem::replace(&mut *log.configured.lock().unwrap_or_else(PoisonError::into_inner), level);
    if before != level {
        set(None, level);
    }
}

fn change(change: impl FnOnce(&mut Levels)) {
    let Some(log) = LOG.get() else { return };
    let mut levels = log.levels.lock().unwrap_or_else(PoisonError::into_inner);
    change(&mut levels);
    let targets = levels.targets();
    // Told while the old levels are in force or the new ones are: a change of the log belongs into the log.
    let told = || {
        let modules: Vec<String> =
            levels.modules.iter().map(|(module, level)| format!("{module}={level}")).collect();
        tracing::warn!(all = %levels.all, modules = modules.join(" "), "the level of the log was changed");
    };
    told();
    if log.handle.reload(targets).is_err() {
        tracing::error!("the level of the log could not be changed");
    }
}

enum Form {
    Text,
    Json,
    Journal(Journal),
}

/// The form, and why it is not the one that is configured.
fn form(format: LogFormat) -> (Form, Option<std::io::Error>) {
    match format {
        LogFormat::Text => return (Form::Text, None),
        LogFormat::Json => return (Form::Json, None),
        LogFormat::Automatic if !under_systemd() => return (Form::Text, None),
        LogFormat::Automatic | LogFormat::Journald => {}
    }
    match Journal::open() {
        Ok(journal) => (Form::Journal(journal), None),
        Err(error) => (Form::Text, Some(error)),
    }
}

/// Whether our output goes into systemd's journal: it says so by naming the stream, which a child of ours inherits, so
/// that the stream is compared (systemd.exec, `JOURNAL_STREAM`).
fn under_systemd() -> bool {
    let Some(named) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let Some((device, inode)) = named.split_once(':') else { return false };
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|found| device.parse() == Ok(found.st_dev) && inode.parse() == Ok(found.st_ino))
}

/// Reads what is written on the command line: `debug`, or `smtp=debug`.
pub fn parse(text: &str) -> Result<(Option<&'static str>, Level), String> {
    let (module, level) = match text.split_once('=') {
        Some((module, level)) => (Some(module), level),
        None => (None, text),
    };
    let known = |name: &str| MODULES.into_iter().find(|known| *known == name);
    let module =
        match module {
            None => None,
            Some(name) => Some(known(name).ok_or_else(|| {
                format!("there is no module of this name; there are {}", MODULES.join(", "))
            })?),
        };
    let level = level.parse().map_err(|_| "a level is error, warn, info, debug or trace".to_owned())?;
    Ok((module, level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_read_with_or_without_a_module() {
        assert_eq!(parse("debug"), Ok((None, Level::DEBUG)));
        assert_eq!(parse("smtp=trace"), Ok((Some("smtp"), Level::TRACE)));
        assert!(parse("smpt=debug").unwrap_err().contains("smtp"));
        assert!(parse("smtp=loud").unwrap_err().contains("error, warn, info"));
    }

    #[test]
    fn a_module_has_its_own_level_and_the_rest_has_the_other() {
        let levels = Levels { all: Level::INFO, modules: BTreeMap::from([("smtp", Level::DEBUG)]) };
        let targets = levels.targets();
        assert!(targets.would_enable("authrelay::smtp::session", &Level::DEBUG));
        assert!(!targets.would_enable("authrelay::deliver", &Level::DEBUG));
        assert!(targets.would_enable("authrelay::deliver", &Level::INFO));
    }

    /// A module that is made later must be found here too.
    #[test]
    fn every_module_that_logs_can_be_named() {
        for (target, module) in [("authrelay::auth", "auth"), ("authrelay::event", "event")] {
            assert!(MODULES.contains(&module), "{target}");
        }
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for module in MODULES.into_iter().filter(|module| !["auth", "webhook"].contains(module)) {
            let (folder, file) = (source.join(module), source.join(format!("{module}.rs")));
            assert!(folder.exists() || file.exists(), "there is no module {module}");
        }
    }
}
