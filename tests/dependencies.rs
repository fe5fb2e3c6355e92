//! What the libraries are like: their licences and their sources are those that `deny.toml` allows, in each of the packages
//! here. cargo-deny says more (known vulnerabilities above all) and is asked where it is; this holds without it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

#[path = "common/skipped.rs"]
mod skipped;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use skipped::skipped;

/// The packages, each with a lock file of its own.
const MANIFESTS: [&str; 3] = ["Cargo.toml", "fuzz/Cargo.toml", "bench/Cargo.toml"];

#[test]
fn licences_and_sources_are_those_that_are_allowed() {
    let rules = Rules::read();
    let (mut wrong, mut registry) = (Vec::new(), None);
    for manifest in MANIFESTS {
        for library in libraries(manifest) {
            let name = format!("{manifest}: {} {}", library["name"], library["version"]);
            // What has no source is a package of ours.
            let Some(source) = library["source"].as_str() else {
                assert!(
                    library["name"].as_str().unwrap().starts_with("authrelay"),
                    "{name} comes from a folder"
                );
                continue;
            };
            // One registry, cargo's own, which its lock file names.
            let first = registry.get_or_insert_with(|| source.to_owned());
            if !source.starts_with("registry+") || source != first {
                wrong.push(format!("{name} comes from {source}"));
            }
            let licence = library["license"].as_str().unwrap_or("none at all");
            if !Expression::new(licence).holds(&rules.licences_of(library["name"].as_str().unwrap())) {
                wrong.push(format!("{name} has the licence {licence}"));
            }
        }
    }
    assert!(wrong.is_empty(), "deny.toml does not allow that\n  {}", wrong.join("\n  "));
}

#[test]
fn cargo_deny_finds_nothing() {
    let Some(program) = std::env::var_os("AUTHRELAY_CARGO_DENY") else {
        return skipped("known vulnerabilities of libraries: cargo-deny is not installed");
    };
    let ask = |manifest: &str, what: &[&str]| {
        let config = root().join("deny.toml");
        let output = Command::new(&program)
            .args(["--color", "never", "--manifest-path", manifest, "check", "--config"])
            .arg(config)
            .args(what)
            .current_dir(root())
            .output()
            .expect("cargo-deny starts");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for manifest in MANIFESTS {
        let (passed, said) = ask(manifest, &["licenses", "bans", "sources"]);
        assert!(passed, "{manifest}:\n{said}");
        let (passed, said) = ask(manifest, &["advisories"]);
        if said.contains("failed to fetch advisory database") {
            return skipped(
                "known vulnerabilities of libraries: the list of advisories could not be fetched",
            );
        }
        assert!(passed, "{manifest}:\n{said}");
    }
}

/// The licences of what is linked into the program ask for that.
#[test]
fn the_notices_of_the_package_have_a_text_for_every_library() {
    let output = Command::new(root().join("packaging/notices")).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let notices = String::from_utf8_lossy(&output.stdout).into_owned();
    let ours = libraries("Cargo.toml").into_iter().find(|library| library["name"] == "authrelay").unwrap();
    let libraries = ours["dependencies"].as_array().unwrap();
    let linked = libraries.iter().filter(|library| library["kind"].is_null());
    for name in linked.map(|library| library["name"].as_str().unwrap()) {
        assert!(notices.contains(&format!("\n{name} ")), "{name} is not there");
    }
    for text in ["Permission is hereby granted, free of charge", "Apache License", "UNICODE LICENSE", "ISC"] {
        assert!(notices.contains(text), "there is no text with {text:?}");
    }
    let (_, without) = notices.split_once("These come without a text").unwrap_or_default();
    let without = without.split("\n\n").next().unwrap();
    assert!(without.split(',').count() < 15, "too many have no text: {without}");
}

#[test]
fn a_licence_is_allowed_as_its_expression_says() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for (expression, holds) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("MIT/GPL-3.0", true),
        ("MIT AND GPL-3.0-only", false),
        ("MIT AND (GPL-3.0-only OR ISC)", true),
        ("GPL-3.0-only OR MIT AND GPL-2.0-only", false),
        ("(GPL-3.0-only OR MIT) AND ISC", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("MIT WITH Something-exception", false),
        ("none at all", false),
        ("", false),
        ("MIT OR", false),
        ("(MIT", false),
        ("MIT)", false),
    ] {
        assert_eq!(Expression::new(expression).holds(&allowed), holds, "{expression}");
    }
}

