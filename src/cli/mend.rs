//! For `explain`: how near recognition was to another decision, and the rule that mends a wrong one, ready to paste.

use std::fmt::Write as _;

use crate::policy::{
    DecidedBy, Policy, Recognized, Submission, Text, TextLimits, Verdict, plain_letters, shape,
};
use crate::secret::Digest;

/// What recognition weighed against what, and what was missing to pass; nothing where it was not asked.
pub(super) fn standing(policy: &Policy, submission: &Submission, verdict: &Verdict) -> Vec<String> {
    match verdict.decided_by {
        DecidedBy::Recognition | DecidedBy::Nothing => {}
        DecidedBy::Binding | DecidedBy::Declared | DecidedBy::Rule => return Vec::new(),
    }
    let recognition = &policy.recognition;
    let point = recognition.point(recognition.strictness());
    let standing = recognition.examine(&Text::of(&submission.message, &TextLimits::default())).standing;
    let mut said = vec![format!(
        "strictness {}: to pass, a category needs {:.1} points and a lead of {:.1} over the ones that are refused",
        recognition.strictness().name(),
        point.threshold,
        point.margin
    )];
    let told = |found: &Option<Recognized>| {
        found
            .as_ref()
            .map_or("none".to_owned(), |found| format!("{} with {:.1}", found.category, found.score))
    };
    said.push(format!(
        "nearest to pass: {}; against it: {}",
        told(&standing.nearest),
        told(&standing.against)
    ));
    let Some(nearest) = &standing.nearest else { return said };
    let mut missing = Vec::new();
    if standing.candidate.as_ref().is_none_or(|candidate| candidate.category != nearest.category) {
        missing.push("a link or a code to act on, as such mail has".to_owned());
    }
    let short = (point.threshold - nearest.score).max(point.margin - (nearest.score - standing.lead()));
    if short > 0.0 {
        missing.push(format!("{short:.1} points"));
    }
    if !missing.is_empty() {
        said.push(format!("missing to pass: {}", missing.join(", and ")));
    }
    said
}

/// A rule for mail like this one: by the header field that names its template, where there is one, else by its subject,
/// else by a line of its text.
pub(super) fn rule(policy: &Policy, submission: &Submission, verdict: &Verdict) -> String {
    let text = Text::of(&submission.message, &TextLimits::default());
    let category = other_category(policy, &text, verdict);
    let mut when = format!("client = {}\n", quoted(&format!("^{}$", escaped(submission.client.as_str()))));
    if let Some(domain) = &text.from_domain {
        let _ = writeln!(when, "header.From = {}", quoted(&format!("@{}\\b", escaped(domain))));
    }
    let template = text.fields.iter().find(|(name, value)| name.starts_with("x-") && is_short(value));
    let _ = match template {
        Some((name, value)) => writeln!(when, "header.{name} = {}", quoted(&format!("^{}$", pattern(value)))),
        None if text.subject.trim().is_empty() => {
            let line =
                telling_line(&text).map_or_else(|| "words that only such mail has".to_owned(), pattern);
            writeln!(when, "body = {}", quoted(&line))
        }
        None => {
            let shape = shape(&submission.message, &submission.envelope.recipients);
            let same = String::from_utf8_lossy(shape.parts()[0]).into_owned();
            writeln!(when, "subject = {}", quoted(&format!("^{}$", template_of(&text.subject, &same))))
        }
    };
    let name = format!("{}-{category}-{}", submission.client, mark(&when));
    format!("[[rules]]\nname = {}\ncategory = {}\n{when}", quoted(&name), quoted(&category))
}

/// Four digits that tell rules of one client and category apart. What they are made of can't be found out from them.
fn mark(when: &str) -> String {
    Digest::sha256(when.as_bytes()).to_hex().chars().take(4).collect()
}

/// The line that says most: the first long one.
fn telling_line(text: &Text) -> Option<&str> {
    let lines =
        || text.bodies.iter().flat_map(|body| &body.paragraphs).flat_map(|paragraph| &paragraph.lines);
    let says =
        |line: &&String| line.split_whitespace().count() > 3 && line.len() <= 200 && !line.contains("://");
    lines().find(says).map(String::as_str)
}

