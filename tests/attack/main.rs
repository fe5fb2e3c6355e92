//! The real binary under attack: what gets in, what gets through, what it costs, and what is told of it.

#![allow(clippy::panic, clippy::print_stdout, reason = "tests may fail, and tell what they measured")]

mod certificates;
mod ends;
mod injection;
mod load;
mod logins;
mod tls;

#[path = "../harness/mod.rs"]
mod harness;
