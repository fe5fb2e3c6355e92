//! What a message's shape says: codes, links, amounts, lists, conversations.

use super::knowledge::{Feature, Knowledge};
use super::matcher::Hit;
use super::parts;
use super::view::{View, signs};
use crate::policy::Text;

/// What of a message's shape is to be weighed.
pub(super) fn features(knowledge: &Knowledge, text: &Text, view: &View, hits: &[Hit]) -> Vec<Feature> {
    let links = text.links();
    let tokens = links.iter().filter(|link| has_token(link)).count();
    let prices = prices(text);
    let longest = view.letters.iter().copied().max().unwrap_or(0);
    let has_field = |name: &str| text.fields.iter().any(|(field, _)| field == name);
    let bulk = text.fields.iter().any(|(field, value)| {
        field == "precedence" && matches!(value.to_ascii_lowercase().trim(), "bulk" | "list" | "junk")
    });
    [
        (Feature::Code, view.has_code()),
        (Feature::TokenLink, tokens > 0),
        (Feature::NoTokenLink, tokens == 0),
        (Feature::OneThing, longest <= SHORT_LETTERS && links.len() <= FEW_LINKS && is_one(tokens, view)),
        (Feature::ManyLinks, links.len() >= 15),
        (Feature::VeryManyLinks, links.len() >= 30),
        (Feature::LongText, longest > 2_500),
        (Feature::VeryLongText, longest > 6_000),
        (Feature::Price, prices == 1),
        (Feature::Prices, prices >= 2),
        (Feature::Percent, has_percent(text)),
        (Feature::CodeAlone, !view.codes_alone.is_empty()),
        (Feature::CodeInSubject, is_code_in_subject(text, view)),
        (Feature::ListUnsubscribe, has_field("list-unsubscribe")),
        (Feature::ListId, has_field("list-id")),
        (Feature::ListPost, has_field("list-post")),
        (Feature::Bulk, bulk),
        (Feature::Reply, has_field("in-reply-to")),
        (Feature::ReplySubject, is_reply(&text.subject)),
        (Feature::TicketNumber, has_ticket_number(&text.subject) || has_ticket_key(&text.subject)),
        (Feature::Calendar, text.calendar),
        (Feature::EmbeddedMessage, text.embedded_message),
        (Feature::Attachment, text.attachments > 0),
        (Feature::Incomplete, text.incomplete),
        (Feature::MixedScript, view.mixed_script),
        (Feature::OtherAlternative, parts::says_something_else(knowledge, view, hits)),
        (Feature::RefusedPart, parts::is_one_refused(knowledge, view, hits)),
    ]
    .into_iter()
    .filter_map(|(feature, present)| present.then_some(feature))
    .collect()
}

/// A message that asks for one thing is no longer than this.
const SHORT_LETTERS: usize = 700;
/// And leads to no more places: the page, the site, help, the same page once more.
const FEW_LINKS: usize = 5;

/// One page to open, or to accept and to decline; or a code to type.
fn is_one(tokens: usize, view: &View) -> bool {
    tokens == 1 || tokens == 2 || tokens == 0 && view.has_code()
}

fn is_code_in_subject(text: &Text, view: &View) -> bool {
    !view.codes_alone.is_empty() && {
        let subject = signs(&text.subject);
        view.codes_alone.iter().any(|code| subject.contains(code.as_str()))
    }
}

/// A long run of letters and digits mixed, as tokens are, after the host of a link.
fn has_token(link: &str) -> bool {
    let path = link
        .split_once("://")
        .and_then(|(_, rest)| rest.find(['/', '?', '#']).map(|at| &rest[at..]))
        .unwrap_or_default();
    path.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').any(|run| {
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        run.len() >= 16 && digits >= 2 && digits < run.len()
    })
}

/// `#` and one to five digits, as issues and tickets are numbered.
fn has_ticket_number(subject: &str) -> bool {
    subject.split('#').skip(1).any(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        (1..=5).contains(&digits) && !rest[digits..].starts_with(char::is_alphanumeric)
    })
}

/// `[ABC-42]`, or `ABC-42` at the beginning, as issues are numbered; `(ticket 4711)` as desks do.
fn has_ticket_key(subject: &str) -> bool {
    let mut words = subject.split(' ').enumerate();
    words.any(|(index, word)| {
        let bracketed = word.starts_with(['[', '(']);
        let word = word.trim_matches(['[', ']', '(', ')', ':']);
        (bracketed || index == 0) && word.split_once('-').is_some_and(|(key, number)| is_key(key, number))
    }) || subject.rsplit_once('(').is_some_and(|(_, last)| is_numbered(last))
}

fn is_key(key: &str, number: &str) -> bool {
    (2..=10).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_uppercase())
        && (1..=6).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// `ticket 4711)`
fn is_numbered(last: &str) -> bool {
    last.trim_end().strip_suffix(')').and_then(|inner| inner.split_once(' ')).is_some_and(|(word, number)| {
        word.chars().all(char::is_alphabetic)
            && number.len() >= 3
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// What mail programs of many languages put before the subject of an answer or of forwarded mail.
const REPLY_PREFIXES: [&str; 14] =
    ["re", "aw", "antw", "sv", "vs", "odp", "res", "rif", "fw", "fwd", "wg", "tr", "rv", "vl"];

fn is_reply(subject: &str) -> bool {
    subject.split_once(':').is_some_and(|(prefix, rest)| {
        let prefix = prefix.trim().to_ascii_lowercase();
        rest.starts_with(' ')
            && REPLY_PREFIXES.contains(&prefix.trim_end_matches(|c: char| "[]0123456789".contains(c)))
    })
}

fn lines(text: &Text) -> impl Iterator<Item = &String> {
    text.bodies.iter().flat_map(|body| &body.paragraphs).flat_map(|paragraph| &paragraph.lines)
}

/// How many lines name an amount of money.
fn prices(text: &Text) -> usize {
    lines(text).chain([&text.subject]).filter(|line| has_price(line)).count()
}

/// A sign of a currency with a digit beside it.
fn has_price(line: &str) -> bool {
    const SIGNS: [char; 12] = ['$', '€', '£', '¥', '₹', '₽', '₩', '₺', '₴', '₪', '৳', '﷼'];
    if line.is_ascii() && !line.contains('$') {
        return false;
    }
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    line.char_indices().filter(|(_, c)| (*c == '$' || !c.is_ascii()) && SIGNS.contains(c)).any(
        |(at, sign)| {
            let after = &line[at + sign.len_utf8()..];
            is_digit(after.trim_start().chars().next()) || is_digit(line[..at].trim_end().chars().next_back())
        },
    )
}

/// `20%`, `20 %`, `%20`: nobody signs in with a share of anything.
fn has_percent(text: &Text) -> bool {
    const SIGNS: [char; 3] = ['%', '٪', '％'];
    let has_sign = |text: &str| text.contains('%') || !text.is_ascii() && text.contains(SIGNS);
    let in_line = |line: &str| {
        has_sign(line)
            && line.split(' ').any(|word| has_sign(word) && !word.contains("://"))
            && line.contains(|c: char| c.is_numeric())
    };
    in_line(&text.subject) || lines(text).any(|line| in_line(line))
}
