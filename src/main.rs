//! The `authrelay` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    authrelay::cli::main()
}
