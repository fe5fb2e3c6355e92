//! The doctor as an operator meets it: `authrelay check --live` before real sockets, with everything that can be wrong, and
//! `authrelay clients` behind a running relay.
#![allow(clippy::panic, reason = "a test")]

mod conduct;
mod dns;
mod mail;
mod names;
mod texts;
mod webhooks;

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../support/scripted_upstream.rs"]
mod scripted_upstream;

use harness::relay::{Home, Ran};
use serde_json::Value;

/// What one run of `check --live --json` found.
struct Checked {
    findings: Vec<Value>,
    healthy: bool,
    succeeded: bool,
    said: String,
}

/// Runs `check --live` on a configuration. `dns` answers questions about names.
fn check(home: &Home, config: &str, dns: &dns::Dns) -> Checked {
    let ran = run(home, config, dns, &["--json"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    Checked {
        findings: report["findings"].as_array().unwrap_or_else(|| panic!("{ran:?}")).clone(),
        healthy: report["healthy"].as_bool().expect("healthy"),
        succeeded: ran.status.success(),
        said: ran.stdout,
    }
}

fn run(home: &Home, config: &str, dns: &dns::Dns, more: &[&str]) -> Ran {
    home.write("relay.toml", format!("hostname = \"relay.test\"\nstate_directory = \"state\"\n{config}"));
    let server = dns.address.to_string();
    home.cli(&[&["check", "--live", "--dns", &server], more].concat())
}

impl Checked {
    /// The one finding whose message holds these words, with its severity and its advice.
    #[track_caller]
    fn find(&self, words: &str) -> (String, String) {
        let holds = |finding: &&Value| finding["message"].as_str().is_some_and(|text| text.contains(words));
        let found: Vec<&Value> = self.findings.iter().filter(holds).collect();
        let [one] = found[..] else {
            panic!("{} findings with {words:?} in {:#?}", found.len(), self.findings)
        };
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        (text("severity"), text("advice"))
    }

    /// Whether any finding holds these words.
    fn tells(&self, words: &str) -> bool {
        self.said.contains(words)
    }
}
