//! What must hold whatever comes in. Each check takes octets and panics where a promise is broken.
//!
//! The checks are run in two ways: as property tests on any toolchain (`tests/properties.rs`), and under libFuzzer
//! (`fuzz/`). They judge by what a message or an answer looks like from outside, or by a slow version of the same thing
//! that was written apart.

mod config;
mod http;
mod mail;
mod report;
#[path = "../rewrite_support/mod.rs"]
mod rewrite_support;
mod rewriting;
mod rules;
mod smtp;
#[path = "../smtp/support.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod support;
mod upstream;
mod webhook;

pub use config::configuration;
pub use http::{otp_json, twilio_callback};
pub use mail::{addresses, header_scanner, link_finder, mime_to_text};
pub use report::failure_report;
pub use rewriting::rewriting;
pub use rules::rule_engine;
pub use smtp::{command_line, data_framing, session_dialogue};
pub use upstream::upstream_answers;
pub use webhook::webhook_signing;
