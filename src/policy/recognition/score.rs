//! From what was found to a decision.

use std::collections::BTreeMap;

use super::super::normalize::{is_ideographic, is_unspaced};
use super::features::features;
use super::knowledge::{Feature, Knowledge, Needs, Side, Weights};
use super::matcher::Hit;
use super::point::OperatingPoint;
use super::view::{Stretch, View};
use super::{Examination, Recognized};
use crate::ident::CategoryName;
use crate::policy::{Evidence, Text};

/// The categories a decision was between.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The guarded category with the highest score.
    pub nearest: Option<Recognized>,
    /// The one among those for which the message holds what they need: a link, a code.
    pub candidate: Option<Recognized>,
    /// The open category with the highest score.
    pub against: Option<Recognized>,
    open_threshold: f64,
}

impl Standing {
    /// What is decided at `point`.
    pub fn decide(&self, point: OperatingPoint) -> Option<&Recognized> {
        let passes = self.candidate.as_ref().filter(|candidate| {
            candidate.score >= point.threshold && candidate.score - self.lead() >= point.margin
        });
        passes.or_else(|| self.against.as_ref().filter(|against| against.score >= self.open_threshold))
    }

    /// The score that a guarded category has to lead.
    pub fn lead(&self) -> f64 {
        self.against.as_ref().map_or(0.0, |against| against.score.max(0.0))
    }
}

/// Decides at `point`.
pub(super) fn judge(
    knowledge: &Knowledge,
    point: OperatingPoint,
    text: &Text,
    view: &View,
    hits: &[Hit],
) -> Examination {
    let mut tally = Tally { knowledge, scores: vec![None; knowledge.categories.len()], seen: Vec::new() };
    let hits = &in_spoken_languages(knowledge, view, hits);
    let concepts = tally.add_phrases(view, hits);
    tally.add_alone(&concepts);
    tally.add_spoilt(hits);
    let mut features = features(knowledge, text, view, hits);
    // Few words leave little room for doubt, where none of them raises any.
    features.retain(|&feature| feature != Feature::OneThing || !tally.is_disputed());
    tally.add_structure(&features);
    tally.decide(point, Act { code: view.has_code(), link: !text.links().is_empty() })
}

/// The hits without single words of languages that the message is not written in: "fest" is a party in Swedish, and half
/// of a verb in German; what is a bill in Japanese is a request in Chinese. A language is spoken where two of its words
/// are found side by side.
pub(super) fn in_spoken_languages(knowledge: &Knowledge, view: &View, hits: &[Hit]) -> Vec<Hit> {
    let is_word = |hit: &Hit| is_word(&view.text[hit.start..hit.end]);
    let mut spoken = vec![false; knowledge.languages.len()];
    for hit in hits.iter().filter(|hit| hit.stretch != Stretch::Header && !is_word(hit)) {
        spoken[usize::from(knowledge.groups[hit.group].language)] = true;
    }
    let none = !spoken.contains(&true);
    let counts = |hit: &&Hit| {
        none || hit.stretch == Stretch::Header
            || spoken[usize::from(knowledge.groups[hit.group].language)]
            || !is_word(hit)
    };
    hits.iter().filter(counts).copied().collect()
}

/// Whether it is one word, as far as that can be told. Where words are written together, one of two signs that languages
/// share is; what is longer, or in letters of one language alone, says which language it is.
fn is_word(matched: &str) -> bool {
    let is_shared = |c: char| is_ideographic(c) && !('\u{3040}'..='\u{30ff}').contains(&c);
    !matched.contains(' ')
        && (!matched.contains(is_unspaced) || matched.chars().count() <= 2 && matched.chars().all(is_shared))
}

/// What a message holds to act on.
#[derive(Clone, Copy)]
struct Act {
    code: bool,
    link: bool,
}

impl Act {
    fn is_enough(self, needs: Needs) -> bool {
        match needs {
            Needs::LinkOrCode => self.link || self.code,
            Needs::Code => self.code,
            Needs::Link => self.link,
            Needs::Nothing => true,
        }
    }
}

