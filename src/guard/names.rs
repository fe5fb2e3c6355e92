//! What stands where an invitation names a person or a team.
//!
//! An application lets anybody choose a name, and puts it into an honest message of its own: "X invited you to join Y".
//! A link, a phone number or a whole text in place of X or Y makes that message the carrier of somebody else's. Names
//! stand in the subject and in the sentence with the invitation's phrase, which recognition finds.

use std::borrow::Cow;

use crate::ident::CategoryName;
use crate::policy::{Recognition, Text, links_in_text, plain_letters};

use super::links::{Domains, host_in_text, shown};

/// The longest that a name is, in characters.
const NAME_MAX: usize = 60;
/// Sentences of one message that are asked about.
const SENTENCES_MAX: usize = 64;
/// How the categories begin whose mail is looked at.
const INVITATIONS: &str = "invitation";

/// What stands where a name should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameProblem {
    /// A link or the name of a foreign host.
    Link(String),
    /// A phone number.
    Phone,
    /// More text than a name has.
    Long,
}

/// What is wrong with the names in an invitation. `domains` are what a host is compared with; without them a host in a
/// name is let be, since it may be the business's own.
pub fn problem(
    text: &Text,
    category: &CategoryName,
    domains: Option<&Domains>,
    recognition: &Recognition,
) -> Option<NameProblem> {
    if !category.as_str().starts_with(INVITATIONS) {
        return None;
    }
    let invitation = CategoryName::new(INVITATIONS);
    let said = |lines: &[&str]| recognition.said_of(lines, &invitation);
    let subject = undisguised(&plain_letters(&text.subject)).into_owned();
    let in_subject = foreign_host(&subject, domains).map(NameProblem::Link);
    let in_subject = in_subject.or_else(|| has_phone_number(&subject).then_some(NameProblem::Phone));
    if in_subject.is_some() {
        return in_subject;
    }
    let of_subject = said(&[&subject]);
    if of_subject.first().is_some_and(|said| said.longest_rest > NAME_MAX) {
        return Some(NameProblem::Long);
    }
    let doubtful: Vec<(String, NameProblem)> =
        sentences(text).filter_map(|sentence| doubt(sentence, domains)).take(SENTENCES_MAX).collect();
    let lines: Vec<&str> = doubtful.iter().map(|(sentence, _)| sentence.as_str()).collect();
    let speaks = said(&lines);
    let found = doubtful.into_iter().zip(speaks).find(|(_, said)| said.speaks);
    found.map(|((_, problem), _)| problem)
}

/// A sentence that would be wrong if it held the invitation's phrase.
fn doubt(sentence: String, domains: Option<&Domains>) -> Option<(String, NameProblem)> {
    let problem = foreign_host(&sentence, domains)
        .map(NameProblem::Link)
        .or_else(|| has_phone_number(&without_links(&sentence)).then_some(NameProblem::Phone))
        .or_else(|| has_long_quotation(&sentence).then_some(NameProblem::Long))?;
    Some((sentence, problem))
}

/// The sentence without its links: an identifier or a token in one is mostly digits, and is called by nobody. Where they
/// lead was looked at before.
fn without_links(sentence: &str) -> String {
    let words = sentence.split_whitespace().filter(|word| !word.contains("://"));
    words.collect::<Vec<_>>().join(" ")
}

/// The longest line that may be the beginning of a sentence in the next paragraph, in octets.
const BEGINNING_MAX: usize = 120;

/// The sentences of all bodies, in plain letters. One may begin in a short paragraph of its own, such as a heading or the
/// cell of a table.
fn sentences(text: &Text) -> impl Iterator<Item = String> {
    text.bodies.iter().flat_map(|body| {
        let mut before = String::new();
        body.paragraphs.iter().flat_map(move |paragraph| {
            let whole = plain_letters(&paragraph.lines.join(" "));
            let plain = undisguised(&whole).into_owned();
            let mut all: Vec<String> = split_sentences(&plain).into_iter().map(ToOwned::to_owned).collect();
            if let Some(first) = all.first().filter(|_| !before.is_empty()) {
                all.push(format!("{before} {first}"));
            }
            let goes_on =
                plain.len() <= BEGINNING_MAX && !plain.trim_end().ends_with(['.', '!', '?', ':', ',', ';']);
            before = if goes_on { plain } else { String::new() };
            all
        })
    })
}

fn split_sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut ended) = (0, false);
    for (at, c) in text.char_indices() {
        if ended && c.is_whitespace() || matches!(c, '\u{3002}' | '\u{964}' | '\u{6d4}') {
            found.push(&text[start..at]);
            start = at;
        }
        ended = matches!(c, '.' | '!' | '?');
    }
    found.push(&text[start..]);
    found
}

