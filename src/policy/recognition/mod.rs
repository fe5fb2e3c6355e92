//! The shipped recognition: what kind of message is this, by its words and its shape?
//!
//! The knowledge is data (`config/recognition/*.toml`, see `data`): phrases in many languages, each with a weight for
//! the place it was found in. All phrases of all languages are looked for at once. The weights add up per category, and
//! `score` decides on them. Guarded categories (those that may pass) need a high score, something to act on (a link or a code), and
//! a lead over everything that speaks for another kind of message; so in doubt a message is held back.
//!
//! Deterministic and pure: the same text gives the same answer, with every piece of evidence that led to it.

mod data;
mod matcher;
mod pattern;
mod score;
mod view;

use super::{Evidence, Text};
use crate::ident::CategoryName;
use data::Knowledge;
use matcher::Matcher;

pub use data::RecognitionError;

/// The data files compiled into the program: name and text.
const SHIPPED: &[(&str, &str)] = &[
    ("categories.toml", include_str!("../../../config/recognition/categories.toml")),
    ("structure.toml", include_str!("../../../config/recognition/structure.toml")),
    ("en.toml", include_str!("../../../config/recognition/en.toml")),
    ("de.toml", include_str!("../../../config/recognition/de.toml")),
    ("fr.toml", include_str!("../../../config/recognition/fr.toml")),
    ("es.toml", include_str!("../../../config/recognition/es.toml")),
];

/// Recognises categories by what messages look like. The default knows nothing and recognises nothing.
#[derive(Debug, Default)]
pub struct Recognition {
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
}

impl Recognition {
    /// The recognition compiled into the program.
    pub fn shipped() -> Result<Self, RecognitionError> {
        Self::from_files(SHIPPED.iter().copied())
    }

    /// A recognition from data files, given as file name and text. `categories.toml` and `structure.toml` are known by
    /// their names; every other file is a language.
    pub fn from_files<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, RecognitionError> {
        let knowledge = Knowledge::read(files)?;
        let matcher = Matcher::new(&knowledge)?;
        Ok(Self { knowledge, matcher })
    }

    /// What the text is, if it can be told.
    pub fn recognize(&self, text: &Text) -> Option<Recognized> {
        self.examine(text).recognized
    }

    /// What the text is, and all that was seen.
    pub fn examine(&self, text: &Text) -> Examination {
        let view = view::View::of(text);
        let hits = self.matcher.scan(&self.knowledge, &view);
        score::judge(&self.knowledge, text, &view, &hits)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
