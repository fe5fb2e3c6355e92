//! The data files, read and checked. Every mistake in one is told with its file and entry.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::pattern;
use crate::ident::CategoryName;

/// Why a data file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RecognitionError {
    /// It is no TOML, or not of the right shape.
    #[error("{file}: {problem}")]
    Syntax {
        /// The file.
        file: String,
        /// What is wrong, with line and column.
        problem: String,
    },
    /// An entry in it makes no sense.
    #[error("{file}: {entry}: {problem}")]
    Entry {
        /// The file.
        file: String,
        /// The entry.
        entry: String,
        /// What is wrong.
        problem: String,
    },
    /// All phrases together are too many to be compiled.
    #[error("the phrases can't be compiled: {0}")]
    TooLarge(#[from] aho_corasick::BuildError),
}

/// All that the files say.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    pub categories: Vec<Known>,
    pub groups: Vec<Group>,
    pub features: Vec<FeatureWeight>,
    pub languages: usize,
    pub alone: Vec<Alone>,
    pub spoilt: Vec<Spoilt>,
    pub points: Points,
    /// The least score of an open category.
    pub open_threshold: f64,
}

/// A category recognition can decide on.
#[derive(Debug)]
pub(super) struct Known {
    pub name: CategoryName,
    /// How it is treated: guarded ones may pass and need more.
    pub guarded: bool,
    /// What a message of this category asks the person to act on.
    pub needs: Needs,
}

/// What a message must hold before it can be of a guarded category.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Needs {
    /// A link or a code.
    #[default]
    LinkOrCode,
    /// A code.
    Code,
    /// A link.
    Link,
    /// Nothing: it tells, and asks for nothing.
    Nothing,
}

/// Evidence that says too little where nothing else of its category stands beside it.
#[derive(Debug)]
pub(super) struct Alone {
    /// The concepts that don't suffice, not even together.
    pub concepts: Vec<String>,
    pub category: usize,
    /// What that weighs.
    pub weight: f64,
}

/// Evidence beside which nothing can be of a category.
#[derive(Debug)]
pub(super) struct Spoilt {
    /// All of these concepts together.
    pub by: Vec<String>,
    /// Unless one of these is said as well.
    pub unless: Vec<String>,
    pub category: usize,
    /// What that weighs.
    pub weight: f64,
}

/// How sure recognition has to be before it lets a message pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strictness {
    /// Rather hold back ten than let one pass that should not.
    Strict,
    /// The measured middle.
    #[default]
    Balanced,
    /// Rather let one pass than hold one back.
    Lenient,
}

impl Strictness {
    /// All of them, the strictest first.
    pub const ALL: [Self; 3] = [Self::Strict, Self::Balanced, Self::Lenient];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Balanced => "balanced",
            Self::Lenient => "lenient",
        }
    }
}

/// How much evidence a guarded category needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoint {
    /// The least score.
    pub threshold: f64,
    /// The least lead over every category that is not guarded.
    pub margin: f64,
}

/// The operating point of each strictness.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Points {
    strict: OperatingPoint,
    balanced: OperatingPoint,
    lenient: OperatingPoint,
}

impl Points {
    pub(super) fn of(&self, strictness: Strictness) -> OperatingPoint {
        match strictness {
            Strictness::Strict => self.strict,
            Strictness::Balanced => self.balanced,
            Strictness::Lenient => self.lenient,
        }
    }
}

/// Phrases that say the same thing.
#[derive(Debug)]
pub(super) struct Group {
    /// `LANGUAGE.NAME`
    pub name: String,
    /// The number of its `NAME`, which is the same in every language: a message that says one thing in two languages,
    /// or in words that two languages share, has said it once.
    pub concept: usize,
    /// The number of its file.
    pub language: usize,
    /// The categories it speaks for and, with a negative factor, against, as indexes.
    pub categories: Vec<(usize, f64)>,
    pub weights: Weights,
    pub phrases: Vec<pattern::Phrase>,
}

impl Group {
    /// Whether it is what `concept` names, in whatever language.
    pub(super) fn is_of(&self, concept: &str) -> bool {
        self.name.split_once('.').is_some_and(|(_, name)| name == concept)
    }
}

