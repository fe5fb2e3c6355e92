//! Cross-validation by application: what a point chosen without an application does to that application's mail.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Judged, OperatingPoint, Recognition, Score, Spread};

/// Leaks that a chosen point may have: shares of other mail, and of security notices.
const LEAKED_MAX: f64 = 0.005;
const NOTICES_LEAKED_MAX: f64 = 0.03;

/// Every application judged by what the others taught.
#[derive(Debug, Serialize)]
pub struct CrossValidation {
    /// One application each.
    pub folds: Vec<Fold>,
    /// All of them together.
    pub total: Score,
    /// How the share that passes spreads over the applications.
    pub passed_spread: Option<Spread>,
    /// How the share that leaks does, security notices among it.
    pub leaked_spread: Option<Spread>,
}

/// One application.
#[derive(Debug, Serialize)]
pub struct Fold {
    /// Its name.
    pub application: String,
    /// The point that is best for all others.
    pub point: OperatingPoint,
    /// How it does there.
    pub score: Score,
}

impl CrossValidation {
    pub(super) fn of(recognition: &Recognition, judged: &[&Judged]) -> Self {
        let near = recognition.point(recognition.strictness());
        let applications: BTreeSet<&str> = judged.iter().map(|one| one.label.application.as_str()).collect();
        let folds: Vec<Fold> = applications
            .into_iter()
            .map(|application| {
                let (own, others): (Vec<&Judged>, Vec<&Judged>) =
                    judged.iter().partition(|one| one.label.application == application);
                let point = best(&others, near);
                Fold { application: application.to_owned(), point, score: Score::at(&own, point) }
            })
            .collect();
        Self {
            total: folds.iter().fold(Score::default(), |total, fold| total.plus(fold.score)),
            passed_spread: Spread::of(folds.iter().filter_map(|fold| fold.score.passed().value())),
            leaked_spread: Spread::of(folds.iter().filter_map(|fold| fold.score.leaked().value())),
            folds,
        }
    }
}

/// The point at which most passes while no more leaks than may; the nearest to `near` of equals.
fn best(judged: &[&Judged], near: OperatingPoint) -> OperatingPoint {
    let mut best: Option<(OperatingPoint, (bool, f64, f64))> = None;
    for point in grid() {
        let score = Score::at(judged, point);
        let leaked = score.leaked().value().unwrap_or(0.0);
        let notices = score.notices_leaked().value().unwrap_or(0.0);
        let few = leaked <= LEAKED_MAX && notices <= NOTICES_LEAKED_MAX;
        // Where too much leaks at every point, the least leaking one; else the most passing one.
        let gain = if few { score.passed().value().unwrap_or(0.0) } else { -leaked - notices };
        let distance = (point.threshold - near.threshold).abs() + (point.margin - near.margin).abs();
        let rank = (few, gain, -distance);
        if best.is_none_or(|(_, before)| rank > before) {
            best = Some((point, rank));
        }
    }
    best.map_or(near, |(point, _)| point)
}

fn grid() -> impl Iterator<Item = OperatingPoint> {
    let half = |step: i32| f64::from(step) / 2.0;
    (6..=20).flat_map(move |threshold| {
        (0..=10).map(move |margin| OperatingPoint { threshold: half(threshold), margin: half(margin) })
    })
}
