//! The `OpenAPI` document against the whole relay, by schemathesis: numbers, limits and the queue are the real ones.
//!
//! Set `AUTHRELAY_SCHEMATHESIS` to the program; without it the test is skipped.

use std::process::Command;

use crate::harness::config::{LISTENER, NO_REPLY, sha256};
use crate::harness::relay::Relay;
use crate::harness::skipped;
use crate::harness::texts::{ANNA, CODE, OPEN, Shop, TOKEN};

/// What a schema can't know: which numbers there are, which businesses, and how many codes were asked for before.
const SETTINGS: &str = "[checks.positive_data_acceptance]\n\
    expected-statuses = [\"2xx\", \"401\", \"403\", \"404\", \"422\", \"429\"]\n";

#[test]
fn the_relay_does_what_its_document_says() {
    let Some(program) = std::env::var_os("AUTHRELAY_SCHEMATHESIS") else {
        return skipped("AUTHRELAY_SCHEMATHESIS is not set: the relay's HTTP interface is not fuzzed");
    };
    let digest = sha256(TOKEN);
    let relay = Relay::start(&format!(
        "{LISTENER}[http.http]\naddress = \"127.0.0.1:0\"\n[clients.shop]\nbusiness = \"acme\"\n\
         token_sha256 = \"{digest}\"\n[businesses.acme]\nurl = \"https://acme.example\"\n{NO_REPLY}\
         [upstreams.mail]\nkind = \"maildir\"\n[upstreams.phones]\nkind = \"outbox\"\n[otp]\n{OPEN}"
    ));
    let settings = relay.home.write("schemathesis.toml", SETTINGS);
    let url = format!("http://{}/openapi.json", relay.http());
    let examples = std::env::var("AUTHRELAY_FUZZ_EXAMPLES").unwrap_or_else(|_| "100".to_owned());
    let mut fuzzer = Command::new(program);
    fuzzer.arg("--config-file").arg(settings);
    fuzzer.args(["run", &url, "--mode", "all", "--checks", "all", "--max-examples", &examples]);
    fuzzer.args(["--header", &format!("Authorization: Bearer {TOKEN}"), "--no-color"]);
    relay.home.run(fuzzer, "").ok();
    let log = relay.log();
    assert!(!log.contains("panicked") && !log.contains("\"ERROR\""), "{log}");
    // It is still there, and does what it is for.
    let id = Shop::of(&relay).code(ANNA, CODE);
    relay.wait_event(&id, "handed-over");
}
