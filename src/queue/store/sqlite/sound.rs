//! Whether the file is whole, and what the last daemon left: asked at every start, before anything is taken.
//!
//! The file by which a store is locked says in one word whether it is in use or was closed. So a start knows that there
//! was a queue, and that its write-ahead log has to be there: without it the file alone looks like a sound queue that
//! has forgotten its last messages, or all of them. What was flipped in the log itself, or cut off its end, `SQLite` takes for
//! a commit that was never finished; nothing here can tell it from one.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use rusqlite::Connection;

use super::schema::{explain, sibling};
use crate::queue::store::StoreError;

/// Up to this size a file is read whole at the start, and every index compared with its table; up to the second one its
/// pages alone are read. Either takes about a second. Of a larger one damage shows when it is met.
const COMPARED: u64 = 64 << 20;
const READ: u64 = 512 << 20;

/// What an operator can do about a damaged file.
pub(super) const WAY_OUT: &str = "stop the daemon and run `authrelay queue rescue`, which keeps all that can still be read, \
     or put back a copy";

/// What the last daemon that had the store open left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing: there was none, or it was an older version.
    None,
    /// It did not close it.
    InUse,
    /// It closed it.
    Closed,
}

impl Mark {
    fn word(self) -> &'static str {
        match self {
            Self::None => "",
            Self::InUse => "in use\n",
            Self::Closed => "closed\n",
        }
    }

    /// Reads it from the file by which the store is locked.
    pub(super) fn read(lock: &mut File) -> io::Result<Self> {
        let mut text = String::new();
        lock.rewind()?;
        // What is no text is no word of ours.
        if let Err(error) = lock.read_to_string(&mut text)
            && error.kind() != io::ErrorKind::InvalidData
        {
            return Err(error);
        }
        let marks = [Self::InUse, Self::Closed];
        Ok(marks.into_iter().find(|mark| mark.word() == text).unwrap_or(Self::None))
    }

    /// Writes it there. It is on stable storage when this returns.
    pub(super) fn write(self, lock: &mut File) -> io::Result<()> {
        lock.rewind()?;
        lock.write_all(self.word().as_bytes())?;
        lock.set_len(self.word().len() as u64)?;
        lock.sync_all()
    }
}

/// Refuses a file whose write-ahead log has gone. To be asked before `SQLite` makes a new one.
pub(super) fn check_log(path: &Path, mark: Mark) -> Result<(), StoreError> {
    let is_missing =
        |path: &Path| fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    // Who moves the whole queue away begins with an empty one.
    if mark == Mark::InUse && is_missing(&sibling(path, "-wal")) && !is_missing(path) {
        return Err(damaged(
            path,
            "it was not closed, and its write-ahead log (-wal), which holds the latest messages, has gone: put that file \
             back; if it can't be found, run `authrelay queue rescue` to go on without it",
        ));
    }
    Ok(())
}

/// Refuses an empty file where a queue was.
pub(super) fn check_begun(path: &Path, mark: Mark, schema: i64, was_there: bool) -> Result<(), StoreError> {
    match mark {
        Mark::InUse | Mark::Closed if schema == 0 && was_there => Err(damaged(
            path,
            "it is empty, and there was a queue in it: put back a copy, or move it away (with its -wal and -shm) to \
             begin with an empty one",
        )),
        Mark::None | Mark::InUse | Mark::Closed => Ok(()),
    }
}

/// Reads the file, where it is not too large for a start, and refuses what does not hold together.
pub(super) fn check_whole(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let size = fs::metadata(path).map_or(0, |meta| meta.len());
    if size > READ {
        return Ok(());
    }
    let check = if size > COMPARED { "PRAGMA quick_check(1)" } else { "PRAGMA integrity_check(1)" };
    let found: String = conn.query_row(check, [], |row| row.get(0)).map_err(|error| explain(path, &error))?;
    if found == "ok" { Ok(()) } else { Err(damaged(path, &format!("it is damaged: {WAY_OUT}"))) }
}

pub(super) fn damaged(path: &Path, problem: &str) -> StoreError {
    StoreError::Damaged(format!("queue {}: {problem}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_nothing_else_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.db.lock");
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        assert_eq!(Mark::read(&mut file).unwrap(), Mark::None);
        for mark in [Mark::InUse, Mark::Closed, Mark::InUse] {
            mark.write(&mut file).unwrap();
            assert_eq!(Mark::read(&mut file).unwrap(), mark);
            assert_eq!(fs::read_to_string(&path).unwrap(), mark.word());
        }
        fs::write(&path, [0xFF, 0xFE]).unwrap();
        assert_eq!(Mark::read(&mut file).unwrap(), Mark::None);
    }
}
