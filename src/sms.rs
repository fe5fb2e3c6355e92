//! The one text that is ever sent as SMS. Pure.
//!
//! There is no other, and no setting that changes it, but for the origin-bound form that browsers fill in by themselves
//! (WICG, Origin-bound one-time codes). A text is one GSM-7 segment or it is not made.
//!
//! Neither code nor host is trusted: a code is ASCII letters and digits, a host is a host name in lower case. So nothing
//! that either of them holds can begin a line or end a field, and code and host can be read back from every text.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The most characters of one segment (3GPP TS 23.038, section 6.2.1).
pub const SEGMENT: usize = 160;

/// What a one-time code proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Factor {
    /// It lets the person in.
    Primary,
    /// It comes on top of a password.
    Secondary,
}

impl Factor {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }

    /// The category of a code for it.
    pub fn category(self) -> &'static str {
        match self {
            Self::Primary => "signin",
            Self::Secondary => "mfa",
        }
    }
}

/// Which codes are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeRule {
    /// The fewest characters, 4 or more.
    pub shortest: usize,
    /// The most characters, 10 or fewer.
    pub longest: usize,
    /// Whether ASCII letters are taken beside digits.
    pub letters: bool,
}

impl Default for CodeRule {
    fn default() -> Self {
        Self { shortest: 4, longest: 10, letters: false }
    }
}

/// Why a code, or a text with it, is not made. Never quotes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The code is not as the rule says.
    #[error("a code has {shortest} to {longest} {kind}")]
    Code {
        /// The fewest characters.
        shortest: usize,
        /// The most characters.
        longest: usize,
        /// `digits`, or `letters or digits`.
        kind: &'static str,
    },
    /// It does not fit into one segment.
    #[error("the text has {septets} characters, and one SMS holds {SEGMENT}")]
    TooLong {
        /// How many it has.
        septets: usize,
    },
    /// A character that GSM-7 does not have.
    #[error("the host has a character that can't stand in an SMS")]
    NotGsm7,
    /// The host is no host name as it stands in a URL.
    #[error(
        "the host is not a host name in lower case, without scheme and port, other scripts as A-labels (xn--...)"
    )]
    Host,
}

/// The codes that any rule may let through.
const WIDEST: CodeRule = CodeRule { shortest: 4, longest: 10, letters: true };

/// Checks a code.
pub fn check_code(code: &Secret, rule: CodeRule) -> Result<(), TextError> {
    let CodeRule { shortest, longest, letters } = rule;
    let taken = |byte: u8| byte.is_ascii_digit() || letters && byte.is_ascii_alphabetic();
    let code = code.reveal();
    if (shortest..=longest).contains(&code.len()) && code.bytes().all(taken) {
        return Ok(());
    }
    let kind = if letters { "ASCII letters or digits" } else { "digits" };
    Err(TextError::Code { shortest, longest, kind })
}

/// The text, checked to be one segment.
pub fn text(code: &Secret, host: &str, origin_bound: bool) -> Result<Zeroizing<String>, TextError> {
    check_code(code, WIDEST)?;
    check_host_name(host)?;
    one_segment(compose(code.reveal(), host, origin_bound))
}

/// Whether the text fits for this host, whatever code the rule lets through.
pub fn check_host(host: &str, rule: CodeRule, origin_bound: bool) -> Result<(), TextError> {
    check_host_name(host)?;
    one_segment(compose(&"0".repeat(rule.longest), host, origin_bound)).map(drop)
}

/// The only place that knows the wording. The room is made beforehand, so that no copy of a code is left behind.
fn compose(code: &str, host: &str, origin_bound: bool) -> Zeroizing<String> {
    let parts = if origin_bound {
        [code, " is your one-time code to sign in to ", host, "\n\n@", host, " #", code]
    } else {
        [code, " is your one-time code to sign in to ", host, " #", code, "", ""]
    };
    let mut text = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        text.push_str(part);
    }
    text
}

fn one_segment(text: Zeroizing<String>) -> Result<Zeroizing<String>, TextError> {
    if !text.chars().all(is_gsm7) {
        return Err(TextError::NotGsm7);
    }
    let septets = text.len();
    if septets > SEGMENT { Err(TextError::TooLong { septets }) } else { Ok(text) }
}

