//! What concerns phones: numbers, countries, limits, and the names that Twilio gives to things.

use std::time::Duration;

use super::{Parsed, Wrong, duration, show_duration};
use crate::config::words::quote;
use crate::deliver::TwilioFrom;
use crate::guard::sms::Limit;
use crate::mail::PhoneNumber;
use crate::phone::{self, Country, PhoneError};

const LIMIT_SHORTEST: Duration = Duration::from_secs(1);
const LIMIT_LONGEST: Duration = Duration::from_hours(31 * 24);

/// What people write for countries, and ISO 3166-1 does not.
const MISTAKEN: [(&str, &str); 6] =
    [("UK", "GB"), ("EN", "GB"), ("USA", "US"), ("GER", "DE"), ("DEU", "DE"), ("EL", "GR")];

/// `DE`, `gb`.
pub(in crate::config) fn country(text: &str) -> Parsed<Country> {
    let meant = MISTAKEN.iter().find(|(mistaken, _)| mistaken.eq_ignore_ascii_case(text));
    let help = meant.map_or_else(
        || "write the two letters of ISO 3166-1, such as \"GB\" or \"DE\"".to_owned(),
        |(_, country)| format!("did you mean {}?", quote(country)),
    );
    let known = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    let found = if known { Country::parse(text) } else { None };
    found.ok_or_else(|| Wrong::not(text, "a country").help(help))
}

/// `+12025550100`.
pub(in crate::config) fn number(text: &str) -> Parsed<PhoneNumber> {
    let help = "write it in E.164, with its country: \"+12025550100\"";
    match phone::parse(text, None) {
        Ok(dialled) => Ok(dialled.number),
        Err(PhoneError::NoCountry) => Err(Wrong::from(format!("{} has no country", quote(text))).help(help)),
        Err(PhoneError::Shape) => Err(Wrong::not(text, "a phone number").help(help)),
    }
}

/// `5/10m`: at most five within ten minutes.
pub(in crate::config) fn limit(text: &str) -> Parsed<Limit> {
    let wrong = || {
        Wrong::not(text, "a limit").help("write how many, a slash, and within which time, such as \"5/10m\"")
    };
    let (most, within) = text.split_once('/').ok_or_else(wrong)?;
    let most: u32 = most.trim().parse().map_err(|_| wrong())?;
    let within = duration(within).map_err(|_| wrong())?;
    if most == 0 {
        return Err(Wrong::from(format!("{} lets nothing through", quote(text))).help("write at least 1"));
    }
    if !(LIMIT_SHORTEST..=LIMIT_LONGEST).contains(&within) {
        let (least, most) = (show_duration(LIMIT_SHORTEST), show_duration(LIMIT_LONGEST));
        return Err(Wrong::from(format!("the time of a limit must be between {least} and {most}")));
    }
    Ok(Limit { most, within })
}

/// A limit as [`limit`] reads it.
pub fn show_limit(limit: &Limit) -> String {
    format!("{}/{}", limit.most, show_duration(limit.within))
}

/// `AC` and 32 hexadecimal digits. What is wrong is never quoted: an auth token in the wrong place looks much like it.
pub(in crate::config) fn account_sid(text: &str) -> Parsed<String> {
    sid(text, "AC", "an account SID")
}

/// `SK` and 32 hexadecimal digits.
pub(in crate::config) fn api_key_sid(text: &str) -> Parsed<String> {
    sid(text, "SK", "the SID of an API key")
}

/// `MG` and 32 hexadecimal digits.
pub(in crate::config) fn messaging_service_sid(text: &str) -> Parsed<String> {
    sid(text, "MG", "the SID of a Messaging Service")
}

fn sid(text: &str, prefix: &str, what: &str) -> Parsed<String> {
    let digits = text.strip_prefix(prefix);
    if digits.is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Ok(text.to_owned());
    }
    let (wanted, length) = (format!("{what} is {prefix} and 32 hexadecimal digits"), text.chars().count());
    Err(Wrong::from(format!("{wanted}, this text has {length} characters"))
        .help("it stands in the Twilio Console"))
}

