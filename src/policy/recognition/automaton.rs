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
    at_word_start: Root,
    anywhere: Root,
    /// Where the lists and the uses begin.
    lists: usize,
    uses: usize,
}

/// Where a search begins, and with which two octets a piece begins there: at most places in a text none does, and that is
/// known without a step in the graph.
#[derive(Debug, Default)]
pub(super) struct Root {
    /// For each first octet, the reference it leads to, and a bit for each octet that may come second.
    firsts: Vec<(u32, [u64; 4])>,
}

impl Root {
    /// The reference that the first octet of `text` leads to; none where no piece begins with the first two.
    #[inline]
    fn enter(&self, text: &[u8]) -> Option<u32> {
        let &(node, seconds) = self.firsts.get(usize::from(*text.first()?))?;
        let second = text.get(1).copied().unwrap_or_default();
        let may_begin = seconds[usize::from(second >> 6)] >> (second & 63) & 1 == 1;
        (may_begin || text.len() == 1).then_some(node)
    }
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

/// The uses of a piece, as their numbers.
#[derive(Clone, Copy)]
pub(super) struct List(u32);

impl Automaton {
    pub(super) fn new(block: impl Into<Cow<'static, [u8]>>) -> Self {
        let mut new = Self { block: block.into(), ..Self::default() };
        new.lists = new.head(Head::Lists) as usize;
        new.uses = new.head(Head::Uses) as usize;
        new.at_word_start = new.root_of(Head::AtWordStart);
        new.anywhere = new.root_of(Head::Anywhere);
        new
    }

    fn root_of(&self, head: Head) -> Root {
        let root = self.head(head);
        if root == 0 {
            return Root::default();
        }
        let seconds = |node: u32| {
            let mut bits = [0_u64; 4];
            for second in (0..=u8::MAX).filter(|&second| self.follow(node, second) != 0) {
                bits[usize::from(second >> 6)] |= 1 << (second & 63);
            }
            bits
        };
        let first = |octet| match self.follow(root, octet) {
            0 => (0, [0; 4]),
            // A piece of one octet.
            node if node & OUTPUT != 0 => (node, [u64::MAX; 4]),
            node => (node, seconds(node)),
        };
        Root { firsts: (0..=u8::MAX).map(first).collect() }
    }

    /// The block, as a program can hold it.
    #[allow(dead_code, reason = "the build script alone asks for it")]
    pub(super) fn block(&self) -> &[u8] {
        &self.block
    }

    /// Where to begin a search for pieces that begin where a word begins.
    pub(super) fn at_word_start(&self) -> &Root {
        &self.at_word_start
    }

    /// Where to begin a search for pieces that may begin anywhere.
    pub(super) fn anywhere(&self) -> &Root {
        &self.anywhere
    }

    /// How many slots unfinished phrases need.
    pub(super) fn slots(&self) -> usize {
        self.head(Head::Slots) as usize
    }

    /// Tells, for each piece that `text` begins with, its length and its uses; the shortest first.
    #[inline]
    pub(super) fn walk(&self, root: &Root, text: &[u8], found: impl FnMut(usize, List)) {
        if let Some(node) = root.enter(text) {
            self.walk_on(node, text, found);
        }
    }

    /// Goes on from the reference that the first octet led to.
    fn walk_on(&self, mut node: u32, text: &[u8], mut found: impl FnMut(usize, List)) {
        let mut len = 1;
        while node != 0 {
            if node & OUTPUT != 0 {
                let output = self.number((node >> PLACE_SHIFT) as usize);
                found(len, List(output & !END));
                if output & END != 0 {
                    return;
                }
            }
            let Some(&octet) = text.get(len) else { return };
            node = self.follow(node, octet);
            len += 1;
        }
    }

    /// The numbers of the uses in `list`, ascending.
    pub(super) fn list(&self, list: List) -> impl Iterator<Item = u32> {
        let mut rest = self.numbers().get(self.lists + list.0 as usize..).unwrap_or_default().iter();
        std::iter::from_fn(move || {
            let number = u32::from_le_bytes(*rest.next()?);
            if number & END != 0 {
                rest = [].iter();
            }
            Some(number & !END)
        })
    }

    /// The use of that number.
    #[inline]
    pub(super) fn of(&self, number: u32) -> Use {
        let at = self.uses + 2 * number as usize;
        match self.numbers().get(at..) {
            Some(&[what, place, ..]) => Use::read([u32::from_le_bytes(what), u32::from_le_bytes(place)]),
            _ => Use::read([0, 0]),
        }
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
        self.numbers().get(at).map_or(0, |&octets| u32::from_le_bytes(octets))
    }

    fn numbers(&self) -> &[[u8; 4]] {
        self.block.as_chunks().0
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

    #[inline]
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

#[inline]
fn lower(number: u32) -> u16 {
    let [a, b, ..] = number.to_le_bytes();
    u16::from_le_bytes([a, b])
}

#[inline]
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

    /// What a search finds that looks at no more than one octet at a time, from the root on.
    fn step_by_step(automaton: &Automaton, head: Head, text: &[u8]) -> Vec<usize> {
        let (mut found, mut node) = (Vec::new(), automaton.head(head));
        for (index, &octet) in text.iter().enumerate() {
            node = automaton.follow(node, octet);
            if node == 0 {
                break;
            }
            if node & OUTPUT != 0 {
                found.push(index + 1);
                // Nothing goes on from there: what stands behind it is another node's.
                if automaton.number((node >> PLACE_SHIFT) as usize) & END != 0 {
                    break;
                }
            }
        }
        found
    }

    proptest::proptest! {
        #[test]
        fn looking_at_two_octets_first_finds_the_same(text in "(a|b|c|ab|\u{e9}|\u{78ba}| |x){0,8}") {
            let mut pieces = super::super::dawg::Pieces::default();
            for (group, phrase) in ["a", "ab~", "~bc", "\u{78ba}", "\u{e9}x", "~c * a", "abcab"].iter().enumerate() {
                let phrase = super::super::pattern::parse(phrase, &std::collections::BTreeMap::new()).unwrap();
                pieces.add(u16::try_from(group).unwrap(), &phrase).unwrap();
            }
            let automaton = pieces.build().unwrap();
            for (head, root) in
                [(Head::AtWordStart, automaton.at_word_start()), (Head::Anywhere, automaton.anywhere())]
            {
                let mut found = Vec::new();
                automaton.walk(root, text.as_bytes(), |len, _| found.push(len));
                proptest::prop_assert_eq!(found, step_by_step(&automaton, head, text.as_bytes()));
            }
        }

        #[test]
        fn any_block_can_be_searched(
            block in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
            text in "[ -~é確]{0,40}",
        ) {
            let automaton = Automaton::new(block);
            for root in [automaton.at_word_start(), automaton.anywhere()] {
                automaton.walk(root, text.as_bytes(), |_, list| {
                    for number in automaton.list(list).take(100) {
                        automaton.of(number);
                    }
                });
            }
        }
    }
}