/// The subject as a pattern, in which words that another message of the same template need not have may be others.
/// `same` are the words that it must have, as `shape` finds them; where they are too few, all must be there.
fn template_of(subject: &str, same: &str) -> String {
    let must = |word: &str| {
        !plain_words(word).is_empty()
            && plain_words(word).iter().all(|word| same.split(' ').any(|one| one == word))
    };
    let words: Vec<&str> = subject.split_whitespace().collect();
    let kept: Vec<bool> = words.iter().map(|word| must(word)).collect();
    let octets: usize = words.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(word, _)| word.len()).sum();
    if kept.iter().filter(|kept| **kept).count() < 2 || octets < 10 {
        return pattern(subject);
    }
    let mut parts: Vec<String> = Vec::new();
    for (word, kept) in words.iter().zip(kept) {
        if kept {
            parts.push(pattern(word));
        } else if parts.last().is_none_or(|last| last != ".+") {
            parts.push(".+".to_owned());
        }
    }
    parts.join("\\s+")
}

/// The words in a word, as `shape` writes them.
fn plain_words(word: &str) -> Vec<String> {
    let lower = plain_letters(word).to_lowercase();
    lower
        .split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

/// What it should be, if what was decided is wrong: the nearest category of the other kind.
fn other_category(policy: &Policy, text: &Text, verdict: &Verdict) -> String {
    let standing = policy.recognition.examine(text).standing;
    let passed = policy.recognition.guarded().any(|guarded| *guarded == verdict.category.name);
    let (other, otherwise) =
        if passed { (standing.against, "unknown") } else { (standing.nearest, "password-reset") };
    other
        .filter(|found| found.score > 0.0)
        .map_or_else(|| otherwise.to_owned(), |found| found.category.to_string())
}

fn is_short(value: &str) -> bool {
    (1..=80).contains(&value.trim().len())
}

/// The text as a pattern: numbers may be others, every space any run of them.
fn pattern(text: &str) -> String {
    let mut pattern = String::new();
    let mut in_number = false;
    for c in text.trim().chars() {
        if c.is_ascii_digit() {
            if !in_number {
                pattern.push_str("\\d+");
            }
        } else if c.is_whitespace() {
            pattern.push_str(if pattern.ends_with("\\s+") { "" } else { "\\s+" });
        } else {
            pattern.push_str(&escaped(&c.to_string()));
        }
        in_number = c.is_ascii_digit();
    }
    pattern
}

fn escaped(text: &str) -> String {
    regex::escape(text)
}

/// As a TOML string in which a backslash is one.
fn quoted(text: &str) -> String {
    if text.contains(['\'', '\n']) || text.chars().any(char::is_control) {
        return toml::Value::from(text).to_string();
    }
    format!("'{text}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_were_made_of_and_other_numbers() {
        let made = pattern("[Acme]  Your code: 481 516 (it's 50% new?)");
        let regex = regex::Regex::new(&format!("^{made}$")).unwrap();
        assert!(regex.is_match("[Acme] Your code: 481 516 (it's 50% new?)"));
        assert!(regex.is_match("[Acme] Your code: 1 2 (it's 7% new?)"));
        assert!(!regex.is_match("[Acme] Your code: x y (it's 7% new?)"));
    }

    #[test]
    fn words_of_another_message_may_be_others() {
        let made = template_of("Anna Smith invited you to join Blue Whales", "invited you to join");
        assert_eq!(made, "(.+)\\s+invited\\s+you\\s+to\\s+join\\s+(.+)".replace(['(', ')'], ""));
        assert_eq!(template_of("Welcome, Anna", "welcome"), pattern("Welcome, Anna"), "too little stays");
        assert_eq!(template_of("", ""), "");
    }

    #[test]
    fn strings_are_toml() {
        for text in ["plain \\d+", "it's \\d+ \"quoted\"", "tab\t"] {
            let read: toml::Table = toml::from_str(&format!("a = {}", quoted(text))).unwrap();
            assert_eq!(read["a"].as_str(), Some(text));
        }
    }
}
