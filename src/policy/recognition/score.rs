//! From what was found to a decision.

use std::collections::BTreeMap;

use super::data::{Feature, Knowledge, Weights};
use super::matcher::Hit;
use super::view::{Stretch, View};
use super::{Examination, Recognized};
use crate::policy::{Evidence, Text};

/// Text parts shorter than this need not say what the message is.
const OTHER_ALTERNATIVE_LETTERS: usize = 300;

/// Decides.
pub(super) fn judge(knowledge: &Knowledge, text: &Text, view: &View, hits: &[Hit]) -> Examination {
    let mut tally = Tally { knowledge, scores: vec![None; knowledge.categories.len()], seen: Vec::new() };
    tally.add_phrases(view, hits);
    tally.add_structure(&features(knowledge, text, view, hits));
    let can_act = view.has_code() || !text.links().is_empty();
    tally.decide(can_act)
}

struct Tally<'a> {
    knowledge: &'a Knowledge,
    scores: Vec<Option<f64>>,
    /// The category and what spoke for or against it.
    seen: Vec<(usize, Evidence)>,
}

/// Places in which a concept counts once each: the best of its hits there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Subject,
    Header,
    Button,
    Body,
}

/// The best hit of a concept in one slot.
#[derive(Clone, Copy)]
struct Best {
    group: usize,
    weight: f64,
    place: &'static str,
    start: usize,
    end: usize,
}

impl Tally<'_> {
    fn add_phrases(&mut self, view: &View, hits: &[Hit]) {
        let mut best: BTreeMap<(usize, Slot, usize), Best> = BTreeMap::new();
        for hit in hits {
            let group = &self.knowledge.groups[hit.group];
            for &(category, factor) in &group.categories {
                let guarded = self.knowledge.categories[category].guarded;
                if let Some((slot, found)) = weigh(&group.weights, factor, hit, view, guarded) {
                    let entry = best.entry((group.concept, slot, category)).or_insert(found);
                    if found.weight.abs() > entry.weight.abs() {
                        *entry = found;
                    }
                }
            }
        }
        for ((_, _, category), found) in best {
            let name = self.knowledge.groups[found.group].name.clone();
            self.add(category, name, found.place, &view.text[found.start..found.end], found.weight);
        }
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
            category: self.knowledge.categories[category].name.to_string(),
            place: place.to_owned(),
            matched: matched.to_owned(),
            weight,
        };
        self.seen.push((category, evidence));
    }

    fn decide(mut self, can_act: bool) -> Examination {
        self.seen.sort_by(|(_, one), (_, two)| two.weight.abs().total_cmp(&one.weight.abs()));
        let guarded = self.highest(|guarded| guarded).filter(|_| can_act);
        let open = self.highest(|guarded| !guarded);
        let lead = open.map_or(0.0, |(_, score)| score.max(0.0));
        let passes = guarded.filter(|&(category, score)| {
            let known = &self.knowledge.categories[category];
            score >= known.threshold && score - lead >= known.margin
        });
        let held = open.filter(|&(category, score)| score >= self.knowledge.categories[category].threshold);
        let recognized = passes.or(held).map(|(category, score)| Recognized {
            category: self.knowledge.categories[category].name.clone(),
            rule: self.rule(category),
            score,
        });
        let mut scores: Vec<_> = self
            .scores
            .iter()
            .zip(&self.knowledge.categories)
            .filter_map(|(score, known)| score.map(|score| (known.name.clone(), score)))
            .collect();
        scores.sort_by(|one, two| two.1.total_cmp(&one.1));
        Examination { recognized, scores, evidence: self.seen.into_iter().map(|(_, seen)| seen).collect() }
    }

    /// The highest score among the categories of one kind; of equal ones, the first in the file.
    fn highest(&self, kind: impl Fn(bool) -> bool) -> Option<(usize, f64)> {
        let mut highest: Option<(usize, f64)> = None;
        for (category, score) in self.scores.iter().enumerate() {
            if let Some(score) = *score
                && kind(self.knowledge.categories[category].guarded)
                && highest.is_none_or(|(_, before)| score > before)
            {
                highest = Some((category, score));
            }
        }
        highest
    }

    fn rule(&self, category: usize) -> String {
        self.seen
            .iter()
            .find(|(spoken_for, evidence)| *spoken_for == category && evidence.weight > 0.0)
            .map_or_else(String::new, |(_, evidence)| evidence.name.clone())
    }
}

