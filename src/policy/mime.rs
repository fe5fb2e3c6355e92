//! The parts of a message that a person would read, decoded.
//!
//! Trusts nothing. The walk over the parts is our own, because it has to be bounded: mail-parser builds nested messages
//! without a limit on their depth, and dropping such a tree overflows the stack. mail-parser reads the header of one
//! part at a time; `transfer` decodes one leaf at a time; neither can nest. A message inside the message (`message/rfc822`) is
//! somebody else's text and not looked into.

use std::fmt;

use mail_parser::{ContentType, Message as Parsed, MessageParser, MimeHeaders};

use super::text::TextLimits;
use super::transfer::{self, Encoding};
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
        if contradicts_itself(&raw[..body]) || encoding(header.as_ref()) == Encoding::Foreign {
            self.left_out();
            return;
        }
        let part = Part { raw, body, header: header.as_ref() };
        match kind(part.header) {
            Kind::Text(markup) => self.shown(&part, markup),
            Kind::Multipart(boundary) => self.multipart(&raw[body..], boundary.as_bytes(), depth),
            Kind::Calendar => {
                self.found.calendar = true;
                let folded = self.text(&part);
                // RFC 5545 section 3.1
                let folds = ["\r\n ", "\n ", "\r\n\t", "\n\t"];
                self.found.attached.push(folds.iter().fold(folded, |text, fold| text.replace(fold, "")));
                self.enclosure(&part);
            }
            Kind::Message => {
                self.found.embedded_message = true;
                self.enclosure(&part);
            }
            Kind::Picture => self.enclosure(&part),
            Kind::AttachedText => {
                self.found.attachments += 1;
                let text = self.text(&part);
                self.found.attached.push(text);
                self.enclosure(&part);
            }
            Kind::Attachment => {
                self.found.attachments += 1;
                self.enclosure(&part);
            }
            Kind::Unreadable => self.left_out(),
        }
    }

    fn shown(&mut self, part: &Part<'_>, markup: Markup) {
        let text = self.text(part);
        if markup == Markup::Plain {
            for (name, head) in transfer::uuencoded(&text) {
                self.found.attachments += 1;
                self.found.enclosures.push(Enclosure { media_type: String::new(), name: Some(name), head });
            }
        }
        // What has a file's name can be saved as that file; a page that is shown has been looked into.
        let page =
            |name: &String| [".htm", ".html"].iter().any(|end| name.to_ascii_lowercase().ends_with(end));
        match (markup, name(part.header)) {
            (Markup::Plain, Some(_)) => self.enclosure(part),
            (Markup::Html, Some(name)) if !page(&name) => {
                self.found.enclosures.push(Enclosure { name: Some(name), ..Enclosure::default() });
            }
            (Markup::Plain | Markup::Html, _) => {}
        }
        self.found.texts.push(Leaf { markup, text });
    }

    fn left_out(&mut self) {
        self.found.incomplete = true;
        self.found.parts_left_out = true;
    }

    fn enclosure(&mut self, part: &Part<'_>) {
        let content_type = part.own().and_then(MimeHeaders::content_type);
        let subtype = content_type.and_then(ContentType::subtype).unwrap_or_default();
        let media_type =
            content_type.map(|found| format!("{}/{subtype}", found.ctype()).to_ascii_lowercase());
        let cut = part.raw.len().min(part.body + ENCLOSURE_BYTES);
        self.found.enclosures.push(Enclosure {
            media_type: media_type.unwrap_or_default(),
            name: name(part.header),
            head: encoding(part.header).decode(&part.raw[part.body.min(cut)..cut]).into_owned(),
        });
    }

    fn text(&mut self, part: &Part<'_>) -> String {
        let cut = part.raw.len().min(self.left);
        self.left -= cut;
        self.found.incomplete |= cut < part.raw.len();
        let decoded = encoding(part.header).decode(&part.raw[part.body.min(cut)..cut]);
        let charset =
            part.own().and_then(MimeHeaders::content_type).and_then(|found| found.attribute("charset"));
        transfer::text(&decoded, charset).unwrap_or_else(|| {
            self.left_out();
            String::new()
        })
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

/// One part: all of it, where its body begins, and its header where it has one.
struct Part<'a> {
    raw: &'a [u8],
    body: usize,
    header: Option<&'a Parsed<'a>>,
}

impl<'a> Part<'a> {
    fn own(&self) -> Option<&'a mail_parser::MessagePart<'a>> {
        self.header.and_then(|header| header.parts.first())
    }
}

/// The name under which the part would be saved.
fn name(header: Option<&Parsed<'_>>) -> Option<String> {
    let part = header.and_then(|header| header.parts.first());
    part.and_then(MimeHeaders::attachment_name).map(ToOwned::to_owned)
}

fn encoding(header: Option<&Parsed<'_>>) -> Encoding {
    let part = header.and_then(|header| header.parts.first());
    Encoding::of(part.and_then(MimeHeaders::content_transfer_encoding).unwrap_or_default())
}

/// Whether a header says two things about how its part is to be read: programs take the one or the other.
fn contradicts_itself(header: &[u8]) -> bool {
    let fields = HeaderFields::scan(header);
    let values =
        |name| fields.named(header, name).map(|field| String::from_utf8_lossy(&header[field.value.clone()]));
    let media_type = |value: &str| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let differ = |mut all: Vec<String>| {
        all.dedup();
        all.len() > 1
    };
    differ(values("Content-Type").map(|value| media_type(&value)).collect())
        || differ(
            values("Content-Transfer-Encoding").map(|value| format!("{:?}", Encoding::of(&value))).collect(),
        )
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
        "application" if subtype == "ics" => Kind::Calendar,
        "text" if saved => Kind::AttachedText,
        "text" => match subtype.as_str() {
            "html" | "x-amp-html" | "watch-html" => Kind::Text(Markup::Html),
            "plain" | "enriched" | "richtext" => Kind::Text(Markup::Plain),
            _ => Kind::AttachedText,
        },
        "message" => Kind::Message,
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