struct Tally<'a> {
    knowledge: &'a Knowledge,
    scores: Vec<Option<f64>>,
    /// The category and what spoke for or against it.
    seen: Vec<(usize, Evidence)>,
}

/// What an open category has to weigh for a message to be no longer a clear matter.
const DISPUTED: f64 = 1.5;

/// Places in which a concept counts once each: the best of its hits there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    Subject,
    Header,
    Button,
    Body,
}

/// The best hit of a concept in one slot.
#[derive(Clone, Copy)]
pub(super) struct Best {
    group: usize,
    pub weight: f64,
    place: &'static str,
    start: usize,
    end: usize,
}

impl Tally<'_> {
    /// Gives back the categories and the concepts that speak for them.
    fn add_phrases(&mut self, view: &View, hits: &[Hit]) -> Vec<(usize, usize)> {
        let mut best: BTreeMap<(usize, Slot, usize), Best> = BTreeMap::new();
        for hit in hits {
            let group = self.knowledge.groups[hit.group];
            for &Side { category, factor } in self.knowledge.sides_of(group) {
                let guarded = self.knowledge.categories[category].guarded;
                if let Some((slot, found)) =
                    weigh(self.knowledge.weights_of(group), factor, hit, view, guarded)
                {
                    let entry = best.entry((group.concept(), slot, category)).or_insert(found);
                    if found.weight.abs() > entry.weight.abs() {
                        *entry = found;
                    }
                }
            }
        }
        let mut concepts = Vec::new();
        for ((_, _, category), found) in best {
            if found.weight > 0.0 {
                concepts.push((category, found.group));
            }
            let name = self.knowledge.name_of(self.knowledge.groups[found.group]);
            self.add(category, name, found.place, &view.text[found.start..found.end], found.weight);
        }
        concepts
    }

    /// Weighs what stands alone: only such concepts speak for the category, whatever else is said in passing.
    fn add_alone(&mut self, concepts: &[(usize, usize)]) {
        let knowledge = self.knowledge;
        for alone in &knowledge.alone {
            let mut speaking = concepts
                .iter()
                .filter(|(category, _)| *category == alone.category)
                .map(|&(_, group)| knowledge.groups[group].concept())
                .peekable();
            let is_alone =
                speaking.peek().is_some() && speaking.all(|concept| alone.concepts.contains(&concept));
            if is_alone {
                self.add(alone.category, "structure.Alone".to_owned(), "structure", "", alone.weight);
            }
        }
    }

    /// Weighs what can't stand beside a category, where anything speaks for that at all.
    fn add_spoilt(&mut self, hits: &[Hit]) {
        let knowledge = self.knowledge;
        let is_of = |hit: &Hit, concept: usize| knowledge.groups[hit.group].concept() == concept;
        let is_found = |&concept: &usize| hits.iter().any(|hit| is_of(hit, concept));
        // What nobody sees spoils, and mends nothing.
        let mends = |&concept: &usize| hits.iter().any(|hit| is_said(hit.stretch) && is_of(hit, concept));
        for spoilt in &knowledge.spoilt {
            let is_spoilt = spoilt.by.iter().all(is_found) && !spoilt.unless.iter().any(mends);
            if self.scores[spoilt.category].is_some() && is_spoilt {
                self.add(spoilt.category, "structure.Spoilt".to_owned(), "structure", "", spoilt.weight);
            }
        }
    }

    /// Whether anything that weighs more than a hint speaks for an open category.
    fn is_disputed(&self) -> bool {
        let mut known = self.scores.iter().zip(&self.knowledge.categories);
        known.any(|(score, known)| !known.guarded && score.is_some_and(|score| score >= DISPUTED))
    }

    fn add_structure(&mut self, features: &[Feature]) {
        for entry in self.knowledge.features.iter().filter(|entry| features.contains(&entry.feature)) {
            for &category in &entry.categories {
                let name = format!("structure.{:?}", entry.feature);
                self.add(category, name, "structure", "", entry.weight);
            }
        }
    }

    fn add(&mut self, category: usize, name: String, place: &str, matched: &str, weight: f64) {
        *self.scores[category].get_or_insert(0.0) += weight;
        let evidence = Evidence {
            name,
            category: self.knowledge.categories[category].name.clone(),
            place: place.to_owned(),
            matched: matched.to_owned(),
            weight,
        };
        self.seen.push((category, evidence));
    }

    fn decide(mut self, point: OperatingPoint, act: Act) -> Examination {
        self.seen.sort_by(|(_, one), (_, two)| two.weight.abs().total_cmp(&one.weight.abs()));
        let guarded = |category: usize| self.knowledge.categories[category].guarded;
        let standing = Standing {
            nearest: self.highest(guarded),
            candidate: self.highest(|category| {
                guarded(category) && act.is_enough(self.knowledge.categories[category].needs)
            }),
            against: self.highest(|category| !guarded(category)),
            open_threshold: self.knowledge.open_threshold,
        };
        let mut scores: Vec<_> = self
            .scores
            .iter()
            .zip(&self.knowledge.categories)
            .filter_map(|(score, known)| score.map(|score| (CategoryName::new(&known.name), score)))
            .collect();
        scores.sort_by(|one, two| two.1.total_cmp(&one.1));
        Examination {
            recognized: standing.decide(point).cloned(),
            scores,
            evidence: self.seen.into_iter().map(|(_, seen)| seen).collect(),
            standing,
        }
    }

    /// The category with the highest score among `these`; of equal ones, the first in the file.
    fn highest(&self, these: impl Fn(usize) -> bool) -> Option<Recognized> {
        let mut highest: Option<(usize, f64)> = None;
        for (category, score) in self.scores.iter().enumerate() {
            if let Some(score) = *score
                && these(category)
                && highest.is_none_or(|(_, before)| score > before)
            {
                highest = Some((category, score));
            }
        }
        highest.map(|(category, score)| Recognized {
            category: CategoryName::new(&self.knowledge.categories[category].name),
            rule: self.rule(category),
            score,
        })
    }

    fn rule(&self, category: usize) -> String {
        self.seen
            .iter()
            .find(|(spoken_for, evidence)| *spoken_for == category && evidence.weight > 0.0)
            .map_or_else(String::new, |(_, evidence)| evidence.name.clone())
    }
}

