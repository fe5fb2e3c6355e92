//! Room on the disk. Before it runs out nothing new is taken, and what was taken goes on: to record an end takes room too.
//!
//! Two things keep that room. What the configuration keeps back is never filled by new mail. Should others fill the disk
//! all the same, a file beside the queue that holds nothing is given up, which is room that nobody else can have taken.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Reserve;
use crate::queue::Queue;
use crate::queue::store::sqlite::Stats;
use crate::snapshot::Current;

/// How often it is looked at. New mail can't fill what is kept back in that time.
const EVERY: Duration = Duration::from_secs(1);

/// What is given up when others have filled the disk: room for the ends of some ten thousand messages.
const HELD: u64 = 8 << 20;

/// How the disk and the store are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// The least that is free where we write, in octets; `None` where that can't be seen.
    pub free: Option<u64>,
    /// The least that is free, in files; `None` where the file system knows no bound.
    pub inodes: Option<u64>,
    /// Why nothing new is taken.
    pub low: Option<String>,
    /// Why the store can't be written.
    pub broken: Option<String>,
}

/// Looks after the room.
pub(super) struct Keeper {
    queue: Arc<Queue>,
    current: Current,
    stats: watch::Receiver<Stats>,
    room: watch::Sender<Room>,
}

impl Keeper {
    /// Has looked once when it returns.
    pub(super) fn new(queue: &Arc<Queue>, current: &Current, stats: &watch::Receiver<Stats>) -> Self {
        let keeper = Self {
            queue: Arc::clone(queue),
            current: current.clone(),
            stats: stats.clone(),
            room: watch::channel(Room::default()).0,
        };
        keeper.look();
        keeper
    }

    /// How it is, now and later.
    pub(super) fn room(&self) -> watch::Receiver<Room> {
        self.room.subscribe()
    }

