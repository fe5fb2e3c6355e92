//! The compiled phrases: one block of numbers, the same in the program as in memory, and read where it lies.
//!
//! Every phrase is made of pieces of text. The pieces of all languages form two graphs, in which what begins or goes on
//! alike is there once: one of the pieces that begin where a word begins, and one of those that may begin anywhere. A
//! search walks them from a place in the text and needs no memory of its own.
//!
//! The block is 32-bit numbers, the lowest octet first. A *reference* is the place of a node, what kind of node that is,
//! and, where it stands in a node, the octet that leads there:
//!
//! | bits | |
//! |---|---|
//! | 0..8 | the octet |
//! | 8 | the last reference of its node |
//! | 9 | the node begins with an output: a piece ends there |
//! | 10 | the node is a table: its first octet and its length, then a reference or zero for each octet |
//! | 11..32 | the place of the node |
//!
//! An output is the place of a list of uses, with bit 31 set where no piece goes on. In a list, bit 31 marks the last.
//!
//! A block comes from [`super::dawg`] or out of the program itself. Whatever it holds, a search ends and does not panic.

use std::borrow::Cow;

pub(super) const LAST: u32 = 1 << 8;
pub(super) const OUTPUT: u32 = 1 << 9;
pub(super) const TABLE: u32 = 1 << 10;
pub(super) const PLACE_SHIFT: u32 = 11;
/// Ends a list; or: nothing follows an output.
pub(super) const END: u32 = 1 << 31;

/// What stands at the head of a block; the first number is zero, so that no node has the place zero.
#[derive(Clone, Copy)]
pub(super) enum Head {
    /// The reference to the pieces that begin where a word begins.
    AtWordStart = 1,
    /// The reference to the pieces that may begin anywhere.
    Anywhere = 2,
    /// The place of the lists.
    Lists = 3,
    /// The place of the uses.
    Uses = 4,
    /// How many slots unfinished phrases need.
    Slots = 5,
}

pub(super) const HEAD_LEN: usize = 6;

/// The pieces of all phrases, ready to be searched for.
#[derive(Debug, Default)]
pub(super) struct Automaton {
    block: Cow<'static, [u8]>,
}

/// A piece at its place in one phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub group: u16,
    /// A word has to end where the piece ends.
    pub to_word_end: bool,
    pub step: Step,
}

/// Where in its phrase a piece stands. Slots remember how far a phrase has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Whole,
    First { fill: u16 },
    Middle { need: u16, fill: u16, gap: u16 },
    Last { need: u16, gap: u16 },
}

/// A place to search from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Node(u32);

/// The uses of a piece, as their numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct List(u32);

impl Automaton {
    pub(super) fn new(block: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { block: block.into() }
    }

    /// The block, as a program can hold it.
    #[allow(dead_code, reason = "the build script alone asks for it")]
    pub(super) fn block(&self) -> &[u8] {
        &self.block
    }

    /// Where to begin a search: at a word's start, or anywhere.
    pub(super) fn root(&self, head: Head) -> Node {
        Node(self.head(head))
    }

    /// How many slots unfinished phrases need.
    pub(super) fn slots(&self) -> usize {
        self.head(Head::Slots) as usize
    }

    /// Tells, for each piece that `text` begins with, its length and its uses; the shortest first.
    pub(super) fn walk(&self, root: Node, text: &[u8], mut found: impl FnMut(usize, List)) {
        let mut node = root.0;
        for (index, &octet) in text.iter().enumerate() {
            node = self.follow(node, octet);
            if node == 0 {
                return;
            }
            if node & OUTPUT != 0 {
                let output = self.number((node >> PLACE_SHIFT) as usize);
                found(index + 1, List(output & !END));
                if output & END != 0 {
                    return;
                }
            }
        }
    }

    /// The numbers of the uses in `list`, ascending.
    pub(super) fn list(&self, list: List) -> impl Iterator<Item = u32> {
        let from = (self.head(Head::Lists) + list.0) as usize;
        let mut ended = false;
        (from..).map_while(move |at| {
            let number = if ended || at * 4 >= self.block.len() { return None } else { self.number(at) };
            ended = number & END != 0;
            Some(number & !END)
        })
    }

    /// The use of that number.
    pub(super) fn of(&self, number: u32) -> Use {
        let at = (self.head(Head::Uses) + 2 * number) as usize;
        Use::read([self.number(at), self.number(at + 1)])
    }

    /// The reference that `octet` leads to; zero where it leads nowhere.
    fn follow(&self, node: u32, octet: u8) -> u32 {
        let mut at = (node >> PLACE_SHIFT) as usize + usize::from(node & OUTPUT != 0);
        if node & TABLE != 0 {
            let [first, len, ..] = self.number(at).to_le_bytes();
            let index = octet.wrapping_sub(first);
            // A length of zero stands for 256: no table is empty.
            return if index <= len.wrapping_sub(1) { self.number(at + 1 + usize::from(index)) } else { 0 };
        }
        loop {
            let reference = self.number(at);
            if reference & 0xff == u32::from(octet) {
                return reference;
            }
            if reference & LAST != 0 || reference == 0 {
                return 0;
            }
            at += 1;
        }
    }

    fn head(&self, head: Head) -> u32 {
        self.number(head as usize)
    }

    /// Zero where there is none.
    fn number(&self, at: usize) -> u32 {
        let octets = self.block.get(at * 4..).and_then(<[u8]>::first_chunk);
        octets.map_or(0, |&octets| u32::from_le_bytes(octets))
    }
}

impl Use {
    /// As it stands in a block: the group and the gap; the slot to fill or, of a last step, the one after which it comes, what
    /// step it is, and whether a word has to end.
    pub(super) fn written(self) -> [u32; 2] {
        let (kind, slot, gap) = match self.step {
            Step::Whole => (0, 0, 0),
            Step::First { fill } => (1, fill, 0),
            Step::Middle { fill, gap, .. } => (2, fill, gap),
            Step::Last { need, gap } => (3, need, gap),
        };
        let high = |gap: u16| u32::from(gap) << 16;
        [u32::from(self.group) | high(gap), u32::from(slot) | kind << 16 | u32::from(self.to_word_end) << 18]
    }

    fn read([what, place]: [u32; 2]) -> Self {
        let (gap, slot) = (upper(what), lower(place));
        let step = match place >> 16 & 3 {
            0 => Step::Whole,
            1 => Step::First { fill: slot },
            2 => Step::Middle { need: slot.wrapping_sub(1), fill: slot, gap },
            _ => Step::Last { need: slot, gap },
        };
        Self { group: lower(what), to_word_end: place >> 18 & 1 == 1, step }
    }
}

fn lower(number: u32) -> u16 {
    let [a, b, ..] = number.to_le_bytes();
    u16::from_le_bytes([a, b])
}

fn upper(number: u32) -> u16 {
    lower(number >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_read_as_it_was_written() {
        for step in [
            Step::Whole,
            Step::First { fill: u16::MAX },
            Step::Middle { need: 6, fill: 7, gap: 132 },
            Step::Last { need: 0, gap: u16::MAX },
        ] {
            for to_word_end in [false, true] {
                let one = Use { group: 4711, to_word_end, step };
                assert_eq!(Use::read(one.written()), one);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_block_can_be_searched(
            block in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
            text in "[ -~é確]{0,40}",
        ) {
            let automaton = Automaton::new(block);
            for head in [Head::AtWordStart, Head::Anywhere] {
                automaton.walk(automaton.root(head), text.as_bytes(), |_, list| {
                    for number in automaton.list(list).take(100) {
                        automaton.of(number);
                    }
                });
            }
        }
    }
}
