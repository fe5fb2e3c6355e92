//! The mail that is sent: sign-in codes, second factors, resets, confirmations and invitations, each in several
//! languages, each about 8 KiB like an application's HTML mail. Every message has its own number, recipient, code and link.
//!
//! A message is written once as a template; making one only copies pieces, so that the generator is never what is measured.

use std::fmt::Write as _;

use crate::words::{TEXTS, Words};

/// What a message is about, which decides its class in authrelay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Authentication mail of all kinds, invitations among it, as an application sends it.
    Mixed,
    /// What a person waits for: sign-in, second factor, reset, confirmation.
    Urgent,
    /// Invitations only, in one language and small: for a queue of a million.
    SmallInvitations,
    /// Invitations only.
    Invitations,
}

/// How large a message is made.
const SIZE: usize = 8 * 1024;
const SMALL: usize = 1024;

/// What stands in a template where every message differs. Each is as long as what replaces it.
const CODE: &str = "#CODE#";
const TOKEN: &str = "#TOKEN#########################";
const NUMBER: &str = "#NUMBER####";

/// Templates by kind; makes messages by their number.
pub struct Mail {
    templates: Vec<Template>,
}

struct Template {
    pieces: Vec<Piece>,
}

enum Piece {
    Text(Vec<u8>),
    Code,
    Token,
    Number,
}

impl Mail {
    /// The templates of a kind.
    pub fn new(kind: Kind) -> Self {
        let wanted = |words: &&Words| match kind {
            Kind::Mixed => true,
            Kind::Urgent => !words.is_invitation,
            Kind::Invitations => words.is_invitation,
            Kind::SmallInvitations => words.is_invitation && words.language == "en",
        };
        let size = if kind == Kind::SmallInvitations { SMALL } else { SIZE };
        Self { templates: TEXTS.iter().filter(wanted).map(|words| Template::new(words, size)).collect() }
    }

    /// The message with this number, dot-stuffed and with its final dot, ready for the wire.
    pub fn write(&self, number: u64, into: &mut Vec<u8>) {
        let template = &self.templates[(number % self.templates.len() as u64) as usize];
        into.clear();
        // Spread, so that codes and tokens look like such.
        let spread = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for piece in &template.pieces {
            match piece {
                Piece::Text(text) => into.extend_from_slice(text),
                Piece::Code => into.extend_from_slice(format!("{:06}", spread % 1_000_000).as_bytes()),
                Piece::Token => {
                    into.extend_from_slice(format!("{spread:016x}{:015x}", spread >> 4).as_bytes());
                }
                Piece::Number => into.extend_from_slice(format!("{number:011}").as_bytes()),
            }
        }
    }
}

/// The recipient of the message with this number.
pub fn recipient(number: u64) -> String {
    format!("person{number:011}@people.example")
}

/// The number in the Message-ID of a message.
pub fn number_of(message: &[u8]) -> Option<u64> {
    let mark = b"Message-ID: <bench";
    let head = &message[..message.len().min(4096)];
    let at = head.windows(mark.len()).position(|window| window.eq_ignore_ascii_case(mark))? + mark.len();
    std::str::from_utf8(message.get(at..at + NUMBER.len())?).ok()?.parse().ok()
}

impl Template {
    fn new(words: &Words, size: usize) -> Self {
        let without_padding = compose(words, 0).len();
        let text = compose(words, size.saturating_sub(without_padding));
        // No line of it begins with a dot.
        debug_assert!(!text.contains("\r\n."));
        Self { pieces: split(&format!("{text}.\r\n")) }
    }
}

fn split(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let next = [CODE, TOKEN, NUMBER].into_iter().filter_map(|mark| Some((rest.find(mark)?, mark))).min();
        let Some((at, mark)) = next else {
            pieces.push(Piece::Text(rest.as_bytes().to_vec()));
            break;
        };
        pieces.push(Piece::Text(rest.as_bytes()[..at].to_vec()));
        pieces.push(match mark {
            CODE => Piece::Code,
            TOKEN => Piece::Token,
            _ => Piece::Number,
        });
        rest = &rest[at + mark.len()..];
    }
    pieces
}

