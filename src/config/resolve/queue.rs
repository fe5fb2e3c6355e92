//! How mail is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::Read;
use super::{Context, or};
use crate::config::problem::Span;
use crate::config::raw::RawQueue;
use crate::config::{KeySource, QueueConfig, Reserve};
use crate::guard::limits;
use crate::queue::{ActiveLimits, Keyring};

/// The attempts under way at once where nothing is said.
const WORKERS: usize = 64;

const HISTORY: Duration = Duration::from_hours(30 * 24);

/// Some ten thousand messages, so that there is time to make room.
const RESERVE: Reserve = Reserve { bytes: 64 << 20, inodes: 1000 };

/// The queue's configuration.
pub(super) fn queue(cx: &Context<'_>, raw: &RawQueue) -> QueueConfig {
    let path = match &raw.path {
        Some(path) => cx.path(path),
        None => cx.places.state_directory.join("queue.db"),
    };
    let active = ActiveLimits::default();
    QueueConfig {
        key: key(cx, raw, &path),
        path,
        history: or(raw.history.as_ref(), HISTORY),
        active: ActiveLimits {
            messages: or(raw.active_messages.as_ref(), active.messages),
            bytes: or(raw.active_bytes.as_ref(), active.bytes),
        },
        limits: limits::Config {
            dedupe: or(raw.dedupe.as_ref(), limits::Config::default().dedupe),
            backlog: or(raw.backlog.as_ref(), limits::Config::default().backlog),
        },
        reserve: Reserve {
            bytes: raw.disk_reserve.as_ref().map_or(RESERVE.bytes, |at| at.value as u64),
            inodes: or(raw.inode_reserve.as_ref(), RESERVE.inodes),
        },
        bounces: raw.bounces.as_ref().map(|at| at.value.clone()),
    }
}

/// The most attempts under way at once.
pub(super) fn workers(raw: &RawQueue) -> usize {
    or(raw.workers.as_ref(), WORKERS)
}

fn key(cx: &Context<'_>, raw: &RawQueue, store: &Path) -> KeySource {
    if let (Some(_), Some(credential)) = (&raw.key_file, &raw.key_credential) {
        cx.report
            .error(&credential.span, "`key_file` and `key_credential` exclude each other")
            .help("keep one of them");
    }
    let named = [("key_file", raw.key_file.as_ref()), ("key_credential", raw.key_credential.as_ref())];
    for (key, at) in named.into_iter().filter_map(|(key, at)| Some((key, at?))) {
        cx.is_fixed(key, at);
    }
    let file = raw.key_file.as_ref().and_then(|at| {
        let path = keyring(cx, cx.read_secret(at)?, &at.span)?;
        beside(cx, &path, store, &at.span);
        Some(path)
    });
    let credential =
        raw.key_credential.as_ref().and_then(|at| keyring(cx, cx.read_credential(at)?, &at.span));
    if raw.key_file.is_none() && raw.key_credential.is_none() {
        cx.report
            .warning(&None, "the queue's key is made at first start and lies beside the queue: it does not protect a stolen disk")
            .help("set key_file or key_credential in [queue]");
    }
    let made = || KeySource::MadeAtFirstStart(cx.places.state_directory.join("queue.key"));
    file.or(credential).map_or_else(made, KeySource::File)
}

/// The path of a key file, which must hold what opens a queue; what is wrong with it has been reported.
fn keyring(cx: &Context<'_>, file: Read, span: &Span) -> Option<PathBuf> {
    let help = "it holds `lookup KEY` and `seal 1 KEY`, as in the queue.key that is made at first start";
    let name = file.path.display().to_string();
    let problem = match std::str::from_utf8(&file.bytes) {
        Ok(text) => match Keyring::parse(text, &name) {
            Ok(_) => return Some(file.path),
            Err(problem) => problem.to_string(),
        },
        Err(_) => format!("{name} is not text"),
    };
    cx.report.error(span, format!("no key of a queue: {problem}")).help(help);
    None
}

fn beside(cx: &Context<'_>, key: &Path, store: &Path, span: &Span) {
    let data = [store.parent(), Some(cx.places.state_directory.as_path())];
    if data.into_iter().flatten().any(|folder| !folder.as_os_str().is_empty() && key.starts_with(folder)) {
        cx.report
            .warning(span, "the key lies beside the data: whoever steals the disk has both")
            .help("keep it on another disk, or in a systemd credential (key_credential)");
    } else if on_one_file_system(key, store) {
        cx.report
            .warning(span, "the key lies on the same file system as the queue: whoever steals or copies that has both")
            .help("keep it on another disk, or in a systemd credential (key_credential), and out of the queue's backups");
    }
}

/// Whether both lie on one file system. A queue that is not there yet comes to lie in the nearest folder that is.
fn on_one_file_system(key: &Path, store: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| std::fs::metadata(path).ok().map(|found| found.dev());
    let of_store = store.ancestors().find_map(device);
    of_store.is_some() && device(key) == of_store
}