    /// Looks until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let keeper = Arc::new(self);
        let mut ticks = tokio::time::interval(EVERY);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let looking = Arc::clone(&keeper);
            // A file system that does not answer must not stop a thread that serves others.
            if tokio::task::spawn_blocking(move || looking.look()).await.is_err() {
                tracing::error!("the room on the disk could not be looked at");
            }
        }
    }

    fn look(&self) {
        let snapshot = self.current.get();
        let config = &snapshot.config;
        let reserve = config.queue.reserve;
        let folders = [folder(&config.queue.path), config.state_directory.clone()];
        let before = self.room.borrow().clone();
        let failing = self.stats.borrow().failing;
        let mut now = Room::default();
        for folder in &folders {
            match free(folder) {
                Ok(found) => {
                    if now.free.is_none() {
                        // The queue's own, which comes first.
                        hold(&config.queue.path, found.bytes, reserve, failing);
                    }
                    now.take(folder, found, reserve, before.low.is_some());
                }
                Err(error) => now.broken = Some(format!("{} can't be looked at: {error}", folder.display())),
            }
        }
        if failing && let Err(error) = try_to_write(&config.queue.path) {
            now.broken = Some(format!("{} can't be written: {error}", folders[0].display()));
        }
        match (&before.low, &now.low) {
            (None, Some(why)) => {
                self.queue.shut();
                tracing::error!("nothing new is taken until there is room on the disk: {why}");
            }
            (Some(_), None) => {
                self.queue.open();
                tracing::warn!("there is room on the disk again: new mail is taken");
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.room.send_replace(now);
    }
}

impl Room {
    /// Notes what is free in `folder`. What is low already is so until there is a tenth more.
    fn take(&mut self, folder: &Path, found: Free, reserve: Reserve, is_low: bool) {
        let wanted = |kept: u64| if is_low { kept.saturating_add(kept / 10) } else { kept };
        self.free = Some(self.free.map_or(found.bytes, |free| free.min(found.bytes)));
        self.inodes = match (self.inodes, found.inodes) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let place = folder.display();
        if found.bytes < wanted(reserve.bytes) {
            let (free, kept) = (mebibytes(found.bytes), mebibytes(reserve.bytes));
            self.low = Some(format!(
                "{free} MiB are free in {place}, and {kept} MiB are kept back (disk_reserve in [queue]): make room there"
            ));
        } else if let Some(inodes) = found.inodes.filter(|inodes| *inodes < wanted(reserve.inodes)) {
            let kept = reserve.inodes;
            self.low = Some(format!(
                "{inodes} more files fit into {place}, and {kept} are kept back (inode_reserve in [queue]): remove files there"
            ));
        }
    }
}

#[derive(Clone, Copy)]
struct Free {
    bytes: u64,
    inodes: Option<u64>,
}

fn free(folder: &Path) -> io::Result<Free> {
    let found = rustix::fs::statvfs(folder)?;
    // Some file systems have no table of inodes, and say 0 of 0.
    let inodes = (found.f_files > 0).then_some(found.f_favail);
    Ok(Free { bytes: found.f_bavail.saturating_mul(found.f_frsize), inodes })
}

/// Holds room back, and gives it up where the store needs it.
fn hold(queue: &Path, free: u64, reserve: Reserve, failing: bool) {
    let path = beside(queue, ".reserve");
    let is_held = path.exists();
    if is_held && (free < HELD || failing) {
        match std::fs::remove_file(&path) {
            Ok(()) => tracing::warn!(path = %path.display(), "the room that was held back is given up"),
            Err(error) => tracing::error!(%error, "the room that is held back can't be given up"),
        }
    } else if !is_held
        && !failing
        && free > reserve.bytes.saturating_add(4 * HELD)
        && let Err(error) = take_room(&path)
    {
        tracing::debug!(%error, "no room could be held back");
        let _ = std::fs::remove_file(&path);
    }
}

fn take_room(path: &Path) -> io::Result<()> {
    let file = new_file(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, HELD)?;
    file.sync_all()
}

/// Whether anything can be brought to the disk where the queue is.
fn try_to_write(queue: &Path) -> io::Result<()> {
    let path = beside(queue, ".probe");
    let tried = new_file(&path).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        file.sync_all()
    });
    let _ = std::fs::remove_file(&path);
    tried
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn beside(queue: &Path, suffix: &str) -> PathBuf {
    let mut path = queue.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

fn folder(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Reserve = Reserve { bytes: 100 << 20, inodes: 1000 };

    fn low(bytes: u64, inodes: Option<u64>, is_low: bool) -> Option<String> {
        let mut room = Room::default();
        room.take(Path::new("/srv"), Free { bytes: bytes << 20, inodes }, KEPT, is_low);
        room.low
    }

    #[test]
    fn both_octets_and_files_are_kept_back_and_a_tenth_more_ends_it() {
        assert_eq!(low(100, Some(1000), false), None);
        assert!(
            low(99, Some(9000), false)
                .unwrap()
                .contains("99 MiB are free in /srv, and 100 MiB are kept back")
        );
        assert!(low(500, Some(999), false).unwrap().contains("999 more files"));
        assert_eq!(low(500, None, false), None);
        assert!(low(109, None, true).is_some());
        assert_eq!(low(110, Some(1100), true), None);
    }

    #[test]
    fn room_is_held_while_there_is_plenty_and_given_up_when_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let queue = folder.path().join("queue.db");
        let held = folder.path().join("queue.db.reserve");
        hold(&queue, u64::MAX, KEPT, false);
        assert_eq!(held.metadata().unwrap().len(), HELD);
        hold(&queue, HELD, KEPT, false);
        assert!(held.exists());
        hold(&queue, HELD - 1, KEPT, false);
        assert!(!held.exists());
        hold(&queue, KEPT.bytes, KEPT, false);
        assert!(!held.exists(), "there is not enough room to hold some back");
        hold(&queue, u64::MAX, KEPT, true);
        assert!(!held.exists(), "the store can't be written");
        try_to_write(&queue).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
