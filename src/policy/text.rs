//! What a message says, as text: subject, sender's name, paragraphs, links, telling header fields.
//!
//! Made from a message that is not trusted; every list in it is bounded by [`TextLimits`]. It is for matching only:
//! nothing of it is ever sent, and it may hold codes and links, so it is never logged either.

use std::collections::BTreeSet;
use std::fmt;

use mail_parser::{HeaderValue, MessageParser, parsers::MessageStream};

use super::code;
use super::html;
use super::mime::{self, Enclosure, Leaf, Markup};
use super::target::{Target, Targets};
use crate::mail::Message;

/// How much of a message is looked at. What lies beyond is not seen, and [`Text::incomplete`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextLimits {
    /// The most MIME parts.
    pub parts: usize,
    /// The deepest nesting of multiparts.
    pub depth: usize,
    /// The longest header of one part, in octets, and the longest value of one field.
    pub header_bytes: usize,
    /// The most octets of encoded text that are decoded, all parts together.
    pub encoded_bytes: usize,
    /// The most octets of decoded text that are kept of one part.
    pub text_bytes: usize,
}

impl Default for TextLimits {
    fn default() -> Self {
        Self {
            parts: 64,
            depth: 8,
            header_bytes: 256 * 1024,
            encoded_bytes: 2 * 1024 * 1024,
            text_bytes: 64 * 1024,
        }
    }
}

/// The decoded text of a message.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "observations that have nothing to do with each other")]
pub struct Text {
    /// The Subject, encoded words decoded.
    pub subject: String,
    /// The name in the header From.
    pub from_name: String,
    /// The domain of the header From, in lower case.
    pub from_domain: Option<String>,
    /// The text parts, in order; of alternatives, all.
    pub bodies: Vec<Body>,
    /// Header fields that tell what kind of message it is, names in lower case, values decoded.
    pub fields: Vec<(String, String)>,
    /// Parts that are neither text nor picture.
    pub attachments: usize,
    /// What would be saved or opened apart: all parts but the text that is shown.
    pub enclosures: Vec<Enclosure>,
    /// Where the parts lead that are text but not shown as the message: calendars and attached text.
    pub attached_targets: Vec<Target>,
    /// A calendar entry is among the parts.
    pub calendar: bool,
    /// Another message is among the parts.
    pub embedded_message: bool,
    /// Not all of the message was looked at.
    pub incomplete: bool,
    /// Whole parts were not looked at.
    pub parts_left_out: bool,
    /// There may be links that were not found. (Text that is merely long is `incomplete`, and its links are known.)
    pub unread: bool,
}

/// The text of one part.
#[derive(Default)]
pub struct Body {
    /// What a person sees.
    pub paragraphs: Vec<Paragraph>,
    /// What is in the part but not shown.
    pub hidden: Vec<String>,
    /// The texts of links and buttons; they stand in the paragraphs too.
    pub buttons: Vec<String>,
    /// The targets of links, as recognition counts them.
    pub links: Vec<String>,
    /// Every address that the part leads to.
    pub targets: Vec<Target>,
    /// What relative addresses may start from.
    pub bases: Vec<String>,
    /// There are more addresses than those in `targets`.
    pub crowded: bool,
    /// Not all of the part was looked at.
    pub incomplete: bool,
}

/// Lines that belong together.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct Paragraph {
    /// Its lines, trimmed, none of them empty.
    pub lines: Vec<String>,
}

/// Shows nothing of the message.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} parts)", self.bodies.len())
    }
}

/// Shows nothing of the message.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} paragraphs)", self.paragraphs.len())
    }
}

/// Shows nothing of the message.
impl fmt::Debug for Paragraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Paragraph({} lines)", self.lines.len())
    }
}

/// Header fields in which applications and mailing lists say what a message is.
const TELLING_FIELDS: [&str; 6] =
    ["list-unsubscribe", "list-id", "list-post", "precedence", "in-reply-to", "feedback-id"];

/// Parts of field names in which applications name the template or the kind of a message (`X-Template-Name`,
/// `X-Mailgun-Tag`, `X-PM-Tag`, `X-Acme-Notification-Type`, ...).
const TEMPLATE_NAMES: [&str; 9] =
    ["template", "tag", "tags", "category", "type", "event", "kind", "notification", "campaign"];

