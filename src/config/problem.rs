//! What is wrong with a configuration, told so that it can be put right: where, what, and the fix or the nearest name.
//!
//! Problems are collected, never thrown: one run tells all of them. A value that may be a password is never shown,
//! neither in a message nor in the line that is quoted.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::words::help_with;

/// What stands in a quoted line instead of a value that may be a secret.
const HIDDEN: &str = "[hidden]";

/// Everything that is wrong with a configuration that can't be used. Its `Display` is for people, its serialized form
/// for scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// What makes it unusable, in the order of the file. Never empty.
    pub errors: Vec<Problem>,
    /// What else should be looked at.
    pub warnings: Vec<Problem>,
}

/// One thing that is wrong, or should be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether the configuration can be used all the same.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where; `None` for what is in no file, such as a default.
    pub place: Option<Place>,
}

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The configuration can't be used.
    Error,
    /// It can be used.
    Warning,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// How many characters of the line are meant; at least 1.
    pub width: usize,
    /// The line, with what may be a secret hidden.
    pub text: String,
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.errors.iter().chain(&self.warnings) {
            writeln!(f, "{problem}\n")?;
        }
        f.write_str(&count(self.errors.len(), "error"))?;
        if !self.warnings.is_empty() {
            write!(f, ", {}", count(self.warnings.len(), "warning"))?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.message)?;
        let mut margin = String::from(" ");
        if let Some(Place { file, line, column, width, text }) = &self.place {
            margin = " ".repeat(line.to_string().len());
            let before = " ".repeat(column - 1);
            let carets = "^".repeat(*width);
            write!(f, "\n{margin}--> {file}:{line}:{column}\n{margin} |\n{line} | {text}\n")?;
            write!(f, "{margin} | {before}{carets}")?;
        }
        match &self.help {
            Some(help) => write!(f, "\n{margin} = {help}"),
            None => Ok(()),
        }
    }
}

fn count(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A piece of the file, in bytes; `None` for a value that stands in no file.
pub(super) type Span = Option<Range<usize>>;

/// Where problems are collected.
#[derive(Debug)]
pub(super) struct Report {
    file: String,
    text: String,
    found: RefCell<Vec<Found>>,
    hidden: RefCell<Vec<Range<usize>>>,
}

#[derive(Debug)]
struct Found {
    severity: Severity,
    span: Span,
    message: String,
    help: Option<String>,
}

impl Report {
    /// A report on `text`, read from `file`.
    pub(super) fn new(file: String, text: String) -> Self {
        Self { file, text, found: RefCell::default(), hidden: RefCell::default() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Something that makes the configuration unusable.
    pub(super) fn error(&self, span: &Span, message: impl Into<String>) -> Entry<'_> {
        self.add(Severity::Error, span, message.into())
    }

    /// Something that should be looked at.
    pub(super) fn warning(&self, span: &Span, message: impl Into<String>) -> Entry<'_> {
        self.add(Severity::Warning, span, message.into())
    }

    /// A name that does not exist, with the nearest that does.
    pub(super) fn unknown<'n>(
        &self,
        span: &Span,
        message: impl Into<String>,
        name: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) {
        let known: Vec<&str> = known.into_iter().collect();
        let help = help_with(name, &known);
        self.error(span, message).maybe(help);
    }

    /// Keeps a piece of the file out of every quoted line.
    pub(super) fn hide(&self, span: &Span) {
        self.hidden.borrow_mut().extend(span.clone());
    }

    /// Whether an error was found.
    pub(super) fn has_errors(&self) -> bool {
        self.found.borrow().iter().any(|found| found.severity == Severity::Error)
    }

    /// Whether an error was found in this piece of the file.
    pub(super) fn has_error_in(&self, piece: &Span) -> bool {
        let within = |found: &Found| match (piece, &found.span) {
            (Some(piece), Some(span)) => piece.start <= span.start && span.end <= piece.end,
            (_, _) => false,
        };
        self.found.borrow().iter().any(|found| found.severity == Severity::Error && within(found))
    }

    /// Drops what was found after the first `keep` problems on lines that those already speak of: where the syntax is
    /// broken, what was made of it says nothing.
    pub(super) fn forget_consequences(&self, keep: usize) {
        let mut found = self.found.borrow_mut();
        let line = |found: &Found| found.span.as_ref().map(|span| self.line_of(span.start).0);
        let broken: Vec<_> = found.iter().take(keep).map(line).collect();
        let mut index = 0;
        found.retain(|problem| {
            index += 1;
            index <= keep || !broken.contains(&line(problem))
        });
    }

    /// The line that a piece of the file begins on.
    pub(super) fn line(&self, piece: &Span) -> Option<usize> {
        piece.as_ref().map(|piece| self.line_of(piece.start).0)
    }

    /// How many problems were found so far.
    pub(super) fn len(&self) -> usize {
        self.found.borrow().len()
    }

    /// What was found: errors and warnings, each in the order of the file.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        let mut found = self.found.take();
        found.sort_by_key(|found| found.span.as_ref().map_or(usize::MAX, |span| span.start));
        found
            .into_iter()
            .map(|Found { severity, span, message, help }| {
                let place = span.map(|span| self.place(&span));
                // Both may quote names and values from the file.
                Problem { severity, message: clean(&message), help: help.as_deref().map(clean), place }
            })
            .partition(|problem| problem.severity == Severity::Error)
    }

    fn add(&self, severity: Severity, span: &Span, message: String) -> Entry<'_> {
        let mut found = self.found.borrow_mut();
        found.push(Found { severity, span: span.clone(), message, help: None });
        Entry { report: self, index: found.len() - 1 }
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let (number, line) = self.line_of(span.start);
        let end = self.hidden_from(&line).unwrap_or(line.end);
        let mut text = clean(&self.text[line.start..end]);
        let mut ends_at = span.end.min(end);
        let starts_at = self.boundary(span.start.clamp(line.start, end));
        let column = clean(&self.text[line.start..starts_at]).chars().count() + 1;
        let mut width = 0;
        if end < line.end {
            text.push_str(HIDDEN);
            if span.end > end {
                ends_at = end;
                width = HIDDEN.len();
            }
        }
        let ends_at = self.boundary(ends_at.max(starts_at));
        width += self.text[starts_at..ends_at].chars().count();
        Place { file: self.file.clone(), line: number, column, width: width.max(1), text }
    }

    /// The number of the line at `offset`, and where it stands without its end.
    fn line_of(&self, offset: usize) -> (usize, Range<usize>) {
        let offset = self.boundary(offset);
        let (before, after) = self.text.split_at(offset);
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let end = after.find('\n').map_or(self.text.len(), |at| offset + at);
        let end = start + self.text[start..end].trim_end_matches('\r').len();
        (before.matches('\n').count() + 1, start..end)
    }

    /// Where a value that may be a secret begins in this line. Read from the text as well as from what the reader
    /// found, because a line with broken syntax has a password in it just the same.
    fn hidden_from(&self, line: &Range<usize>) -> Option<usize> {
        let hidden = self.hidden.borrow();
        let known = hidden
            .iter()
            .filter(|hidden| hidden.start <= line.end && hidden.end > line.start)
            .map(|hidden| hidden.start.max(line.start));
        let guessed = secret_value(&self.text[line.clone()]).map(|at| line.start + at);
        known.chain(guessed).min()
    }

    fn boundary(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset.min(self.text.len()))
    }
}

