//! Looks for all phrases of all languages in one pass.

use std::cell::Cell;

use unicode_normalization::char::is_combining_mark;

use super::super::normalize::is_unspaced;
use super::automaton::{Automaton, List, Step};
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
    let memory = MEMORY.take().fit(automaton.slots(), groups);
    let mut search = Search { automaton, view, memory, found: Vec::new() };
    // No phrase goes on behind a line feed.
    let mut start = 0;
    for line in view.text.split_inclusive('\n') {
        search.line(start, line);
        start += line.len();
    }
    let Search { mut memory, found, .. } = search;
    memory.forget(&found);
    MEMORY.set(memory);
    found
}

thread_local! {
    /// What a thread searches with. It is taken out for a search and put back when that is forgotten, so that a search that
    /// did not come to its end leaves nothing for the next one.
    static MEMORY: Cell<Memory> = Cell::default();
}

/// What a search remembers. To make it anew for each message would cost more than many a search does.
#[derive(Default)]
struct Memory {
    /// The pieces found in a line.
    pieces: Vec<Found>,
    /// The uses of two pieces that are the same words.
    uses: Vec<(u32, Found)>,
    unfinished: Unfinished,
    /// How often each group was found.
    counts: Vec<u16>,
}

impl Memory {
    /// Makes room for phrases with so many slots, and for so many groups.
    fn fit(mut self, slots: usize, groups: usize) -> Self {
        self.unfinished.places.resize(slots, 0);
        self.counts.resize(groups, 0);
        self
    }

    /// Forgets a search that came to these hits. Only what was touched has to be put back.
    fn forget(&mut self, hits: &[Hit]) {
        for hit in hits {
            self.counts[hit.group] = 0;
        }
        for Progress { slot, .. } in self.unfinished.progress.drain(..) {
            self.unfinished.places[usize::from(slot)] = 0;
        }
        self.pieces.clear();
        // A long line of words that stand in many phrases must not be paid for ever after.
        self.pieces.shrink_to(PIECES_KEPT);
    }
}

/// Room for pieces that a thread keeps.
const PIECES_KEPT: usize = 4096;

struct Search<'a> {
    automaton: &'a Automaton,
    view: &'a View,
    memory: Memory,
    found: Vec<Hit>,
}

/// A piece where it was found. They count in this order: a common word stands in hundreds of phrases, so pieces are put
/// in order, and not the uses that are made of them.
#[derive(Clone, Copy)]
struct Found {
    end: u32,
    start: u32,
    list: List,
    /// Whether a word ends where the piece does.
    ends_word: bool,
}

