//! A text laid out for the search: one normalised string, and what each stretch of it is.
//!
//! Stretches are closed by a line feed, which no phrase holds; so whatever is found lies in one stretch.

use std::borrow::Cow;

use super::super::code;
use super::super::normalize::{Noticed, is_ideographic, is_unspaced, normalize_into};
use super::super::text::{Body, Paragraph, Text, link_in};

/// How much of each body counts as its beginning, in octets of normalised text, were it in Latin letters.
const FIRST_BYTES: usize = 400;
/// How far from a code words still speak about it, likewise.
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
    /// What stands in quotation marks in the subject: a title, another's words.
    QuotedSubject,
    /// The same in a body, and the lines of an earlier message.
    Quoted,
}

/// What may be a code, as it would be typed.
pub(super) struct Code {
    /// Where it begins, or near that.
    at: usize,
    pub value: String,
    /// Whether a person sees it: in the subject, or in the text of a body.
    pub is_shown: bool,
}

/// The searchable form of a text.
#[derive(Default)]
pub(super) struct View {
    pub text: String,
    /// Where each stretch begins, ascending.
    stretches: Vec<(usize, Stretch)>,
    /// What may be a code, in the order of the text.
    codes: Vec<Code>,
    /// Where each body begins.
    bodies: Vec<usize>,
    /// How many letters and digits each body shows.
    pub letters: Vec<usize>,
    pub mixed_script: bool,
    /// The codes that have a line to themselves, without what sets their signs apart.
    pub codes_alone: Vec<String>,
    /// All letters, and the octets their scripts take.
    written: Noticed,
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

    /// The body that `at` lies in, its buttons and what it does not show included.
    pub(super) fn body_at(&self, at: usize) -> Option<usize> {
        self.bodies.partition_point(|&start| start <= at).checked_sub(1)
    }

    /// Whether `at` lies in the first lines of the body.
    pub(super) fn is_early(&self, body: usize, at: usize) -> bool {
        self.bodies.get(body).is_some_and(|&start| at < start + self.octets(FIRST_BYTES))
    }

    /// Whether a code stands near the words from `start` to `end`.
    pub(super) fn is_near_code(&self, start: usize, end: usize) -> bool {
        !self.codes_near(start, end).is_empty()
    }

    /// The codes near the words from `start` to `end`.
    pub(super) fn codes_near(&self, start: usize, end: usize) -> &[Code] {
        let near = self.octets(NEAR_BYTES);
        let from = self.codes.partition_point(|code| code.at < start.saturating_sub(near));
        let to = self.codes.partition_point(|code| code.at <= end + near);
        self.codes.get(from..to).unwrap_or_default()
    }

    /// All that may be codes.
    pub(super) fn codes(&self) -> &[Code] {
        &self.codes
    }

    /// What is `latin` octets long in Latin letters, in the letters of this text.
    fn octets(&self, latin: usize) -> usize {
        (latin * self.written.octets).checked_div(self.written.letters).unwrap_or(latin)
    }

    pub(super) fn has_code(&self) -> bool {
        !self.codes.is_empty()
    }

    fn stretch<'a>(&mut self, stretch: Stretch, lines: impl IntoIterator<Item = &'a str>) {
        for line in lines {
            self.stretches.push((self.text.len(), stretch));
            self.line(line, stretch);
            self.text.push('\n');
        }
    }

    fn body(&mut self, index: usize, body: &Body) {
        self.bodies.push(self.text.len());
        let mut letters = 0;
        for Paragraph { lines } in &body.paragraphs {
            self.stretches.push((self.text.len(), Stretch::Body(index)));
            for line in lines {
                self.join(line);
                letters += self.line(line, Stretch::Body(index));
                self.text.push(' ');
            }
            self.text.push('\n');
        }
        self.letters.push(letters);
        self.stretch(Stretch::Hidden(index), body.hidden.iter().map(String::as_str));
        self.stretch(Stretch::Button, body.buttons.iter().map(String::as_str));
    }

    /// Chinese and Japanese are wrapped inside words: no space where `line` goes on.
    fn join(&mut self, line: &str) {
        let goes_on = line.trim_start().starts_with(is_ideographic);
        if goes_on && self.text.strip_suffix(' ').is_some_and(|before| before.ends_with(is_ideographic)) {
            self.text.pop();
        }
    }

    /// Gives back how many letters it has.
    fn line(&mut self, line: &str, stretch: Stretch) -> usize {
        let start = self.text.len();
        let kept = without_targets(line);
        let before = self.written.letters;
        let quoted = quoted_of(stretch);
        if quoted == Some(Stretch::Quoted) && line.starts_with('>') {
            self.part(&kept, Stretch::Quoted);
            self.stretches.push((self.text.len(), stretch));
        } else if let Some(quoted) = quoted {
            self.parts(&kept, stretch, quoted);
        } else {
            self.part(&kept, stretch);
        }
        // The offset is that of the written line; it need only be near.
        let len = self.text.len() - start;
        let found = code::found(line);
        if matches!(stretch, Stretch::Body(_)) && found.len() == 1 && is_code_line(line) {
            self.codes_alone.push(signs(line));
        }
        let is_shown = matches!(stretch, Stretch::Subject | Stretch::Body(_));
        let placed = found.into_iter().map(|found| Code {
            at: start + found.at.min(len),
            value: found.code,
            is_shown,
        });
        self.codes.extend(placed);
        self.written.letters - before
    }

    /// A line with what it quotes told apart.
    fn parts(&mut self, line: &str, stretch: Stretch, quoted: Stretch) {
        let mut rest = 0;
        for (from, to) in Quotations::of(line) {
            self.part(&line[rest..from], stretch);
            self.part(&line[from..to], quoted);
            self.stretches.push((self.text.len(), stretch));
            rest = to;
        }
        self.part(&line[rest..], stretch);
    }

    fn part(&mut self, part: &str, stretch: Stretch) {
        let inside_word =
            self.text.ends_with(is_ideographic) && part.trim_start().starts_with(is_ideographic);
        if !inside_word && !self.text.is_empty() && !self.text.ends_with(['\n', ' ']) {
            self.text.push(' ');
        }
        if quoted_of(stretch).is_none() && self.stretches.last().is_none_or(|&(_, last)| last != stretch) {
            self.stretches.push((self.text.len(), stretch));
        }
        let noticed = normalize_into(&mut self.text, part);
        self.mixed_script |= noticed.mixed_script;
        self.written.letters += noticed.letters;
        self.written.octets += noticed.octets;
    }
}

