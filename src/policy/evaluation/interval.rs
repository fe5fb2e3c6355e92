//! Shares of few messages, and how far they can be trusted.

use std::fmt;

use serde::Serialize;

/// So many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub part: usize,
    /// Of how many.
    pub whole: usize,
}

/// The bounds within which a share lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

/// How a figure spreads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// A quarter is below.
    pub lower_quartile: f64,
    /// One half is below.
    pub median: f64,
    /// Three quarters are below.
    pub upper_quartile: f64,
    /// The greatest.
    pub max: f64,
}

/// The quantile of the normal distribution for 95 %.
const Z: f64 = 1.959_964;

impl Share {
    /// From 0 to 1; `None` of nothing.
    pub fn value(self) -> Option<f64> {
        (self.whole > 0).then(|| count(self.part) / count(self.whole))
    }

    /// Wilson's score interval; `None` of nothing.
    pub fn interval(self) -> Option<Interval> {
        let (share, n) = (self.value()?, count(self.whole));
        let middle = share + Z * Z / (2.0 * n);
        let reach = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        Some(Interval { low: ((middle - reach) / scale).max(0.0), high: ((middle + reach) / scale).min(1.0) })
    }
}

/// `34 of 35, 97.1 % (85.5 to 99.5)`
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.value(), self.interval()) {
            (Some(value), Some(Interval { low, high })) => f.pad(&format!(
                "{} of {}, {:.1} % ({:.1} to {:.1})",
                self.part,
                self.whole,
                100.0 * value,
                100.0 * low,
                100.0 * high
            )),
            _ => f.pad("none"),
        }
    }
}

impl Spread {
    /// The spread of `values`; `None` of nothing.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |quarters: usize| sorted.get((sorted.len().checked_sub(1)? * quarters + 2) / 4).copied();
        Some(Self {
            min: at(0)?,
            lower_quartile: at(1)?,
            median: at(2)?,
            upper_quartile: at(3)?,
            max: at(4)?,
        })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, lower_quartile, median, upper_quartile, max } = *self;
        let [min, lower, median, upper, max] =
            [min, lower_quartile, median, upper_quartile, max].map(|share| format!("{:.1}", 100.0 * share));
        write!(f, "{min} | {lower} {median} {upper} | {max} %")
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of messages")]
fn count(messages: usize) -> f64 {
    messages as f64
}