/// What `deny.toml` allows.
struct Rules {
    licences: BTreeSet<String>,
    /// The name of a library, and what is allowed for it alone.
    exceptions: Vec<(String, BTreeSet<String>)>,
}

impl Rules {
    fn read() -> Self {
        let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert!(words(&table["sources"]["allow-git"]).is_empty(), "this test knows of no repositories");
        assert!(table["sources"].get("allow-registry").is_none(), "this test knows of one registry");
        let exceptions = table["licenses"]["exceptions"].as_array().unwrap().iter();
        let exceptions =
            exceptions.map(|one| (one["crate"].as_str().unwrap().to_owned(), words(&one["allow"])));
        Self { licences: words(&table["licenses"]["allow"]), exceptions: exceptions.collect() }
    }

    fn licences_of(&self, library: &str) -> BTreeSet<String> {
        let own = self.exceptions.iter().filter(|(name, _)| name == library).flat_map(|(_, words)| words);
        self.licences.iter().chain(own).cloned().collect()
    }
}

fn words(list: &toml::Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// An SPDX licence expression. `/` stands for OR, as it did in manifests once.
struct Expression {
    words: Vec<String>,
    at: usize,
}

impl Expression {
    fn new(text: &str) -> Self {
        let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        Self { words: spaced.split_whitespace().map(str::to_owned).collect(), at: 0 }
    }

    /// Whether it can be met by what is allowed. What is no expression can't.
    fn holds(mut self, allowed: &BTreeSet<String>) -> bool {
        self.any(allowed).is_some_and(|holds| holds && self.at == self.words.len())
    }

    fn any(&mut self, allowed: &BTreeSet<String>) -> Option<bool> {
        let mut holds = self.all(allowed)?;
        while self.take("OR") {
            holds |= self.all(allowed)?;
        }
        Some(holds)
    }

    fn all(&mut self, allowed: &BTreeSet<String>) -> Option<bool> {
        let mut holds = self.one(allowed)?;
        while self.take("AND") {
            holds &= self.one(allowed)?;
        }
        Some(holds)
    }

    fn one(&mut self, allowed: &BTreeSet<String>) -> Option<bool> {
        if self.take("(") {
            let holds = self.any(allowed)?;
            return self.take(")").then_some(holds);
        }
        let mut name = self.words.get(self.at)?.clone();
        self.at += 1;
        if self.take("WITH") {
            name = format!("{name} WITH {}", self.words.get(self.at)?);
            self.at += 1;
        }
        Some(allowed.contains(&name))
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.words.get(self.at).is_some_and(|next| next == word);
        self.at += usize::from(is_next);
        is_next
    }
}

/// Every library that the package stands on, tests and building included, on this kind of machine.
fn libraries(manifest: &str) -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &host()])
        .arg("--manifest-path")
        .arg(root().join(manifest))
        .output()
        .expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("--locked"), "the lock file beside {manifest} is not up to date:\n{said}");
    if !output.status.success() {
        assert_ne!(manifest, "Cargo.toml", "{said}");
        skipped(&format!("licences of {manifest}: its libraries can't be fetched here"));
        return Vec::new();
    }
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let used: BTreeSet<String> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["id"].as_str().unwrap().to_owned())
        .collect();
    let Value::Array(mut libraries) = metadata["packages"].take() else { panic!("no packages") };
    libraries.retain(|library| used.contains(library["id"].as_str().unwrap()));
    assert!(libraries.len() > 20, "{manifest}: {} libraries", libraries.len());
    libraries
}

fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc starts");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