/// What a hit weighs, if it counts at all. What nobody sees, and what are another's words, never speaks for a guarded
/// category.
pub(super) fn weigh(
    weights: &Weights,
    factor: f64,
    hit: &Hit,
    view: &View,
    guarded: bool,
) -> Option<(Slot, Best)> {
    let (slot, place, weight) = match hit.stretch {
        Stretch::Subject => (Slot::Subject, "subject", weights.subject),
        Stretch::Header => (Slot::Header, "header", weights.header),
        Stretch::Button => (Slot::Button, "button", weights.button),
        Stretch::Body(body) => {
            let mut best = ("text", weights.text);
            if view.is_early(body, hit.start) && weights.first.abs() > best.1.abs() {
                best = ("first", weights.first);
            }
            if weights.code.abs() > best.1.abs() && view.is_near_code(hit.start, hit.end) {
                best = ("code", weights.code);
            }
            (Slot::Body, best.0, best.1)
        }
        Stretch::Hidden(_) => (Slot::Body, "hidden", weights.text),
        Stretch::QuotedSubject => (Slot::Subject, "quoted", weights.subject),
        Stretch::Quoted => (Slot::Body, "quoted", weights.text),
    };
    let weight = weight * factor;
    let unsaid = guarded && weight > 0.0 && !is_said(hit.stretch);
    let best = Best { group: hit.group, weight, place, start: hit.start, end: hit.end };
    (weight != 0.0 && !unsaid).then_some((slot, best))
}

/// Whether it is the message itself that says it, for everybody to see.
fn is_said(stretch: Stretch) -> bool {
    match stretch {
        Stretch::Subject | Stretch::Header | Stretch::Button | Stretch::Body(_) => true,
        Stretch::Hidden(_) | Stretch::QuotedSubject | Stretch::Quoted => false,
    }
}
