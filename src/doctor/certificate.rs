//! What a certificate says of itself, for telling why it is not trusted or when it will not be. Whether it *is* trusted is
//! decided by the TLS library alone.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::clean;
use crate::clock::Timestamp;

const DAY: u64 = 86_400;

/// The names that are listed at most.
const NAMES_MOST: usize = 5;

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) begins: Timestamp,
    pub(super) ends: Timestamp,
    /// The host names it is for.
    names: Vec<String>,
    issuer: String,
    is_self_signed: bool,
}

impl Certificate {
    pub(super) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        let instant = |seconds: i64| Timestamp::from_millis(seconds.saturating_mul(1000));
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let names =
            alternative.iter().flat_map(|all| &all.value.general_names).filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(clean(name).to_ascii_lowercase()),
                GeneralName::IPAddress(octets) => address(octets),
                _ => None,
            });
        Some(Self {
            begins: instant(validity.not_before.timestamp()),
            ends: instant(validity.not_after.timestamp()),
            names: names.collect(),
            issuer: clean(&certificate.issuer().to_string()),
            is_self_signed: certificate.issuer() == certificate.subject(),
        })
    }

    /// Why it is not trusted for `host`, as far as the certificate itself tells, and what to do.
    pub(super) fn explain(&self, host: &str, now: Timestamp) -> (String, String) {
        if self.ends <= now {
            let text = format!(
                "its certificate ended {} ago, at {}",
                super::days(self.days_since(now)),
                self.ends()
            );
            return (text, "tell who runs it; if it is not so, this machine's clock is wrong".to_owned());
        }
        if self.begins > now {
            let text = format!("its certificate begins at {}", self.begins.to_rfc3339());
            return (text, "set this machine's clock; if that is right, tell who runs it".to_owned());
        }
        if !self.is_for(host) {
            let text = format!("its certificate is for {}, not for {host}", self.named());
            return (
                text,
                "write one of these names as `host`, or into `url`; if none is the one you mean, somebody is in between"
                    .to_owned(),
            );
        }
        if self.is_self_signed {
            let advice = "if it is your own, put its certificate into a file and name that as `ca_file`";
            return ("its certificate is self-signed".to_owned(), advice.to_owned());
        }
        let text = format!("its certificate is signed by {}, whom this machine does not trust", self.issuer);
        let advice = "install the package ca-certificates; for a private authority name its certificate as \
                      `ca_file`; a server that does not send its whole chain looks like this too";
        (text, advice.to_owned())
    }

    /// How long it is still good.
    pub(super) fn days_left(&self, now: Timestamp) -> u64 {
        now.until(self.ends).as_secs() / DAY
    }

    /// Whether it should have been renewed: less than a week and less than a quarter of its life is left.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        let left = now.until(self.ends);
        left < Duration::from_hours(7 * 24) && left < self.begins.until(self.ends) / 4
    }

    /// When it ends, for people.
    pub(super) fn ends(&self) -> String {
        self.ends.to_rfc3339()
    }

    fn days_since(&self, now: Timestamp) -> u64 {
        self.ends.until(now).as_secs() / DAY
    }

    fn is_for(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(covered) => parent == Some(covered),
            None => *name == host,
        })
    }

    fn named(&self) -> String {
        match self.names.len() {
            0 => "no host name at all".to_owned(),
            count if count > NAMES_MOST => {
                format!("{} and {} others", self.names[..NAMES_MOST].join(", "), count - NAMES_MOST)
            }
            _ => self.names.join(", "),
        }
    }
}

/// Until when a chain is good, in words, and whether it should have been renewed. The first of it to end ends all of it.
pub(super) fn until(chain: &[CertificateDer<'_>], now: Timestamp) -> (String, bool) {
    let soonest = chain.iter().filter_map(Certificate::read).min_by_key(|certificate| certificate.ends);
    match soonest {
        Some(certificate) => {
            let left = super::days(certificate.days_left(now));
            (format!("certificate until {} ({left})", certificate.ends()), certificate.is_overdue(now))
        }
        None => ("certificate trusted".to_owned(), false),
    }
}

fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(std::net::IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(octets).map(std::net::IpAddr::from));
    address.ok().map(|address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(names: &[&str], from: (i32, u8), to: (i32, u8)) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, 1);
        params.not_after = date_time_ymd(to.0, to.1, 1);
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Certificate::read(der.der()).unwrap()
    }

    fn at(date: &str) -> Timestamp {
        Timestamp::from_millis(date.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn the_reason_is_found_in_the_certificate() {
        let now = at("2026-06-01T00:00:00Z");
        let fine = ((2026, 1), (2027, 1));
        for (names, (from, to), host, expected) in [
            (&["a.example"][..], ((2025, 1), (2026, 5)), "a.example", "ended 31 days ago, at 2026-05-01"),
            (&["a.example"], ((2026, 7), (2027, 1)), "a.example", "begins at 2026-07-01"),
            (
                &["b.example", "*.c.example"],
                fine,
                "a.example",
                "is for b.example, *.c.example, not for a.example",
            ),
            (&["*.c.example"], fine, "x.y.c.example", "not for x.y.c.example"),
            (&["*.c.example"], fine, "X.c.example", "self-signed"),
            (&["127.0.0.1"], fine, "127.0.0.1", "self-signed"),
            (&[], fine, "a.example", "is for no host name at all"),
        ] {
            let (text, advice) = certificate(names, from, to).explain(host, now);
            assert!(text.contains(expected) && !advice.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_certificate_is_overdue_in_its_last_week_or_its_last_quarter_if_that_is_shorter() {
        let year = certificate(&["a.example"], (2026, 1), (2027, 1));
        assert!(!year.is_overdue(at("2026-12-20T00:00:00Z")));
        assert!(year.is_overdue(at("2026-12-28T00:00:00Z")));
        assert_eq!(year.days_left(at("2026-12-28T00:00:00Z")), 4);
    }
}
