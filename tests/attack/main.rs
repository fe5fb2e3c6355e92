//! The real binary under attack: what gets in, what gets through, what it costs, and what is told of it.

mod certificates;
mod ends;
mod injection;
mod load;
mod logins;
mod tls;

#[path = "../harness/mod.rs"]
mod harness;
