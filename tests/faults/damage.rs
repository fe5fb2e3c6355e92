//! What can happen to a database file and its log, each done to the files themselves.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use crate::harness::relay::Home;

const PAGE: u64 = 4096;
const ZEROS: [u8; 4096] = [0; 4096];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The file ends earlier.
    Cut,
    /// One bit is another.
    BitFlipped,
    /// A hundred bits are others.
    BitsFlipped,
    /// A page is zeros.
    PageZeroed,
    /// A page is another page of the file.
    PageOfElsewhere,
    /// Its beginning is zeros.
    BeginningZeroed,
    /// It is the queue of another relay.
    OtherQueue,
    /// It is the database of another program.
    OtherProgram,
    /// It is a text.
    Text,
    /// There is nothing in it.
    Emptied,
    /// The log has gone.
    LogGone,
    /// The log ends earlier.
    LogCut,
    /// A bit of the log is another.
    LogFlipped,
    /// The log is a text.
    LogText,
}

impl Damage {
    pub const ALL: [Self; 14] = [
        Self::Cut,
        Self::BitFlipped,
        Self::BitsFlipped,
        Self::PageZeroed,
        Self::PageOfElsewhere,
        Self::BeginningZeroed,
        Self::OtherQueue,
        Self::OtherProgram,
        Self::Text,
        Self::Emptied,
        Self::LogGone,
        Self::LogCut,
        Self::LogFlipped,
        Self::LogText,
    ];

    /// Whether it is the log that is damaged.
    pub fn is_of_log(self) -> bool {
        match self {
            Self::LogGone | Self::LogCut | Self::LogFlipped | Self::LogText => true,
            Self::Cut
            | Self::BitFlipped
            | Self::BitsFlipped
            | Self::PageZeroed
            | Self::PageOfElsewhere
            | Self::BeginningZeroed
            | Self::OtherQueue
            | Self::OtherProgram
            | Self::Text
            | Self::Emptied => false,
        }
    }

    /// Whether nothing can tell that it was done: a log that ends early is what a cut of the power leaves, and of a row's
    /// plain columns nothing vouches for the bits.
    pub fn may_pass_unseen(self) -> bool {
        self == Self::BitFlipped || self == Self::BitsFlipped || (self.is_of_log() && self != Self::LogGone)
    }

    /// Does it to the queue in a folder. False where there was nothing to do it to.
    pub fn strike(self, state: &Path, rng: &mut Rng) -> bool {
        let (file, log) = (state.join("queue.db"), state.join("queue.db-wal"));
        let target = if self.is_of_log() { &log } else { &file };
        let Ok(size) = fs::metadata(target).map(|meta| meta.len()) else { return false };
        if size == 0 {
            return false;
        }
        let pages = size.div_ceil(PAGE);
        let page = |rng: &mut Rng| rng.u64(1.min(pages - 1)..pages) * PAGE;
        match self {
            Self::Cut | Self::LogCut => set_len(target, rng.u64(..size)),
            Self::BitFlipped | Self::LogFlipped => flip(target, rng.u64(..size), rng.u8(..8)),
            Self::BitsFlipped => {
                for _ in 0..100 {
                    flip(target, rng.u64(PAGE.min(size - 1)..size), rng.u8(..8));
                }
            }
            Self::PageZeroed => write_at(target, page(rng), &ZEROS),
            Self::PageOfElsewhere => {
                let (from, to) = (page(rng), page(rng));
                let mut content = ZEROS;
                open(target).read_exact_at(&mut content, from).expect("a page");
                write_at(target, to, &content);
                return from != to;
            }
            Self::BeginningZeroed => write_at(target, 0, &[ZEROS, ZEROS].concat()),
            Self::OtherQueue => drop(fs::copy(queue_of_another(), target).expect("copied")),
            Self::OtherProgram => drop(fs::copy(other_program(state), target).expect("copied")),
            Self::Text | Self::LogText => overwrite(target, &b"Lorem ipsum dolor sit amet. ".repeat(2_000)),
            Self::Emptied => set_len(target, 0),
            Self::LogGone => fs::remove_file(target).expect("removed"),
        }
        true
    }
}

fn open(path: &Path) -> fs::File {
    fs::OpenOptions::new().read(true).write(true).open(path).expect("the file")
}

fn set_len(path: &Path, size: u64) {
    open(path).set_len(size).expect("cut");
}

fn write_at(path: &Path, at: u64, bytes: &[u8]) {
    open(path).write_all_at(bytes, at).expect("written");
}

/// In place, as a `cp` onto it does.
fn overwrite(path: &Path, bytes: &[u8]) {
    set_len(path, 0);
    write_at(path, 0, bytes);
}

fn flip(path: &Path, at: u64, bit: u8) {
    let mut byte = [0];
    open(path).read_exact_at(&mut byte, at).expect("an octet");
    byte[0] ^= 1 << bit;
    write_at(path, at, &byte);
}

/// The queue of a relay that has a key of its own.
fn queue_of_another() -> PathBuf {
    static MADE: std::sync::LazyLock<(tempfile::TempDir, PathBuf)> = std::sync::LazyLock::new(|| {
        let kept = tempfile::tempdir().expect("a folder");
        let copy = kept.path().join("queue.db");
        let mut other = Home::new().start("[upstreams.mail]\nkind = \"maildir\"\n");
        other.stop();
        fs::copy(other.home.file("state/queue.db"), &copy).expect("copied");
        (kept, copy)
    });
    MADE.1.clone()
}

fn other_program(state: &Path) -> PathBuf {
    let path = state.join("other.db");
    let _ = fs::remove_file(&path);
    let conn = rusqlite::Connection::open(&path).expect("a database");
    conn.execute_batch("CREATE TABLE places (name TEXT); INSERT INTO places VALUES ('here')")
        .expect("a table");
    conn.close().expect("closed");
    path
}
