//! Looks for what must stay secret in everything that a relay writes.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The places that are searched: what each is called, and what is in it.
pub type Places = Vec<(String, Vec<u8>)>;

/// Every file of a folder and of those in it, as places. What can't be read is a socket, and holds nothing.
pub fn files_as_places(folder: &Path) -> Places {
    let read = |path: PathBuf| Some((path.display().to_string(), std::fs::read(&path).ok()?));
    files(folder).into_iter().filter(|file| !file.is_symlink()).filter_map(read).collect()
}

/// Asserts that none of the secrets is in one of the places, whatever its case, and not in base64 either.
#[track_caller]
pub fn assert_absent(secrets: &[(&str, &str)], places: &Places) {
    for (what, secret) in secrets {
        for form in forms(secret) {
            for (place, content) in places {
                let at = find(content, form.as_bytes());
                let around = |at: usize| {
                    let (from, to) = (at.saturating_sub(300), (at + 100).min(content.len()));
                    content[from..to].escape_ascii().to_string()
                };
                assert!(
                    at.is_none(),
                    "{what} ({form}) is in {place}: {}",
                    at.map(around).unwrap_or_default()
                );
            }
        }
    }
}

/// A text as it is, and as it would look in the base64 of something around it.
pub fn forms(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned()];
    for before in 0..3 {
        let padded = format!("{}{text}", "\0".repeat(before));
        let encoded = STANDARD.encode(padded);
        // The first and last characters depend on what stands around it.
        let middle = encoded.trim_end_matches('=');
        let skip = if before == 0 { 0 } else { before + 1 };
        let cut = &middle[skip..middle.len() - 1];
        if cut.len() >= 8 {
            forms.push(cut.to_owned());
        }
    }
    forms
}

/// Where a text stands in some bytes, whatever its case.
pub fn find(content: &[u8], text: &[u8]) -> Option<usize> {
    content.windows(text.len()).position(|window| window.eq_ignore_ascii_case(text))
}

/// All files under a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}
