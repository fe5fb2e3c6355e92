//! What a store of the queue must do. `suite` and `model` know nothing but the trait, so that every store passes the
//! same tests; `sqlite` holds what only a file can be asked.
#![allow(missing_docs, reason = "nobody outside calls it")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]

mod model;
mod sqlite;
mod suite;
mod support;
