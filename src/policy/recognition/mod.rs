//! The shipped recognition: what kind of message is this, by its words and its shape?
//!
//! The knowledge is data (`config/recognition/*.toml`, see `data`): phrases in many languages, each with a weight for
//! the place it was found in. All phrases of all languages are looked for at once. The weights add up per category, and
//! `score` decides on them. Guarded categories (those that may pass) need a high score, something to act on (a link or a code), and
//! a lead over everything that speaks for another kind of message; so in doubt a message is held back.
//!
//! Deterministic and pure: the same text gives the same answer, with every piece of evidence that led to it.

mod data;
mod lines;
mod matcher;
mod parts;
mod pattern;
mod purpose;
mod score;
mod view;

use std::sync::{Arc, OnceLock};

use super::{Evidence, Text};
use crate::ident::CategoryName;
use data::Knowledge;
use matcher::Matcher;

pub use data::{OperatingPoint, RecognitionError, Strictness};
pub use lines::Said;
pub use purpose::NoCode;
pub use score::Standing;

/// The data files compiled into the program: name and text.
const SHIPPED: &[(&str, &str)] = &[
    ("categories.toml", include_str!("../../../config/recognition/categories.toml")),
    ("structure.toml", include_str!("../../../config/recognition/structure.toml")),
    ("en.toml", include_str!("../../../config/recognition/en.toml")),
    ("de.toml", include_str!("../../../config/recognition/de.toml")),
    ("fr.toml", include_str!("../../../config/recognition/fr.toml")),
    ("es.toml", include_str!("../../../config/recognition/es.toml")),
    ("pt.toml", include_str!("../../../config/recognition/pt.toml")),
    ("it.toml", include_str!("../../../config/recognition/it.toml")),
    ("nl.toml", include_str!("../../../config/recognition/nl.toml")),
    ("pl.toml", include_str!("../../../config/recognition/pl.toml")),
    ("cs.toml", include_str!("../../../config/recognition/cs.toml")),
    ("sk.toml", include_str!("../../../config/recognition/sk.toml")),
    ("hu.toml", include_str!("../../../config/recognition/hu.toml")),
    ("ro.toml", include_str!("../../../config/recognition/ro.toml")),
    ("sv.toml", include_str!("../../../config/recognition/sv.toml")),
    ("da.toml", include_str!("../../../config/recognition/da.toml")),
    ("nb.toml", include_str!("../../../config/recognition/nb.toml")),
    ("fi.toml", include_str!("../../../config/recognition/fi.toml")),
    ("el.toml", include_str!("../../../config/recognition/el.toml")),
    ("ru.toml", include_str!("../../../config/recognition/ru.toml")),
    ("uk.toml", include_str!("../../../config/recognition/uk.toml")),
    ("tr.toml", include_str!("../../../config/recognition/tr.toml")),
    ("ar.toml", include_str!("../../../config/recognition/ar.toml")),
    ("fa.toml", include_str!("../../../config/recognition/fa.toml")),
    ("he.toml", include_str!("../../../config/recognition/he.toml")),
    ("hi.toml", include_str!("../../../config/recognition/hi.toml")),
    ("bn.toml", include_str!("../../../config/recognition/bn.toml")),
    ("th.toml", include_str!("../../../config/recognition/th.toml")),
    ("vi.toml", include_str!("../../../config/recognition/vi.toml")),
    ("id.toml", include_str!("../../../config/recognition/id.toml")),
    ("ja.toml", include_str!("../../../config/recognition/ja.toml")),
    ("ko.toml", include_str!("../../../config/recognition/ko.toml")),
    ("zh-Hans.toml", include_str!("../../../config/recognition/zh-Hans.toml")),
    ("zh-Hant.toml", include_str!("../../../config/recognition/zh-Hant.toml")),
];

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
    matcher: Matcher,
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
        // Compiled once a process: a reload need not do it again.
        static COMPILED: OnceLock<Recognition> = OnceLock::new();
        if let Some(compiled) = COMPILED.get() {
            return Ok(compiled.clone());
        }
        let compiled = Self::from_files(SHIPPED.iter().copied())?;
        Ok(COMPILED.get_or_init(|| compiled).clone())
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
        let knowledge = Knowledge::read(files)?;
        let matcher = Matcher::new(&knowledge)?;
        Ok(Self { compiled: Arc::new(Compiled { knowledge, matcher }), strictness: Strictness::default() })
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
        self.compiled.knowledge.categories.iter().filter(|known| known.guarded).map(|known| &known.name)
    }

    /// What the text is, if it can be told.
    pub fn recognize(&self, text: &Text) -> Option<Recognized> {
        self.examine(text).recognized
    }

    /// What the text is, and all that was seen.
    pub fn examine(&self, text: &Text) -> Examination {
        let view = view::View::of(text);
        let Compiled { knowledge, matcher } = self.compiled.as_ref();
        let hits = matcher.scan(knowledge, &view);
        score::judge(knowledge, self.point(self.strictness), text, &view, &hits)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