/// A line that is this short holds a code and nothing else, if it holds one: it has no space in it, or digits alone.
const CODE_LINE_BYTES: usize = 20;

fn is_code_line(line: &str) -> bool {
    line.len() <= CODE_LINE_BYTES
        && (!line.contains(char::is_whitespace)
            || line.chars().all(|c| c.is_numeric() || c.is_whitespace() || c == '-'))
}

/// The letters and digits of `text`, in one case.
pub(super) fn signs(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_uppercase()).collect()
}

/// What a quotation in a stretch is, where quotations count.
fn quoted_of(stretch: Stretch) -> Option<Stretch> {
    match stretch {
        Stretch::Subject => Some(Stretch::QuotedSubject),
        Stretch::Body(_) => Some(Stretch::Quoted),
        Stretch::Header | Stretch::Button | Stretch::Hidden(_) | Stretch::QuotedSubject | Stretch::Quoted => {
            None
        }
    }
}

/// The insides of the quotations of some words. Linear in the line: however many marks are opened, the place where each
/// kind may be closed is looked for once.
struct Quotations<'a> {
    line: &'a str,
    /// Where the latest quotation ended: at its closing mark, which may open another one.
    ended: usize,
    /// For each kind, where the next closing mark is, once that was looked for. The end of the line where there is none.
    closings: [usize; PAIRS.len()],
    /// For each kind, the closing mark up to which there is no space, and so no quotation, wherever it may begin.
    barren: [usize; PAIRS.len()],
}

/// The marks that open a quotation, and those that close it.
const PAIRS: [(char, &[char]); 8] = [
    ('"', &['"']),
    ('\'', &['\'']),
    ('\u{201c}', &['\u{201d}']),
    ('\u{201e}', &['\u{201c}', '\u{201d}']),
    ('\u{2018}', &['\u{2019}']),
    ('\u{ab}', &['\u{bb}']),
    ('\u{bb}', &['\u{ab}']),
    ('\u{201d}', &['\u{201d}']),
];

impl<'a> Quotations<'a> {
    fn of(line: &'a str) -> Self {
        Self { line, ended: 0, closings: [0; PAIRS.len()], barren: [0; PAIRS.len()] }
    }

    /// Where the first mark from `from` on is that closes a quotation of this kind.
    fn closing(&mut self, kind: usize, from: usize) -> usize {
        let line = self.line;
        if self.closings[kind] < from {
            let mut ends = line[from..].match_indices(PAIRS[kind].1).map(|(end, _)| from + end);
            // An apostrophe inside a word closes nothing.
            let end = ends.find(|&end| !line[end..].chars().nth(1).is_some_and(char::is_alphanumeric));
            self.closings[kind] = end.unwrap_or(line.len());
        }
        self.closings[kind]
    }
}

impl Iterator for Quotations<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        // What the marks begin with, in octets.
        let may_be_mark = |octet: &u8| matches!(octet, b'"' | b'\'' | 0xc2 | 0xe2);
        let (line, start) = (self.line, self.ended);
        let mut next = start;
        while let Some(at) = line.as_bytes()[next..].iter().position(may_be_mark).map(|at| next + at) {
            let mark = line[at..].chars().next()?;
            let from = at + mark.len_utf8();
            next = from;
            let Some(kind) = PAIRS.iter().position(|(open, _)| *open == mark) else { continue };
            if line[start..at].chars().next_back().is_some_and(char::is_alphanumeric) {
                continue;
            }
            let end = self.closing(kind, from);
            if end == line.len() || end == self.barren[kind] {
                continue;
            }
            if line[from..end].trim().contains(' ') {
                self.ended = end;
                return Some((from, end));
            }
            self.barren[kind] = end;
        }
        self.ended = line.len();
        None
    }
}