fn foreign_host(text: &str, domains: Option<&Domains>) -> Option<String> {
    let domains = domains?;
    let mut foreign = None;
    links_in_text(text, &mut |address| {
        if foreign.is_none() {
            foreign = host_in_text(address).filter(|host| !domains.may_link(host));
        }
    });
    foreign.map(|host| shown(&host))
}

/// The text with the dots put back that a host was written without, so that a person makes one of it and a program does
/// not: `evil . com`, `evil[.]com`, `evil (dot) com`.
fn undisguised(text: &str) -> Cow<'_, str> {
    // The longer ones first: their white space goes with them.
    const DOTS: [&str; 8] = [" (dot) ", " [dot] ", "{dot}", "(dot)", "[dot]", "{.}", "(.)", "[.]"];
    let lower = text.to_ascii_lowercase();
    let joined = joined_at_dots(text);
    let lower = with_spoken_dots(lower);
    if joined.is_none() && lower.len() == text.len() && !DOTS.iter().any(|dot| lower.contains(dot)) {
        return Cow::Borrowed(text);
    }
    let text = joined.map_or(lower, |joined| with_spoken_dots(joined.to_ascii_lowercase()));
    Cow::Owned(DOTS.iter().fold(text, |text, dot| text.replace(dot, ".")))
}

/// `evil dot com`, where an end of a host name follows that is no word.
fn with_spoken_dots(lower: String) -> String {
    const ENDS: [&str; 8] = ["com", "net", "org", "io", "xyz", "info", "biz", "ru"];
    const DOT: &str = " dot ";
    let (mut out, mut rest) = (String::new(), lower.as_str());
    while let Some((before, after)) = rest.split_once(DOT) {
        out.push_str(before);
        let end = after.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        out.push_str(if ENDS.contains(&end) { "." } else { DOT });
        rest = after;
    }
    if rest.len() == lower.len() { lower } else { out + rest }
}

