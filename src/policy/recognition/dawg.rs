//! Makes the block that [`super::automaton`] searches: the smallest graph of all pieces.
//!
//! The pieces come sorted. So whatever stands in no prefix of the next piece is finished, and of two finished nodes that
//! are alike one is enough (Daciuk, Mihov, Watson, Watson: Incremental construction of minimal acyclic finite-state
//! automata, 2000).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::automaton::{Automaton, END, HEAD_LEN, Head, LAST, OUTPUT, PLACE_SHIFT, Step, TABLE, Use};
use super::error::RecognitionError;
use super::pattern::{Phrase, Piece};

/// The pieces of all phrases, and where they are used.
#[derive(Default)]
pub(super) struct Pieces {
    /// Their texts, one after the other.
    text: String,
    entries: Vec<Entry>,
    uses: Vec<Use>,
    slots: u16,
}

#[derive(Clone, Copy)]
struct Entry {
    from_word_start: bool,
    /// Where its text stands.
    start: u32,
    end: u32,
    use_number: u32,
}

impl Pieces {
    /// Adds a phrase of a group.
    pub(super) fn add(&mut self, group: u16, phrase: &Phrase) -> Result<(), RecognitionError> {
        let last = phrase.steps.len() - 1;
        for (number, step) in phrase.steps.iter().enumerate() {
            let place = self.step(number, last, step.gap)?;
            // Pieces with the same edges are used alike.
            for edges in [(false, false), (false, true), (true, false), (true, true)] {
                let such = |piece: &&Piece| (piece.from_word_start, piece.to_word_end) == edges;
                let mut pieces = step.pieces.iter().filter(such).peekable();
                if pieces.peek().is_some() {
                    let (from_word_start, to_word_end) = edges;
                    let use_number = small(self.uses.len())?;
                    self.uses.push(Use { group, to_word_end, step: place });
                    for piece in pieces {
                        self.piece(&piece.text, from_word_start, use_number)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn piece(&mut self, text: &str, from_word_start: bool, use_number: u32) -> Result<(), RecognitionError> {
        let start = small(self.text.len())?;
        self.text.push_str(text);
        let end = small(self.text.len())?;
        self.entries.push(Entry { from_word_start, start, end, use_number });
        Ok(())
    }

    fn step(&mut self, number: usize, last: usize, gap: usize) -> Result<Step, RecognitionError> {
        if last == 0 {
            return Ok(Step::Whole);
        }
        let gap = u16::try_from(gap).unwrap_or(u16::MAX);
        let fill = self.slots;
        if number < last {
            self.slots = fill.checked_add(1).ok_or(RecognitionError::TooLarge("gaps"))?;
        }
        Ok(match number {
            0 => Step::First { fill },
            _ if number < last => Step::Middle { need: fill - 1, fill, gap },
            _ => Step::Last { need: fill - 1, gap },
        })
    }

    /// All of them, ready to be searched for.
    pub(super) fn build(mut self) -> Result<Automaton, RecognitionError> {
        let Self { text, entries, uses, slots } = &mut self;
        let octets = text.as_bytes();
        let text_of = |entry: &Entry| &octets[entry.start as usize..entry.end as usize];
        entries.sort_unstable_by(|one, two| {
            let key = |entry: &Entry| (entry.from_word_start, text_of(entry), entry.use_number);
            key(one).cmp(&key(two))
        });
        let mut graph = Graph { numbers: vec![0; HEAD_LEN], ..Graph::default() };
        let (anywhere, at_word_start) =
            entries.split_at(entries.partition_point(|entry| !entry.from_word_start));
        for (head, part) in [(Head::Anywhere, anywhere), (Head::AtWordStart, at_word_start)] {
            for same in part.chunk_by(|one, two| text_of(one) == text_of(two)) {
                graph.add(text_of(&same[0]), same.iter().map(|entry| entry.use_number))?;
            }
            graph.numbers[head as usize] = graph.finish()?;
        }
        let mut numbers = graph.numbers;
        numbers[Head::Slots as usize] = u32::from(*slots);
        numbers[Head::Lists as usize] = small(numbers.len())?;
        numbers.extend(graph.lists.numbers);
        numbers[Head::Uses as usize] = small(numbers.len())?;
        numbers.extend(uses.iter().flat_map(|one| one.written()));
        Ok(Automaton::new(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>()))
    }
}

fn small(number: usize) -> Result<u32, RecognitionError> {
    u32::try_from(number).ok().filter(|&number| number < END).ok_or(RecognitionError::TooLarge("phrases"))
}

#[derive(Default)]
struct Graph {
    numbers: Vec<u32>,
    /// The nodes on the way to the latest piece; the first is the root.
    open: Vec<Open>,
    latest: Vec<u8>,
    /// References to finished nodes, by the hash of what they hold.
    finished: HashMap<u64, u32>,
    lists: Lists,
}

/// A node to which references may be added.
#[derive(Default)]
struct Open {
    output: Option<u32>,
    /// Octets and the references they lead to, ascending.
    edges: Vec<(u8, u32)>,
}

impl Graph {
    /// Adds a piece that comes after all added before.
    fn add(&mut self, text: &[u8], uses: impl Iterator<Item = u32>) -> Result<(), RecognitionError> {
        let common = self.latest.iter().zip(text).take_while(|(one, two)| one == two).count();
        self.close_to(common)?;
        self.open.resize_with(text.len() + 1, Open::default);
        self.latest.truncate(common);
        self.latest.extend_from_slice(&text[common..]);
        let output = self.lists.number(uses.collect())?;
        if let Some(node) = self.open.last_mut() {
            node.output = Some(output);
        }
        Ok(())
    }

    /// The reference to the root; zero where there is none.
    fn finish(&mut self) -> Result<u32, RecognitionError> {
        self.close_to(0)?;
        self.latest.clear();
        self.open.pop().map_or(Ok(0), |root| self.close(&root))
    }

    /// Closes the nodes that are further from the root than `depth`.
    fn close_to(&mut self, depth: usize) -> Result<(), RecognitionError> {
        while self.open.len() > depth + 1
            && let Some(node) = self.open.pop()
        {
            let reference = self.close(&node)?;
            let octet = self.latest[self.open.len() - 1];
            if let Some(parent) = self.open.last_mut() {
                parent.edges.push((octet, reference));
            }
        }
        Ok(())
    }

    /// Writes a node down, or finds one that is alike.
    fn close(&mut self, node: &Open) -> Result<u32, RecognitionError> {
        let (flags, written) = node.written();
        let mut hasher = DefaultHasher::new();
        (flags, &written).hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(&known) = self.finished.get(&hash) {
            let place = (known >> PLACE_SHIFT) as usize;
            let is_alike = known & (OUTPUT | TABLE) == flags
                && self.numbers.get(place..place + written.len()) == Some(&written[..]);
            if is_alike {
                return Ok(known);
            }
        }
        let place = u32::try_from(self.numbers.len()).ok().filter(|place| place >> (32 - PLACE_SHIFT) == 0);
        let reference = place.ok_or(RecognitionError::TooLarge("phrases"))? << PLACE_SHIFT | flags;
        self.numbers.extend(written);
        self.finished.insert(hash, reference);
        Ok(reference)
    }
}

/// References that a table is worth while for, and how many places it may have for each of them.
const TABLE_FROM: usize = 6;
const TABLE_PLACES: usize = 4;

impl Open {
    /// Of what kind the node is, and its numbers.
    fn written(&self) -> (u32, Vec<u32>) {
        let edges = &self.edges;
        let mut numbers = Vec::with_capacity(edges.len() + 1);
        let flags = if self.output.is_some() { OUTPUT } else { 0 };
        numbers.extend(self.output.map(|output| if edges.is_empty() { output | END } else { output }));
        if let (Some(&(first, _)), Some(&(last, _))) = (edges.first(), edges.last())
            && edges.len() >= TABLE_FROM
            && usize::from(last - first) < TABLE_PLACES * edges.len()
        {
            // 256 places are written as none.
            numbers.push(u32::from_le_bytes([first, (last - first).wrapping_add(1), 0, 0]));
            let table = numbers.len();
            numbers.resize(table + usize::from(last - first) + 1, 0);
            for &(octet, reference) in edges {
                numbers[table + usize::from(octet - first)] = reference | u32::from(octet);
            }
            return (flags | TABLE, numbers);
        }
        for (index, &(octet, reference)) in edges.iter().enumerate() {
            let last = if index + 1 == edges.len() { LAST } else { 0 };
            numbers.push(reference | u32::from(octet) | last);
        }
        (flags, numbers)
    }
}

/// Lists of uses; equal ones stand there once.
#[derive(Default)]
struct Lists {
    numbers: Vec<u32>,
    known: HashMap<Vec<u32>, u32>,
}

impl Lists {
    fn number(&mut self, uses: Vec<u32>) -> Result<u32, RecognitionError> {
        if let Some(&known) = self.known.get(&uses) {
            return Ok(known);
        }
        let number = small(self.numbers.len())?;
        self.numbers.extend_from_slice(&uses);
        if let Some(last) = self.numbers.last_mut() {
            *last |= END;
        }
        self.known.insert(uses, number);
        Ok(number)
    }
}
