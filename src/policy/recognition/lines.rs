//! What single lines say, for guards that have to know where in a message a phrase stands.

use super::super::text::{Body, Text};
use super::Recognition;
use super::knowledge::Group;
use super::matcher::Hit;
use super::view::View;
use crate::ident::CategoryName;

/// Lines that are looked at together: few enough that no phrase is found too often to be taken down.
const AT_ONCE: usize = 16;

/// What a line says of a category.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Whether a phrase in it speaks for the category.
    pub speaks: bool,
    /// The longest stretch beside and between those phrases, in characters; without links and mail addresses.
    pub longest_rest: usize,
}

impl Recognition {
    /// Which of these words on links and buttons call to do something that authentication mail asks for.
    pub fn calls_to_act(&self, labels: &[&str]) -> Vec<bool> {
        let knowledge = &self.compiled.knowledge;
        let counts =
            |group: Group| knowledge.weights_of(group).button > 0.0 && knowledge.speaks_for_guarded(group);
        self.lines(labels, counts).into_iter().map(|(_, ranges)| !ranges.is_empty()).collect()
    }

    /// What each line says of `category`: phrases count that are strong in a subject or in first lines.
    pub fn said_of(&self, lines: &[&str], category: &CategoryName) -> Vec<Said> {
        let knowledge = &self.compiled.knowledge;
        let wanted = knowledge.categories.iter().position(|known| known.name == category.as_str());
        let counts = |group: Group| {
            let weights = knowledge.weights_of(group);
            let mut sides = knowledge.sides_of(group).iter();
            weights.subject.max(weights.first) >= STRONG
                && sides.any(|side| Some(side.category) == wanted && side.factor > 0.0)
        };
        self.lines(lines, counts)
            .into_iter()
            .map(|(text, ranges)| Said {
                speaks: !ranges.is_empty(),
                longest_rest: longest_rest(&text, ranges),
            })
            .collect()
    }

    /// Each line in its normal form, and where phrases stand in it whose group counts.
    fn lines(&self, lines: &[&str], counts: impl Fn(Group) -> bool) -> Vec<(String, Vec<(usize, usize)>)> {
        let mut all = Vec::with_capacity(lines.len());
        for some in lines.chunks(AT_ONCE) {
            // Each button is a line of its own in the view; before them stands the empty subject.
            let buttons = some.iter().map(|line| line.replace('\n', " ")).collect();
            let text = Text { bodies: vec![Body { buttons, ..Body::default() }], ..Text::default() };
            let view = View::of(&text);
            let hits: Vec<Hit> = self.compiled.scan(&view);
            let mut start = view.text.find('\n').map_or(0, |at| at + 1);
            for line in view.text[start..].split_terminator('\n') {
                let end = start + line.len();
                let here = |hit: &&Hit| {
                    hit.start >= start && hit.end <= end && counts(self.compiled.knowledge.groups[hit.group])
                };
                let ranges =
                    hits.iter().filter(here).map(|hit| (hit.start - start, hit.end - start)).collect();
                all.push((line.to_owned(), ranges));
                start = end + 1;
            }
        }
        all
    }
}

/// The least weight of a phrase that makes its line one of the category.
const STRONG: f64 = 3.0;

fn longest_rest(text: &str, mut ranges: Vec<(usize, usize)>) -> usize {
    ranges.sort_unstable();
    ranges.push((text.len(), text.len()));
    let (mut longest, mut from) = (0, 0);
    for (start, end) in ranges {
        longest = longest.max(text.get(from..start).map_or(0, |rest| rest.trim().chars().count()));
        from = from.max(end);
    }
    longest
}