/// What a hit weighs, if it counts at all. What nobody sees never speaks for a guarded category.
fn weigh(weights: &Weights, factor: f64, hit: &Hit, view: &View, guarded: bool) -> Option<(Slot, Best)> {
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
    };
    let weight = weight * factor;
    let unseen = guarded && weight > 0.0 && matches!(hit.stretch, Stretch::Hidden(_));
    let best = Best { group: hit.group, weight, place, start: hit.start, end: hit.end };
    (weight != 0.0 && !unseen).then_some((slot, best))
}

fn features(knowledge: &Knowledge, text: &Text, view: &View, hits: &[Hit]) -> Vec<Feature> {
    let links = text.links();
    let longest = view.letters.iter().copied().max().unwrap_or(0);
    let has_field = |name: &str| text.fields.iter().any(|(field, _)| field == name);
    let bulk = text.fields.iter().any(|(field, value)| {
        field == "precedence" && matches!(value.to_ascii_lowercase().trim(), "bulk" | "list" | "junk")
    });
    [
        (Feature::Code, view.has_code()),
        (Feature::TokenLink, links.iter().any(|link| has_token(link))),
        (Feature::ManyLinks, links.len() >= 15),
        (Feature::VeryManyLinks, links.len() >= 30),
        (Feature::LongText, longest > 2_500),
        (Feature::VeryLongText, longest > 6_000),
        (Feature::Prices, prices(text) >= 2),
        (Feature::ListUnsubscribe, has_field("list-unsubscribe")),
        (Feature::ListId, has_field("list-id")),
        (Feature::ListPost, has_field("list-post")),
        (Feature::Bulk, bulk),
        (Feature::Reply, has_field("in-reply-to")),
        (Feature::TicketNumber, has_ticket_number(&text.subject)),
        (Feature::Calendar, text.calendar),
        (Feature::EmbeddedMessage, text.embedded_message),
        (Feature::Attachment, text.attachments > 0),
        (Feature::Incomplete, text.incomplete),
        (Feature::MixedScript, view.mixed_script),
        (Feature::OtherAlternative, says_something_else(knowledge, view, hits)),
    ]
    .into_iter()
    .filter_map(|(feature, present)| present.then_some(feature))
    .collect()
}

/// Whether a part of some length holds nothing that speaks for a guarded category: one alternative may be dressed up.
fn says_something_else(knowledge: &Knowledge, view: &View, hits: &[Hit]) -> bool {
    let supports = |body: usize| {
        hits.iter().filter(|hit| hit.stretch == Stretch::Body(body)).any(|hit| {
            let group = &knowledge.groups[hit.group];
            group.categories.iter().any(|&(category, factor)| {
                knowledge.categories[category].guarded
                    && weigh(&group.weights, factor, hit, view, true)
                        .is_some_and(|(_, best)| best.weight > 0.0)
            })
        })
    };
    view.letters
        .iter()
        .enumerate()
        .any(|(body, &letters)| letters > OTHER_ALTERNATIVE_LETTERS && !supports(body))
}

/// A long run of letters and digits mixed, as tokens are, after the host of a link.
fn has_token(link: &str) -> bool {
    let path = link
        .split_once("://")
        .and_then(|(_, rest)| rest.find(['/', '?', '#']).map(|at| &rest[at..]))
        .unwrap_or_default();
    path.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').any(|run| {
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        run.len() >= 16 && digits >= 2 && digits < run.len()
    })
}

/// `#` and one to five digits, as issues and tickets are numbered.
fn has_ticket_number(subject: &str) -> bool {
    subject.split('#').skip(1).any(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        (1..=5).contains(&digits) && !rest[digits..].starts_with(char::is_alphanumeric)
    })
}

fn prices(text: &Text) -> usize {
    let lines = text.bodies.iter().flat_map(|body| &body.paragraphs).flat_map(|paragraph| &paragraph.lines);
    lines
        .filter(|line| {
            line.contains(['$', '€', '£', '¥', '₹', '₽', '₩', '₺'])
                && line.contains(|c: char| c.is_ascii_digit())
        })
        .count()
}
