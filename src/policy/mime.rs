//! The parts of a message that a person would read, decoded.
//!
//! Trusts nothing. The walk over the parts is our own, because it has to be bounded: mail-parser builds nested messages
//! without a limit on their depth, and dropping such a tree overflows the stack. mail-parser reads the header of one
//! part at a time and decodes one leaf at a time; neither can nest. A message inside the message (`message/rfc822`) is
//! somebody else's text and not looked into.

use mail_parser::{Message as Parsed, MessageParser, MimeHeaders, PartType};

use super::text::TextLimits;
use crate::mail::{HeaderFields, Message};

/// How a part is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Markup {
    Plain,
    Html,
}

/// One decoded text part.
pub(super) struct Leaf {
    pub markup: Markup,
    pub text: String,
}

/// All text parts in order, and what else there was.
#[derive(Default)]
pub(super) struct Leaves {
    pub texts: Vec<Leaf>,
    /// Parts that are neither text nor picture, or that ask to be saved rather than shown.
    pub attachments: usize,
    /// A calendar entry is among the parts.
    pub calendar: bool,
    /// Another message is among the parts.
    pub embedded_message: bool,
    /// Something was left out because a limit was reached or a part could not be read.
    pub incomplete: bool,
}

/// Walks the parts of `message`.
pub(super) fn leaves(message: &Message, limits: &TextLimits) -> Leaves {
    let mut walk = Walk { limits, parts: 0, left: limits.encoded_bytes, found: Leaves::default() };
    walk.part(message.raw(), message.header().body(), 0);
    walk.found
}

struct Walk<'a> {
    limits: &'a TextLimits,
    parts: usize,
    /// How many encoded bytes of text may still be decoded.
    left: usize,
    found: Leaves,
}

