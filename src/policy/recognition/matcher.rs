//! Looks for all phrases of all languages in one pass.

use unicode_normalization::char::is_combining_mark;

use super::super::normalize::is_unspaced;
use super::automaton::{Automaton, Head, List, Step};
use super::view::{Stretch, View};

/// A group was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub group: usize,
    pub stretch: Stretch,
    pub start: usize,
    pub end: usize,
}

/// All groups, of which there are that many, that are found in `view`, in the order of where they end.
pub(super) fn scan(automaton: &Automaton, groups: usize, view: &View) -> Vec<Hit> {
    let mut search = Search {
        automaton,
        view,
        pieces: Vec::new(),
        unfinished: Unfinished::new(automaton.slots()),
        hits: Hits { found: Vec::new(), counts: vec![0; groups] },
    };
    // No phrase goes on behind a line feed.
    let mut start = 0;
    for line in view.text.split_inclusive('\n') {
        search.line(start, line);
        start += line.len();
    }
    search.hits.found
}

struct Search<'a> {
    automaton: &'a Automaton,
    view: &'a View,
    /// The pieces found in a line.
    pieces: Vec<Found>,
    unfinished: Unfinished,
    hits: Hits,
}

/// A piece where it was found. They count in this order: a common word stands in hundreds of phrases, so pieces are put
/// in order, and not the uses that are made of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    end: u32,
    start: u32,
    list: List,
    /// Whether a word ends where the piece does.
    ends_word: bool,
}

impl Search<'_> {
    fn line(&mut self, from: usize, line: &str) {
        self.pieces.clear();
        let anywhere = self.automaton.root(Head::Anywhere);
        let at_word_start = self.automaton.root(Head::AtWordStart);
        let mut inside_word = false;
        for (at, c) in line.char_indices() {
            let rest = &line[at..];
            let mut note = |len: usize, list: List| {
                let after = rest.get(len..).and_then(|after| after.chars().next());
                self.pieces.push(Found {
                    end: offset(from + at + len),
                    start: offset(from + at),
                    list,
                    ends_word: !after.is_some_and(is_word_char),
                });
            };
            self.automaton.walk(anywhere, rest.as_bytes(), &mut note);
            if !inside_word {
                self.automaton.walk(at_word_start, rest.as_bytes(), &mut note);
            }
            inside_word = is_word_char(c);
        }
        self.pieces.sort_unstable();
        let pieces = std::mem::take(&mut self.pieces);
        for same in pieces.chunk_by(|one, two| (one.end, one.start) == (two.end, two.start)) {
            self.count(same);
        }
        self.pieces = pieces;
    }

    /// Counts the same words of a text, found as one piece or as two: one that must begin a word, and one that need not.
    fn count(&mut self, same: &[Found]) {
        if let [piece] = same {
            for number in self.automaton.list(piece.list) {
                self.count_use(piece, number);
            }
            return;
        }
        let uses =
            same.iter().flat_map(|piece| self.automaton.list(piece.list).map(move |number| (number, piece)));
        let mut uses: Vec<(u32, &Found)> = uses.collect();
        uses.sort_unstable_by_key(|&(number, _)| number);
        for (number, piece) in uses {
            self.count_use(piece, number);
        }
    }

    fn count_use(&mut self, piece: &Found, number: u32) {
        let used = self.automaton.of(number);
        if used.to_word_end && !piece.ends_word {
            return;
        }
        let (start, end) = (piece.start as usize, piece.end as usize);
        if let Some(from) = self.unfinished.advance(used.step, &self.view.text, start, end) {
            self.hits.add(self.view, usize::from(used.group), from, end);
        }
    }
}

/// How far phrases have come. Most phrases have not begun in any message, so that there is room only for those that have.
struct Unfinished {
    /// For each slot, its place in `progress`, counted from one; zero where nothing was found yet.
    places: Vec<u16>,
    progress: Vec<Progress>,
}

/// How far a phrase has come: where it began and where its latest piece ended, then the same of the piece before, because
/// the words that end a phrase may begin like its middle ("change", "change your password"). An end of zero: nothing yet.
type Progress = [u32; 4];

impl Unfinished {
    fn new(slots: usize) -> Self {
        Self { places: vec![0; slots], progress: Vec::new() }
    }

    /// Moves a phrase on by one piece; where it began, when that was its last.
    fn advance(&mut self, step: Step, text: &str, start: usize, end: usize) -> Option<usize> {
        match step {
            Step::Whole => Some(start),
            Step::First { fill } => {
                self.note(fill, start, end);
                None
            }
            Step::Middle { need, fill, gap } => {
                if let Some(from) = follow(self.of(need), text, start, gap) {
                    self.note(fill, from, end);
                }
                None
            }
            Step::Last { need, gap } => follow(self.of(need), text, start, gap),
        }
    }

    fn of(&self, slot: u16) -> Progress {
        let place = self.places.get(usize::from(slot)).and_then(|&place| place.checked_sub(1));
        place.and_then(|place| self.progress.get(usize::from(place))).copied().unwrap_or_default()
    }

    fn note(&mut self, slot: u16, from: usize, end: usize) {
        let Some(place) = self.places.get_mut(usize::from(slot)) else { return };
        if *place == 0 {
            self.progress.push(Progress::default());
            // There are no more of them than slots.
            *place = u16::try_from(self.progress.len()).unwrap_or(u16::MAX);
        }
        let progress = &mut self.progress[usize::from(*place) - 1];
        let [latest_from, latest_end, ..] = *progress;
        *progress = [offset(from), offset(end), latest_from, latest_end];
    }
}

/// Where the phrase began that a piece at `start` goes on with.
fn follow(progress: Progress, text: &str, start: usize, gap: u16) -> Option<usize> {
    let [latest_from, latest_end, before_from, before_end] = progress.map(|offset| offset as usize);
    [(latest_from, latest_end), (before_from, before_end)]
        .into_iter()
        .find(|&(_, end)| {
            end > 0 && start >= end && start - end <= usize::from(gap) && {
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

/// Where a script without spaces begins, a word of another one ends: "URLを".
fn is_word_char(c: char) -> bool {
    match c {
        _ if c.is_ascii() => c.is_ascii_alphanumeric(),
        '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' => false,
        _ => !is_unspaced(c) && c.is_alphanumeric() || is_combining_mark(c),
    }
}

/// Hits, few enough for any text: a group counts a few times per place, not a thousand times.
struct Hits {
    found: Vec<Hit>,
    counts: Vec<u16>,
}

/// How often one group is taken down.
const HITS_MAX: u16 = 24;

impl Hits {
    fn add(&mut self, view: &View, group: usize, start: usize, end: usize) {
        if let Some(count) = self.counts.get_mut(group).filter(|count| **count < HITS_MAX) {
            *count += 1;
            self.found.push(Hit { group, stretch: view.stretch_at(start), start, end });
        }
    }
}
