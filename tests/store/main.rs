//! What a store of the queue must do. `suite` and `model` know nothing but the trait, so that every store passes the
//! same tests; `sqlite` holds what only a file can be asked.
#![allow(missing_docs, reason = "tests")]

mod model;
mod sqlite;
mod suite;
mod support;