/// A number of the account, a short code, or an alphanumeric sender.
pub(in crate::config) fn from(text: &str) -> Parsed<TwilioFrom> {
    if messaging_service_sid(text).is_ok() {
        let message = "this is a Messaging Service, not a sender".to_owned();
        return Err(Wrong::from(message).help("write messaging_service_sid = \"MG...\""));
    }
    let short_code = (3..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let alphanumeric = (1..=11).contains(&text.len())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" +-_&".contains(&byte))
        && text.trim() == text;
    if short_code || alphanumeric || PhoneNumber::parse(text).is_ok() {
        return Ok(TwilioFrom::From(text.to_owned()));
    }
    Err(Wrong::not(text, "a sender of texts").help(
        "write a number in E.164 (\"+12025550100\"), a short code, or up to 11 letters and digits with a letter",
    ))
}

/// The same, or a Messaging Service.
pub(in crate::config) fn from_or_service(text: &str) -> Parsed<TwilioFrom> {
    messaging_service_sid(text).map(TwilioFrom::MessagingService).or_else(|_| from(text))
}

/// The beginning of numbers: `+44`.
pub(in crate::config) fn prefix(text: &str) -> Parsed<()> {
    let digits = text.strip_prefix('+').unwrap_or_default();
    let fine = (1..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    if fine {
        return Ok(());
    }
    Err(Wrong::not(text, "the beginning of phone numbers").help("write it like \"+44\""))
}

/// A file mode in octal: `0660`.
pub(in crate::config) fn mode(text: &str) -> Parsed<u32> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = if octal { u32::from_str_radix(text, 8).ok() } else { None };
    mode.filter(|mode| *mode <= 0o777)
        .ok_or_else(|| Wrong::not(text, "a file mode").help("write it in octal, such as \"0660\""))
}

/// One label of a host name of Twilio's: `ie1`, `dublin`.
pub(in crate::config) fn label(text: &str) -> Parsed<String> {
    let fine = (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fine { Ok(text.to_owned()) } else { Err(Wrong::not(text, "one of Twilio's names for a place")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_are_read_as_people_write_them() {
        let ten = Limit { most: 5, within: Duration::from_mins(10) };
        assert_eq!(limit("5/10m"), Ok(ten));
        assert_eq!(limit("5 / 10m"), Ok(ten));
        assert_eq!(limit("1/1h 30m").unwrap().within, Duration::from_mins(90));
        for text in
            ["", "5", "/10m", "5/", "0/10m", "-1/10m", "5/10", "5/10m/1h", "5/0s", "5/32d", "5000000000/1d"]
        {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_sid_that_is_wrong_is_never_quoted() {
        let digits = "0123456789abcdef0123456789ABCDEF";
        assert!(account_sid(&format!("AC{digits}")).is_ok());
        assert!(api_key_sid(&format!("SK{digits}")).is_ok());
        for text in [digits.to_owned(), format!("SK{digits}"), format!("AC{digits}0"), "AC".to_owned()] {
            let wrong = account_sid(&text).unwrap_err();
            assert!(!wrong.message.contains(digits), "{}", wrong.message);
        }
    }

    #[test]
    fn senders_of_texts_are_numbers_short_codes_or_names() {
        for text in ["+12025550100", "12345", "ACME", "Acme Inc", "A1", "A&B-C_D+E"] {
            assert_eq!(from(text), Ok(TwilioFrom::From(text.to_owned())), "{text}");
        }
        for text in
            ["", "12", "123456789", "2025550100", "A name of 12", "Müller", " A", "A\n", "+1", "1 2 3"]
        {
            assert!(from(text).is_err(), "{text}");
        }
        let service = format!("MG{}", "0".repeat(32));
        assert!(from(&service).unwrap_err().help.unwrap().contains("messaging_service_sid"));
        assert_eq!(from_or_service(&service), Ok(TwilioFrom::MessagingService(service)));
    }

    #[test]
    fn prefixes_and_modes_are_exact() {
        for text in ["+1", "+44", "+4915"] {
            assert!(prefix(text).is_ok(), "{text}");
        }
        for text in ["", "44", "+", "+0", "+44x", "0044"] {
            assert!(prefix(text).is_err(), "{text}");
        }
        assert_eq!(mode("0660"), Ok(0o660));
        assert_eq!(mode("600"), Ok(0o600));
        for text in ["", "66", "0888", "1777", "rw-rw----", "+660"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(most in 1u32.., seconds in 1u64..31 * 86_400) {
            let whole = Limit { most, within: Duration::from_secs(seconds) };
            prop_assert_eq!(limit(&show_limit(&whole)), Ok(whole));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = (limit(&text), from_or_service(&text), account_sid(&text), prefix(&text), mode(&text));
            let _ = (label(&text), country(&text), number(&text));
        }
    }
}