/// The text without the white space around dots that stand between words, where the next one begins in lower case: no
/// sentence begins there.
fn joined_at_dots(text: &str) -> Option<String> {
    let (mut joined, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(" . ") {
        let (before, after) = (&rest[..at], &rest[at + " . ".len()..]);
        joined.push_str(before);
        joined.push_str(if after.starts_with(char::is_lowercase) { "." } else { " . " });
        rest = after;
    }
    (rest.len() < text.len()).then(|| joined + rest)
}

/// Digits as they are called, not as they are filed: a plus or brackets, or groups of them, and no date.
fn has_phone_number(text: &str) -> bool {
    let is_part = |c: char| {
        digit(c).is_some() || matches!(c, '+' | '(' | ')' | '-' | '.' | '/' | ' ' | '\u{2010}'..='\u{2014}')
    };
    text.split(|c| !is_part(c)).any(|run| {
        let groups: Vec<String> = run
            .split(|c| digit(c).is_none())
            .filter(|group| !group.is_empty())
            .map(|group| group.chars().filter_map(digit).collect())
            .collect();
        let digits: usize = without_dates(&groups).iter().map(String::len).sum();
        digits >= 7 && run.contains('+')
            || (9..=15).contains(&digits) && groups.len() >= 2
            || (10..=15).contains(&digits)
    })
}

/// Groups of digits without dates such as `2026-11-23` and `23.11.2026`.
fn without_dates(groups: &[String]) -> &[String] {
    let is_year = |group: &String| group.len() == 4 && (group.starts_with("19") || group.starts_with("20"));
    let short = |group: &String| group.len() <= 2;
    match groups {
        [year, month, day, rest @ ..] if is_year(year) && short(month) && short(day) => rest,
        [day, month, year, rest @ ..] if is_year(year) && short(month) && short(day) => rest,
        [from, to, rest @ ..] if is_year(from) && is_year(to) => rest,
        all => all,
    }
}

/// The ASCII digit that is meant by a digit of any script in wide use.
fn digit(c: char) -> Option<char> {
    const ZEROS: [u32; 7] = [0x30, 0x660, 0x6f0, 0x966, 0x9e6, 0xe50, 0xff10];
    let value = ZEROS.iter().map(|zero| u32::from(c).wrapping_sub(*zero)).find(|value| *value < 10)?;
    char::from_digit(value, 10)
}

fn has_long_quotation(text: &str) -> bool {
    const MARKS: [(char, char); 6] = [
        ('"', '"'),
        ('\u{201c}', '\u{201d}'),
        ('\u{201e}', '\u{201c}'),
        ('\u{ab}', '\u{bb}'),
        ('\u{bb}', '\u{ab}'),
        ('\u{300c}', '\u{300d}'),
    ];
    MARKS.iter().any(|&(open, close)| {
        text.match_indices(open).any(|(at, _)| {
            let quoted = &text[at + open.len_utf8()..];
            // Twice the bound is enough to know.
            let length = quoted.chars().take(20 * NAME_MAX).position(|c| c == close);
            length.is_some_and(|length| length > NAME_MAX)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Message;
    use crate::policy::TextLimits;

    fn of(subject: &str, body: &str) -> Option<NameProblem> {
        let raw = format!("Subject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n");
        let text = Text::of(&Message::new(raw.into_bytes()), &TextLimits::default());
        let allowed = vec!["acme.example".to_owned()];
        let domains = Domains { allowed, ..Domains::default() };
        problem(&text, &"invitation".into(), Some(&domains), &Recognition::shipped().unwrap())
    }

    #[test]
    fn honest_names_pass() {
        for name in [
            "Dr. M\u{fc}ller",
            "O'Brien & Sons",
            "Node.js Meetup",
            "Team 42",
            "anna@customer.example",
            "acme.example",
            "Season 2026-2027",
            "Class of 1999",
            "St. Mary's School, 3rd floor",
            "R&D (2026-11-23)",
            "24/7 Support",
            "Anna . Team lead",
        ] {
            let subject = format!("{name} invited you to join the team");
            let body = format!(
                "Hello,\r\n\r\n{name} invited you to join {name} on Acme. Go to https://acme.example/join/1\r\n\r\n\
                                Questions? See help.example or call +1 202 555 0100."
            );
            assert_eq!(of(&subject, &body), None, "{name}");
        }
    }

    #[test]
    fn digits_in_a_link_are_no_phone_number() {
        for link in ["https://acme.example/join/4821337701", "https://acme.example/join?t=a81237700412345cc"]
        {
            let body = format!("Anna invited you to join the team Harbour: {link}");
            assert_eq!(of("An invitation", &body), None, "{link}");
            let number = format!("Anna invited you to join call 1-800-555-0100 {link}");
            assert_eq!(of("An invitation", &number), Some(NameProblem::Phone), "{link}");
        }
    }

    #[test]
    fn what_is_no_name_is_seen_in_the_subject_and_in_the_sentence() {
        let host = |host: &str| NameProblem::Link(host.to_owned());
        for (name, problem) in [
            ("https://evil.example/prize", host("evil.example")),
            ("Free gift at evil.com", host("evil.com")),
            ("ev\u{200b}il.com", host("evil.com")),
            ("\u{ff45}vil.com", host("evil.com")),
            ("Win at evil . com", host("evil.com")),
            ("Win at Evil (dot) com", host("evil.com")),
            ("Win at evil[.]com", host("evil.com")),
            ("Win at Evil DOT com", host("evil.com")),
            ("URGENT call +1 (202) 555-0100", NameProblem::Phone),
            ("Call 1-800-555-0100 now", NameProblem::Phone),
            ("Call \u{ff11}800 \u{ff15}55 0100", NameProblem::Phone),
        ] {
            assert_eq!(
                of(&format!("{name} invited you to join the team"), ""),
                Some(problem.clone()),
                "{name}"
            );
            let body = format!("Hello,\r\n\r\n{name} has\r\ninvited you to join the team.\r\n");
            assert_eq!(of("An invitation", &body), Some(problem.clone()), "{name}");
            let heading = format!("Hello,\r\n\r\n{name}\r\n\r\nhas invited you to join the team.\r\n");
            assert_eq!(of("An invitation", &heading), Some(problem), "{name}");
        }
        let long =
            "A large sum has been taken from the bank and you must call us back to stop that payment today";
        assert_eq!(of(&format!("Anna invited you to join {long}"), ""), Some(NameProblem::Long));
        let quoted = format!("Anna invited you to join the team \"{long}\" on Acme.");
        assert_eq!(of("An invitation", &quoted), Some(NameProblem::Long));
    }

    #[test]
    fn other_mail_and_other_sentences_are_let_be() {
        assert_eq!(of("You have been invited", "See evil.com.\r\n\r\nCall +1 202 555 0100."), None);
        let text = Text { subject: "Call +1 202 555 0100".to_owned(), ..Text::default() };
        assert_eq!(problem(&text, &"signin".into(), None, &Recognition::default()), None);
        let subject = Text { subject: "wiki.example invited you".to_owned(), ..Text::default() };
        assert_eq!(problem(&subject, &"invitation".into(), None, &Recognition::default()), None);
    }
}
