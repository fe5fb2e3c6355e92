//! Series: one value for each set of label values, with a bound on how many there are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The most series of one family. A hundred clients that each send ten categories fit; what is beyond shares one series.
const MOST: usize = 5_000;

/// What stands in every label of the series that is shared by all that are too many.
const OTHER: &str = "other";

/// Between the values of a key; never in a value.
const BETWEEN: char = '\u{1f}';

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All series of one metric.
#[derive(Debug)]
pub struct Family<T> {
    labels: &'static [&'static str],
    series: RwLock<HashMap<String, Arc<T>>>,
    most: usize,
}

impl<T: Default> Family<T> {
    /// A family whose series differ in these labels.
    pub fn new(labels: &'static [&'static str]) -> Self {
        Self { labels, series: RwLock::default(), most: MOST }
    }

    /// The series of these values, in the order of the labels.
    pub fn of(&self, values: &[&str]) -> Arc<T> {
        let key = key(values);
        let read = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(&key) {
            return Arc::clone(known);
        }
        drop(read);
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let fits = series.contains_key(&key) || series.len() < self.most;
        let key = if fits { key } else { self::key(&vec![OTHER; self.labels.len()]) };
        Arc::clone(series.entry(key).or_default())
    }

    /// Every series with its labels, in the order of their values.
    pub(super) fn each(&self, mut show: impl FnMut(&[(&str, &str)], &T)) {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<(&String, &Arc<T>)> = series.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| *key);
        for (key, value) in sorted {
            let labels: Vec<(&str, &str)> = self.labels.iter().copied().zip(key.split(BETWEEN)).collect();
            show(&labels, value);
        }
    }
}

fn key(values: &[&str]) -> String {
    let mut key = String::with_capacity(64);
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            key.push(BETWEEN);
        }
        key.extend(value.chars().filter(|c| *c != BETWEEN));
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(family: &Family<Counter>) -> Vec<(String, u64)> {
        let mut shown = Vec::new();
        family.each(|labels, counter| {
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            shown.push((labels.join(","), counter.get()));
        });
        shown
    }

    #[test]
    fn what_is_too_much_shares_one_series() {
        let family: Family<Counter> = Family { most: 2, ..Family::new(&["a", "b"]) };
        for name in ["one", "two", "three", "four", "one"] {
            family.of(&[name, "x"]).one();
        }
        let expected = [("a=one,b=x", 2), ("a=other,b=other", 2), ("a=two,b=x", 1)];
        assert_eq!(shown(&family), expected.map(|(labels, count)| (labels.to_owned(), count)));
    }

    #[test]
    fn no_value_can_move_into_the_next_label() {
        let family: Family<Counter> = Family::new(&["a", "b"]);
        family.of(&["x\u{1f}y", "z"]).one();
        assert_eq!(shown(&family), [("a=xy,b=z".to_owned(), 1)]);
    }
}
