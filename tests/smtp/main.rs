//! The SMTP server, spoken to over pipes in memory with the clock paused, over TLS, and over loopback TCP.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests, and the helpers under them")]

mod dialogue;
#[path = "../common/false_ends.rs"]
mod false_ends;
mod framing;
mod limits;
mod listener;
mod support;
mod tls;
