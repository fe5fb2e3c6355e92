//! A test that can't run here says so: on its output, and in the file that `AUTHRELAY_SKIPPED` names, which `tests/run`
//! prints at its end.

use std::io::Write as _;

/// Notes what was skipped, and why.
pub fn skipped(what: &str) {
    println!("skipped: {what}");
    let Some(list) = std::env::var_os("AUTHRELAY_SKIPPED") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(list);
    file.and_then(|mut file| writeln!(file, "{what}")).expect("the list of what was skipped can be written");
}
