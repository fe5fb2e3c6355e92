//! Counts, and the goals they are held against.

use serde::Serialize;

use super::interval::Share;
use super::{Got, Judged, Label, OperatingPoint, Wanted};

/// Counts of messages. Security notices are counted on their own, and are not among `held`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    /// Messages that should pass.
    pub allowed: usize,
    /// Of these, the ones that do.
    pub passing: usize,
    /// Of these, the ones that pass as what they are.
    pub exact: usize,
    /// Messages that should not pass.
    pub held: usize,
    /// Of these, the ones that do.
    pub leaking: usize,
    /// Security notices, which should not pass either.
    pub notices: usize,
    /// Of these, the ones that do.
    pub notices_leaking: usize,
}

impl Score {
    /// Counts `judged` as they were judged.
    pub fn of<'a>(judged: impl IntoIterator<Item = &'a Judged>) -> Self {
        let mut score = Self::default();
        for one in judged {
            score.count(&one.label, &one.got);
        }
        score
    }

    /// Counts `judged` as they are judged at `point`.
    pub(super) fn at(judged: &[&Judged], point: OperatingPoint) -> Self {
        let mut score = Self::default();
        for one in judged {
            score.count(&one.label, &one.at(point));
        }
        score
    }

    pub(super) fn count(&mut self, label: &Label, got: &Got) {
        match label.wanted {
            Wanted::Passes(_) => {
                self.allowed += 1;
                self.passing += usize::from(got.passes);
                self.exact += usize::from(label.is_exact(got));
            }
            Wanted::Held(_) if label.is_notice() => {
                self.notices += 1;
                self.notices_leaking += usize::from(got.passes);
            }
            Wanted::Held(_) => {
                self.held += 1;
                self.leaking += usize::from(got.passes);
            }
        }
    }

    /// The sum of two.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            allowed: self.allowed + other.allowed,
            passing: self.passing + other.passing,
            exact: self.exact + other.exact,
            held: self.held + other.held,
            leaking: self.leaking + other.leaking,
            notices: self.notices + other.notices,
            notices_leaking: self.notices_leaking + other.notices_leaking,
        }
    }

    /// The share of allowed mail that passes.
    pub fn passed(&self) -> Share {
        Share { part: self.passing, whole: self.allowed }
    }

    /// The share of allowed mail that passes as what it is.
    pub fn exactly(&self) -> Share {
        Share { part: self.exact, whole: self.allowed }
    }

    /// The share of other mail that passes, security notices apart.
    pub fn leaked(&self) -> Share {
        Share { part: self.leaking, whole: self.held }
    }

    /// The share of security notices that pass.
    pub fn notices_leaked(&self) -> Share {
        Share { part: self.notices_leaking, whole: self.notices }
    }
}

/// What a share has to reach, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At least this much of the allowed mail passes.
    MinPassed(f64),
    /// At least this much of the allowed mail gets its exact category.
    MinExact(f64),
    /// At most this much of the other mail passes.
    MaxLeaked(f64),
    /// At most this much of the security notices passes.
    MaxNoticesLeaked(f64),
}

/// A goal that was missed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Missed {
    /// The goal.
    pub goal: Goal,
    /// What was reached instead; without a single message to judge by, nothing was.
    pub reached: Share,
}

impl Goal {
    pub(super) fn missed_by(self, score: &Score) -> Option<Missed> {
        let (reached, is_reached): (Share, fn(f64, f64) -> bool) = match self {
            Self::MinPassed(_) => (score.passed(), |reached, goal| reached >= goal),
            Self::MinExact(_) => (score.exactly(), |reached, goal| reached >= goal),
            Self::MaxLeaked(_) => (score.leaked(), |reached, goal| reached <= goal),
            Self::MaxNoticesLeaked(_) => (score.notices_leaked(), |reached, goal| reached <= goal),
        };
        let holds = reached.value().is_some_and(|value| is_reached(100.0 * value, self.percent()));
        (!holds).then_some(Missed { goal: self, reached })
    }

    fn percent(self) -> f64 {
        match self {
            Self::MinPassed(percent)
            | Self::MinExact(percent)
            | Self::MaxLeaked(percent)
            | Self::MaxNoticesLeaked(percent) => percent,
        }
    }
}

impl std::fmt::Display for Missed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = self.goal.percent();
        let said = match self.goal {
            Goal::MinPassed(_) => format!("at least {percent} % of allowed mail has to pass"),
            Goal::MinExact(_) => {
                format!("at least {percent} % of allowed mail has to get its exact category")
            }
            Goal::MaxLeaked(_) => format!("at most {percent} % of other mail may pass"),
            Goal::MaxNoticesLeaked(_) => format!("at most {percent} % of security notices may pass"),
        };
        match self.reached.whole {
            0 => write!(f, "{said}: there is no such message"),
            _ => write!(f, "{said}: it is {}", self.reached),
        }
    }
}
