//! The labels of a folder of messages: `manifest.tsv` with file, language, category, allowed, ambiguous.

use super::Got;

/// What a message should be taken for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// It passes, as this category.
    Passes(String),
    /// It is held back. Which category it is held back as is told, and not judged.
    Held(String),
}

impl Wanted {
    /// Its category.
    pub fn category(&self) -> &str {
        match self {
            Self::Passes(category) | Self::Held(category) => category,
        }
    }
}

/// The label of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The file's name.
    pub file: String,
    /// The application that sent it: the file's name up to its last hyphen.
    pub application: String,
    /// Its language.
    pub language: String,
    /// What it should be taken for.
    pub wanted: Wanted,
    /// Two people would label it differently.
    pub ambiguous: bool,
}

impl Label {
    /// Whether it tells of a change or of a sign-in: the hardest ones to tell apart, counted on their own.
    pub fn is_notice(&self) -> bool {
        matches!(&self.wanted, Wanted::Held(category) if category == NOTICE)
    }

    /// Whether `got` is the very category; codes for signing in and second-factor codes are worded alike, and count as one.
    pub fn is_exact(&self, got: &Got) -> bool {
        let Wanted::Passes(wanted) = &self.wanted else { return false };
        let one = |name: &str| if name == "mfa" { "signin".to_owned() } else { name.to_owned() };
        got.passes && wanted.split('|').any(|wanted| one(wanted) == one(got.name()))
    }
}

/// Why a manifest can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ManifestError {
    /// A line has too few columns.
    #[error("line {0}: there have to be five columns: file, language, category, allowed, ambiguous")]
    Columns(usize),
    /// The fourth column says something else.
    #[error("line {line}: {said:?} is neither \"allowed\" nor \"not-allowed\"")]
    Allowed {
        /// The line.
        line: usize,
        /// What it says.
        said: String,
    },
    /// What may pass has to be of a category that may.
    #[error("line {line}: {category:?} is no category that may pass")]
    Category {
        /// The line.
        line: usize,
        /// The category.
        category: String,
    },
    /// There is nothing in it.
    #[error("there is no message in it")]
    Empty,
}

const NOTICE: &str = "security-notice";
const UNKNOWN: &str = "unknown";

/// Labels of another vocabulary than ours, and ours for them. Where one of these is used, `export-warning` means "your
/// export is ready", told to whoever asked for it, which is none of our categories.
const FOREIGN: [(&str, &str); 4] = [
    ("signin-code", "signin"),
    ("mfa-code", "mfa"),
    ("subscription-notice", "subscription"),
    ("other", NOTICE),
];

/// Reads a manifest; its first line names the columns. `guarded` are the categories that may pass.
pub fn manifest(text: &str, guarded: &[&str]) -> Result<Vec<Label>, ManifestError> {
    let rows: Vec<(usize, Vec<&str>)> = text
        .lines()
        .enumerate()
        .skip(1)
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| (index + 1, line.trim_end_matches('\r').split('\t').collect()))
        .collect();
    let is_foreign = rows.iter().filter_map(|(_, row)| row.get(2)).any(|category| ours(category).is_some());
    let labels: Result<Vec<Label>, _> =
        rows.iter().map(|(line, row)| label(*line, row, guarded, is_foreign)).collect();
    match labels? {
        labels if labels.is_empty() => Err(ManifestError::Empty),
        labels => Ok(labels),
    }
}

fn ours(category: &str) -> Option<&'static str> {
    FOREIGN.iter().find(|(foreign, _)| *foreign == category).map(|(_, ours)| *ours)
}

fn label(line: usize, row: &[&str], guarded: &[&str], is_foreign: bool) -> Result<Label, ManifestError> {
    let [file, language, category, allowed, rest @ ..] = row else {
        return Err(ManifestError::Columns(line));
    };
    let is_export_ready = is_foreign && *category == "export-warning";
    let category = if is_export_ready { UNKNOWN } else { ours(category).unwrap_or(category) };
    let wanted = match *allowed {
        "allowed" if is_export_ready => Wanted::Held(category.to_owned()),
        "allowed" if category.split('|').all(|one| guarded.contains(&one)) => {
            Wanted::Passes(category.to_owned())
        }
        "allowed" => return Err(ManifestError::Category { line, category: category.to_owned() }),
        "not-allowed" => Wanted::Held(category.to_owned()),
        said => return Err(ManifestError::Allowed { line, said: said.to_owned() }),
    };
    Ok(Label {
        file: (*file).to_owned(),
        application: file.rsplit_once('-').map_or(*file, |(application, _)| application).to_owned(),
        language: (*language).to_owned(),
        wanted,
        ambiguous: rest.first().is_some_and(|said| !said.is_empty()),
    })
}
