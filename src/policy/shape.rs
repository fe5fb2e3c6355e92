//! The shape of a message: what is the same in all messages that an application makes of one template.
//!
//! Taken out is what differs from person to person: numbers, words with digits in them, addresses, links but for their
//! host, the recipient's name and local part and user names made of them, what stands in quotation marks, whoever is
//! spoken to at the beginning of a line, and words with a capital letter, which is what names of people and teams are.
//! Short lines go too: a greeting, a code, a signature. Pure and deterministic; the text is untrusted and bounded
//! by [`TextLimits`]. A shape holds words of the message, so it is never shown or stored: only a keyed digest of it is.

use std::collections::BTreeSet;
use std::fmt;

use mail_parser::MessageParser;

use super::normalize::normalize;
use super::text::link_in;
use super::{Text, TextLimits};
use crate::mail::{Address, Message};

/// A line says something about the template if more words than this stay of it: a greeting is mostly names.
const SHORT_LINE: usize = 3;

/// The same for scripts that put no space between words: letters.
const SHORT_UNSPACED: usize = 12;

/// The most words before the comma of a line that speak to somebody, and the same in letters of scripts without spaces.
const SPOKEN_TO: usize = 4;
const SPOKEN_TO_UNSPACED: usize = 10;

/// The longest quotation that is a name, in characters.
const QUOTED: usize = 60;

/// The shortest piece of a recipient's name that makes a longer word a user name of theirs, in characters.
const PIECE: usize = 4;

/// The most links whose hosts count.
const HOSTS_MOST: usize = 20;

/// The most octets of a To or Cc field that are read for names.
const NAMES_BYTES: usize = 16 * 1024;

/// The local parts of role addresses, and other words that are more often a template's than a person's.
const NOT_NAMES: [&str; 40] = [
    "account",
    "accounts",
    "admin",
    "all",
    "and",
    "billing",
    "app",
    "contact",
    "company",
    "email",
    "for",
    "hello",
    "help",
    "hey",
    "info",
    "invitation",
    "invite",
    "join",
    "link",
    "login",
    "mail",
    "me",
    "members",
    "new",
    "office",
    "our",
    "password",
    "people",
    "project",
    "sales",
    "service",
    "staff",
    "support",
    "team",
    "the",
    "this",
    "user",
    "users",
    "you",
    "your",
];

/// What messages of one template share. Equal for all of them, and for others hardly ever.
#[derive(Clone, PartialEq, Eq)]
pub struct Shape {
    subject: String,
    template: String,
}

impl Shape {
    /// The normalised subject and the template's fingerprint, to be made into a keyed digest.
    pub fn parts(&self) -> [&[u8]; 2] {
        [self.subject.as_bytes(), self.template.as_bytes()]
    }
}

/// Shows nothing of the message.
impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shape({} + {} octets)", self.subject.len(), self.template.len())
    }
}

/// The shape of a message to these recipients.
pub fn shape(message: &Message, recipients: &[Address]) -> Shape {
    shape_of(&Text::of(message, &TextLimits::default()), message, recipients)
}

/// The shape of a message whose text was decoded already.
pub fn shape_of(text: &Text, message: &Message, recipients: &[Address]) -> Shape {
    let people = People::of(message, recipients);
    let lines =
        || text.bodies.iter().flat_map(|body| &body.paragraphs).flat_map(|paragraph| &paragraph.lines);
    let mut template = String::new();
    for line in lines().map(|line| people.constant(line)).filter(|line| !line.short) {
        template.push_str(&line.words);
        template.push('\n');
    }
    if template.is_empty() {
        // A few words and a code: all there is has to do.
        lines().for_each(|line| template.push_str(&people.constant(line).words));
    }
    let hosts: BTreeSet<String> = text.links().into_iter().filter_map(host).take(HOSTS_MOST).collect();
    for host in hosts {
        template.push_str(&host);
        template.push('\n');
    }
    Shape { subject: people.subject(&text.subject), template }
}

/// Who gets the message, in every way in which it may name them: normal forms of words.
struct People {
    words: BTreeSet<String>,
    /// Names in scripts without spaces, to be found inside a line.
    unspaced: Vec<String>,
}

/// What is left of a line.
struct Constant {
    words: String,
    /// It says nothing about the template.
    short: bool,
}

impl People {
    fn of(message: &Message, recipients: &[Address]) -> Self {
        let mut names = Vec::new();
        for field in ["To", "Cc"] {
            names.extend(message.values(field).flat_map(display_names));
        }
        let mut words = BTreeSet::new();
        for recipient in recipients {
            // "anna" and "smith" of anna.smith; a single letter is more often a word than a name.
            let local = normalize(recipient.local_part());
            words.extend(
                local.split([' ', '.']).filter(|word| word.chars().count() > 2).map(ToOwned::to_owned),
            );
        }
        let names: Vec<String> = names.iter().map(|name| normalize(name)).collect();
        let is_name = |word: &&str| word.chars().count() > 1;
        words.extend(names.iter().flat_map(|name| name.split(' ')).filter(is_name).map(ToOwned::to_owned));
        words.retain(|word| !NOT_NAMES.contains(&word.as_str()));
        let unspaced =
            |name: &&String| name.chars().count() > 1 && name.chars().all(|c| c == ' ' || is_unspaced(c));
        let unspaced = names.iter().filter(unspaced).map(|name| name.replace(' ', "")).collect();
        Self { words, unspaced }
    }