const FIELDS_MAX: usize = 40;
const LINKS_MAX: usize = 500;

impl Text {
    /// Decodes `message`.
    pub fn of(message: &Message, limits: &TextLimits) -> Self {
        let found = mime::leaves(message, limits);
        let (from_name, from_domain) = from(message, limits).unwrap_or_default();
        let mut text = Self {
            subject: field(message, "Subject", limits).collect::<Vec<_>>().join(" / "),
            from_name,
            from_domain,
            fields: telling_fields(message, limits),
            bodies: found.texts.iter().map(|leaf| body(leaf, limits)).collect(),
            attachments: found.attachments,
            enclosures: found.enclosures,
            calendar: found.calendar,
            embedded_message: found.embedded_message,
            incomplete: found.incomplete,
            parts_left_out: found.parts_left_out,
            unread: found.incomplete,
            ..Self::default()
        };
        text.add_attached(&found.attached);
        text.incomplete |= text.bodies.iter().any(|body| body.incomplete);
        text.unread |= text.bodies.iter().any(|body| body.crowded);
        text
    }

    fn add_attached(&mut self, attached: &[String]) {
        let mut targets = Targets::default();
        for line in attached.iter().flat_map(|text| text.lines()) {
            targets.add_text(line);
        }
        self.unread |= targets.crowded;
        self.attached_targets = targets.list;
    }

    /// All visible lines, each closed by a line feed, paragraphs apart by an empty line.
    pub fn visible(&self) -> String {
        let mut all = String::new();
        for paragraph in self.bodies.iter().flat_map(|body| &body.paragraphs) {
            for line in &paragraph.lines {
                all.push_str(line);
                all.push('\n');
            }
            all.push('\n');
        }
        all
    }

    /// Whether it shows something that may be a one-time code.
    pub fn has_code(&self) -> bool {
        let paragraphs = self.bodies.iter().flat_map(|body| &body.paragraphs);
        paragraphs.flat_map(|paragraph| &paragraph.lines).any(|line| !code::found(line).is_empty())
    }

    /// The different link targets of all parts.
    pub fn links(&self) -> BTreeSet<&str> {
        self.bodies.iter().flat_map(|body| &body.links).map(String::as_str).collect()
    }
}

/// The decoded values of the fields called `name`.
pub(super) fn field<'a>(
    message: &'a Message,
    name: &'a str,
    limits: &'a TextLimits,
) -> impl Iterator<Item = String> + 'a {
    message.values(name).map(|value| decode_value(value, limits))
}

/// The domain of the first mailbox in the header From, in lower case.
pub(super) fn from_domain(message: &Message, limits: &TextLimits) -> Option<String> {
    from(message, limits).and_then(|(_, domain)| domain)
}

fn from(message: &Message, limits: &TextLimits) -> Option<(String, Option<String>)> {
    let value = message.values("From").next()?;
    let mut field = b"From:".to_vec();
    field.extend_from_slice(&value[..value.len().min(limits.header_bytes)]);
    field.extend_from_slice(b"\r\n\r\n");
    let parsed = MessageParser::new().with_address_headers().parse_headers(&field)?;
    let mailbox = parsed.from()?.first()?;
    let domain = mailbox.address().and_then(|address| address.rsplit_once('@'));
    Some((
        mailbox.name().unwrap_or_default().to_owned(),
        domain.map(|(_, domain)| domain.trim().trim_end_matches('.').to_lowercase()),
    ))
}

fn decode_value(value: &[u8], limits: &TextLimits) -> String {
    let mut line = value[..value.len().min(limits.header_bytes)].to_vec();
    line.push(b'\n');
    match MessageStream::new(&line).parse_unstructured() {
        HeaderValue::Text(text) => text.into_owned(),
        // The parser of unstructured fields makes nothing but text, or nothing where there is none.
        _ => String::new(),
    }
}

fn telling_fields(message: &Message, limits: &TextLimits) -> Vec<(String, String)> {
    message
        .header()
        .fields()
        .iter()
        .filter_map(|field| {
            let name = String::from_utf8_lossy(message.name_of(field)).to_ascii_lowercase();
            is_telling(&name).then(|| (name, decode_value(&message.raw()[field.value.clone()], limits)))
        })
        .take(FIELDS_MAX)
        .collect()
}

