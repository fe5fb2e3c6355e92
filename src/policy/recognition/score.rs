//! From what was found to a decision.

use std::collections::BTreeMap;

use super::super::normalize::is_unspaced;
use super::data::{Feature, Knowledge, Needs, OperatingPoint, Weights};
use super::matcher::Hit;
use super::parts;
use super::view::{Stretch, View, signs};
use super::{Examination, Recognized};
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
/// of a verb in German. A language is spoken where two of its words are found side by side.
pub(super) fn in_spoken_languages(knowledge: &Knowledge, view: &View, hits: &[Hit]) -> Vec<Hit> {
    let is_word = |hit: &Hit| {
        let matched = &view.text[hit.start..hit.end];
        !matched.contains(' ') && !matched.contains(is_unspaced)
    };
    let mut spoken = vec![false; knowledge.languages];
    for hit in hits.iter().filter(|hit| hit.stretch != Stretch::Header && !is_word(hit)) {
        spoken[knowledge.groups[hit.group].language] = true;
    }
    let none = !spoken.contains(&true);
    let counts = |hit: &&Hit| {
        none || hit.stretch == Stretch::Header
            || spoken[knowledge.groups[hit.group].language]
            || !is_word(hit)
    };
    hits.iter().filter(counts).copied().collect()
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
        let mut concepts = Vec::new();
        for ((_, _, category), found) in best {
            if found.weight > 0.0 {
                concepts.push((category, found.group));
            }
            let name = self.knowledge.groups[found.group].name.clone();
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
                .map(|&(_, group)| &knowledge.groups[group])
                .peekable();
            let is_alone = speaking.peek().is_some()
                && speaking.all(|group| alone.concepts.iter().any(|concept| group.is_of(concept)));
            if is_alone {
                self.add(alone.category, "structure.Alone".to_owned(), "structure", "", alone.weight);
            }
        }
    }

    /// Weighs what can't stand beside a category, where anything speaks for that at all.
    fn add_spoilt(&mut self, hits: &[Hit]) {
        let knowledge = self.knowledge;
        let is_of = |hit: &Hit, concept: &String| knowledge.groups[hit.group].is_of(concept);
        let is_found = |concept: &String| hits.iter().any(|hit| is_of(hit, concept));
        // What nobody sees spoils, and mends nothing.
        let mends = |concept: &String| hits.iter().any(|hit| is_said(hit.stretch) && is_of(hit, concept));
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
            category: self.knowledge.categories[category].name.to_string(),
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
            .filter_map(|(score, known)| score.map(|score| (known.name.clone(), score)))
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
            category: self.knowledge.categories[category].name.clone(),
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

fn features(knowledge: &Knowledge, text: &Text, view: &View, hits: &[Hit]) -> Vec<Feature> {
    let links = text.links();
    let tokens = links.iter().filter(|link| has_token(link)).count();
    let prices = prices(text);
    let longest = view.letters.iter().copied().max().unwrap_or(0);
    let has_field = |name: &str| text.fields.iter().any(|(field, _)| field == name);
    let bulk = text.fields.iter().any(|(field, value)| {
        field == "precedence" && matches!(value.to_ascii_lowercase().trim(), "bulk" | "list" | "junk")
    });
    [
        (Feature::Code, view.has_code()),
        (Feature::TokenLink, tokens > 0),
        (Feature::NoTokenLink, tokens == 0),
        (Feature::OneThing, longest <= SHORT_LETTERS && links.len() <= FEW_LINKS && is_one(tokens, view)),
        (Feature::ManyLinks, links.len() >= 15),
        (Feature::VeryManyLinks, links.len() >= 30),
        (Feature::LongText, longest > 2_500),
        (Feature::VeryLongText, longest > 6_000),
        (Feature::Price, prices == 1),
        (Feature::Prices, prices >= 2),
        (Feature::Percent, has_percent(text)),
        (Feature::CodeAlone, !view.codes_alone.is_empty()),
        (Feature::CodeInSubject, is_code_in_subject(text, view)),
        (Feature::ListUnsubscribe, has_field("list-unsubscribe")),
        (Feature::ListId, has_field("list-id")),
        (Feature::ListPost, has_field("list-post")),
        (Feature::Bulk, bulk),
        (Feature::Reply, has_field("in-reply-to")),
        (Feature::ReplySubject, is_reply(&text.subject)),
        (Feature::TicketNumber, has_ticket_number(&text.subject) || has_ticket_key(&text.subject)),
        (Feature::Calendar, text.calendar),
        (Feature::EmbeddedMessage, text.embedded_message),
        (Feature::Attachment, text.attachments > 0),
        (Feature::Incomplete, text.incomplete),
        (Feature::MixedScript, view.mixed_script),
        (Feature::OtherAlternative, parts::says_something_else(knowledge, view, hits)),
        (Feature::RefusedPart, parts::is_one_refused(knowledge, view, hits)),
    ]
    .into_iter()
    .filter_map(|(feature, present)| present.then_some(feature))
    .collect()
}

/// What an open category has to weigh for a message to be no longer a clear matter.
const DISPUTED: f64 = 1.5;
/// A message that asks for one thing is no longer than this.
const SHORT_LETTERS: usize = 700;
/// And leads to no more places: the page, the site, help, the same page once more.
const FEW_LINKS: usize = 5;

/// One page to open, or to accept and to decline; or a code to type.
fn is_one(tokens: usize, view: &View) -> bool {
    tokens == 1 || tokens == 2 || tokens == 0 && view.has_code()
}

fn is_code_in_subject(text: &Text, view: &View) -> bool {
    !view.codes_alone.is_empty() && {
        let subject = signs(&text.subject);
        view.codes_alone.iter().any(|code| subject.contains(code.as_str()))
    }
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

/// `[ABC-42]`, or `ABC-42` at the beginning, as issues are numbered; `(ticket 4711)` as desks do.
fn has_ticket_key(subject: &str) -> bool {
    let mut words = subject.split(' ').enumerate();
    words.any(|(index, word)| {
        let bracketed = word.starts_with(['[', '(']);
        let word = word.trim_matches(['[', ']', '(', ')', ':']);
        (bracketed || index == 0) && word.split_once('-').is_some_and(|(key, number)| is_key(key, number))
    }) || subject.rsplit_once('(').is_some_and(|(_, last)| is_numbered(last))
}

fn is_key(key: &str, number: &str) -> bool {
    (2..=10).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_uppercase())
        && (1..=6).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// `ticket 4711)`
fn is_numbered(last: &str) -> bool {
    last.trim_end().strip_suffix(')').and_then(|inner| inner.split_once(' ')).is_some_and(|(word, number)| {
        word.chars().all(char::is_alphabetic)
            && number.len() >= 3
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// What mail programs of many languages put before the subject of an answer or of forwarded mail.
const REPLY_PREFIXES: [&str; 14] =
    ["re", "aw", "antw", "sv", "vs", "odp", "res", "rif", "fw", "fwd", "wg", "tr", "rv", "vl"];

fn is_reply(subject: &str) -> bool {
    subject.split_once(':').is_some_and(|(prefix, rest)| {
        let prefix = prefix.trim().to_ascii_lowercase();
        rest.starts_with(' ')
            && REPLY_PREFIXES.contains(&prefix.trim_end_matches(|c: char| "[]0123456789".contains(c)))
    })
}

fn lines(text: &Text) -> impl Iterator<Item = &String> {
    text.bodies.iter().flat_map(|body| &body.paragraphs).flat_map(|paragraph| &paragraph.lines)
}

/// How many lines name an amount of money.
fn prices(text: &Text) -> usize {
    lines(text).chain([&text.subject]).filter(|line| has_price(line)).count()
}

/// A sign of a currency with a digit beside it.
fn has_price(line: &str) -> bool {
    const SIGNS: [char; 12] = ['$', '€', '£', '¥', '₹', '₽', '₩', '₺', '₴', '₪', '৳', '﷼'];
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    line.char_indices().filter(|(_, c)| SIGNS.contains(c)).any(|(at, sign)| {
        let after = &line[at + sign.len_utf8()..];
        is_digit(after.trim_start().chars().next()) || is_digit(line[..at].trim_end().chars().next_back())
    })
}

/// `20%`, `20 %`, `%20`: nobody signs in with a share of anything.
fn has_percent(text: &Text) -> bool {
    let in_line = |line: &str| {
        line.split(' ').filter(|word| !word.contains("://")).any(|word| word.contains(['%', '٪', '％']))
            && line.contains(|c: char| c.is_numeric())
    };
    in_line(&text.subject) || lines(text).any(|line| in_line(line))
}
