//! What is taken from outside the configuration file: a few variables, the host's name, the time.
//!
//! Everything else of this module is a function of the file and an [`Environment`], so a test needs to set no process
//! variable and no clock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Known;
use crate::clock::{Clock, Timestamp};
use crate::secret::Secret;

/// The configuration of the system service; what stands beside it lives where the system keeps such things.
const SYSTEM_DIRECTORY: &str = "/etc/authrelay";

/// What the configuration takes from its surroundings.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub xdg_state_home: Option<PathBuf>,
    /// `STATE_DIRECTORY`, set by systemd.
    pub state_directory: Option<PathBuf>,
    /// `RUNTIME_DIRECTORY`, set by systemd.
    pub runtime_directory: Option<PathBuf>,
    /// `CREDENTIALS_DIRECTORY`, set by systemd.
    pub credentials_directory: Option<PathBuf>,
    /// The host's own name.
    pub hostname: Option<String>,
    /// Where variables that hold secrets are looked up.
    pub variables: Variables,
    /// The time, against which `observe_until` is judged.
    pub now: Timestamp,
    /// What readings before this one came to.
    pub known: Known,
}

/// Where variables that hold secrets are looked up.
#[derive(Debug, Clone, Default)]
pub enum Variables {
    /// The variables of this process.
    #[default]
    Process,
    /// These.
    Given(BTreeMap<String, Secret>),
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let directory =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // Where a unit has several state directories systemd joins them with colons; ours is the first.
        let first = |name: &str| {
            directory(name).map(|all| {
                let text = all.to_string_lossy();
                text.split_once(':').map_or_else(|| all.clone(), |(first, _)| PathBuf::from(first))
            })
        };
        Self {
            home: directory("HOME"),
            xdg_state_home: directory("XDG_STATE_HOME"),
            state_directory: first("STATE_DIRECTORY"),
            runtime_directory: first("RUNTIME_DIRECTORY"),
            credentials_directory: directory("CREDENTIALS_DIRECTORY"),
            hostname: host_name(),
            variables: Variables::Process,
            now: Clock::System.now(),
            known: Known::default(),
        }
    }

    /// The variable called `name`, where it is set.
    pub fn variable(&self, name: &str) -> Option<Secret> {
        match &self.variables {
            Variables::Process => std::env::var(name).ok().map(Secret::new),
            Variables::Given(variables) => variables.get(name).cloned(),
        }
    }

    /// Where the state is kept when the configuration read from `source` does not say.
    pub(super) fn default_state_directory(&self, source: Option<&Path>) -> PathBuf {
        if let Some(directory) = &self.state_directory {
            return directory.clone();
        }
        if is_system(source) {
            return PathBuf::from("/var/lib/authrelay");
        }
        let home = || self.home.as_ref().map(|home| home.join(".local/state"));
        self.xdg_state_home.clone().or_else(home).unwrap_or_default().join("authrelay")
    }

    /// Where the control socket is when the configuration read from `source` does not say.
    pub(super) fn default_control_socket(&self, source: Option<&Path>, state_directory: &Path) -> PathBuf {
        let directory = match &self.runtime_directory {
            Some(directory) => directory.clone(),
            None if is_system(source) => PathBuf::from("/run/authrelay"),
            None => state_directory.to_owned(),
        };
        directory.join("control.sock")
    }
}

/// Whether the service's own configuration is meant. The command line has to find the service's socket and store too,
/// and it runs without the variables that systemd sets.
fn is_system(source: Option<&Path>) -> bool {
    source.is_some_and(|source| source.starts_with(SYSTEM_DIRECTORY))
}

fn host_name() -> Option<String> {
    ["/proc/sys/kernel/hostname", "/etc/hostname"].into_iter().find_map(|path| {
        let name = std::fs::read_to_string(path).ok()?.trim().to_ascii_lowercase();
        (!name.is_empty() && name != "(none)").then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_where_systemd_says_or_where_the_user_keeps_such_things() {
        let mut env = Environment { home: Some("/home/anna".into()), ..Environment::default() };
        assert_eq!(env.default_state_directory(None), Path::new("/home/anna/.local/state/authrelay"));
        env.xdg_state_home = Some("/data".into());
        assert_eq!(env.default_state_directory(None), Path::new("/data/authrelay"));
        let system = Some(Path::new("/etc/authrelay/authrelay.toml"));
        assert_eq!(env.default_state_directory(system), Path::new("/var/lib/authrelay"));
        env.state_directory = Some("/var/lib/private/authrelay".into());
        assert_eq!(env.default_state_directory(system), Path::new("/var/lib/private/authrelay"));
    }

    #[test]
    fn the_control_socket_is_found_without_the_variables_of_the_unit() {
        let system = Some(Path::new("/etc/authrelay/authrelay.toml"));
        let mut env = Environment::default();
        let state = Path::new("/s");
        assert_eq!(env.default_control_socket(None, state), Path::new("/s/control.sock"));
        assert_eq!(env.default_control_socket(system, state), Path::new("/run/authrelay/control.sock"));
        env.runtime_directory = Some("/run/other".into());
        assert_eq!(env.default_control_socket(system, state), Path::new("/run/other/control.sock"));
    }
}
