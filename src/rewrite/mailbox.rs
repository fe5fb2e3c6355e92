//! Writes a mailbox as the value of a header field (RFC 5322 section 3.4, RFC 2047, RFC 6532), and judges the mailboxes
//! of a field that came with a message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{HeaderName, MessageParser};

use crate::mail::{Address, Folder, Mailbox};

/// A display name up to this length is written as it is; a longer one as encoded words, which fold anywhere.
const PLAIN_NAME_MAX: usize = 64;

/// The bytes that one encoded word carries: 60 characters of base64, 72 with what is around them.
const ENCODED_WORD_BYTES: usize = 45;

/// The value of the field called `name` (with its colon) that holds `mailbox`: folded, without the last line end.
pub(super) fn write_mailbox(name: &str, mailbox: &Mailbox) -> String {
    let mut folder = Folder::after(name);
    let display = mailbox.name.as_deref().map(str::trim).filter(|display| !display.is_empty());
    let Some(display) = display else {
        folder.word(mailbox.address.as_str());
        return folder.finish();
    };
    if !is_plain(display) {
        for word in encoded_words(display) {
            folder.word(&word);
        }
    } else if display.split(' ').all(is_atom) {
        folder.word(display);
    } else {
        folder.word(&quoted(display));
    }
    folder.word(&format!("<{}>", mailbox.address.as_str()));
    folder.finish()
}

/// Whether every mailbox of a field's raw value is at one of `domains` or below it. When in doubt: no.
///
/// Doubt is: nothing found, something that is no address, or another number of `@` than of mailboxes, so that no other
/// reader of the field can find a mailbox that was not judged here.
pub(super) fn all_at(value: &[u8], domains: &[String]) -> bool {
    let field = [b"Reply-To:", value, b"\r\n\r\n"].concat();
    let parser = MessageParser::new().header_address(HeaderName::ReplyTo);
    let Some(parsed) = parser.parse_headers(&field) else { return false };
    let Some(mailboxes) = parsed.reply_to() else { return false };
    let mut found = 0;
    for mailbox in mailboxes.iter() {
        let address = mailbox.address().and_then(|text| Address::parse(text).ok());
        match address {
            Some(address) if is_at(address.domain(), domains) => found += 1,
            Some(_) | None => return false,
        }
    }
    found > 0 && value.split(|byte| *byte == b'@').count() == found + 1
}

fn is_at(domain: &str, domains: &[String]) -> bool {
    domains.iter().any(|own| {
        domain.strip_suffix(own.as_str()).is_some_and(|front| front.is_empty() || front.ends_with('.'))
    })
}

/// Printable ASCII, short enough for one line, single spaces, and nothing that reads as an encoded word.
fn is_plain(display: &str) -> bool {
    display.len() <= PLAIN_NAME_MAX
        && display.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && !display.contains("  ")
        && !display.contains("=?")
}

fn is_atom(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c))
}

fn quoted(display: &str) -> String {
    format!("\"{}\"", display.replace('\\', "\\\\").replace('"', "\\\""))
}

/// RFC 2047 section 2: words of at most 75 characters; no character is cut in two (section 5).
fn encoded_words(display: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = display;
    while !rest.is_empty() {
        let mut cut = rest.len().min(ENCODED_WORD_BYTES);
        while !rest.is_char_boundary(cut) {
            cut -= 1;
        }
        let (word, tail) = rest.split_at(cut);
        words.push(format!("=?UTF-8?B?{}?=", STANDARD.encode(word)));
        rest = tail;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(name: Option<&str>) -> String {
        let address = Address::parse("no-reply@acme.example").unwrap();
        write_mailbox("From:", &Mailbox { name: name.map(str::to_owned), address })
    }

    #[test]
    fn names_are_written_as_simply_as_they_can_be() {
        for (name, expected) in [
            (None, "no-reply@acme.example"),
            (Some(""), "no-reply@acme.example"),
            (Some("Acme"), "Acme <no-reply@acme.example>"),
            (Some("Acme & Sons"), "Acme & Sons <no-reply@acme.example>"),
            (Some("Acme, Inc."), "\"Acme, Inc.\" <no-reply@acme.example>"),
            (Some("Say \"hi\" \\o/"), "\"Say \\\"hi\\\" \\\\o/\" <no-reply@acme.example>"),
            (Some("Jürgen"), "=?UTF-8?B?SsO8cmdlbg==?= <no-reply@acme.example>"),
            (Some("=?x?="), "=?UTF-8?B?PT94Pz0=?= <no-reply@acme.example>"),
            (Some("a\r\nBcc: b"), "=?UTF-8?B?YQ0KQmNjOiBi?= <no-reply@acme.example>"),
        ] {
            assert_eq!(written(name), expected);
        }
    }

    proptest! {
        #[test]
        fn any_name_is_read_back_and_every_line_is_short(name in "\\PC{1,200}") {
            let value = written(Some(&name));
            for line in format!("From: {value}").split("\r\n") {
                prop_assert!(line.len() <= 78 && line.is_ascii());
            }
            let field = format!("From: {value}\r\n\r\n");
            let parsed = MessageParser::default().parse_headers(&field).unwrap();
            let from = parsed.from().and_then(|from| from.first()).unwrap();
            prop_assert_eq!(from.address(), Some("no-reply@acme.example"));
            let trimmed = name.trim();
            prop_assert_eq!(from.name().unwrap_or_default().trim(), trimmed);
        }
    }

    #[test]
    fn only_mailboxes_of_the_business_pass() {
        let domains = ["acme.example".to_owned(), "acme.test".to_owned()];
        for value in [
            " help@acme.example",
            " Help <help@ACME.example>",
            " \"Help, please\"\r\n\t<help@support.acme.example>, b@acme.test",
            " =?UTF-8?Q?J=C3=BCrgen?= <j@acme.example>",
            " team: a@acme.example, b@acme.test;",
        ] {
            assert!(all_at(value.as_bytes(), &domains), "{value}");
        }
        for value in [
            "",
            " ",
            " nobody",
            " <>",
            " help@evil.example",
            " help@notacme.example",
            " help@acme.example.evil.example",
            " help@acme.example, x@evil.example",
            " team: a@acme.example, b@evil.example;",
            " undisclosed:;",
            " help@acme.example <x@evil.example>",
            " help@acme.example (x@evil.example)",
            " \"x@evil.example\" <help@acme.example>",
            " <x@evil.example> <help@acme.example>",
            " help@acme.example\0@evil.example",
            " help@acme.example x@evil.example",
        ] {
            assert!(!all_at(value.as_bytes(), &domains), "{value}");
        }
        assert!(!all_at(b" help@acme.example", &[]));
    }
}
