//! Nothing leaks: what is written and shown, what is left after the end, the keys, the configuration and the process itself.
//! Each test runs the real daemon and searches everything that it wrote.

mod configuration;
mod left;
mod process;
mod rotation;
mod written;

#[path = "../harness/mod.rs"]
mod harness;
