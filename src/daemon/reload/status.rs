//! How reloads went: for whoever asked for one, for the log, and for `status` and metrics.

use std::path::PathBuf;
use std::time::Duration;

use super::super::{CertificateError, CertificateStatus, DaemonError, KeysError};
use crate::clock::Timestamp;
use crate::config::{Errors, Problem};

/// Who asked for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadCause {
    /// `authrelay reload`.
    Command,
    /// SIGHUP.
    Signal,
}

/// A configuration that was put in force.
#[derive(Debug)]
pub struct Reloaded {
    /// The file; `None`: the defaults.
    pub source: Option<PathBuf>,
    /// What should be looked at.
    pub warnings: Vec<Problem>,
    /// What is configured otherwise than it is, and waits for a restart.
    pub restart: Vec<String>,
    /// The secrets that were not read again.
    pub fixed_secrets: Vec<String>,
    /// The certificates that are shown now.
    pub certificates: Vec<CertificateStatus>,
    /// How long it took.
    pub took: Duration,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration can't be used.
    #[error("{0}")]
    Config(Errors),
    /// The state directory was to move.
    #[error("{0}")]
    StateDirectory(String),
    /// The certificate can't be used.
    #[error("{0}")]
    Certificate(CertificateError),
    /// The key file can't take the place of the one in use.
    #[error("{0}")]
    Key(KeysError),
    /// The first client's token can't be had.
    #[error("{0}")]
    Token(Box<DaemonError>),
    /// A defect of ours.
    #[error("a defect of authrelay's: {0}")]
    Defect(String),
}

impl ReloadError {
    /// In one line.
    pub fn summary(&self) -> String {
        let Self::Config(errors) = self else { return self.to_string() };
        let Some(first) = errors.errors.first() else { return self.to_string() };
        let place = first.place.as_ref().map(|place| format!("{}:{}: ", place.file, place.line));
        let more = match errors.errors.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        format!("{}{}{more}", place.unwrap_or_default(), first.message)
    }
}

/// How the reloads of this process went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadStatus {
    /// How many were put in force.
    pub succeeded: u64,
    /// How many were refused.
    pub failed: u64,
    /// Since when the configuration is in force.
    pub in_force_since: Timestamp,
    /// The latest, of either kind.
    pub last: Option<LastReload>,
    /// How often certificates were picked up because their files changed.
    pub picked_up: u64,
    /// Why certificate files that changed are not used, where that is so.
    pub not_picked_up: Option<String>,
}

/// One reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastReload {
    /// When it ended.
    pub at: Timestamp,
    /// Who asked for it.
    pub cause: ReloadCause,
    /// Why it was refused, in one line; `None`: it was put in force.
    pub error: Option<String>,
}

impl ReloadStatus {
    pub(super) fn new(started: Timestamp) -> Self {
        Self {
            succeeded: 0,
            failed: 0,
            in_force_since: started,
            last: None,
            picked_up: 0,
            not_picked_up: None,
        }
    }

    pub(super) fn note(&mut self, cause: ReloadCause, at: Timestamp, error: Option<String>) {
        if error.is_some() {
            self.failed += 1;
        } else {
            self.succeeded += 1;
            self.in_force_since = at;
            self.not_picked_up = None;
        }
        self.last = Some(LastReload { at, cause, error });
    }

    pub(super) fn note_pick_up(&mut self, picked_up: Result<bool, String>) {
        if let Ok(changed) = &picked_up {
            self.picked_up += u64::from(*changed);
        }
        self.not_picked_up = picked_up.err();
    }
}

/// Logs a verdict.
pub(super) fn tell(cause: ReloadCause, done: &Result<Reloaded, ReloadError>, before: Timestamp) {
    let cause = match cause {
        ReloadCause::Command => "command",
        ReloadCause::Signal => "signal",
    };
    match done {
        Ok(done) => {
            let milliseconds = u64::try_from(done.took.as_millis()).unwrap_or(u64::MAX);
            tracing::info!(cause, milliseconds, "reloaded");
            done.warnings.iter().for_each(tell_problem);
            for what in &done.restart {
                tracing::warn!(what, "waits for a restart");
            }
            for secret in &done.fixed_secrets {
                tracing::info!(secret, "not read again before a restart");
            }
        }
        Err(error) => {
            if let ReloadError::Config(errors) = error {
                errors.errors.iter().for_each(tell_problem);
            }
            let (reason, in_force_since) = (error.summary(), before.to_rfc3339());
            tracing::error!(cause, reason, in_force_since, "reload refused: nothing was changed");
        }
    }
}

fn tell_problem(problem: &Problem) {
    use crate::config::Severity;
    let (line, help) = (problem.place.as_ref().map(|place| place.line), problem.help.as_deref());
    match problem.severity {
        Severity::Error => tracing::error!(target: "authrelay::config", line, help, "{}", problem.message),
        Severity::Warning => tracing::warn!(target: "authrelay::config", line, help, "{}", problem.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_reloads_leave_the_time_of_the_one_in_force() {
        let at = Timestamp::from_millis;
        let mut status = ReloadStatus::new(at(1000));
        status.note(ReloadCause::Command, at(2000), None);
        status.note(ReloadCause::Signal, at(3000), Some("why".to_owned()));
        assert_eq!((status.succeeded, status.failed, status.in_force_since), (1, 1, at(2000)));
        let last = status.last.clone().unwrap();
        assert_eq!((last.at, last.error.as_deref()), (at(3000), Some("why")));
        status.note_pick_up(Err("no key".to_owned()));
        assert_eq!((status.picked_up, status.not_picked_up.as_deref()), (0, Some("no key")));
        status.note_pick_up(Ok(true));
        status.note_pick_up(Ok(false));
        assert_eq!((status.picked_up, status.not_picked_up), (1, None));
    }
}
