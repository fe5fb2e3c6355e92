//! The checks of `tests/checks`, on the kept corpus and on thousands of inputs made from it, with any toolchain. Under
//! libFuzzer the same checks are run by `fuzz/run`, which `tests/run --full` asks for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

mod checks;
#[path = "common/skipped.rs"]
mod skipped;

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

/// The kept inputs of a check, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One change to an input.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, Index),
    Repeat(Index, Index, usize),
    /// What stands there in another of the kept inputs.
    Splice(Index, Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    let telling = prop::sample::select(vec![
        "\r\n",
        "\n",
        "\r",
        "\0",
        ".",
        "\r\n.\r\n",
        ":",
        "<",
        ">",
        "@",
        "\"",
        "\\",
        " ",
        "=",
        "&",
        "--",
        "\u{202e}",
        "\u{e9}",
        "\x1b[31m",
        "=?utf-8?q?=",
        "://",
        "{",
        "}",
        "[",
        "]",
        ",",
        "#",
    ]);
    let text = prop_oneof![
        telling.prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 1..12),
    ];
    prop_oneof![
        3 => (index(), any::<u8>()).prop_map(|(at, octet)| Change::Set(at, octet)),
        4 => (index(), text).prop_map(|(at, text)| Change::Insert(at, text)),
        2 => (index(), index()).prop_map(|(from, to)| Change::Cut(from, to)),
        1 => (index(), index(), 2..20_usize).prop_map(|(from, to, times)| Change::Repeat(from, to, times)),
        2 => (index(), index(), index(), index()).prop_map(|(at, which, from, to)| Change::Splice(at, which, from, to)),
    ]
}

fn range(octets: &[u8], from: Index, to: Index) -> std::ops::Range<usize> {
    let (from, to) = (from.index(octets.len() + 1), to.index(octets.len() + 1));
    from.min(to)..from.max(to)
}

fn changed(mut octets: Vec<u8>, changes: &[Change], corpus: &[Vec<u8>]) -> Vec<u8> {
    for change in changes {
        let place = |at: &Index| at.index(octets.len() + 1);
        match change {
            Change::Set(at, octet) if !octets.is_empty() => {
                let at = at.index(octets.len());
                octets[at] = *octet;
            }
            Change::Set(_, octet) => octets.push(*octet),
            Change::Insert(at, text) => {
                let at = place(at);
                octets.splice(at..at, text.iter().copied());
            }
            Change::Cut(from, to) => {
                let range = range(&octets, *from, *to);
                octets.drain(range);
            }
            Change::Repeat(from, to, times) => {
                let range = range(&octets, *from, *to);
                let again = octets[range.clone()].repeat(*times);
                octets.splice(range.end..range.end, again);
            }
            Change::Splice(at, which, from, to) => {
                let (at, other) = (place(at), which.get(corpus));
                let piece = other[range(other, *from, *to)].to_vec();
                octets.splice(at..at, piece);
            }
        }
        octets.truncate(8192);
    }
    octets
}

fn holds(name: &str, cases: u32, check: fn(&[u8])) {
    let corpus = corpus(name);
    for kept in &corpus {
        check(kept);
    }
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let strategy = prop_oneof![
        9 => (any::<Index>(), prop::collection::vec(change(), 1..6))
            .prop_map({
                let corpus = corpus.clone();
                move |(which, changes)| changed(which.get(&corpus).clone(), &changes, &corpus)
            }),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ];
    let result = TestRunner::new(config).run(&strategy, |octets| {
        check(&octets);
        Ok(())
    });
    if let Err(broken) = result {
        panic!("{name}: {broken}");
    }
}

macro_rules! properties {
    ($($name:ident: $cases:literal,)*) => {
        $(
            #[test]
            fn $name() {
                holds(stringify!($name), $cases, checks::$name);
            }
        )*

        /// Each check has a fuzz target, and each target a check.
        #[test]
        fn the_fuzz_targets_are_these_checks() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
            let mut targets: Vec<_> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
                .collect();
            targets.sort();
            let mut checks = vec![$(stringify!($name)),*];
            checks.sort_unstable();
            assert_eq!(targets, checks);
        }
    };
}

/// libFuzzer for `AUTHRELAY_FUZZ_SECONDS` on each target. Takes some minutes to build the first time.
#[test]
fn libfuzzer_finds_nothing() {
    let Some(seconds) = std::env::var_os("AUTHRELAY_FUZZ_SECONDS") else {
        return skipped::skipped("fuzzing: AUTHRELAY_FUZZ_SECONDS is not set");
    };
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/run"))
        .arg("--seconds")
        .arg(seconds)
        .output()
        .expect("fuzz/run starts");
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => println!("{said}"),
        Some(77) => skipped::skipped(&format!("fuzzing: {}", said.trim())),
        _ => panic!("{said}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

properties! {
    addresses: 4000,
    command_line: 1000,
    configuration: 200,
    data_framing: 1000,
    failure_report: 500,
    header_scanner: 4000,
    link_finder: 300,
    mime_to_text: 150,
    otp_json: 1000,
    rewriting: 1000,
    rule_engine: 150,
    session_dialogue: 400,
    twilio_callback: 500,
    upstream_answers: 300,
    webhook_signing: 1000,
}
