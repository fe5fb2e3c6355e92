//! Imports go in one direction. Each module names what it may import; everything it names stands before it.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every module in order, and the modules it may import.
const LAYERS: &[(&str, &[&str])] = &[
    // The vocabulary.
    ("admission", &[]),
    ("clock", &[]),
    ("certificate", &["clock"]),
    ("defect", &[]),
    ("ident", &[]),
    ("plain", &[]),
    ("pulse", &[]),
    ("secret", &[]),
    ("mail", &[]),
    ("outbound", &[]),
    ("outcome", &["ident", "mail", "plain"]),
    ("phone", &["mail"]),
    ("conduct", &["clock", "ident", "mail", "outcome", "plain"]),
    ("event", &["clock", "ident", "mail", "outcome"]),
    ("metrics", &["event", "ident", "mail", "phone"]),
    // Decisions: no disk, no network, and no clock but the times they are given.
    ("client", &["ident", "secret"]),
    ("policy", &["clock", "ident", "mail"]),
    ("sms", &["secret"]),
    ("guard", &["clock", "ident", "mail", "phone", "policy"]),
    ("rewrite", &["clock", "ident", "mail", "outcome", "policy", "secret"]),
    ("bounce", &["clock", "ident", "mail", "outcome"]),
    // Keeping.
    ("queue", &["clock", "event", "ident", "mail", "outcome", "policy", "pulse", "rewrite", "secret", "sms"]),
    // The way in, on one page.
    (
        "pipeline",
        &[
            "clock", "event", "guard", "ident", "mail", "outcome", "phone", "policy", "queue", "rewrite",
            "secret", "sms",
        ],
    ),
    // What HTTP interfaces stand on.
    ("http", &["admission", "defect", "ident", "queue", "secret"]),
    // Edges. None imports another.
    ("smtp", &["admission", "defect", "ident", "mail", "metrics", "outcome", "secret"]),
    ("otp", &["clock", "http", "ident", "phone", "secret", "sms"]),
    ("callback", &["http", "ident", "secret"]),
    (
        "deliver",
        &[
            "clock", "defect", "event", "ident", "mail", "metrics", "outbound", "outcome", "pulse", "queue",
            "rewrite", "secret", "sms",
        ],
    ),
    (
        "webhook",
        &["clock", "defect", "event", "ident", "mail", "metrics", "outbound", "outcome", "queue", "secret"],
    ),
    (
        "admin",
        &[
            "clock", "conduct", "event", "http", "ident", "mail", "metrics", "outcome", "phone", "queue",
            "secret", "sms",
        ],
    ),
    // Wiring.
    (
        "config",
        &[
            "certificate",
            "client",
            "clock",
            "deliver",
            "event",
            "guard",
            "http",
            "ident",
            "mail",
            "otp",
            "outbound",
            "phone",
            "policy",
            "queue",
            "rewrite",
            "secret",
            "sms",
            "smtp",
            "webhook",
        ],
    ),
    (
        "doctor",
        &[
            "clock", "config", "deliver", "http", "ident", "mail", "outbound", "outcome", "rewrite", "smtp",
            "webhook",
        ],
    ),
    ("snapshot", &["client", "config", "ident", "pipeline", "policy"]),
    (
        "reception",
        &[
            "callback", "client", "clock", "conduct", "deliver", "guard", "http", "ident", "mail", "otp",
            "outcome", "phone", "pipeline", "policy", "queue", "secret", "sms", "smtp", "snapshot",
        ],
    ),
    ("daemon", &["*"]),
    ("cli", &["*"]),
];

#[test]
fn every_layer_stands_on_those_before_it() {
    for (index, (module, imports)) in LAYERS.iter().enumerate() {
        for import in imports.iter().filter(|import| **import != "*") {
            let stands = LAYERS[..index].iter().any(|(before, _)| before == import);
            assert!(stands, "{module} may import {import}, which does not stand before it");
        }
    }
}

#[test]
fn every_import_is_allowed() {
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut breaches = Vec::new();
    for file in rust_files(&source) {
        let module = module_of(&source, &file);
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(imports) = allowed.get(module.as_str()) else {
            breaches.push(format!("{}: module {module} has no layer", file.display()));
            continue;
        };
        for (line, import) in imports_of(&fs::read_to_string(&file).unwrap()) {
            let fine = import == module || imports.contains(&"*") || imports.contains(&import.as_str());
            if !fine {
                breaches.push(format!("{}:{line}: {module} may not import {import}", file.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        // What is compiled for tests alone may import what it needs.
        if ["tests", "testing"].contains(&name.as_str()) || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn module_of(source: &Path, file: &Path) -> String {
    let relative = file.strip_prefix(source).unwrap();
    relative.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// Every module named after `crate::`, with its line; `use crate::{a, b::c}` names several. Tests at the end of a file
/// may import what they need.
fn imports_of(text: &str) -> Vec<(usize, String)> {
    let production = text.split("#[cfg(test)]").next().unwrap_or(text);
    let mut found = Vec::new();
    for (index, line) in production.lines().enumerate() {
        let code = line.split("//").next().unwrap_or(line);
        for rest in code.split("crate::").skip(1) {
            let names: Vec<&str> = match rest.strip_prefix('{') {
                Some(group) => group.split('}').next().unwrap_or(group).split(',').collect(),
                None => vec![rest],
            };
            for name in names {
                let ident: String =
                    name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if ident.chars().next().is_some_and(char::is_lowercase) {
                    found.push((index + 1, ident));
                }
            }
        }
    }
    found
}
