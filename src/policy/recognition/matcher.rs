//! Looks for all phrases of all languages in one pass.

use aho_corasick::AhoCorasick;
use std::collections::HashMap;
use unicode_normalization::char::is_combining_mark;

use super::super::normalize::is_unspaced;
use super::data::{Knowledge, RecognitionError};
use super::pattern::{self, Piece};
use super::view::{Stretch, View};

/// The compiled phrases.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    pieces: Option<AhoCorasick>,
    /// For each piece, where it is used.
    uses: Vec<Vec<Use>>,
    /// How many slots the unfinished phrases need.
    slots: usize,
}

/// A piece at its place in one phrase.
#[derive(Debug)]
struct Use {
    group: usize,
    from_word_start: bool,
    to_word_end: bool,
    step: Step,
}

/// Where in its phrase a piece stands. Slots remember how far a phrase has come.
#[derive(Debug, Clone, Copy)]
enum Step {
    Whole,
    First { fill: usize },
    Middle { need: usize, fill: usize, gap: usize },
    Last { need: usize, gap: usize },
}

/// A group was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub group: usize,
    pub stretch: Stretch,
    pub start: usize,
    pub end: usize,
}

/// How far a phrase has come: where it began and where its latest piece ended, then the same of the piece before, because
/// the words that end a phrase may begin like its middle ("change", "change your password"). An end of zero: nothing yet.
/// Plain numbers, so that the thousands of them that a message needs come zeroed from the system, and untouched ones cost
/// nothing.
type Progress = [u32; 4];

fn note(progress: &mut Progress, from: usize, end: usize) {
    let [latest_from, latest_end, ..] = *progress;
    *progress = [offset(from), offset(end), latest_from, latest_end];
}

/// Where the phrase began that a piece at `start` goes on with.
fn follow(progress: Progress, text: &str, start: usize, gap: usize) -> Option<usize> {
    let [latest_from, latest_end, before_from, before_end] = progress.map(|offset| offset as usize);
    [(latest_from, latest_end), (before_from, before_end)]
        .into_iter()
        .find(|&(_, end)| {
            end > 0 && start >= end && start - end <= gap && {
                let between = &text[end..start];
                !between.contains('\n') && !between.contains(" . ")
            }
        })
        .map(|(from, _)| from)
}

/// Texts are far shorter than that; in one that is not, phrases are no longer found.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Matcher {
    pub(super) fn new(knowledge: &Knowledge) -> Result<Self, RecognitionError> {
        let mut matcher = Self::default();
        let mut texts: Vec<&str> = Vec::new();
        let mut known: HashMap<&str, usize> = HashMap::new();
        for (group, entry) in knowledge.groups.iter().enumerate() {
            for phrase in &entry.phrases {
                let last = phrase.steps.len() - 1;
                for (number, pattern::Step { gap, pieces }) in phrase.steps.iter().enumerate() {
                    let step = matcher.step(number, last, *gap);
                    for piece in pieces {
                        let index = *known.entry(&piece.text).or_insert_with(|| {
                            texts.push(&piece.text);
                            matcher.uses.push(Vec::new());
                            texts.len() - 1
                        });
                        let Piece { from_word_start, to_word_end, .. } = *piece;
                        matcher.uses[index].push(Use { group, from_word_start, to_word_end, step });
                    }
                }
            }
        }
        if !texts.is_empty() {
            matcher.pieces = Some(AhoCorasick::new(texts)?);
        }
        Ok(matcher)
    }

    fn step(&mut self, number: usize, last: usize, gap: usize) -> Step {
        if last == 0 {
            return Step::Whole;
        }
        let fill = self.slots;
        if number < last {
            self.slots += 1;
        }
        match number {
            0 => Step::First { fill },
            _ if number < last => Step::Middle { need: fill - 1, fill, gap },
            _ => Step::Last { need: fill - 1, gap },
        }
    }

    /// All groups found in `view`, in the order of where they end.
    pub(super) fn scan(&self, knowledge: &Knowledge, view: &View) -> Vec<Hit> {
        let Some(pieces) = &self.pieces else {
            return Vec::new();
        };
        let mut hits = Hits::new(knowledge.groups.len());
        let mut progress = vec![Progress::default(); self.slots];
        for found in pieces.find_overlapping_iter(&view.text) {
            let (start, end) = (found.start(), found.end());
            let starts_word = !view.text[..start].chars().next_back().is_some_and(is_word_char);
            let ends_word = !view.text[end..].chars().next().is_some_and(is_word_char);
            for piece in &self.uses[found.pattern().as_usize()] {
                if piece.from_word_start && !starts_word || piece.to_word_end && !ends_word {
                    continue;
                }
                if let Some(from) = advance(&mut progress, piece.step, &view.text, start, end) {
                    hits.add(view, piece.group, from, end);
                }
            }
        }
        hits.found
    }
}

/// Moves a phrase on by one piece; where it began, when that was its last.
fn advance(progress: &mut [Progress], step: Step, text: &str, start: usize, end: usize) -> Option<usize> {
    match step {
        Step::Whole => Some(start),
        Step::First { fill } => {
            note(&mut progress[fill], start, end);
            None
        }
        Step::Middle { need, fill, gap } => {
            if let Some(from) = follow(progress[need], text, start, gap) {
                note(&mut progress[fill], from, end);
            }
            None
        }
        Step::Last { need, gap } => follow(progress[need], text, start, gap),
    }
}

/// Where a script without spaces begins, a word of another one ends: "URLを".
fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() && !is_unspaced(c) || !c.is_ascii() && is_combining_mark(c)
}

/// Hits, few enough for any text: a group counts a few times per place, not a thousand times.
struct Hits {
    found: Vec<Hit>,
    counts: Vec<u16>,
}

/// How often one group is taken down.
const HITS_MAX: u16 = 24;

impl Hits {
    fn new(groups: usize) -> Self {
        Self { found: Vec::new(), counts: vec![0; groups] }
    }

    fn add(&mut self, view: &View, group: usize, start: usize, end: usize) {
        if self.counts[group] < HITS_MAX {
            self.counts[group] += 1;
            self.found.push(Hit { group, stretch: view.stretch_at(start), start, end });
        }
    }
}