/// A problem just reported, to which help may be added.
pub(super) struct Entry<'r> {
    report: &'r Report,
    index: usize,
}

impl Entry<'_> {
    /// Says what to do about it.
    pub(super) fn help(self, help: impl Into<String>) {
        self.maybe(Some(help.into()));
    }

    /// Says what to do about it, where that is known.
    pub(super) fn maybe(self, help: Option<String>) {
        if let Some(found) = self.report.found.borrow_mut().get_mut(self.index) {
            found.help = help;
        }
    }
}

/// The byte in `line` after the `=` of a key that may hold a secret.
fn secret_value(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    ["passw", "secret", "token"].into_iter().filter_map(|word| secret_value_after(&lower, word)).min()
}

fn secret_value_after(line: &str, word: &str) -> Option<usize> {
    line.match_indices(word).find_map(|(at, _)| {
        let rest = &line[at..];
        let key = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if ["_file", "_env", "_credential"].iter().any(|suffix| rest[..key].ends_with(suffix)) {
            return None;
        }
        let after = rest[key..].trim_start_matches(['"', '\'']).trim_start();
        let value = after.strip_prefix('=')?.trim_start();
        Some(line.len() - value.len())
    })
}

/// A line as it may be shown: one column a character, nothing that moves the cursor.
fn clean(line: &str) -> String {
    line.chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        Report::new("a.toml".to_owned(), text.to_owned())
    }

    fn shown(report: Report) -> String {
        let (errors, warnings) = report.finish();
        Errors { errors, warnings }.to_string()
    }

    #[test]
    fn a_problem_points_at_its_place() {
        let report = report("a = 1\nb = 'ü x'\n");
        report.error(&Some(10..16), "no").help("yes");
        let expected = "error: no\n --> a.toml:2:5\n  |\n2 | b = 'ü x'\n  |     ^^^^^\n  = yes\n\n1 error";
        assert_eq!(shown(report), expected);
    }

    #[test]
    fn a_secret_is_never_quoted() {
        for line in [
            "password = 'hunter2'",
            "  \"password\"='hunter2'",
            "x = { user = 'u', password = \"hunter2\" }",
            "passwd = hunter2",
            "auth_token= 'hunter2",
            "password_sha256 = 'hunter2'",
        ] {
            let report = report(line);
            report.error(&Some(0..line.len()), "no").maybe(None);
            report.error(&Some(line.len() - 2..line.len()), "no").maybe(None);
            let shown = shown(report);
            assert!(!shown.contains("hunter2") && shown.contains("[hidden]"), "{shown}");
        }
        assert_eq!(secret_value("password_file = 'p'"), None);
        assert_eq!(secret_value("category = 'password-reset'"), None);
    }

    /// Found by fuzzing: the line from the file was clean, the name of the table in the message was not.
    #[test]
    fn a_name_with_control_characters_does_not_reach_the_terminal() {
        let report = report("[clients.\"\\u001b[2J\"]\n");
        report.error(&Some(0..8), "unknown key `x` in [clients.\u{1b}[2J]").help("known: `\u{7f}`");
        let shown = shown(report);
        assert!(shown.contains("[clients.?[2J]") && shown.contains("known: `?`"), "{shown}");
    }

    #[test]
    fn every_span_has_a_place() {
        let text = "a\r\nü\t\u{1b}b\n\npassword = 'x";
        for start in 0..text.len() + 2 {
            for end in 0..text.len() + 2 {
                let place = report(text).place(&(start..end));
                assert!(place.line >= 1 && place.column >= 1 && place.width >= 1);
                assert!(!place.text.contains(['\u{1b}', '\r', 'x']));
            }
        }
    }
}
