//! The data files as they are written. Every mistake in one is told with its place.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::error::RecognitionError;
use super::knowledge::{Feature, Needs, Weights};
use super::point::Points;

/// Reads one file.
pub(super) fn parse<T: serde::de::DeserializeOwned>(file: &str, text: &str) -> Result<T, RecognitionError> {
    toml::from_str(text)
        .map_err(|error| RecognitionError::Syntax { file: file.to_owned(), problem: error.to_string() })
}

/// `categories.toml`: what recognition can decide on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CategoriesFile {
    pub guarded: Vec<String>,
    pub open: Vec<String>,
    pub open_threshold: f64,
    pub strictness: Points,
    #[serde(default)]
    pub needs: BTreeMap<String, Needs>,
    #[serde(default)]
    pub alone: Vec<AloneEntry>,
    #[serde(default)]
    pub spoilt: Vec<SpoiltEntry>,
}

/// What spoils a category.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpoiltEntry {
    pub by: Vec<String>,
    #[serde(default)]
    pub unless: Vec<String>,
    #[serde(rename = "for")]
    pub category: String,
    pub weight: f64,
}

/// What says too little alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AloneEntry {
    pub concepts: Vec<String>,
    #[serde(rename = "for")]
    pub category: String,
    pub weight: f64,
}

/// `structure.toml`: what the shape of a message says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StructureFile {
    pub feature: Vec<FeatureEntry>,
}

/// One property of the shape.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeatureEntry {
    pub name: Feature,
    #[serde(rename = "for")]
    pub categories: Vec<String>,
    pub weight: f64,
}

/// The phrases of a language.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LanguageFile {
    pub language: String,
    /// Its words are often written without accents.
    #[serde(default)]
    pub also_without_marks: bool,
    #[serde(default)]
    pub words: BTreeMap<String, Vec<String>>,
    pub evidence: Vec<EvidenceEntry>,
}

/// Phrases that say the same thing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EvidenceEntry {
    pub name: String,
    #[serde(rename = "for")]
    pub categories: Vec<String>,
    #[serde(default)]
    pub against: Vec<String>,
    pub weights: Weights,
    pub phrases: Vec<String>,
}