fn is_telling(name: &str) -> bool {
    TELLING_FIELDS.contains(&name)
        || name
            .strip_prefix("x-")
            .is_some_and(|rest| rest.split('-').any(|word| TEMPLATE_NAMES.contains(&word)))
}

fn body(leaf: &Leaf, limits: &TextLimits) -> Body {
    match leaf.markup {
        Markup::Html => html::read(&leaf.text, limits.text_bytes),
        Markup::Plain => plain(&leaf.text, limits.text_bytes),
    }
}

fn plain(text: &str, text_bytes: usize) -> Body {
    let mut end = text.len().min(text_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut body = Body { incomplete: end < text.len(), ..Body::default() };
    let mut targets = Targets::default();
    text.lines().for_each(|line| targets.add_text(line));
    (body.targets, body.crowded) = (targets.list, targets.crowded);
    let mut paragraph = Paragraph::default();
    for line in text[..end].lines() {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        if line.is_empty() {
            if !paragraph.lines.is_empty() {
                body.paragraphs.push(std::mem::take(&mut paragraph));
            }
            continue;
        }
        for link in line.split_whitespace().filter_map(link_in) {
            if body.links.len() < LINKS_MAX {
                body.links.push(link.to_owned());
            }
        }
        paragraph.lines.push(line.to_owned());
    }
    if !paragraph.lines.is_empty() {
        body.paragraphs.push(paragraph);
    }
    body
}

/// The link in a word of plain text, without what encloses it.
pub(super) fn link_in(word: &str) -> Option<&str> {
    // Nearly every word ends here: looking for one octet is much faster than for three.
    if !word.as_bytes().contains(&b':') {
        return None;
    }
    let colon = word.find("://")?;
    let start = word[..colon]
        .rfind(|c: char| !c.is_ascii_alphanumeric())
        .map_or(0, |at| at + word[at..].chars().next().map_or(1, char::len_utf8));
    let link = &word[start..];
    let end = link
        .find([
            '<', '>', '"', '\'', '|', '\\', '^', '`', '。', '，', '、', '；', '！', '？', '）', '」', '』',
            '】', '》',
        ])
        .unwrap_or(link.len());
    let link = link[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}', '*']);
    (link.len() > "x://".len() && start < colon).then_some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &str) -> Text {
        Text::of(&Message::new(raw.replace('\n', "\r\n").into_bytes()), &TextLimits::default())
    }

    #[test]
    fn header_fields_are_decoded() {
        let text = text(
            "From: =?utf-8?q?J=C3=BCrgen?= <App@Mail.Example.>\nSubject: =?utf-8?b?UGFzc3dvcnQg?=\n \
             =?utf-8?q?zur=C3=BCcksetzen?=\nX-Template-Name: password_reset\nX-Acme-Notification-Type: a\n\
             List-Id: <x>\nX-Mailer: y\n\nHello\nthere\n\nhttps://a.example/x?y=z.\n",
        );
        assert_eq!((text.subject.as_str(), text.from_name.as_str()), ("Passwort zurücksetzen", "Jürgen"));
        assert_eq!(text.from_domain.as_deref(), Some("mail.example"));
        let names: Vec<_> = text.fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x-template-name", "x-acme-notification-type", "list-id"]);
        assert_eq!(format!("{text:?} {:?}", text.bodies), "Text(1 parts) [Body(2 paragraphs)]");
        assert_eq!(text.visible(), "Hello\nthere\n\nhttps://a.example/x?y=z.\n\n");
        assert_eq!(text.links().into_iter().collect::<Vec<_>>(), ["https://a.example/x?y=z"]);
    }

    #[test]
    fn links_are_taken_out_of_what_encloses_them() {
        assert_eq!(link_in("(https://a.example/b)."), Some("https://a.example/b"));
        assert_eq!(link_in("<https://a.example>"), Some("https://a.example"));
        assert_eq!(link_in("访问：https://a.example/b，然后"), Some("https://a.example/b"));
        assert_eq!(link_in("app://open"), Some("app://open"));
        assert_eq!(link_in("://"), None);
        assert_eq!(link_in("é://x"), None);
        assert_eq!(link_in("plain"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(raw in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
            Text::of(&Message::new(raw), &TextLimits::default());
        }
    }
}
