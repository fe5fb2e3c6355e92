//! The shipped recognition: what kind of message is this, by its words and its shape?
//!
//! The knowledge is data (`config/recognition/*.toml`, see `files`): phrases in many languages, each with a weight for
//! the place it was found in. The build script compiles the shipped files (`compile`), so that a start costs next to nothing;
//! a daemon compiles only where the operator has files of their own. All phrases of all languages are looked for at once. The weights add up per category, and
//! `score` decides on them. Guarded categories (those that may pass) need a high score, something to act on (a link or a code), and
//! a lead over everything that speaks for another kind of message; so in doubt a message is held back.
//!
//! Deterministic and pure: the same text gives the same answer, with every piece of evidence that led to it.

mod automaton;
mod compile;
mod dawg;
mod error;
mod features;
mod files;
mod knowledge;
mod lines;
mod matcher;
mod parts;
mod pattern;
mod point;
mod purpose;
mod score;
mod shipped;
mod view;

use std::sync::{Arc, OnceLock};

use super::{Evidence, Text};
use crate::ident::CategoryName;
use automaton::Automaton;
use knowledge::Knowledge;
use matcher::Hit;
use shipped::SHIPPED;
use view::View;

pub use error::RecognitionError;
pub use lines::Said;
pub use point::{OperatingPoint, Strictness};
pub use purpose::NoCode;
pub use score::Standing;

/// What the build script made of the shipped files.
const SHIPPED_KNOWLEDGE: &str = include_str!(concat!(env!("OUT_DIR"), "/recognition.json"));
const SHIPPED_BLOCK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/recognition.bin"));

/// Recognises categories by what messages look like. The default knows nothing and recognises nothing.
#[derive(Clone, Debug, Default)]
pub struct Recognition {
    compiled: Arc<Compiled>,
    strictness: Strictness,
}

/// What the files say, ready for the search; shared by recognitions that differ in strictness alone.
#[derive(Debug, Default)]
struct Compiled {
    knowledge: Knowledge,
    automaton: Automaton,
    guarded: Vec<CategoryName>,
}

impl Compiled {
    fn new(knowledge: Knowledge, automaton: Automaton) -> Self {
        let guarded = knowledge.categories.iter().filter(|known| known.guarded);
        let guarded = guarded.map(|known| CategoryName::new(&known.name)).collect();
        Self { knowledge, automaton, guarded }
    }

    /// All groups found in `view`.
    fn scan(&self, view: &View) -> Vec<Hit> {
        matcher::scan(&self.automaton, self.knowledge.groups.len(), view)
    }
}

/// The category a message was recognised as.
#[derive(Clone, Debug, PartialEq)]
pub struct Recognized {
    /// The category.
    pub category: CategoryName,
    /// The name of the strongest piece of evidence for it, such as `en.password-reset.request`.
    pub rule: String,
    /// Its score.
    pub score: f64,
}

/// Everything recognition has to say of a message.
#[derive(Clone, Debug, Default)]
pub struct Examination {
    /// What it was recognised as.
    pub recognized: Option<Recognized>,
    /// The score of every category that anything spoke for or against, highest first.
    pub scores: Vec<(CategoryName, f64)>,
    /// What was seen, strongest first.
    pub evidence: Vec<Evidence>,
    /// The categories the decision was between.
    pub standing: Standing,
}

impl Recognition {
    /// The recognition compiled into the program.
    pub fn shipped() -> Result<Self, RecognitionError> {
        // Read once a process: a reload need not do it again.
        static READ: OnceLock<Recognition> = OnceLock::new();
        if let Some(read) = READ.get() {
            return Ok(read.clone());
        }
        let knowledge = serde_json::from_str(SHIPPED_KNOWLEDGE)
            .map_err(|error| RecognitionError::Damaged(error.to_string()))?;
        let read = Self::of(Compiled::new(knowledge, Automaton::new(SHIPPED_BLOCK)));
        Ok(READ.get_or_init(|| read).clone())
    }

    /// The shipped recognition, with files of the operator's own: each replaces the shipped one of its name, or is added.
    pub fn with_files(own: &[(String, String)]) -> Result<Self, RecognitionError> {
        if own.is_empty() {
            return Self::shipped();
        }
        let is_replaced = |name: &str| own.iter().any(|(own, _)| own == name);
        let kept = SHIPPED.iter().copied().filter(|(name, _)| !is_replaced(name));
        Self::from_files(kept.chain(own.iter().map(|(name, text)| (name.as_str(), text.as_str()))))
    }

    /// A recognition from data files, given as file name and text. `categories.toml` and `structure.toml` are known by
    /// their names; every other file is a language.
    pub fn from_files<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, RecognitionError> {
        let (knowledge, automaton) = compile::compile(&files.into_iter().collect::<Vec<_>>())?;
        Ok(Self::of(Compiled::new(knowledge, automaton)))
    }

    fn of(compiled: Compiled) -> Self {
        Self { compiled: Arc::new(compiled), strictness: Strictness::default() }
    }

    /// The shipped data files, by name and text.
    pub fn shipped_files() -> &'static [(&'static str, &'static str)] {
        SHIPPED
    }

    /// The same, as strict as that.
    pub fn at(&self, strictness: Strictness) -> Self {
        Self { compiled: Arc::clone(&self.compiled), strictness }
    }

    /// Whether both were compiled at once, from the same files.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.compiled, &other.compiled)
    }

    /// How strict it is.
    pub fn strictness(&self) -> Strictness {
        self.strictness
    }

    /// The operating point of a strictness.
    pub fn point(&self, strictness: Strictness) -> OperatingPoint {
        self.compiled.knowledge.points.of(strictness)
    }

    /// The categories that may pass, the ones it is careful about.
    pub fn guarded(&self) -> impl Iterator<Item = &CategoryName> {
        self.compiled.guarded.iter()
    }

    /// What the text is, if it can be told.
    pub fn recognize(&self, text: &Text) -> Option<Recognized> {
        self.examine(text).recognized
    }

    /// What the text is, and all that was seen.
    pub fn examine(&self, text: &Text) -> Examination {
        let view = View::of(text);
        let hits = self.compiled.scan(&view);
        score::judge(&self.compiled.knowledge, self.point(self.strictness), text, &view, &hits)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