/// The line without links and addresses: the words in them are not the sender's.
fn without_targets(line: &str) -> Cow<'_, str> {
    let may_link = line.contains(':') && line.contains("://");
    if !may_link && !line.contains('@') {
        return Cow::Borrowed(line);
    }
    let kept = line.split(' ').map(|word| match target_in(word) {
        // Where words are written together, the sentence stands around its target.
        Some((from, to)) if word.contains(is_unspaced) => {
            let rest = &word[to..];
            (&word[..from], if target_in(rest).is_some() { "" } else { rest })
        }
        Some(_) => ("", ""),
        None => (word, ""),
    });
    let pieces = kept.flat_map(|(before, after)| [before, after]).filter(|piece| !piece.is_empty());
    Cow::Owned(pieces.collect::<Vec<_>>().join(" "))
}

/// Where a link or an address stands in `word`.
fn target_in(word: &str) -> Option<(usize, usize)> {
    if let Some(link) = link_in(word) {
        let from = link.as_ptr() as usize - word.as_ptr() as usize;
        let host = link.find("://").map_or(0, |colon| colon + "://".len());
        let path = link[host..].find('/').map_or(link.len(), |at| host + at);
        let to = link[path..].find(is_unspaced).map_or(link.len(), |at| path + at);
        return Some((from, from + to));
    }
    let at = word.find('@')?;
    if !word.contains(is_unspaced) {
        return is_address(word).then_some((0, word.len()));
    }
    let ends = |c: char| !c.is_ascii_alphanumeric() && !"._+-*".contains(c);
    let from = word[..at]
        .rfind(ends)
        .map_or(0, |before| before + word[before..].chars().next().map_or(1, char::len_utf8));
    let to = word[at + 1..].find(ends).map_or(word.len(), |after| at + 1 + after);
    is_address(&word[from..to]).then_some((from, to))
}

fn is_address(word: &str) -> bool {
    word.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same, looked for from each mark anew.
    fn quotations_one_by_one(line: &str) -> Vec<(usize, usize)> {
        let (mut found, mut base) = (Vec::new(), 0);
        'next: loop {
            let rest = &line[base..];
            let mut before = ' ';
            for (at, mark) in rest.char_indices() {
                let pair = PAIRS.iter().find(|(open, _)| *open == mark && !before.is_alphanumeric());
                before = mark;
                let Some((_, closing)) = pair else { continue };
                let from = at + mark.len_utf8();
                let mut ends = rest[from..].match_indices(*closing).map(|(end, _)| from + end);
                let end = ends.find(|&end| !rest[end..].chars().nth(1).is_some_and(char::is_alphanumeric));
                if let Some(end) = end.filter(|&end| rest[from..end].trim().contains(' ')) {
                    found.push((base + from, base + end));
                    base += end;
                    continue 'next;
                }
            }
            return found;
        }
    }

    proptest::proptest! {
        #[test]
        fn quotations_are_those_that_each_mark_opens(
            line in "(\"|'|\u{201c}|\u{201d}|\u{201e}|\u{2018}|\u{2019}|\u{ab}|\u{bb}|\u{e9}|\u{2013}|a|a b| |, ){0,30}",
        ) {
            proptest::prop_assert_eq!(Quotations::of(&line).collect::<Vec<_>>(), quotations_one_by_one(&line));
        }
    }

    /// Found by timing: marks that nothing closes took the square of their number, 20 seconds in 10 MB of them.
    #[test]
    fn marks_that_nothing_closes_are_looked_at_once() {
        for unit in ["\"a \u{201c}b ", "\u{201c} 'a b' ", "\u{201c}", "'"] {
            let line = unit.repeat(1_000_000 / unit.len());
            let start = tokio::time::Instant::now();
            Quotations::of(&line).count();
            assert!(start.elapsed() < std::time::Duration::from_secs(20), "{unit:?}");
        }
    }

    #[test]
    fn words_around_a_target_stay() {
        for (line, kept) in [
            ("open https://a.example/reset now", "open now"),
            ("for maya@a.example:", "for"),
            ("请访问：https://a.example/重置，然后登录", "请访问： 重置，然后登录"),
            ("https://a.example/xから設定", "から設定"),
            ("您的账号maya@a.example正在重置密码", "您的账号 正在重置密码"),
            ("a@b.example様とc@d.example様", ""),
        ] {
            assert_eq!(without_targets(line), kept, "{line}");
        }
    }
}
