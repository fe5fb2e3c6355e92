//! SECURITY.md names the code and the tests that hold its claims. They have to be there: a claim whose test was renamed or
//! taken away is looked at again.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

#[test]
fn everything_that_a_claim_stands_on_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let mut sources = String::new();
    for folder in ["src", "tests"] {
        read_all(&root.join(folder), &mut sources);
    }
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let (mut paths, mut functions) = (0, 0);
    for word in quoted {
        if is_path(word) {
            assert!(root.join(word).exists(), "SECURITY.md names {word}, which is not there");
            paths += 1;
        } else if is_test(word) {
            assert!(sources.contains(&format!("fn {word}(")), "SECURITY.md names {word}, which is not there");
            functions += 1;
        }
    }
    assert!(paths > 20 && functions > 10, "{paths} paths and {functions} functions were found");
}

fn read_all(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// A place in the repository, and not a command.
fn is_path(word: &str) -> bool {
    let folders = ["src/", "tests/", "fuzz/", "systemd/"];
    folders.iter().any(|folder| word.starts_with(folder)) && !word.contains(' ')
}

/// The name of a test is a sentence; a key of the configuration has a word or two.
fn is_test(word: &str) -> bool {
    word.matches('_').count() >= 3
        && word.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
}
