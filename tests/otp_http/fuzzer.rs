//! The `OpenAPI` document against the running server, by schemathesis: it makes good and bad requests out of the document
//! and holds every answer against it.
//!
//! Set `AUTHRELAY_SCHEMATHESIS` to the program; without it the test is skipped.

use std::process::{Command, Stdio};

use crate::skipped::skipped;
use crate::support::{Server, TOKEN};

#[tokio::test(flavor = "multi_thread")]
async fn the_server_does_what_its_document_says() {
    let Some(program) = std::env::var_os("AUTHRELAY_SCHEMATHESIS") else {
        return skipped("AUTHRELAY_SCHEMATHESIS is not set: the HTTP endpoint is not fuzzed");
    };
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{}/openapi.json", server.address);
    let examples = std::env::var("AUTHRELAY_FUZZ_EXAMPLES").unwrap_or_else(|_| "100".to_owned());
    let mut fuzzer = Command::new(program);
    fuzzer
        .args(["run", &url, "--mode", "all", "--checks", "all", "--max-examples", &examples])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}"), "--no-color"])
        .current_dir(folder.path())
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || fuzzer.output()).await.unwrap().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!server.desk.requests.lock().unwrap().is_empty(), "{report}");
}
