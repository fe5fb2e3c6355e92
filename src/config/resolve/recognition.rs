//! `[recognition]`: how strict it is, and files of the operator's own.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Context;
use crate::config::raw::RawRecognition;
use crate::policy::{Recognition, Strictness};

/// The recognition in force. Reading it takes longer than all else together, so this comes last.
pub(super) fn recognition(cx: &Context<'_>, raw: &RawRecognition) -> Option<Arc<Recognition>> {
    let own = match &raw.directory {
        None => Vec::new(),
        Some(directory) => match files(&cx.path(directory)) {
            Ok(files) => files,
            Err(problem) => {
                cx.report.error(&directory.span, problem).help(
                    "name a folder of .toml files that can be read; `authrelay recognition export DIRECTORY` makes one",
                );
                return None;
            }
        },
    };
    let strictness = raw.strictness.as_ref().map_or_else(Strictness::default, |at| at.value);
    match cx.env.known.recognition(&own) {
        Ok(recognition) => Some(Arc::new(recognition.at(strictness))),
        Err(problem) => {
            let span = raw.directory.as_ref().and_then(|at| at.span.clone());
            cx.report.error(&span, format!("recognition can't be used: {problem}"));
            None
        }
    }
}

/// The data files of `directory`, by name.
fn files(directory: &Path) -> Result<Vec<(String, String)>, String> {
    let told = |path: &Path| {
        let path = path.display().to_string();
        move |problem: io::Error| format!("can't read {path}: {problem}")
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(told(directory))? {
        let path = entry.map_err(told(directory))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).map_err(told(&path))?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            files.push((name, text));
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(format!("there is no .toml file in {}", directory.display()));
    }
    Ok(files)
}
