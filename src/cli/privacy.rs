//! Keeps what is in memory in memory: keys, codes and mail.
//!
//! With no core files and a process that is not dumpable, neither a crash nor another program of the same user gets at it;
//! root can. Children are not dumpable again after their exec; they get no secret (`doctor`).

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Turns core dumps off for this process, whatever the limits it was started with. The first error, where it can't be done.
pub(super) fn keep_memory_private() -> io::Result<()> {
    // To lower the hard limit is always allowed; nothing that comes after can raise it again.
    let limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // A handler of core dumps that is a program gets them whatever the limit, but not of what is not dumpable.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(limited?)
}