impl Search<'_> {
    fn line(&mut self, from: usize, line: &str) {
        let (anywhere, at_word_start) = (self.automaton.anywhere(), self.automaton.at_word_start());
        let mut pieces = std::mem::take(&mut self.memory.pieces);
        pieces.clear();
        let mut inside_word = false;
        for (at, c) in line.char_indices() {
            let rest = &line[at..];
            let mut note = |len: usize, list: List| {
                let after = rest.get(len..).and_then(|after| after.chars().next());
                pieces.push(Found {
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
        // Which of two that stand in the same place comes first does not matter: their uses are put in order.
        pieces.sort_unstable_by_key(|piece| (piece.end, piece.start));
        for same in pieces.chunk_by(|one, two| (one.end, one.start) == (two.end, two.start)) {
            self.count(same);
        }
        self.memory.pieces = pieces;
    }

    /// Counts the same words of a text, found as one piece or as two: one that must begin a word, and one that need not.
    fn count(&mut self, same: &[Found]) {
        if let [piece] = same {
            for number in self.automaton.list(piece.list) {
                self.count_use(piece, number);
            }
            return;
        }
        let mut uses = std::mem::take(&mut self.memory.uses);
        uses.clear();
        for piece in same {
            uses.extend(self.automaton.list(piece.list).map(|number| (number, *piece)));
        }
        uses.sort_unstable_by_key(|&(number, _)| number);
        for (number, piece) in &uses {
            self.count_use(piece, *number);
        }
        self.memory.uses = uses;
    }

    #[inline]
    fn count_use(&mut self, piece: &Found, number: u32) {
        let used = self.automaton.of(number);
        if used.to_word_end && !piece.ends_word {
            return;
        }
        let (start, end) = (piece.start as usize, piece.end as usize);
        if let Some(from) = self.memory.unfinished.advance(used.step, &self.view.text, start, end) {
            self.add(usize::from(used.group), from, end);
        }
    }

    /// Takes a hit down. They are few enough for any text: a group counts a few times, not a thousand times.
    fn add(&mut self, group: usize, start: usize, end: usize) {
        if let Some(count) = self.memory.counts.get_mut(group).filter(|count| **count < HITS_MAX) {
            *count += 1;
            self.found.push(Hit { group, stretch: self.view.stretch_at(start), start, end });
        }
    }
}

/// How far phrases have come. Most phrases have not begun in any message, so that there is room only for those that have.
#[derive(Default)]
struct Unfinished {
    /// For each slot, its place in `progress`, counted from one; zero where nothing was found yet.
    places: Vec<u16>,
    progress: Vec<Progress>,
}

/// How far the phrase of a slot has come. An end of zero: nothing yet.
#[derive(Clone, Copy, Default)]
struct Progress {
    slot: u16,
    latest: Reached,
    /// The same of the piece before, because the words that end a phrase may begin like its middle ("change", "change your
    /// password").
    before: Reached,
}

/// Where a phrase began, and where its latest piece ended.
#[derive(Clone, Copy, Default)]
struct Reached {
    from: u32,
    end: u32,
}

impl Unfinished {
    /// Moves a phrase on by one piece; where it began, when that was its last.
    #[inline]
    fn advance(&mut self, step: Step, text: &str, start: usize, end: usize) -> Option<usize> {
        match step {
            Step::Whole => Some(start),
            Step::First { fill } => {
                self.note(fill, start, end);
                None
            }
            Step::Middle { need, fill, gap } => {
                let from = follow(self.of(need)?, text, start, gap)?;
                self.note(fill, from, end);
                None
            }
            Step::Last { need, gap } => follow(self.of(need)?, text, start, gap),
        }
    }

    #[inline]
    fn of(&self, slot: u16) -> Option<&Progress> {
        let place = self.places.get(usize::from(slot))?.checked_sub(1)?;
        self.progress.get(usize::from(place))
    }

    fn note(&mut self, slot: u16, from: usize, end: usize) {
        let Some(place) = self.places.get_mut(usize::from(slot)) else { return };
        let latest = Reached { from: offset(from), end: offset(end) };
        if *place == 0 {
            self.progress.push(Progress { slot, latest, ..Progress::default() });
            // There are no more of them than slots.
            *place = u16::try_from(self.progress.len()).unwrap_or(u16::MAX);
            return;
        }
        let progress = &mut self.progress[usize::from(*place) - 1];
        progress.before = progress.latest;
        progress.latest = latest;
    }
}

/// Where the phrase began that a piece at `start` goes on with.
fn follow(progress: &Progress, text: &str, start: usize, gap: u16) -> Option<usize> {
    [progress.latest, progress.before].into_iter().find_map(|reached| {
        let end = reached.end as usize;
        let is_near = end > 0 && start >= end && start - end <= usize::from(gap);
        (is_near && !is_parted(&text.as_bytes()[end..start])).then_some(reached.from as usize)
    })
}

/// Whether a line or a sentence ends in what lies between two pieces.
fn is_parted(between: &[u8]) -> bool {
    between.contains(&b'\n') || between.windows(3).any(|three| three == b" . ")
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

/// How often one group is taken down.
const HITS_MAX: u16 = 24;