/// A whole message with marks, and about `padding` octets of style sheet.
fn compose(words: &Words, padding: usize) -> String {
    let Words { language, subject, lead, action, foot, .. } = words;
    let way = match action {
        Some(action) => format!(
            "<p style=\"margin:24px 0\"><a href=\"https://app.kestrel.example/go?t={TOKEN}\" \
             style=\"background:#1d4ed8;color:#ffffff;padding:12px 20px;border-radius:6px\">{action}</a></p>"
        ),
        None => format!("<p style=\"font-size:28px;letter-spacing:6px\"><b>{CODE}</b></p>"),
    };
    let plain_way = match action {
        Some(action) => format!("{action}: https://app.kestrel.example/go?t={TOKEN}"),
        None => CODE.to_owned(),
    };
    let html = format!(
        "<!doctype html>\n<html lang=\"{language}\"><head><meta charset=\"utf-8\">\n<style>\n{}</style></head>\n\
         <body><table role=\"presentation\" width=\"100%\"><tr><td class=\"c0\">\n<h1>{subject}</h1>\n<p>{lead}</p>\n\
         {way}\n<p>{foot}</p>\n<p>Kestrel, 12 Harbour Street</p></td></tr></table></body></html>\n",
        style(padding)
    );
    format!(
        "From: Kestrel <app@kestrel.example>\r\nTo: {}\r\nSubject: {}\r\n\
         Message-ID: <bench{NUMBER}@app.kestrel.example>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"=_kestrel\"\r\n\r\n\
         --=_kestrel\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
         {}\r\n--=_kestrel\r\nContent-Type: text/html; charset=utf-8\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\n{}\r\n--=_kestrel--\r\n",
        format_args!("person{NUMBER}@people.example"),
        encoded_words(subject),
        quoted_printable(&format!("{lead}\n\n{plain_way}\n\n{foot}\n\nKestrel, 12 Harbour Street\n")),
        quoted_printable(&html),
    )
}

/// What such mail mostly consists of.
fn style(size: usize) -> String {
    let mut style = String::new();
    let mut rule = 0;
    // Quoted-printable makes it a little longer.
    while style.len() + style.len() / 40 < size {
        let line = format!(
            "td.c{rule} {{ margin: 0 auto; padding: {}px {}px; font-family: Helvetica, Arial, sans-serif; color: #{:06x} }}\n",
            rule % 40,
            rule % 24,
            (rule * 0x01_2345) & 0xFF_FFFF
        );
        style.push_str(&line);
        rule += 1;
    }
    style
}

/// A header text as encoded words of at most 75 octets (RFC 2047), where it is not ASCII.
fn encoded_words(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut words = vec![String::new()];
    for letter in text.chars() {
        let mut buffer = [0; 4];
        let coded = match letter {
            ' ' => "_".to_owned(),
            'a'..='z' | 'A'..='Z' | '0'..='9' => letter.to_string(),
            other => other
                .encode_utf8(&mut buffer)
                .bytes()
                .fold(String::new(), |text, b| text + &format!("={b:02X}")),
        };
        if words.last().is_some_and(|word| word.len() + coded.len() > 60) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push_str(&coded);
        }
    }
    words.iter().map(|word| format!("=?utf-8?Q?{word}?=")).collect::<Vec<_>>().join("\r\n ")
}

/// Quoted-printable (RFC 2045). Lines are broken before words only, so that no mark is cut.
fn quoted_printable(text: &str) -> String {
    let mut coded = String::new();
    for line in text.lines() {
        let mut column = 0;
        for word in line.split_inclusive([' ', '>']) {
            let word = quoted_word(word);
            if column + word.len() > 74 && column > 0 {
                coded.push_str("=\r\n");
                column = 0;
            }
            for piece in cut(&word, 74) {
                if column + piece.len() > 74 {
                    coded.push_str("=\r\n");
                    column = 0;
                }
                coded.push_str(piece);
                column += piece.len();
            }
        }
        coded.push_str("\r\n");
    }
    coded
}

fn quoted_word(word: &str) -> String {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    word.bytes().fold(String::new(), |mut coded, byte| {
        if plain(byte) {
            coded.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(coded, "={byte:02X}");
        }
        coded
    })
}

/// A coded word in pieces of a line, never within `=XX`.
fn cut(word: &str, most: usize) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.len().min(most);
        if end < rest.len() {
            end = rest[..end].rfind('=').filter(|at| end - at < 3).unwrap_or(end);
        }
        let (piece, left) = rest.split_at(end);
        rest = left;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_its_own_number_and_no_mark_is_left() {
        let mail = Mail::new(Kind::Mixed);
        let mut wire = Vec::new();
        for number in 0..TEXTS.len() as u64 {
            mail.write(number, &mut wire);
            let text = String::from_utf8(wire.clone()).unwrap();
            assert_eq!(number_of(&wire), Some(number));
            assert!(
                !text.contains("#CODE") && !text.contains("#TOKEN") && !text.contains("#NUMBER"),
                "{text}"
            );
            assert!(text.contains(&recipient(number)));
            assert!(text.ends_with("\r\n.\r\n") && !text.contains("\r\n.."), "{text}");
            assert!(text.lines().all(|line| line.len() <= 78 || line.starts_with("Subject")), "{text}");
            assert!((7_500..9_500).contains(&wire.len()), "{}", wire.len());
        }
    }
}
