//! The `authrelay` command.

fn main() {}
