//! Whether the codes sent to a country are used. Pure: the counters are read by the caller.
//!
//! Who earns by having texts sent asks for codes and never uses them. The share of used codes is looked at over six hours,
//! in windows that the store counts; it needs applications that tell what became of their codes.

use std::time::Duration;

use super::{Conversion, Objection};
use crate::clock::Timestamp;
use crate::phone::Country;

/// The counter of codes that were sent to a country.
pub const CONVERSION_SENT: &str = "conversion-sent";

/// The counter of those that were used, in the window in which the code was taken.
pub const CONVERSION_USED: &str = "conversion-used";

/// The length of a window; windows are aligned to 1970-01-01 UTC.
pub const CONVERSION_WINDOW: Duration = Duration::from_mins(15);

/// With fewer codes sent than this, nothing is concluded.
pub const LEAST_SENT: u64 = 100;

/// How many windows are looked at.
const WINDOWS: i64 = 24;

/// How many of the youngest windows are left out: the one that runs, and the one before it. A code that was sent at its
/// end may still be on its way to being used, and a country that has just begun to be used must not be closed for that.
const TOO_YOUNG: i64 = 2;

/// Objects where a watched country uses too few of its codes. `sent` and `used` are the sums over [`conversion_windows`].
pub fn converts(
    config: &Conversion,
    country: Option<Country>,
    sent: u64,
    used: u64,
) -> Result<(), Objection> {
    let Some(country) = country.filter(|country| config.countries.contains(country)) else {
        return Ok(());
    };
    let enough = used.saturating_mul(100) >= sent.saturating_mul(u64::from(config.least_percent));
    if sent < LEAST_SENT || enough { Ok(()) } else { Err(Objection::Conversion(country)) }
}

/// The starts of the windows to look at, the youngest first.
pub fn conversion_windows(now: Timestamp) -> Vec<Timestamp> {
    let length = i64::try_from(CONVERSION_WINDOW.as_millis()).unwrap_or(i64::MAX);
    let running = now.as_millis().div_euclid(length);
    (TOO_YOUNG..TOO_YOUNG + WINDOWS)
        .map(|back| Timestamp::from_millis(running.saturating_sub(back).saturating_mul(length)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(least_percent: u32) -> Conversion {
        Conversion { countries: Country::parse("GB").into_iter().collect(), least_percent }
    }

    #[test]
    fn a_watched_country_that_does_not_use_its_codes_is_closed() {
        let country = Country::parse("GB").unwrap();
        let closed = Err(Objection::Conversion(country));
        for (sent, used, expected) in [
            (0, 0, Ok(())),
            (99, 0, Ok(())),
            (100, 0, closed),
            (100, 9, closed),
            (100, 10, Ok(())),
            (1_009, 100, closed),
            (100, 500, Ok(())),
            (u64::MAX, 0, closed),
            (u64::MAX, u64::MAX, Ok(())),
        ] {
            assert_eq!(converts(&watched(10), Some(country), sent, used), expected, "{used} of {sent}");
        }
    }

    #[test]
    fn other_countries_stay_open() {
        assert_eq!(converts(&watched(100), Country::parse("JE"), 1_000, 0), Ok(()));
        assert_eq!(converts(&watched(100), None, 1_000, 0), Ok(()));
        assert_eq!(converts(&Conversion::default(), Country::parse("GB"), 1_000, 0), Ok(()));
    }

    #[test]
    fn windows_are_six_hours_of_quarters_but_for_the_youngest() {
        let minutes = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        // 10:07 on the first of January 1970.
        let windows = conversion_windows(minutes(607));
        assert_eq!(windows.len(), 24);
        assert_eq!(windows[0], minutes(570), "9:30 to 9:45; 9:45 is just over and 10:00 still runs");
        assert_eq!(windows[23], minutes(570 - 23 * 15));
        assert!(windows.windows(2).all(|pair| pair[0].since(pair[1]) == CONVERSION_WINDOW));
        assert_eq!(conversion_windows(minutes(600)), windows, "the first instant belongs to the window");
        assert_ne!(conversion_windows(minutes(615)), windows);
        for edge in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(conversion_windows(Timestamp::from_millis(edge)).len(), 24, "{edge}");
        }
    }
}