/// Whether an ASCII character is in the default alphabet, where it takes one septet (3GPP TS 23.038, section 6.2.1). The
/// others of ASCII take two or do not exist there; nothing outside ASCII is ever sent.
fn is_gsm7(character: char) -> bool {
    match character {
        '\n' | '\r' => true,
        '[' | '\\' | ']' | '^' | '`' | '{' | '|' | '}' | '~' => false,
        other => matches!(other, ' '..='~'),
    }
}

/// The most octets of a host name and of one label (RFC 1035 section 2.3.4).
const HOST_MAX: usize = 253;
const LABEL_MAX: usize = 63;

fn check_host_name(host: &str) -> Result<(), TextError> {
    if !host.chars().all(is_gsm7) {
        return Err(TextError::NotGsm7);
    }
    let of_a_label =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(of_a_label)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() <= HOST_MAX && host.split('.').all(is_label) { Ok(()) } else { Err(TextError::Host) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LETTERS: CodeRule = CodeRule { shortest: 4, longest: 10, letters: true };

    fn made(code: &str, host: &str, origin_bound: bool) -> Result<String, TextError> {
        text(&Secret::new(code), host, origin_bound).map(|text| text.to_string())
    }

    /// What a browser reads from the last line (WICG, Origin-bound one-time codes, parsing), and what stands before it.
    fn last_line(text: &str) -> Option<(&str, &str)> {
        text.lines().last()?.strip_prefix('@')?.split_once(" #")
    }

    #[test]
    fn the_text_is_this_one_and_no_other() {
        assert_eq!(
            made("123456", "example.com", false).unwrap(),
            "123456 is your one-time code to sign in to example.com #123456"
        );
        assert_eq!(
            made("123456", "example.com", true).unwrap(),
            "123456 is your one-time code to sign in to example.com\n\n@example.com #123456"
        );
        assert_eq!(
            made("Ab12", "xn--mller-kva.example", false).unwrap(),
            "Ab12 is your one-time code to sign in to xn--mller-kva.example #Ab12"
        );
    }

    #[test]
    fn codes_are_as_the_rule_says() {
        let check = |code: &str, rule| check_code(&Secret::new(code), rule);
        let rule = CodeRule::default();
        for code in ["1234", "000000", "1234567890"] {
            assert_eq!(check(code, rule), Ok(()), "{code}");
            assert_eq!(check(code, LETTERS), Ok(()), "{code}");
        }
        assert_eq!(check("aZ09", LETTERS), Ok(()));
        let error = TextError::Code { shortest: 4, longest: 10, kind: "digits" };
        for code in
            ["", "123", "12345678901", "12a4", "12 34", "1234\n", "12#4", "１２３４", "١٢٣٤", "12-34", "+123"]
        {
            assert_eq!(check(code, rule), Err(error.clone()), "{code:?}");
        }
        for code in ["", "abc", "abcdefghijk", "ab d", "äbcd", "ab@d", "ab#d", "ab\0d", "ab\u{301}d"] {
            assert!(check(code, LETTERS).is_err(), "{code:?}");
            assert!(made(code, "example.com", false).is_err(), "{code:?}");
        }
        assert_eq!(error.to_string(), "a code has 4 to 10 digits");
        let six = CodeRule { shortest: 6, longest: 6, letters: false };
        assert_eq!((check("123456", six).is_ok(), check("12345", six).is_ok()), (true, false));
    }

    #[test]
    fn hosts_are_host_names_in_lower_case() {
        for host in ["example.com", "localhost", "a_b.example", "a-b.c-d.example", "127.0.0.1", "xn--p1ai"] {
            assert_eq!(check_host(host, LETTERS, true), Ok(()), "{host}");
        }
        let long_label = format!("{}.example", "a".repeat(64));
        for host in [
            "",
            ".",
            "example.com.",
            ".example.com",
            "a..b",
            "-a.example",
            "a-.example",
            "Example.com",
            "example.com:443",
            "https://example.com",
            "example.com/path",
            "a b.example",
            "a\nb.example",
            "@example.com",
            "a#b.example",
            "a%b",
            "user@example.com",
            long_label.as_str(),
        ] {
            assert_eq!(check_host(host, LETTERS, false), Err(TextError::Host), "{host:?}");
            assert_eq!(made("1234", host, true), Err(TextError::Host), "{host:?}");
        }
        for host in ["müller.example", "[::1]", "a`b", "a\tb", "пример.рф", "a\u{2028}b", "a~b"] {
            assert_eq!(check_host(host, LETTERS, false), Err(TextError::NotGsm7), "{host:?}");
        }
    }

    /// The longest host that fits is known before the first code comes, for either form.
    #[test]
    fn a_host_that_passes_the_check_passes_with_every_code() {
        let host = |length: usize| {
            let mut host = "a".repeat(length);
            host.replace_range(length / 2..=length / 2, ".");
            host
        };
        for (origin_bound, longest) in [(false, 160 - 59), (true, (160 - 62) / 2)] {
            let (fits, not) = (host(longest), host(longest + 1));
            assert_eq!(check_host(&fits, CodeRule::default(), origin_bound), Ok(()));
            assert!(made("1234567890", &fits, origin_bound).unwrap().len() >= 159);
            let error = check_host(&not, CodeRule::default(), origin_bound).unwrap_err();
            assert!(matches!(error, TextError::TooLong { septets: 161 | 162 }), "{error:?}");
            assert_eq!(made("1234567890", &not, origin_bound), Err(error));
        }
        let short = CodeRule { shortest: 4, longest: 6, letters: false };
        assert_eq!(check_host(&host(160 - 51), short, false), Ok(()));
    }

    proptest! {
        #[test]
        fn every_text_is_one_segment_and_is_read_back(
            code in "[0-9A-Za-z]{4,10}",
            host in "[a-z0-9_]{1,20}(\\.[a-z0-9]{1,20}){0,2}",
            origin_bound: bool,
        ) {
            prop_assume!(check_host(&host, LETTERS, origin_bound).is_ok());
            let text = made(&code, &host, origin_bound).unwrap();
            prop_assert!(text.is_ascii() && text.len() <= SEGMENT && text.chars().all(is_gsm7));
            prop_assert!(!text.ends_with('\n'));
            prop_assert_eq!(text.lines().count(), if origin_bound { 3 } else { 1 });
            prop_assert_eq!(text.matches('#').count(), 1);
            prop_assert_eq!(text.matches('@').count(), usize::from(origin_bound));
            let first = text.lines().next().unwrap();
            let (before, rest) = first.split_once(" is your one-time code to sign in to ").unwrap();
            prop_assert_eq!(before, &code);
            if origin_bound {
                prop_assert_eq!(rest, &host);
                prop_assert_eq!(last_line(&text), Some((host.as_str(), code.as_str())));
            } else {
                prop_assert_eq!(rest.split_once(" #"), Some((host.as_str(), code.as_str())));
            }
        }

        #[test]
        fn nothing_but_codes_and_hosts_gets_into_a_text(code: String, host: String, origin_bound: bool) {
            let text = made(&code, &host, origin_bound);
            let fine = check_code(&Secret::new(code.as_str()), LETTERS).is_ok();
            prop_assert!(fine || text.is_err());
            if let Ok(text) = text {
                prop_assert!(text.is_ascii() && text.len() <= SEGMENT);
                prop_assert_eq!(text.lines().count(), if origin_bound { 3 } else { 1 });
            }
        }

        /// Nearly right input finds gaps that any input does not.
        #[test]
        fn no_mark_gets_in_at_any_place(
            mark in prop::sample::select(vec!["\n", "\r", "#", "@", " ", "%", "/", "\u{2028}", "\0", "é", "{"]),
            at in 0usize..4,
            origin_bound: bool,
        ) {
            let (mut code, mut host) = ("1234".to_owned(), "ab.c".to_owned());
            code.insert_str(at, mark);
            host.insert_str(at, mark);
            prop_assert!(made(&code, "ab.c", origin_bound).is_err());
            prop_assert!(made("1234", &host, origin_bound).is_err());
        }
    }
}
