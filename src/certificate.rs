//! When a certificate ends. What it is for and who signed it is the TLS library's.

use std::time::Duration;

use x509_parser::pem::Pem;

use crate::clock::Timestamp;

/// How long before its end a certificate is warned of: long enough for a holiday, and after what renews them should have.
const WARN_AHEAD: Duration = Duration::from_hours(21 * 24);
const DAY: Duration = Duration::from_hours(24);

/// When the first of the certificates in a PEM file ends: from then on the file as a whole is of no use. `None`: there
/// is none that can be read.
pub fn first_end(pem: &[u8]) -> Option<Timestamp> {
    let ends = Pem::iter_from_buffer(pem).filter_map(|found| {
        let pem = found.ok()?;
        let end = pem.parse_x509().ok()?.validity().not_after.timestamp();
        Some(Timestamp::from_millis(end.saturating_mul(1000)))
    });
    ends.min()
}

/// What to warn of, where the end is near or has passed.
pub fn warning(end: Timestamp, now: Timestamp) -> Option<String> {
    let at = end.to_rfc3339();
    if end <= now {
        return Some(format!("ended at {at}: clients that verify it can't connect"));
    }
    let days = now.until(end).as_secs() / DAY.as_secs();
    (end < now.plus(WARN_AHEAD)).then(|| match days {
        0 => format!("ends today, at {at}"),
        1 => format!("ends tomorrow, at {at}"),
        days => format!("ends in {days} days, at {at}"),
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn ending(year: i32) -> String {
        let mut params = CertificateParams::new(vec!["relay.example".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 3, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn the_first_end_of_a_chain_counts_in_both_forms_of_the_date() {
        // Until 2049 the year has two digits, from then on four (RFC 5280 section 4.1.2.5).
        for (years, first) in [(&[2031][..], "2031"), (&[2055], "2055"), (&[2055, 2033, 2040], "2033")] {
            let chain: String = years.iter().map(|year| ending(*year)).collect();
            let end = first_end(chain.as_bytes()).unwrap();
            assert_eq!(end.to_rfc3339(), format!("{first}-03-01T00:00:00Z"));
        }
    }

    #[test]
    fn an_end_is_warned_of_three_weeks_ahead() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let warned = |days: u64| warning(now.plus(DAY * u32::try_from(days).unwrap()), now);
        assert_eq!(warned(21), None);
        assert!(warned(20).unwrap().starts_with("ends in 20 days, at 20"));
        assert!(warned(1).unwrap().starts_with("ends tomorrow"));
        assert!(warning(now.plus(DAY / 2), now).unwrap().starts_with("ends today"));
        assert!(warning(now, now).unwrap().starts_with("ended at 2027-01-15T08:00:00Z"));
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let key = KeyPair::generate().unwrap().serialize_pem();
        for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "garbage", &key] {
            assert_eq!(first_end(text.as_bytes()), None, "{text}");
        }
    }
}
