//! How long things took, in buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper ends of the buckets, in milliseconds. Fine where a person waits for a code (to ten seconds), then up to the
/// lives of the categories: ten minutes, an hour, a day.
pub(super) const ENDS: [u64; 16] = [
    10, 50, 100, 250, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000, 3_600_000,
    21_600_000, 86_400_000,
];

/// A distribution of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; ENDS.len()],
    longer: AtomicU64,
    sum_millis: AtomicU64,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let index = ENDS.partition_point(|end| *end < millis);
        self.buckets.get(index).unwrap_or(&self.longer).fetch_add(1, Ordering::Relaxed);
        self.sum_millis.fetch_add(millis, Ordering::Relaxed);
    }

    /// How many took no longer than each end (in seconds), how many there are in all, and what they took together in
    /// seconds. All counts are of one reading, so that none is smaller than the one before it.
    pub(super) fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut all = 0;
        let below = ENDS.iter().zip(&self.buckets).map(|(end, bucket)| {
            all += bucket.load(Ordering::Relaxed);
            (seconds(*end), all)
        });
        let below: Vec<(f64, u64)> = below.collect();
        let all = all + self.longer.load(Ordering::Relaxed);
        (below, all, seconds(self.sum_millis.load(Ordering::Relaxed)))
    }
}

fn seconds(millis: u64) -> f64 {
    Duration::from_millis(millis).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_every_bucket_from_its_own_on() {
        let histogram = Histogram::default();
        for millis in [0, 10, 11, 2_000, 90_000_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let (below, all, sum) = histogram.read();
        let count = |end: f64| below.iter().find(|(known, _)| (known - end).abs() < 1e-9).unwrap().1;
        assert_eq!((count(0.01), count(0.05), count(1.0), count(2.0)), (2, 3, 3, 4));
        assert_eq!((count(86_400.0), all), (4, 5));
        assert!((sum - 90_002.021).abs() < 1e-6, "{sum}");
    }
}
