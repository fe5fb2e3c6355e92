//! Faults at system calls, by strace: which calls there are, and how one is made to fail.
//!
//! `strace -D` makes the relay the child of the test itself, so its end is seen as it is. Calls are counted by thread.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use fastrand::Rng;

use super::scene::{Scene, USUAL};
use crate::harness::look_until;

/// Why strace can't be used here; `None` where it can.
pub fn missing() -> Option<String> {
    let ran = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    match ran {
        Ok(status) if status.success() => None,
        Ok(_) => Some("strace may not trace here".to_owned()),
        Err(_) => Some("strace is not installed".to_owned()),
    }
}

/// One system call of one thread: its name and the how manieth it is.
pub type Point = (String, usize);

/// What starts the relay so that this is done to it.
pub fn under(point: &Point, what: &str, when: &str) -> Vec<String> {
    let (call, number) = point;
    let inject = format!("inject={call}:{what}:when={number}{when}");
    let trace = format!("trace={call}");
    ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]
        .map(ToOwned::to_owned)
        .to_vec()
}

/// Every point of a round with this load, for these calls: from a round in which nothing fails.
pub fn points(scene: &mut Scene, calls: &[&str]) -> Vec<Point> {
    scene.relay.stop();
    scene.fault();
    let file = scene.relay.home.file("calls");
    let trace = format!("trace={}", calls.join(","));
    let path = file.to_str().expect("a path in UTF-8").to_owned();
    let wrapper = ["strace", "-D", "-f", "-o", &path, "-e", &trace].map(ToOwned::to_owned);
    scene.relay.try_restart(&wrapper).expect("it starts");
    scene.load(USUAL);
    scene.rest();
    let process = scene.relay.process().to_string();
    scene.relay.stop();
    scene.fault();
    let ended = format!("{process} +++ exited");
    let text = look_until("the list of calls", || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.lines()
            .any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(&ended))
            .then_some(text)
    });
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.trim_start().split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if calls.contains(&call) {
            *counts.entry((call, thread)).or_default() += 1;
        }
    }
    let mut longest: BTreeMap<&str, usize> = BTreeMap::new();
    for ((call, _), count) in counts {
        let most = longest.entry(call).or_default();
        *most = count.max(*most);
    }
    longest.iter().flat_map(|(call, most)| (1..=*most).map(|number| ((*call).to_owned(), number))).collect()
}

/// So many of them, or all: turns go round by call, so that few points are of every kind.
pub fn choose(points: &[Point], rounds: Option<usize>, rng: &mut Rng) -> Vec<Point> {
    let Some(rounds) = rounds else { return points.to_vec() };
    let mut by_call: BTreeMap<&str, Vec<&Point>> = BTreeMap::new();
    for point in points {
        by_call.entry(&point.0).or_default().push(point);
    }
    let mut lists: Vec<Vec<&Point>> = by_call.into_values().collect();
    for list in &mut lists {
        rng.shuffle(list);
    }
    let mut chosen = Vec::new();
    while chosen.len() < rounds && lists.iter().any(|list| !list.is_empty()) {
        for list in &mut lists {
            chosen.extend(list.pop().cloned());
        }
    }
    chosen.truncate(rounds);
    chosen
}
