//! The shape of a message: what is the same in all messages that an application makes of one template.
//!
//! Taken out is what differs from person to person: numbers, words with digits in them, addresses, links but for their
//! host, the recipient's name and local part, and words with a capital letter, which is what names of people and teams
//! are. Short lines go too: a greeting, a code, a signature. Pure and deterministic; the text is untrusted and bounded
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
    let text = Text::of(message, &TextLimits::default());
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
        bare.is_empty() || bare == "." || bare.contains(char::is_numeric) || self.words.contains(bare)
    }
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
mod tests {
    use super::*;

    fn of(raw: &str, to: &str) -> Shape {
        shape(&Message::new(raw.replace('\n', "\r\n").into_bytes()), &[Address::parse(to).unwrap()])
    }

    /// Fifty people, as applications know them.
    fn people() -> Vec<(String, String)> {
        let first =
            ["Anna", "Jürgen", "marie", "O'Brien", "Ng", "Łukasz", "Zoë", "Will", "Mary Jane", "Иван"];
        let last = ["Smith", "de la Cruz", "Grün", "Li", "Åberg"];
        let mut people = Vec::new();
        for (row, first) in first.iter().enumerate() {
            for (column, last) in last.iter().enumerate() {
                let local = match column {
                    0 => format!("user{row}.{column}"),
                    1 => format!("a.smith{row}"),
                    2 => format!("team+{row}"),
                    3 => "info".to_owned(),
                    _ => format!("x_{row}-li"),
                };
                people.push((format!("{first} {last}"), format!("{local}@c{row}.example")));
            }
        }
        people
    }

    const INVITATION: &str = "To: {header}\nSubject: {name}, Bob invited you to join Acme ({number})\n\
        Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nHello {name},\n\n\
        Bob Builder has invited you, {name}, to join the team {number} on the board.\n\
        Open https://u{number}.acme.example/i/{token} to accept the invitation.\n\
        Sent to {address}, who can say no until 2026-11-{day}.\n\nYour code: {number}\n";

    fn made(template: &str, name: &str, address: &str, number: usize) -> String {
        let header =
            if number.is_multiple_of(2) { format!("\"{name}\" <{address}>") } else { address.to_owned() };
        template
            .replace("{header}", &header)
            .replace("{name}", name)
            .replace("{address}", address)
            .replace("{number}", &(1000 + number * 37).to_string())
            .replace("{token}", &format!("tok{number}en"))
            .replace("{day}", &(1 + number % 28).to_string())
    }

    #[test]
    fn one_template_to_fifty_people_has_one_shape() {
        // A name in small letters that stands neither in the address nor in the header is a word like any other.
        let known = |(number, (name, _)): &(usize, (String, String))| {
            number.is_multiple_of(2) || !name.split(' ').any(|word| word.starts_with(char::is_lowercase))
        };
        let people: Vec<_> = people().into_iter().enumerate().filter(known).collect();
        assert!(people.len() > 40);
        let shapes: Vec<Shape> = people
            .iter()
            .map(|(number, (name, address))| of(&made(INVITATION, name, address, *number), address))
            .collect();
        for (shape, (_, person)) in shapes.iter().zip(&people) {
            let texts = |shape: &Shape| (shape.subject.clone(), shape.template.clone());
            assert_eq!(texts(shape), texts(&shapes[0]), "{person:?}");
        }
    }

    #[test]
    fn other_templates_have_other_shapes() {
        let other = INVITATION.replace("has invited you", "has moved you").replace("accept", "see");
        let shared = INVITATION.replace("invited you to join", "shared a file with");
        let shapes: Vec<Shape> = [INVITATION, &other, &shared]
            .into_iter()
            .map(|template| of(&made(template, "Anna Smith", "anna@c.example", 1), "anna@c.example"))
            .collect();
        assert!(shapes[0] != shapes[1] && shapes[0] != shapes[2] && shapes[1] != shapes[2]);
        let elsewhere = INVITATION.replace("acme.example", "evil.example");
        assert_ne!(of(&made(&elsewhere, "Anna", "anna@c.example", 1), "anna@c.example"), shapes[0]);
    }

    #[test]
    fn html_and_scripts_without_spaces_have_shapes() {
        let html = "To: {header}\nSubject: x\nContent-Type: text/html; charset=utf-8\n\n<p>Hi <b>{name}</b>, come and \
                    work with us</p><a href=\"https://a.example/{token}\">Join the team</a>\n";
        let japanese = "To: {header}\nSubject: {name}さん、チームへの招待\nContent-Type: text/plain; charset=utf-8\n\
                        Content-Transfer-Encoding: 8bit\n\n{name}さん、チームに招待されました。下のリンクから参加してください。\n";
        let other = japanese.replace("参加", "確認");
        let shape =
            |template: &str, name, number| of(&made(template, name, "u1@c.example", number), "u1@c.example");
        assert_eq!(shape(html, "Anna", 2), shape(html, "Bert Brown", 4));
        assert_ne!(shape(html, "Anna", 2), shape(&html.replace("work", "play"), "Anna", 2));
        assert_eq!(shape(japanese, "山田太郎", 2), shape(japanese, "佐藤花子", 4));
        assert_ne!(shape(japanese, "山田太郎", 2), shape(&other, "山田太郎", 2));
    }

    #[test]
    fn codes_alone_have_a_shape_by_their_words() {
        let code = "Subject: Your Sign-In Code\n\nCode: {number}\n\nit expires soon\n";
        let first = of(&made(code, "", "anna@c.example", 1), "anna@c.example");
        assert_eq!(first, of(&made(code, "", "anna@c.example", 2), "anna@c.example"));
        let other = code.replace("expires soon", "is for your bank");
        assert_ne!(first, of(&made(&other, "", "anna@c.example", 2), "anna@c.example"));
        assert_eq!(format!("{first:?}"), "Shape(17 + 15 octets)");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_a_shape(raw in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
            let to = [Address::parse("anna@c.example").unwrap()];
            let message = Message::new(raw);
            proptest::prop_assert_eq!(shape(&message, &to), shape(&message, &to));
        }
    }
}