    /// A subject without what differs. Where it is not written all in capitals, capitals are names.
    fn subject(&self, subject: &str) -> String {
        let lower = subject.split_whitespace().filter(|word| word.starts_with(char::is_lowercase)).count();
        self.keep(subject, lower < 2)
    }

    fn constant(&self, line: &str) -> Constant {
        let words = self.keep(line, false);
        let spaced = words.split(' ').count();
        let unspaced = words.chars().filter(|c| is_unspaced(*c)).count();
        Constant { short: spaced <= SHORT_LINE && unspaced < SHORT_UNSPACED, words }
    }

    /// The words of `text` that stay.
    fn keep(&self, text: &str, capitals: bool) -> String {
        let text = without_quotations(text);
        let text = without_spoken_to(&text);
        let mut kept = String::new();
        for word in text.split_whitespace() {
            if word.contains('@') {
                continue;
            }
            if let Some(host) = link_in(word).and_then(host) {
                push(&mut kept, &host);
                continue;
            }
            let first = word.trim_start_matches(|c: char| !c.is_alphanumeric());
            if !capitals && first.starts_with(char::is_uppercase) {
                continue;
            }
            let normal = normalize(word);
            for word in normal.split(' ').filter(|word| !self.differs(word)) {
                push(&mut kept, word);
            }
        }
        for name in &self.unspaced {
            kept = kept.replace(name.as_str(), "");
        }
        kept
    }

    /// Whether a word in its normal form may be another one in the next message.
    fn differs(&self, word: &str) -> bool {
        let bare = word.strip_suffix("'s").unwrap_or(word);
        bare.is_empty()
            || bare == "."
            || bare.contains(char::is_numeric)
            || self.words.contains(bare)
            || self.is_user_name(bare)
    }

    /// `asmith`, of somebody called Smith.
    fn is_user_name(&self, word: &str) -> bool {
        let mut pieces = self.words.iter().filter(|piece| piece.chars().count() >= PIECE);
        pieces.any(|piece| word.starts_with(piece.as_str()) || word.ends_with(piece.as_str()))
    }
}

/// The text without what stands in quotation marks: names, as a rule.
fn without_quotations(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find(is_quotation_mark) {
        let (before, quotation) = rest.split_at(begin);
        let mark = quotation.chars().next().map_or(0, char::len_utf8);
        let inside = &quotation[mark..];
        let end = inside.char_indices().take(QUOTED).find(|(_, c)| is_quotation_mark(*c));
        kept.push_str(before);
        kept.push(' ');
        rest = match end {
            Some((end, c)) => &inside[end + c.len_utf8()..],
            None => inside,
        };
    }
    kept + rest
}

fn is_quotation_mark(c: char) -> bool {
    matches!(c, '"' | '\u{201c}'..='\u{201f}' | '«' | '»' | '「' | '」' | '『' | '』')
}

/// The line without whom it speaks to: in many scripts names have no capitals.
fn without_spoken_to(line: &str) -> &str {
    let Some(comma) = line.find([',', '!', '،', '、', '，', '！']) else { return line };
    let (before, rest) = line.split_at(comma);
    let words = before.split_whitespace().count();
    let unspaced = before.chars().filter(|c| is_unspaced(*c)).count();
    let is_spoken_to = words <= SPOKEN_TO && unspaced <= SPOKEN_TO_UNSPACED;
    if is_spoken_to { rest.trim_start_matches(|c: char| !c.is_alphanumeric()) } else { line }
}

fn push(kept: &mut String, word: &str) {
    if !kept.is_empty() && !kept.ends_with(' ') {
        kept.push(' ');
    }
    kept.push_str(word);
}

/// The names beside the addresses of a field.
fn display_names(value: &[u8]) -> Vec<String> {
    let mut field = b"To:".to_vec();
    field.extend_from_slice(&value[..value.len().min(NAMES_BYTES)]);
    field.extend_from_slice(b"\r\n\r\n");
    let parsed = MessageParser::new().with_address_headers().parse_headers(&field);
    let names = |message: &mail_parser::Message<'_>| -> Vec<String> {
        let boxes = message.to().into_iter().flat_map(|to| to.iter());
        boxes.filter_map(|mailbox| mailbox.name().map(ToOwned::to_owned)).collect()
    };
    parsed.as_ref().map(names).unwrap_or_default()
}

/// The host of a link, without the digits that click counters put into it.
fn host(link: &str) -> Option<String> {
    let (_, rest) = link.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some(host.chars().filter(|c| !c.is_numeric()).flat_map(char::to_lowercase).collect())
}

/// Whether words of this script are written without spaces between them.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}')
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
