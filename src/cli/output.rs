//! All that the command line prints. What others said never reaches the terminal as more than text. A reader that has seen enough (`authrelay queue list | head`) is no error: the
//! process ends there, and well.

use std::fmt;
use std::io::{ErrorKind, Write as _};

use crate::plain::for_terminal;

/// Prints a line on standard output; [`line`] says what becomes of it when that is gone.
macro_rules! say {
    ($($argument:tt)*) => { $crate::cli::output::line(format_args!($($argument)*)) };
}

/// Prints a line on standard error.
macro_rules! complain {
    ($($argument:tt)*) => { $crate::cli::output::error_line(format_args!($($argument)*)) };
}

/// Prints a line. When nobody reads any more the process ends with success, on any other error with failure.
pub(super) fn line(text: fmt::Arguments<'_>) {
    let Err(error) = try_line(text) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    error_line(format_args!("authrelay: standard output can't be written: {error}"));
    std::process::exit(1);
}

/// Prints a line, for a process that has more to do than to print.
pub(super) fn try_line(text: fmt::Arguments<'_>) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{}", for_terminal(&text.to_string()))
}

/// Prints a line on standard error. Where that is gone there is nobody to tell.
pub(super) fn error_line(text: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", for_terminal(&text.to_string()));
}
