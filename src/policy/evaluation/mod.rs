//! How well recognition does on labelled messages: counts, intervals, cross-validation by application.
//!
//! Pure: labels come as the text of a manifest, messages as what recognition found in them. Whoever measures reads the
//! files, [`judge`]s each message, and asks for a [`Report`]. An application never counts as unseen by a point that was
//! chosen on it.

mod cross;
mod interval;
mod label;
mod render;
mod score;

pub use cross::{CrossValidation, Fold};
pub use interval::{Interval, Share, Spread};
pub use label::{Label, ManifestError, Wanted, manifest};
pub use score::{Goal, Missed, Score};

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Examination, OperatingPoint, Recognition, Standing, Strictness};

/// One message, what it should be taken for, and what recognition had to say.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The label.
    pub label: Label,
    /// What it was recognised as, at the point in force.
    pub got: Got,
    standing: Standing,
}

/// What a message was taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// The category; `None` where it was not recognised.
    pub category: Option<String>,
    /// Whether the category is one that may pass.
    pub passes: bool,
}

impl Judged {
    /// A message with its label and its examination.
    pub fn new(recognition: &Recognition, label: Label, examination: &Examination) -> Self {
        let standing = examination.standing.clone();
        let got = Got::at(&standing, recognition.point(recognition.strictness()));
        Self { label, got, standing }
    }

    /// The same at another operating point.
    fn at(&self, point: OperatingPoint) -> Got {
        Got::at(&self.standing, point)
    }

    /// Whether it was taken for something wrong: missed, leaked, or passed as something else.
    pub fn is_wrong(&self) -> bool {
        match &self.label.wanted {
            Wanted::Passes(_) => !self.label.is_exact(&self.got),
            Wanted::Held(_) => self.got.passes,
        }
    }
}

impl Got {
    fn at(standing: &Standing, point: OperatingPoint) -> Self {
        let decided = standing.decide(point);
        let passes = decided.is_some_and(|decided| {
            standing.candidate.as_ref().is_some_and(|candidate| candidate.category == decided.category)
        });
        Self { category: decided.map(|decided| decided.category.to_string()), passes }
    }

    /// The category, or a dash.
    pub fn name(&self) -> &str {
        self.category.as_deref().unwrap_or("-")
    }
}

/// Everything measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// How strict recognition was, and what that means.
    pub strictness: Strictness,
    /// The operating point.
    pub point: OperatingPoint,
    /// All messages about whose label nobody would argue.
    pub clear: Score,
    /// The others.
    pub ambiguous: Score,
    /// The clear ones by language.
    pub languages: BTreeMap<String, Score>,
    /// The clear ones by what they should be taken for.
    pub categories: BTreeMap<String, Score>,
    /// The clear ones by application.
    pub applications: BTreeMap<String, Score>,
    /// How the share that passes, and the share that leaks, spreads over the applications.
    pub passed_spread: Option<Spread>,
    /// See `passed_spread`.
    pub leaked_spread: Option<Spread>,
    /// What they should be taken for, and what they were taken for.
    pub confusion: BTreeMap<String, BTreeMap<String, usize>>,
    /// The same messages at each strictness.
    pub trade_off: Vec<TradeOff>,
    /// Each application judged at the point that is best for all others.
    pub cross_validation: CrossValidation,
}

/// What one operating point does.
#[derive(Debug, Serialize)]
pub struct TradeOff {
    /// Its name, where it has one.
    pub strictness: Option<Strictness>,
    /// The point.
    pub point: OperatingPoint,
    /// The clear messages.
    pub score: Score,
}

impl Report {
    /// The report on `judged`, which `recognition` was asked about.
    pub fn of(recognition: &Recognition, judged: &[Judged]) -> Self {
        let strictness = recognition.strictness();
        let clear: Vec<&Judged> = judged.iter().filter(|one| !one.label.ambiguous).collect();
        let by = |key: fn(&Label) -> &str| {
            let mut groups: BTreeMap<String, Score> = BTreeMap::new();
            for one in &clear {
                groups.entry(key(&one.label).to_owned()).or_default().count(&one.label, &one.got);
            }
            groups
        };
        let applications = by(|label| &label.application);
        Self {
            strictness,
            point: recognition.point(strictness),
            clear: Score::of(clear.iter().copied()),
            ambiguous: Score::of(judged.iter().filter(|one| one.label.ambiguous)),
            languages: by(|label| &label.language),
            categories: by(|label| label.wanted.category()),
            passed_spread: Spread::of(applications.values().filter_map(|score| score.passed().value())),
            leaked_spread: Spread::of(applications.values().filter_map(|score| score.leaked().value())),
            applications,
            confusion: confusion(&clear),
            trade_off: trade_off(recognition, &clear),
            cross_validation: CrossValidation::of(recognition, &clear),
        }
    }

    /// The goals that were missed.
    pub fn missed(&self, goals: &[Goal]) -> Vec<Missed> {
        goals.iter().filter_map(|goal| goal.missed_by(&self.clear)).collect()
    }
}

fn confusion(judged: &[&Judged]) -> BTreeMap<String, BTreeMap<String, usize>> {
    let mut matrix: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for one in judged {
        let row = matrix.entry(one.label.wanted.category().to_owned()).or_default();
        *row.entry(one.got.name().to_owned()).or_default() += 1;
    }
    matrix
}

/// The named points, then a line through the plane on which both numbers grow.
fn trade_off(recognition: &Recognition, judged: &[&Judged]) -> Vec<TradeOff> {
    let named = Strictness::ALL.map(|strictness| (Some(strictness), recognition.point(strictness)));
    let between = (4..=20).map(|step| {
        let threshold = f64::from(step) / 2.0;
        (None, OperatingPoint { threshold, margin: (threshold / 2.0 - 0.5).max(0.0) })
    });
    named
        .into_iter()
        .chain(between)
        .map(|(strictness, point)| TradeOff { strictness, point, score: Score::at(judged, point) })
        .collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
