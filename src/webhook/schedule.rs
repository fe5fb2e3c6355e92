//! When a notice that was not taken is tried again. Pure.

use std::time::Duration;

/// The pauses after each attempt, as Standard Webhooks 1.0 has them; after the last one it is given up.
const PAUSES: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];

/// No endpoint puts us off for longer.
pub(super) const PUT_OFF_MOST: Duration = Duration::from_hours(24);

/// The pause after a notice was tried `attempts` times, lengthened by up to a fifth (`jitter` is in 0..=1), and never
/// shorter than what the endpoint asked for. `None`: it is not tried again.
pub(super) fn pause(attempts: u32, asked: Option<Duration>, jitter: f64) -> Option<Duration> {
    let made = usize::try_from(attempts).unwrap_or(usize::MAX);
    let pause = *PAUSES.get(made.saturating_sub(1))?;
    let pause = pause + pause.mul_f64(jitter.clamp(0.0, 1.0) / 5.0);
    Some(asked.map_or(pause, |asked| pause.max(asked.min(PUT_OFF_MOST))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_attempts_over_three_days_and_no_eleventh() {
        let pauses: Vec<_> = (1..12).map_while(|made| pause(made, None, 0.0)).collect();
        assert_eq!(pauses, PAUSES);
        let all: Duration = pauses.iter().sum();
        assert_eq!(all.as_secs() / 3600, 75);
        assert_eq!(pause(10, None, 0.0), None);
        assert_eq!(pause(1, None, 1.0), Some(Duration::from_secs(6)));
    }

    #[test]
    fn an_endpoint_may_ask_for_a_longer_pause_but_not_for_ever() {
        let asked = |seconds| pause(1, Some(Duration::from_secs(seconds)), 0.0);
        assert_eq!(asked(1), Some(Duration::from_secs(5)));
        assert_eq!(asked(90), Some(Duration::from_secs(90)));
        assert_eq!(asked(u64::MAX), Some(PUT_OFF_MOST));
    }
}