/// What a group weighs in each place; zero where it does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Weights {
    pub subject: f64,
    pub header: f64,
    pub button: f64,
    pub first: f64,
    pub code: f64,
    pub text: f64,
}

/// What a property of the message's shape weighs.
#[derive(Debug)]
pub(super) struct FeatureWeight {
    pub feature: Feature,
    pub categories: Vec<usize>,
    pub weight: f64,
}

/// A property of a message's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Feature {
    /// Something that may be a code.
    Code,
    /// A link that carries a token.
    TokenLink,
    /// Fifteen different links or more.
    ManyLinks,
    /// Thirty different links or more.
    VeryManyLinks,
    /// More than 2,500 letters in one part.
    LongText,
    /// More than 6,000 letters in one part.
    VeryLongText,
    /// An amount of money.
    Price,
    /// Two or more amounts of money.
    Prices,
    /// `20 %`, `-20%`.
    Percent,
    /// A code, and nothing else, on a line.
    CodeAlone,
    /// Such a code stands in the subject too.
    CodeInSubject,
    /// A short message with a code, or with one link or two that carry tokens, and little else to follow; and next to
    /// nothing in it speaks for an open category.
    OneThing,
    /// No link carries a token.
    NoTokenLink,
    /// The subject answers or forwards: `Re:`, `AW:`, `Fwd:`.
    ReplySubject,
    /// `List-Unsubscribe`.
    ListUnsubscribe,
    /// `List-Id`.
    ListId,
    /// `List-Post`: people write to this list.
    ListPost,
    /// `Precedence: bulk`, `list` or `junk`.
    Bulk,
    /// `In-Reply-To`.
    Reply,
    /// `#42`, `[ABC-42]` or `(ticket 4711)` in the subject.
    TicketNumber,
    /// A calendar entry.
    Calendar,
    /// A message inside the message.
    EmbeddedMessage,
    /// An attachment.
    Attachment,
    /// Not all of the message could be looked at.
    Incomplete,
    /// Words that mix letters of scripts that look alike.
    MixedScript,
    /// A long text part in which nothing speaks for any guarded category.
    OtherAlternative,
    /// One of several text parts speaks, by itself, for an open category more than for any guarded one.
    RefusedPart,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CategoriesFile {
    guarded: Vec<String>,
    open: Vec<String>,
    open_threshold: f64,
    strictness: Points,
    #[serde(default)]
    needs: BTreeMap<String, Needs>,
    #[serde(default)]
    alone: Vec<AloneEntry>,
    #[serde(default)]
    spoilt: Vec<SpoiltEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpoiltEntry {
    by: Vec<String>,
    #[serde(default)]
    unless: Vec<String>,
    #[serde(rename = "for")]
    category: String,
    weight: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AloneEntry {
    concepts: Vec<String>,
    #[serde(rename = "for")]
    category: String,
    weight: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StructureFile {
    feature: Vec<FeatureEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureEntry {
    name: Feature,
    #[serde(rename = "for")]
    categories: Vec<String>,
    weight: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LanguageFile {
    language: String,
    /// Its words are often written without accents.
    #[serde(default)]
    also_without_marks: bool,
    #[serde(default)]
    words: BTreeMap<String, Vec<String>>,
    evidence: Vec<EvidenceEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvidenceEntry {
    name: String,
    #[serde(rename = "for")]
    categories: Vec<String>,
    #[serde(default)]
    against: Vec<String>,
    weights: Weights,
    phrases: Vec<String>,
}

const CATEGORIES: &str = "categories.toml";
const STRUCTURE: &str = "structure.toml";
/// Stands for every guarded category.
const ALL_GUARDED: &str = "guarded";

impl Knowledge {
    pub(super) fn read<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, RecognitionError> {
        let files: Vec<(&str, &str)> = files.into_iter().collect();
        let mut knowledge = Self::default();
        // The categories first, wherever they stand: the other files name them.
        for (file, text) in files.iter().filter(|(file, _)| *file == CATEGORIES) {
            knowledge.add_categories(parse(file, text)?)?;
        }
        for (file, text) in files.iter().filter(|(file, _)| *file != CATEGORIES) {
            if *file == STRUCTURE {
                knowledge.add_structure(parse(file, text)?)?;
            } else {
                knowledge.add_language(file, parse(file, text)?)?;
            }
        }
        Ok(knowledge)
    }

    fn add_categories(&mut self, mut file: CategoriesFile) -> Result<(), RecognitionError> {
        self.points = file.strictness;
        self.open_threshold = file.open_threshold;
        for (names, guarded) in [(file.guarded, true), (file.open, false)] {
            for name in names {
                let needs = file.needs.remove(&name).unwrap_or_default();
                self.categories.push(Known { name: CategoryName::new(name), guarded, needs });
            }
        }
        for name in file.needs.keys() {
            self.indexes(CATEGORIES, "needs", std::slice::from_ref(name))?;
        }
        for entry in file.alone {
            for category in self.indexes(CATEGORIES, "alone", std::slice::from_ref(&entry.category))? {
                self.alone.push(Alone { concepts: entry.concepts.clone(), category, weight: entry.weight });
            }
        }
        for entry in file.spoilt {
            for category in self.indexes(CATEGORIES, "spoilt", std::slice::from_ref(&entry.category))? {
                let (by, unless) = (entry.by.clone(), entry.unless.clone());
                self.spoilt.push(Spoilt { by, unless, category, weight: entry.weight });
            }
        }
        Ok(())
    }

    fn add_structure(&mut self, file: StructureFile) -> Result<(), RecognitionError> {
        for entry in file.feature {
            let name = format!("{:?}", entry.name);
            let categories = self.indexes(STRUCTURE, &name, &entry.categories)?;
            self.features.push(FeatureWeight { feature: entry.name, categories, weight: entry.weight });
        }
        Ok(())
    }

    fn add_language(&mut self, file_name: &str, file: LanguageFile) -> Result<(), RecognitionError> {
        let language = self.languages;
        self.languages += 1;
        for entry in file.evidence {
            let speaks_for = self.indexes(file_name, &entry.name, &entry.categories)?;
            let against = self.indexes(file_name, &entry.name, &entry.against)?;
            let wrong = |problem| RecognitionError::Entry {
                file: file_name.to_owned(),
                entry: entry.name.clone(),
                problem,
            };
            if entry.weights == Weights::default() {
                return Err(wrong("it weighs nothing anywhere".to_owned()));
            }
            let mut phrases = Vec::new();
            for written in &entry.phrases {
                let mut phrase = pattern::parse(written, &file.words).map_err(wrong)?;
                if file.also_without_marks {
                    phrase.also_without_marks();
                }
                phrases.push(phrase);
            }
            let same = self
                .groups
                .iter()
                .find(|group| group.name.split_once('.').is_some_and(|(_, concept)| concept == entry.name));
            self.groups.push(Group {
                concept: same.map_or(self.groups.len(), |group| group.concept),
                language,
                name: format!("{}.{}", file.language, entry.name),
                categories: speaks_for
                    .into_iter()
                    .map(|category| (category, 1.0))
                    .chain(against.into_iter().map(|category| (category, -1.0)))
                    .collect(),
                weights: entry.weights,
                phrases,
            });
        }
        Ok(())
    }

    fn indexes(&self, file: &str, entry: &str, names: &[String]) -> Result<Vec<usize>, RecognitionError> {
        let mut indexes = Vec::new();
        for name in names {
            if name == ALL_GUARDED {
                indexes.extend((0..self.categories.len()).filter(|&index| self.categories[index].guarded));
                continue;
            }
            let index =
                self.categories.iter().position(|known| known.name.as_str() == name).ok_or_else(|| {
                    RecognitionError::Entry {
                        file: file.to_owned(),
                        entry: entry.to_owned(),
                        problem: format!("there is no category {name:?}"),
                    }
                })?;
            indexes.push(index);
        }
        Ok(indexes)
    }
}

fn parse<T: serde::de::DeserializeOwned>(file: &str, text: &str) -> Result<T, RecognitionError> {
    toml::from_str(text)
        .map_err(|error| RecognitionError::Syntax { file: file.to_owned(), problem: error.to_string() })
}
