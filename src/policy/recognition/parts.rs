//! What each part of a message says, looked at alone.
//!
//! A person is shown one of the alternatives, and nobody knows which. So no part may hide behind another: what all say
//! together can be a reset while one of them is an advertisement.

use std::collections::BTreeMap;

use super::knowledge::{Knowledge, Side};
use super::matcher::Hit;
use super::score::weigh;
use super::view::{Stretch, View};

/// Text parts shorter than this need not say what the message is.
const OTHER_ALTERNATIVE_LETTERS: usize = 300;

/// Whether a part of some length holds nothing that speaks for a guarded category: one alternative may be dressed up.
pub(super) fn says_something_else(knowledge: &Knowledge, view: &View, hits: &[Hit]) -> bool {
    let supports = |body: usize| {
        hits.iter().filter(|hit| hit.stretch == Stretch::Body(body)).any(|hit| {
            let group = knowledge.groups[hit.group];
            knowledge.sides_of(group).iter().any(|&Side { category, factor }| {
                knowledge.categories[category].guarded
                    && weigh(knowledge.weights_of(group), factor, hit, view, true)
                        .is_some_and(|(_, best)| best.weight > 0.0)
            })
        })
    };
    view.letters
        .iter()
        .enumerate()
        .any(|(body, &letters)| letters > OTHER_ALTERNATIVE_LETTERS && !supports(body))
}

/// Less than this, said by a part for a guarded category, is said in passing.
const IN_PASSING: f64 = 1.0;

/// Whether one of several parts would be refused by itself: what it says for an open category is enough for that, and
/// outweighs what it says for every category that may pass. One phrase can be there by chance; so where the part asks
/// for something that may pass, two have to agree.
pub(super) fn is_one_refused(knowledge: &Knowledge, view: &View, hits: &[Hit]) -> bool {
    view.letters.len() > 1
        && (0..view.letters.len()).any(|body| {
            let said = said_alone(knowledge, view, hits, body);
            let highest = |is_guarded: bool| {
                let known = said.iter().zip(&knowledge.categories);
                let such = known.filter(|(_, known)| known.guarded == is_guarded).map(|(said, _)| *said);
                such.max_by(|one, two| one.score.total_cmp(&two.score)).unwrap_or_default()
            };
            let (open, guarded) = (highest(false), highest(true));
            open.score >= knowledge.open_threshold
                && open.score > guarded.score
                && (open.concepts > 1 || guarded.score < IN_PASSING)
        })
}

/// What a part says for a category.
#[derive(Clone, Copy, Default)]
struct Said {
    score: f64,
    /// How many different things speak for it.
    concepts: usize,
}

/// What the words of one part say for each category.
fn said_alone(knowledge: &Knowledge, view: &View, hits: &[Hit], body: usize) -> Vec<Said> {
    let mut heaviest = BTreeMap::new();
    for hit in hits.iter().filter(|hit| view.body_at(hit.start) == Some(body)) {
        let group = knowledge.groups[hit.group];
        for &Side { category, factor } in knowledge.sides_of(group) {
            let guarded = knowledge.categories[category].guarded;
            if let Some((slot, found)) = weigh(knowledge.weights_of(group), factor, hit, view, guarded) {
                let weight: &mut f64 = heaviest.entry((category, group.concept, slot)).or_default();
                if found.weight.abs() > weight.abs() {
                    *weight = found.weight;
                }
            }
        }
    }
    let mut said = vec![Said::default(); knowledge.categories.len()];
    let mut last = None;
    for ((category, concept, _), weight) in heaviest {
        said[category].score += weight;
        if weight > 0.0 && last != Some((category, concept)) {
            said[category].concepts += 1;
            last = Some((category, concept));
        }
    }
    said
}
