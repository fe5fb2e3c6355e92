//! The HTTP interfaces, spoken to through real sockets: every error's document, what peers do wrong, and time.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests, and the helpers under them"
)]

mod callback;
#[path = "../support/certificates.rs"]
mod certificates;
mod documents;
mod endpoint;
mod fuzzer;
mod limits;
mod noise;
#[path = "../common/skipped.rs"]
mod skipped;
mod support;
mod transport;
