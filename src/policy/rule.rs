//! The operator's rules: patterns over a message, joined by all, any and not.
//!
//! Patterns are matched in linear time whatever the text (crate `regex`), and their compiled size is limited, so neither a rule nor a
//! message can make a decision slow.

use std::borrow::Cow;
use std::cell::OnceCell;

use regex::{Regex, RegexBuilder};
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

use super::Submission;
use super::text::{self, Text, TextLimits};
use crate::ident::CategoryName;
use crate::mail::ReversePath;

/// The largest compiled form of one pattern, in bytes.
const PATTERN_BYTES: usize = 1024 * 1024;

/// One rule: the messages for which `when` holds are of `category`.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name in the configuration.
    pub name: String,
    /// The category it gives.
    pub category: CategoryName,
    /// For which messages.
    pub when: Condition,
}

/// When a rule applies.
#[derive(Debug, Clone)]
pub enum Condition {
    /// All of them hold; with none, it holds.
    All(Vec<Condition>),
    /// At least one of them holds; with none, it does not.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// The pattern is found in the field. Where a field stands several times: in one of them. Where it is missing: no.
    Matches(Field, Regex),
}

/// What a pattern is matched against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The client's name.
    Client,
    /// The envelope sender; the empty text for `<>`.
    ReversePath,
    /// Any of the recipients.
    Recipient,
    /// A header field, unfolded, encoded words decoded.
    Header(String),
    /// The Subject, decoded.
    Subject,
    /// What a person sees of the text, plain and HTML, decoded. `^` and `$` stand at the ends of lines here.
    Body,
}

impl Condition {
    /// A condition from a pattern as the operator wrote it. Upper and lower case are alike unless the pattern says
    /// `(?-i)`. Letters with marks are alike whether they are written as one character or as several (NFC, NFD).
    pub fn pattern(field: Field, pattern: &str) -> Result<Self, regex::Error> {
        RegexBuilder::new(&composed(pattern))
            .case_insensitive(true)
            .multi_line(field == Field::Body)
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_BYTES)
            .build()
            .map(|regex| Self::Matches(field, regex))
    }

    /// Whether it holds for the message.
    pub(super) fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(subject)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(subject)),
            Self::Not(condition) => !condition.holds(subject),
            Self::Matches(field, regex) => subject.any_value(field, |value| regex.is_match(&composed(value))),
        }
    }
}

/// Both sides of a comparison in one form.
fn composed(text: &str) -> Cow<'_, str> {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        IsNormalized::No | IsNormalized::Maybe => Cow::Owned(text.nfc().collect()),
    }
}

/// A submission and its text, which is decoded when the first rule or recognition asks for it, and only once.
pub(super) struct Subject<'a> {
    pub submission: &'a Submission,
    limits: TextLimits,
    text: OnceCell<Text>,
    visible: OnceCell<String>,
}

impl<'a> Subject<'a> {
    pub(super) fn new(submission: &'a Submission) -> Self {
        Self { submission, limits: TextLimits::default(), text: OnceCell::new(), visible: OnceCell::new() }
    }

    pub(super) fn text(&self) -> &Text {
        self.text.get_or_init(|| Text::of(&self.submission.message, &self.limits))
    }

    /// The text, where it was decoded.
    pub(super) fn into_text(self) -> OnceCell<Text> {
        self.text
    }

    /// The decoded values of the header fields called `name`.
    pub(super) fn header(&self, name: &str) -> Vec<String> {
        text::field(&self.submission.message, name, &self.limits).collect()
    }

    /// The domain of the header From, in lower case.
    pub(super) fn sender_domain(&self) -> Option<String> {
        match self.text.get() {
            Some(text) => text.from_domain.clone(),
            None => text::from_domain(&self.submission.message, &self.limits),
        }
    }

    fn any_value(&self, field: &Field, matches: impl Fn(&str) -> bool) -> bool {
        let envelope = &self.submission.envelope;
        match field {
            Field::Client => matches(self.submission.client.as_str()),
            Field::ReversePath => match &envelope.reverse_path {
                ReversePath::Null => matches(""),
                ReversePath::Address(address) => matches(address.as_str()),
            },
            Field::Recipient => envelope.recipients.iter().any(|recipient| matches(recipient.as_str())),
            Field::Header(name) => self.header(name).iter().any(|value| matches(value)),
            Field::Subject => self.header("Subject").iter().any(|value| matches(value)),
            Field::Body => matches(self.visible.get_or_init(|| self.text().visible())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::submission;
    use super::*;

    const MESSAGE: &str = "From: a@b.example\nSubject: =?utf-8?q?R=C3=A9initialiser?=\nX-Kind: one\nX-Kind: two\n\n\
                           Hello\nCode 123\n";

    fn holds(condition: &Condition) -> bool {
        condition.holds(&Subject::new(&submission(MESSAGE)))
    }

    fn pattern(field: Field, pattern: &str) -> Condition {
        Condition::pattern(field, pattern).unwrap()
    }

    #[test]
    fn every_field_is_matched() {
        for (field, yes, no) in [
            (Field::Client, "^crm$", "shop"),
            (Field::ReversePath, "@app\\.example$", "@b\\.example"),
            (Field::Recipient, "^anna@", "^crm"),
            (Field::Header("x-kind".to_owned()), "^TWO$", "three"),
            (Field::Header("X-Missing".to_owned()), "(?-i)never", ""),
            (Field::Subject, "réinitialiser", "=\\?utf"),
            (Field::Body, "^code \\d+$", "(?-i)^code"),
        ] {
            let expected = field != Field::Header("X-Missing".to_owned());
            assert_eq!(holds(&pattern(field.clone(), yes)), expected, "{field:?} {yes}");
            assert!(!holds(&pattern(field.clone(), no)), "{field:?} {no}");
        }
    }

    #[test]
    fn both_ways_to_write_a_letter_are_alike() {
        let decomposed = "Subject: Re\u{301}initialiser\n\nU\u{308}ber\n";
        let composed = "Subject: R\u{e9}initialiser\n\n\u{dc}ber\n";
        for message in [decomposed, composed] {
            for (field, pattern) in [
                (Field::Subject, "r\u{e9}initialiser"),
                (Field::Subject, "re\u{301}initialiser"),
                (Field::Body, "^\u{fc}ber$"),
                (Field::Body, "^u\u{308}ber$"),
            ] {
                let condition = self::pattern(field, pattern);
                assert!(condition.holds(&Subject::new(&submission(message))), "{message:?} {pattern:?}");
            }
        }
    }

    #[test]
    fn conditions_are_joined() {
        let yes = || pattern(Field::Body, "hello");
        let no = || pattern(Field::Body, "goodbye");
        assert!(holds(&Condition::All(vec![yes(), yes()])) && !holds(&Condition::All(vec![yes(), no()])));
        assert!(holds(&Condition::Any(vec![no(), yes()])) && !holds(&Condition::Any(vec![no(), no()])));
        assert!(holds(&Condition::Not(Box::new(no()))) && !holds(&Condition::Not(Box::new(yes()))));
        assert!(holds(&Condition::All(vec![])) && !holds(&Condition::Any(vec![])));
    }

    #[test]
    fn a_pattern_that_would_grow_without_bound_is_refused() {
        assert!(Condition::pattern(Field::Body, "((a{100}){100}){100}").is_err());
        assert!(Condition::pattern(Field::Body, "(").is_err());
    }
}
