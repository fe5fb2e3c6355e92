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
}

/// A category recognition can decide on.
#[derive(Debug)]
pub(super) struct Known {
    pub name: CategoryName,
    /// How it is treated: guarded ones may pass and need more.
    pub guarded: bool,
    /// The least score.
    pub threshold: f64,
    /// The lead a guarded category needs over every category that is not.
    pub margin: f64,
}

/// Phrases that say the same thing.
#[derive(Debug)]
pub(super) struct Group {
    /// `LANGUAGE.NAME`
    pub name: String,
    /// The number of its `NAME`, which is the same in every language: a message that says one thing in two languages,
    /// or in words that two languages share, has said it once.
    pub concept: usize,
    /// The categories it speaks for and, with a negative factor, against, as indexes.
    pub categories: Vec<(usize, f64)>,
    pub weights: Weights,
    pub phrases: Vec<pattern::Phrase>,
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
    /// Two or more amounts of money.
    Prices,
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
    /// `#42` in the subject.
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CategoriesFile {
    operating_point: OperatingPoint,
    guarded: Vec<String>,
    open: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperatingPoint {
    guarded_threshold: f64,
    guarded_margin: f64,
    open_threshold: f64,
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
            knowledge.add_categories(parse(file, text)?);
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

    fn add_categories(&mut self, file: CategoriesFile) {
        let point = file.operating_point;
        let known = |guarded: bool, threshold: f64, margin: f64| {
            move |name: String| Known { name: CategoryName::new(name), guarded, threshold, margin }
        };
        let guarded = known(true, point.guarded_threshold, point.guarded_margin);
        self.categories.extend(file.guarded.into_iter().map(guarded));
        self.categories.extend(file.open.into_iter().map(known(false, point.open_threshold, 0.0)));
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
                phrases.push(pattern::parse(written, &file.words).map_err(wrong)?);
            }
            let same = self
                .groups
                .iter()
                .find(|group| group.name.split_once('.').is_some_and(|(_, concept)| concept == entry.name));
            self.groups.push(Group {
                concept: same.map_or(self.groups.len(), |group| group.concept),
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
