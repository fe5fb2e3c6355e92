//! From the data files to what a search and a decision need. The build script does it for the shipped files; a daemon does
//! it only for files of the operator's own.

use super::automaton::Automaton;
use super::dawg::Pieces;
use super::error::RecognitionError;
use super::files::{CategoriesFile, EvidenceEntry, LanguageFile, StructureFile, parse};
use super::knowledge::{Alone, FeatureWeight, Group, Knowledge, Known, Side, Spoilt, Weights};
use super::pattern;

pub(super) const CATEGORIES: &str = "categories.toml";
pub(super) const STRUCTURE: &str = "structure.toml";
/// Stands for every guarded category.
const ALL_GUARDED: &str = "guarded";

/// What the files say, by name and text. `categories.toml` and `structure.toml` are known by their names; every other file
/// is a language.
pub(super) fn compile(files: &[(&str, &str)]) -> Result<(Knowledge, Automaton), RecognitionError> {
    let mut compiler = Compiler::default();
    // The categories first, wherever they stand: the other files name them.
    let mut read = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| *file == CATEGORIES) {
        read.push(compiler.add_categories(parse(file, text)?)?);
    }
    for (file, text) in files.iter().filter(|(file, _)| *file != CATEGORIES) {
        if *file == STRUCTURE {
            compiler.add_structure(parse(file, text)?)?;
        } else {
            compiler.add_language(file, parse(file, text)?)?;
        }
    }
    // Last, what names concepts: only now all of them are known.
    for file in read {
        compiler.add_company(&file)?;
    }
    Ok((compiler.knowledge, compiler.pieces.build()?))
}

#[derive(Default)]
struct Compiler {
    knowledge: Knowledge,
    pieces: Pieces,
}

impl Compiler {
    fn add_categories(&mut self, mut file: CategoriesFile) -> Result<CategoriesFile, RecognitionError> {
        let knowledge = &mut self.knowledge;
        knowledge.points = file.strictness;
        knowledge.open_threshold = file.open_threshold;
        for (names, guarded) in [(&file.guarded, true), (&file.open, false)] {
            for name in names {
                let needs = file.needs.remove(name).unwrap_or_default();
                knowledge.categories.push(Known { name: name.clone(), guarded, needs });
            }
        }
        for name in file.needs.keys() {
            self.indexes(CATEGORIES, "needs", std::slice::from_ref(name))?;
        }
        let named = file.alone.iter().map(|entry| ("alone", &entry.category));
        for (entry, category) in named.chain(file.spoilt.iter().map(|entry| ("spoilt", &entry.category))) {
            self.indexes(CATEGORIES, entry, std::slice::from_ref(category))?;
        }
        Ok(file)
    }

    /// What counts by what stands beside it.
    fn add_company(&mut self, file: &CategoriesFile) -> Result<(), RecognitionError> {
        let concept = |name: &String| self.knowledge.concepts.iter().position(|known| known == name);
        let (mut alone, mut spoilt) = (Vec::new(), Vec::new());
        for entry in &file.alone {
            let concepts: Vec<usize> = entry.concepts.iter().filter_map(concept).collect();
            for category in self.indexes(CATEGORIES, "alone", std::slice::from_ref(&entry.category))? {
                alone.push(Alone { concepts: concepts.clone(), category, weight: entry.weight });
            }
        }
        for entry in &file.spoilt {
            // What no language has phrases for is never said.
            let Some(by) = entry.by.iter().map(concept).collect::<Option<Vec<usize>>>() else { continue };
            let unless: Vec<usize> = entry.unless.iter().filter_map(concept).collect();
            for category in self.indexes(CATEGORIES, "spoilt", std::slice::from_ref(&entry.category))? {
                let (by, unless) = (by.clone(), unless.clone());
                spoilt.push(Spoilt { by, unless, category, weight: entry.weight });
            }
        }
        self.knowledge.alone.extend(alone);
        self.knowledge.spoilt.extend(spoilt);
        Ok(())
    }

    fn add_structure(&mut self, file: StructureFile) -> Result<(), RecognitionError> {
        for entry in file.feature {
            let name = format!("{:?}", entry.name);
            let categories = self.indexes(STRUCTURE, &name, &entry.categories)?;
            self.knowledge.features.push(FeatureWeight {
                feature: entry.name,
                categories,
                weight: entry.weight,
            });
        }
        Ok(())
    }

    fn add_language(&mut self, file_name: &str, mut file: LanguageFile) -> Result<(), RecognitionError> {
        let language = number(self.knowledge.languages.len(), "languages")?;
        self.knowledge.languages.push(std::mem::take(&mut file.language));
        for entry in std::mem::take(&mut file.evidence) {
            let sides = self.sides(file_name, &entry)?;
            let number = number(self.knowledge.groups.len(), "entries")?;
            let wrong = |problem| RecognitionError::Entry {
                file: file_name.to_owned(),
                entry: entry.name.clone(),
                problem,
            };
            if entry.weights == Weights::default() {
                return Err(wrong("it weighs nothing anywhere".to_owned()));
            }
            for written in &entry.phrases {
                let mut phrase = pattern::parse(written, &file.words).map_err(wrong)?;
                if file.also_without_marks {
                    phrase.also_without_marks();
                }
                self.pieces.add(number, &phrase)?;
            }
            let Knowledge { concepts, weights, groups, .. } = &mut self.knowledge;
            let group = Group {
                concept: shared(concepts, entry.name)?,
                language,
                sides,
                weights: shared(weights, entry.weights)?,
            };
            groups.push(group);
        }
        Ok(())
    }

    /// The number of what the entry speaks for and against.
    fn sides(&mut self, file: &str, entry: &EvidenceEntry) -> Result<u16, RecognitionError> {
        let mut sides = Vec::new();
        for (names, factor) in [(&entry.categories, 1.0), (&entry.against, -1.0)] {
            let indexes = self.indexes(file, &entry.name, names)?;
            sides.extend(indexes.into_iter().map(|category| Side { category, factor }));
        }
        shared(&mut self.knowledge.sides, sides)
    }

    fn indexes(&self, file: &str, entry: &str, names: &[String]) -> Result<Vec<usize>, RecognitionError> {
        let known = &self.knowledge.categories;
        let mut indexes = Vec::new();
        for name in names {
            if name == ALL_GUARDED {
                indexes.extend((0..known.len()).filter(|&index| known[index].guarded));
                continue;
            }
            let index = known.iter().position(|known| known.name == *name);
            indexes.push(index.ok_or_else(|| RecognitionError::Entry {
                file: file.to_owned(),
                entry: entry.to_owned(),
                problem: format!("there is no category {name:?}"),
            })?);
        }
        Ok(indexes)
    }
}

/// The number of `one` among `all`, where it is added if it is new.
fn shared<T: PartialEq>(all: &mut Vec<T>, one: T) -> Result<u16, RecognitionError> {
    let place = all.iter().position(|known| *known == one).unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    });
    number(place, "entries")
}

fn number(index: usize, what: &'static str) -> Result<u16, RecognitionError> {
    u16::try_from(index).map_err(|_| RecognitionError::TooLarge(what))
}
