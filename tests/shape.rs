//! The shape on real messages: those of `AUTHRELAY_CORPUS` (`manifest.tsv` and `eml/`; without it the test is skipped, and
//! says so). What counts as one burst and what as another stands and falls with it.
//!
//! They were all written to one made-up person, so other people are put in that person's place: address, names, numbers and
//! tokens. What such messages have in common is the template, and nothing else is.

#![allow(missing_docs, reason = "nobody outside calls it")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that prints what it measured"
)]

#[path = "common/skipped.rs"]
mod skipped;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use authrelay::mail::{Address, Message};
use authrelay::policy::shape;

const TO: &str = "jo.tester@mail.example.org";

/// In the order in which they are replaced: what the made-up person is called in the messages, and what others are.
const NAMES: [&str; 7] = ["jo.tester", "jtester", "Alice", "Walker", "Daan", "Tester", "Niccol"];
const OTHERS: [[&str; 7]; 5] = [
    ["m.oneill", "moneill", "Marie", "Oneill", "Ruben", "Oneill", "Benedett"],
    ["x77", "x77", "Xi", "Li", "Ng", "Li", "Lorenz"],
    ["info", "desk", "Anna-Lena", "Graf", "Zoltan", "Office", "Massim"],
    [
        "anneliese.von.hohenberg+test",
        "ahohenberg",
        "Anneliese",
        "Hohenberg",
        "Willem",
        "Hohenberg",
        "Francesc",
    ],
    ["0412-k", "k0412", "Kim", "Park", "Sem", "Park", "Pietr"],
];

/// What is told apart.
struct One {
    file: String,
    application: String,
    category: String,
    shape: [Vec<u8>; 2],
    /// How many other people were put in, and how many of these messages have the same shape.
    others: usize,
    alike: usize,
}

fn shape_of(raw: &[u8], to: &str) -> [Vec<u8>; 2] {
    shape(&Message::new(raw.to_vec()), &[Address::parse(to).unwrap()]).parts().map(<[u8]>::to_vec)
}

/// The message as another person gets it: numbers of five digits and more, and long tokens, are others too.
fn for_another(raw: &str, names: &[&str; 7], turn: usize) -> String {
    let mut text = raw.to_owned();
    for (name, other) in NAMES.iter().zip(names) {
        text = text.replace(name, other);
    }
    let is_base64 = text.contains("Encoding: base64");
    let lines = text.split_inclusive('\n');
    // What is encoded can't be changed in place.
    lines
        .map(|line| if is_base64 || line.contains("=?") { line.to_owned() } else { line_turned(line, turn) })
        .collect()
}

fn line_turned(line: &str, turn: usize) -> String {
    let mut made = String::with_capacity(line.len());
    let mut run = String::new();
    for c in line.chars() {
        if c.is_ascii_alphanumeric() {
            run.push(c);
            continue;
        }
        made.push_str(&turned(&run, turn));
        run.clear();
        made.push(c);
    }
    made + &turned(&run, turn)
}

fn turned(run: &str, turn: usize) -> String {
    let digits = run.bytes().filter(u8::is_ascii_digit).count();
    if digits < 5 {
        return run.to_owned();
    }
    let shift = |c: char| match c.to_digit(10) {
        Some(digit) => char::from_digit((digit + 3 + u32::try_from(turn).unwrap()) % 10, 10).unwrap(),
        None => c,
    };
    run.chars().map(shift).collect()
}

fn read(directory: &Path) -> Vec<One> {
    let manifest = std::fs::read_to_string(directory.join("manifest.tsv")).unwrap();
    let mut all = Vec::new();
    for line in manifest.lines().skip(1) {
        let [file, _, category, ..] = line.split('\t').collect::<Vec<_>>()[..] else { continue };
        let raw = std::fs::read(directory.join("eml").join(file)).unwrap();
        // The others were written to people of their own, and are no templates.
        let Ok(text) = String::from_utf8(raw)
            .map_err(drop)
            .and_then(|text| if text.contains(&format!("To: {TO}")) { Ok(text) } else { Err(()) })
        else {
            continue;
        };
        let shape = shape_of(text.as_bytes(), TO);
        let mut one = One {
            file: file.to_owned(),
            application: file.rsplit_once('-').map_or(file, |(application, _)| application).to_owned(),
            category: category.to_owned(),
            shape,
            others: 0,
            alike: 0,
        };
        for (turn, names) in OTHERS.iter().enumerate() {
            let other = for_another(&text, names, turn);
            one.others += 1;
            let same = shape_of(other.as_bytes(), &TO.replace(NAMES[0], names[0])) == one.shape;
            one.alike += usize::from(same);
        }
        all.push(one);
    }
    all
}

#[test]
fn one_template_has_one_shape_and_others_have_others() {
    let Some(directory) = std::env::var_os("AUTHRELAY_CORPUS").map(PathBuf::from) else {
        skipped::skipped("the shape of real messages: AUTHRELAY_CORPUS is not set");
        return;
    };
    let all = read(&directory);
    assert!(all.len() > 100, "{} messages", all.len());
    for one in all.iter().filter(|one| one.alike < one.others) {
        println!(
            "{} ({}): {} of {} other people have its shape",
            one.file, one.category, one.alike, one.others
        );
    }
    let (others, alike): (usize, usize) =
        all.iter().fold((0, 0), |(others, alike), one| (others + one.others, alike + one.alike));
    let mut shapes: BTreeMap<(&str, &[Vec<u8>; 2]), BTreeSet<&str>> = BTreeMap::new();
    for one in &all {
        shapes.entry((&one.application, &one.shape)).or_default().insert(&one.file);
    }
    let shared: Vec<_> = shapes.values().filter(|files| files.len() > 1).collect();
    println!(
        "{} messages of {} applications: {alike} of {others} to other people have the same shape; {} shapes, shared: {shared:?}",
        all.len(),
        all.iter().map(|one| &one.application).collect::<BTreeSet<_>>().len(),
        shapes.len()
    );
    // A little below what was reached, so that a change for the worse is seen.
    assert!(alike * 100 >= others * 97, "{alike} of {others}");
    assert!(shared.len() <= 5, "{shared:?}");
    let mixed = |files: &BTreeSet<&str>| {
        let categories = all.iter().filter(|one| files.contains(one.file.as_str())).map(|one| &one.category);
        categories.collect::<BTreeSet<_>>().len() > 1
    };
    assert!(!shared.iter().any(|files| mixed(files)), "two categories in one shape: {shared:?}");
}
