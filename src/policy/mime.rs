//! The parts of a message that a person would read, decoded.
//!
//! Trusts nothing. The walk over the parts is our own, because it has to be bounded: mail-parser builds nested messages
//! without a limit on their depth, and dropping such a tree overflows the stack. mail-parser reads the header of one
//! part at a time and decodes one leaf at a time; neither can nest. A message inside the message (`message/rfc822`) is
//! somebody else's text and not looked into.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{ContentType, Message as Parsed, MessageParser, MimeHeaders, PartType};

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

/// A part that would be saved or opened apart, or a picture.
#[derive(Default)]
pub struct Enclosure {
    /// Its declared type, such as `application/zip`, in lower case.
    pub media_type: String,
    /// Its declared file name.
    pub name: Option<String>,
    /// Its first octets, decoded.
    pub head: Vec<u8>,
}

/// Shows nothing of the message.
impl fmt::Debug for Enclosure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Enclosure({} octets)", self.head.len())
    }
}

/// Encoded octets of an enclosure that are decoded: enough for the mark of a disk image, which stands furthest in.
const ENCLOSURE_BYTES: usize = 48 * 1024;

/// All text parts in order, and what else there was.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "observations that have nothing to do with each other")]
pub(super) struct Leaves {
    pub texts: Vec<Leaf>,
    /// Everything that is not text to be shown.
    pub enclosures: Vec<Enclosure>,
    /// The text of calendars and of text that asks to be saved.
    pub attached: Vec<String>,
    /// Parts that are neither text nor picture, or that ask to be saved rather than shown.
    pub attachments: usize,
    /// A calendar entry is among the parts.
    pub calendar: bool,
    /// Another message is among the parts.
    pub embedded_message: bool,
    /// Something was left out because a limit was reached or a part could not be read.
    pub incomplete: bool,
    /// Whole parts were left out: too many, nested too deep, or not to be read.
    pub parts_left_out: bool,
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
            self.left_out();
            return;
        }
        let header = MessageParser::new().with_mime_headers().parse_headers(&raw[..body]);
        match kind(header.as_ref()) {
            Kind::Text(markup) => {
                let text = self.text(raw);
                self.found.texts.push(Leaf { markup, text });
                // What has a file's name can be saved as that file; a page that is shown has been looked into.
                if markup == Markup::Plain && name(header.as_ref()).is_some() {
                    self.enclosure(raw, body, header.as_ref());
                }
            }
            Kind::Multipart(boundary) => self.multipart(&raw[body..], boundary.as_bytes(), depth),
            Kind::Calendar => {
                self.found.calendar = true;
                let folded = self.text(raw);
                // RFC 5545 section 3.1
                self.found.attached.push(folded.replace("\r\n ", "").replace("\n ", ""));
            }
            Kind::Message => {
                self.found.embedded_message = true;
                self.enclosure(raw, body, header.as_ref());
            }
            Kind::Picture => self.enclosure(raw, body, header.as_ref()),
            Kind::AttachedText => {
                self.found.attachments += 1;
                let text = self.text(raw);
                self.found.attached.push(text);
                self.enclosure(raw, body, header.as_ref());
            }
            Kind::Attachment => {
                self.found.attachments += 1;
                self.enclosure(raw, body, header.as_ref());
            }
            Kind::Unreadable => self.left_out(),
        }
    }

    fn left_out(&mut self) {
        self.found.incomplete = true;
        self.found.parts_left_out = true;
    }

    fn enclosure(&mut self, raw: &[u8], body: usize, header: Option<&Parsed<'_>>) {
        let part = header.and_then(|header| header.parts.first());
        let content_type = part.and_then(MimeHeaders::content_type);
        let subtype = content_type.and_then(ContentType::subtype).unwrap_or_default();
        let media_type =
            content_type.map(|found| format!("{}/{subtype}", found.ctype()).to_ascii_lowercase());
        let cut = raw.len().min(body + ENCLOSURE_BYTES);
        self.found.enclosures.push(Enclosure {
            media_type: media_type.unwrap_or_default(),
            name: name(header),
            head: head(&raw[body.min(cut)..cut], header),
        });
    }

    fn text(&mut self, raw: &[u8]) -> String {
        let cut = raw.len().min(self.left);
        self.left -= cut;
        self.found.incomplete |= cut < raw.len();
        MessageParser::new()
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
            .unwrap_or_else(|| String::from_utf8_lossy(&raw[..cut]).into_owned())
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

/// The name under which the part would be saved.
fn name(header: Option<&Parsed<'_>>) -> Option<String> {
    let part = header.and_then(|header| header.parts.first());
    part.and_then(MimeHeaders::attachment_name).map(ToOwned::to_owned)
}

/// The first octets of a part, decoded. It may be cut anywhere, so that what can't be decoded is left out.
fn head(encoded: &[u8], header: Option<&Parsed<'_>>) -> Vec<u8> {
    let part = header.and_then(|header| header.parts.first());
    let encoding = part.and_then(MimeHeaders::content_transfer_encoding).unwrap_or_default().trim();
    if encoding.eq_ignore_ascii_case("base64") {
        // As mail programs do: what is no letter of the alphabet is passed over.
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        let mut letters: Vec<u8> =
            encoded.iter().copied().take_while(|&byte| byte != b'=').filter(is_letter).collect();
        letters.truncate(letters.len() / 4 * 4 + [0, 0, 2, 3][letters.len() % 4]);
        return LENIENT.decode(letters).unwrap_or_default();
    }
    if encoding.eq_ignore_ascii_case("quoted-printable") {
        return quoted_printable_decode(encoded).unwrap_or_else(|| encoded.to_vec());
    }
    encoded.to_vec()
}

/// Base64 without padding, whose last letter may hold bits that are not used.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

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
    AttachedText,
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
        "text" if saved => Kind::AttachedText,
        "text" => match subtype.as_str() {
            "html" | "x-amp-html" | "watch-html" => Kind::Text(Markup::Html),
            "plain" | "enriched" | "richtext" => Kind::Text(Markup::Plain),
            _ => Kind::AttachedText,
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
