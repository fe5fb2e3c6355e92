//! `X-Twilio-Signature`: Base64 of the HMAC-SHA1, under the account's auth token, of the address that was called and of
//! every form field, sorted, name and value without anything between.
//!
//! The address is the one that the provider called: our configured one with the path and query exactly as they came,
//! never the Host field. Comparing takes the same time whatever it is compared with.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secret::Secret;

/// A signature as it was sent. HMAC-SHA1 gives 20 bytes; what is something else fits nothing.
pub(super) struct Signature(Vec<u8>);

impl Signature {
    /// The signature from the field's value.
    pub(super) fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok().filter(|bytes| bytes.len() == 20).map(Self)
    }

    /// Whether it is that of this call. The provider signs the address with or without its port: all forms are tried,
    /// whichever fits.
    pub(super) fn fits(&self, auth_token: &Secret, url: &str, signed: &SignedFields) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth_token.reveal().as_bytes());
        let verified = forms(url).map(|url| {
            let data = [url.as_bytes(), signed.0.as_bytes()].concat();
            hmac::verify(&key, &data, &self.0).is_ok()
        });
        verified.into_iter().fold(false, |any, one| any | one)
    }
}

/// The form's part of what is signed: fields sorted by name, equal ones dropped.
pub(super) struct SignedFields(String);

impl SignedFields {
    /// From the decoded fields of the form.
    pub(super) fn new(form: &[(String, String)]) -> Self {
        let mut sorted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, value) in form {
            sorted.entry(name).or_default().insert(value);
        }
        let mut signed = String::new();
        for (name, values) in sorted {
            for value in values {
                signed.push_str(name);
                signed.push_str(value);
            }
        }
        Self(signed)
    }
}

/// The address as configured, without its port, and with its port or the standard one.
fn forms(url: &str) -> [String; 3] {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // The colons of an IPv6 address stand before its bracket.
    let port_at = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let (host, port) = authority.split_at(port_at.unwrap_or(authority.len()));
    let port = match (port, scheme) {
        ("", "https") => ":443",
        ("", "http") => ":80",
        (port, _) => port,
    };
    [url.to_owned(), format!("{scheme}://{host}{target}"), format!("{scheme}://{host}{port}{target}")]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";

    fn fields(form: &[(&str, &str)]) -> SignedFields {
        let form: Vec<_> =
            form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        SignedFields::new(&form)
    }

    fn call() -> SignedFields {
        fields(&[
            ("CallSid", "CA1234567890ABCDE"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
            ("Caller", "+14158675309"),
        ])
    }

    fn fits(signature: &str, url: &str, signed: &SignedFields) -> bool {
        let token = Secret::new("12345");
        Signature::parse(signature).is_some_and(|signature| signature.fits(&token, url, signed))
    }

    /// The vectors of the provider's own library.
    #[test]
    fn known_signatures_fit() {
        assert!(fits("RSOYDt4T1cUTdK1PDd93/VVr8B8=", URL, &call()));
        let http = "http://mycompany.com:1234/myapp.php?foo=1&bar=2";
        assert!(fits("Zmvh+3yNM1Phv2jhDCwEM3q5ebU=", http, &call()));
        let twice = [("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234")];
        let twice = fields(&[&twice[..], &[("Digits", "1234")]].concat());
        assert!(fits("IK+Dwps556ElfBT0I3Rgjkr1wJU=", URL, &twice));
    }

    #[test]
    fn the_port_may_be_signed_or_not() {
        let signature = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
        assert!(fits(signature, "https://mycompany.com:443/myapp.php?foo=1&bar=2", &call()));
        assert!(fits(signature, "https://mycompany.com:1234/myapp.php?foo=1&bar=2", &call()));
        let expected = |url: &str| forms(url)[1..].to_vec();
        assert_eq!(expected("https://a.example/x:1"), ["https://a.example/x:1", "https://a.example:443/x:1"]);
        assert_eq!(expected("http://a.example?x"), ["http://a.example?x", "http://a.example:80?x"]);
        assert_eq!(expected("https://[::1]/x"), ["https://[::1]/x", "https://[::1]:443/x"]);
        assert_eq!(expected("https://[::1]:8443/x"), ["https://[::1]/x", "https://[::1]:8443/x"]);
    }

    #[test]
    fn anything_that_is_changed_makes_it_not_fit() {
        let signature = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
        for url in [
            "https://mycompany.com/myapp.php?bar=2&foo=1",
            "https://mycompany.com/myapp.php?foo=1&bar=2&",
            "https://mycompany.example/myapp.php?foo=1&bar=2",
            "http://mycompany.com/myapp.php?foo=1&bar=2",
        ] {
            assert!(!fits(signature, url, &call()), "{url}");
        }
        assert!(!fits(signature, URL, &fields(&[("CallSid", "CA1234567890ABCDE")])));
        assert!(!fits("SSOYDt4T1cUTdK1PDd93/VVr8B8=", URL, &call()));
        for broken in
            ["", "RSOYDt4T1cUTdK1PDd93/VVr8B8", "RSOYDt4T1cUTdK1PDd93", "!", " RSOYDt4T1cUTdK1PDd93/VVr8B8="]
        {
            assert!(!fits(broken, URL, &call()), "{broken}");
        }
        let other = Secret::new("12346");
        assert!(!Signature::parse(signature).unwrap().fits(&other, URL, &call()));
    }

    proptest! {
        #[test]
        fn no_signature_of_chance_fits_and_no_address_is_too_strange(
            bytes in proptest::array::uniform20(any::<u8>()),
            url in ".{0,60}",
        ) {
            let signature = STANDARD.encode(bytes);
            prop_assert!(!fits(&signature, &url, &call()));
        }
    }
}