impl Walk<'_> {
    fn part(&mut self, raw: &[u8], body: usize, depth: usize) {
        self.parts += 1;
        if self.parts > self.limits.parts || depth > self.limits.depth || body > self.limits.header_bytes {
            self.found.incomplete = true;
            return;
        }
        let header = MessageParser::new().with_mime_headers().parse_headers(&raw[..body]);
        match kind(header.as_ref()) {
            Kind::Text(markup) => self.text(raw, markup),
            Kind::Multipart(boundary) => self.multipart(&raw[body..], boundary.as_bytes(), depth),
            Kind::Calendar => self.found.calendar = true,
            Kind::Message => self.found.embedded_message = true,
            Kind::Picture => {}
            Kind::Attachment => self.found.attachments += 1,
            Kind::Unreadable => self.found.incomplete = true,
        }
    }

    fn text(&mut self, raw: &[u8], markup: Markup) {
        let cut = raw.len().min(self.left);
        self.left -= cut;
        self.found.incomplete |= cut < raw.len();
        let text = MessageParser::new()
            .with_mime_headers()
            .parse(&raw[..cut])
            .and_then(|parsed| parsed.parts.into_iter().next())
            .and_then(|part| match part.body {
                PartType::Text(text) | PartType::Html(text) => Some(text.into_owned()),
                PartType::Binary(_)
                | PartType::InlineBinary(_)
                | PartType::Message(_)
                | PartType::Multipart(_) => None,
            })
            // A part without any header field is plain text (RFC 2046 section 5.1); mail-parser finds nothing in it.
            .unwrap_or_else(|| String::from_utf8_lossy(&raw[..cut]).into_owned());
        self.found.texts.push(Leaf { markup, text });
    }

    fn multipart(&mut self, body: &[u8], boundary: &[u8], depth: usize) {
        let mut open: Option<usize> = None;
        let mut at = 0;
        for line in body.split_inclusive(|&byte| byte == b'\n') {
            let end = at + line.len();
            let delimiter = delimiter(line, boundary);
            if delimiter != Delimiter::None {
                if let Some(start) = open {
                    self.child(&body[start..at], depth);
                }
                open = (delimiter == Delimiter::Next).then_some(end);
            }
            if self.parts > self.limits.parts {
                return;
            }
            at = end;
        }
        // A last part that nobody closed is still shown by mail programs.
        if let Some(start) = open {
            self.child(&body[start..], depth);
        }
    }

    fn child(&mut self, raw: &[u8], depth: usize) {
        let body = HeaderFields::scan(&raw[..raw.len().min(self.limits.header_bytes + 2)]).body();
        self.part(raw, body, depth + 1);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Delimiter {
    None,
    Next,
    Last,
}

fn delimiter(line: &[u8], boundary: &[u8]) -> Delimiter {
    let Some(rest) = line.strip_prefix(b"--").and_then(|rest| rest.strip_prefix(boundary)) else {
        return Delimiter::None;
    };
    match rest.trim_ascii() {
        b"" => Delimiter::Next,
        b"--" => Delimiter::Last,
        _ => Delimiter::None,
    }
}

enum Kind<'a> {
    Text(Markup),
    Multipart(&'a str),
    Calendar,
    Message,
    Picture,
    Attachment,
    Unreadable,
}

fn kind<'a>(header: Option<&'a Parsed<'_>>) -> Kind<'a> {
    let part = header.and_then(|header| header.parts.first());
    let Some(content_type) = part.and_then(MimeHeaders::content_type) else {
        return Kind::Text(Markup::Plain);
    };
    let saved = part
        .and_then(MimeHeaders::content_disposition)
        .is_some_and(|disposition| disposition.ctype().eq_ignore_ascii_case("attachment"));
    let subtype = content_type.subtype().unwrap_or_default().to_ascii_lowercase();
    match content_type.ctype().to_ascii_lowercase().as_str() {
        "multipart" => match content_type.attribute("boundary") {
            Some(boundary) if !boundary.is_empty() => Kind::Multipart(boundary),
            _ => Kind::Unreadable,
        },
        "text" if subtype == "calendar" => Kind::Calendar,
        "text" if saved => Kind::Attachment,
        "text" => match subtype.as_str() {
            "html" | "x-amp-html" | "watch-html" => Kind::Text(Markup::Html),
            "plain" | "enriched" | "richtext" => Kind::Text(Markup::Plain),
            _ => Kind::Attachment,
        },
        "message" if matches!(subtype.as_str(), "rfc822" | "global") => Kind::Message,
        "image" if !saved => Kind::Picture,
        _ => Kind::Attachment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(raw: &[u8]) -> Leaves {
        leaves(&Message::new(raw.to_vec()), &TextLimits::default())
    }

    fn texts(found: &Leaves) -> Vec<(Markup, &str)> {
        found.texts.iter().map(|leaf| (leaf.markup, leaf.text.trim())).collect()
    }

    #[test]
    fn both_alternatives_are_read_and_decoded() {
        let found = walk(
            b"Content-Type: multipart/alternative; boundary=\"b 1\"\r\n\r\npreamble\r\n--b 1\r\n\
              Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
              Gr=FC=DFe\r\n--b 1  \r\nContent-Type: text/html; charset=utf-8\r\n\
              Content-Transfer-Encoding: base64\r\n\r\nPGI+SGk8L2I+\r\n--b 1--\r\nepilogue\r\n",
        );
        assert_eq!(texts(&found), [(Markup::Plain, "Grüße"), (Markup::Html, "<b>Hi</b>")]);
        assert!(!found.incomplete);
    }

    #[test]
    fn parts_without_header_and_without_end_are_text() {
        let found =
            walk(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nHello\r\n--x\r\n\r\nthere");
        assert_eq!(texts(&found), [(Markup::Plain, "Hello"), (Markup::Plain, "there")]);
    }

    #[test]
    fn what_is_not_text_of_the_sender_is_counted_and_not_read() {
        let found = walk(
            b"Content-Type: multipart/mixed; boundary=x\r\n\r\n\
              --x\r\nContent-Type: message/rfc822\r\n\r\nSubject: a\r\n\r\ninner\r\n\
              --x\r\nContent-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\n\
              --x\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nsaved\r\n\
              --x\r\nContent-Type: application/zip\r\n\r\nPK\r\n\
              --x\r\nContent-Type: image/png\r\n\r\nPNG\r\n--x--\r\n",
        );
        assert!(found.texts.is_empty() && found.calendar && found.embedded_message);
        assert_eq!(found.attachments, 2);
    }

    #[test]
    fn hostile_nesting_is_cut_and_told() {
        use std::fmt::Write;
        let mut deep = String::new();
        for level in 0..20_000 {
            write!(deep, "Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n").unwrap();
        }
        let found = walk(deep.as_bytes());
        assert!(found.incomplete && found.texts.is_empty());

        let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(20_000);
        assert!(walk(messages.as_bytes()).embedded_message);

        let mut wide = "Content-Type: multipart/mixed; boundary=x\r\n\r\n".to_owned();
        wide.push_str(&"--x\r\n\r\na\r\n".repeat(100_000));
        let found = walk(wide.as_bytes());
        assert!(found.incomplete && found.texts.len() <= TextLimits::default().parts);
    }
}
