//! A text laid out for the search: one normalised string, and what each stretch of it is.
//!
//! Stretches are closed by a line feed, which no phrase holds; so whatever is found lies in one stretch.

use super::super::code::codes;
use super::super::normalize::{Noticed, normalize_into};
use super::super::text::{Body, Paragraph, Text, link_in};

/// How much of each body counts as its beginning, in octets of normalised text.
const FIRST_BYTES: usize = 400;
/// How far from a code words still speak about it, in octets of normalised text.
const NEAR_BYTES: usize = 160;

/// Where a stretch of text stands in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stretch {
    Subject,
    Header,
    Button,
    /// Visible text of the body with this index.
    Body(usize),
    /// Text of the body with this index that is not shown.
    Hidden(usize),
}

/// The searchable form of a text.
#[derive(Default)]
pub(super) struct View {
    pub text: String,
    /// Where each stretch begins, ascending.
    stretches: Vec<(usize, Stretch)>,
    /// Where codes stand, ascending.
    codes: Vec<usize>,
    /// Where each body begins.
    bodies: Vec<usize>,
    /// How many letters and digits each body shows.
    pub letters: Vec<usize>,
    pub mixed_script: bool,
}

impl View {
    pub(super) fn of(text: &Text) -> Self {
        let mut view = Self::default();
        view.stretch(Stretch::Subject, [text.subject.as_str()]);
        let templates =
            text.fields.iter().filter(|(name, _)| name.starts_with("x-") || name == "feedback-id");
        view.stretch(Stretch::Header, templates.map(|(_, value)| value.as_str()));
        for (index, body) in text.bodies.iter().enumerate() {
            view.body(index, body);
        }
        view
    }

    /// What the stretch around `at` is.
    pub(super) fn stretch_at(&self, at: usize) -> Stretch {
        let after = self.stretches.partition_point(|&(start, _)| start <= at);
        after.checked_sub(1).map_or(Stretch::Subject, |index| self.stretches[index].1)
    }

    /// Whether `at` lies in the first lines of the body.
    pub(super) fn is_early(&self, body: usize, at: usize) -> bool {
        self.bodies.get(body).is_some_and(|&start| at < start + FIRST_BYTES)
    }

    /// Whether a code stands near the words from `start` to `end`.
    pub(super) fn is_near_code(&self, start: usize, end: usize) -> bool {
        let from = start.saturating_sub(NEAR_BYTES);
        let first = self.codes.partition_point(|&code| code < from);
        self.codes.get(first).is_some_and(|&code| code <= end + NEAR_BYTES)
    }

    pub(super) fn has_code(&self) -> bool {
        !self.codes.is_empty()
    }

    fn stretch<'a>(&mut self, stretch: Stretch, lines: impl IntoIterator<Item = &'a str>) {
        for line in lines {
            self.stretches.push((self.text.len(), stretch));
            self.line(line);
            self.text.push('\n');
        }
    }

    fn body(&mut self, index: usize, body: &Body) {
        self.bodies.push(self.text.len());
        let mut letters = 0;
        for Paragraph { lines } in &body.paragraphs {
            self.stretches.push((self.text.len(), Stretch::Body(index)));
            for line in lines {
                letters += self.line(line).letters;
                self.text.push(' ');
            }
            self.text.push('\n');
        }
        self.letters.push(letters);
        self.stretch(Stretch::Hidden(index), body.hidden.iter().map(String::as_str));
        self.stretch(Stretch::Button, body.buttons.iter().map(String::as_str));
    }

    fn line(&mut self, line: &str) -> Noticed {
        let start = self.text.len();
        let noticed = if line.contains("://") || line.contains('@') {
            normalize_into(&mut self.text, &without_targets(line))
        } else {
            normalize_into(&mut self.text, line)
        };
        self.mixed_script |= noticed.mixed_script;
        // The offset is that of the written line; it need only be near.
        let len = self.text.len() - start;
        self.codes.extend(codes(line).into_iter().map(|at| start + at.min(len)));
        noticed
    }
}

/// The line without links and addresses: the words in them are not the sender's.
fn without_targets(line: &str) -> String {
    let kept = line.split(' ').filter(|word| link_in(word).is_none() && !is_address(word));
    kept.collect::<Vec<_>>().join(" ")
}

fn is_address(word: &str) -> bool {
    word.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'))
}
