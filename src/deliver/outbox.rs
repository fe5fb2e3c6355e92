//! An outbox for texts on this machine: one JSON object a line. What a first run and the tests use.
//!
//! The file holds codes and whole numbers, so it is for its owner alone, and it is written to only if it is a regular
//! file of ours: what a link points to, or what somebody else could read, is not. A line is on stable storage before
//! we say so. The file is bounded; emptying it is the operator's.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::parcel::Text;
use super::reply::{HandOver, Trip};
use crate::clock::Timestamp;
use crate::outcome::{Reason, ReasonClass};

/// How far the file grows.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The outbox.
#[derive(Debug)]
pub(super) struct Outbox {
    path: PathBuf,
    /// One line at a time, so that the bound holds and no line stands inside another.
    turn: Arc<Mutex<()>>,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    id: String,
    to: &'a str,
    text: &'a str,
}

/// Why a line was not written.
#[derive(Debug, thiserror::Error)]
enum OutboxError {
    #[error("it is not a regular file of this user")]
    NotOurs,
    #[error("others may read or write it: chmod u=rw,go= it")]
    Exposed,
    #[error("it is full: empty it")]
    Full,
    #[error("{}", .0.kind())]
    Io(#[from] io::Error),
}

impl Outbox {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, turn: Arc::default() }
    }

    /// Appends the text.
    pub(super) async fn append(&self, text: Text<'_>, body: &str, now: Timestamp) -> HandOver {
        let line = Line { at: now.to_rfc3339(), id: text.id.to_string(), to: text.to.as_str(), text: body };
        let Ok(line) = serde_json::to_vec(&line) else { return unavailable("the line can't be written") };
        let mut line = Zeroizing::new(line);
        line.push(b'\n');
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let path = self.path.clone();
        let task = tokio::task::spawn_blocking(move || {
            let written = append(&path, &line);
            drop(turn);
            written
        });
        match task.await {
            Ok(Ok(())) => HandOver::Accepted { reference: "outbox".to_owned() },
            Ok(Err(error)) => unavailable(&error.to_string()),
            Err(_) => unavailable("the write was cut off"),
        }
    }
}

fn unavailable(what: &str) -> HandOver {
    let reason = Reason::new(ReasonClass::Local, format!("the outbox can't be written to: {what}"));
    HandOver::Unavailable(reason, Trip::AtOnce)
}

fn append(path: &Path, line: &[u8]) -> Result<(), OutboxError> {
    check_place(path)?;
    let (mut file, is_new) = open(path)?;
    let metadata = file.metadata()?;
    if !is_ours(&metadata, owner_of_this_process()?) {
        return Err(OutboxError::NotOurs);
    }
    if metadata.mode() & 0o777 | 0o700 != 0o700 {
        return Err(OutboxError::Exposed);
    }
    if metadata.len() + line.len() as u64 > LARGEST {
        return Err(OutboxError::Full);
    }
    file.write_all(line)?;
    file.sync_all()?;
    match path.parent().filter(|_| is_new) {
        // Without this a power cut undoes that the file was made.
        Some(folder) if !folder.as_os_str().is_empty() => Ok(File::open(folder)?.sync_all()?),
        Some(_) | None => Ok(()),
    }
}

/// Looked at before it is opened, because to open a pipe for writing waits for a reader.
fn check_place(path: &Path) -> Result<(), OutboxError> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.file_type().is_file() => Ok(()),
        Ok(_) => Err(OutboxError::NotOurs),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn open(path: &Path) -> Result<(File, bool), OutboxError> {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600);
    match options.clone().create_new(true).open(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((options.open(path)?, false)),
        Err(error) => Err(error.into()),
    }
}

/// A regular file of this user, with one name.
fn is_ours(metadata: &std::fs::Metadata, owner: u32) -> bool {
    metadata.file_type().is_file() && metadata.uid() == owner && metadata.nlink() == 1
}

/// Who we are, as the kernel shows it: the standard library has no word for it.
fn owner_of_this_process() -> io::Result<u32> {
    Ok(std::fs::metadata("/proc/self")?.uid())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::ident::MessageId;
    use crate::mail::PhoneNumber;
    use crate::secret::Secret;

    const AT: Timestamp = Timestamp::from_millis(1_795_440_360_000);

    async fn put(path: &Path, body: &str) -> (HandOver, MessageId) {
        let (id, to) = (MessageId::generate(), PhoneNumber::parse("+12025550100").unwrap());
        let code = Secret::new("123456");
        let text = Text {
            id,
            attempt: 1,
            to: &to,
            code: &code,
            host: "example.com",
            origin_bound: false,
            expires: AT,
        };
        (Outbox::new(path.to_owned()).append(text, body, AT).await, id)
    }

    fn words(hand_over: &HandOver) -> String {
        match hand_over {
            HandOver::Unavailable(reason, Trip::AtOnce) => reason.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn each_text_is_one_line_of_a_file_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("outbox.jsonl");
        let (done, first) = put(&path, "123456 is your code\n\n@example.com #123456").await;
        assert_eq!(done, HandOver::Accepted { reference: "outbox".to_owned() });
        let (_, second) = put(&path, "two").await;
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            written,
            format!(
                "{{\"at\":\"2026-11-23T13:26:00Z\",\"id\":\"{first}\",\"to\":\"+12025550100\",\
                 \"text\":\"123456 is your code\\n\\n@example.com #123456\"}}\n\
                 {{\"at\":\"2026-11-23T13:26:00Z\",\"id\":\"{second}\",\"to\":\"+12025550100\",\"text\":\"two\"}}\n"
            )
        );
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[tokio::test]
    async fn nothing_is_written_to_what_is_no_file_of_ours() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        std::fs::write(path("target"), "").unwrap();
        std::fs::set_permissions(path("target"), Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(path("target"), path("link")).unwrap();
        std::fs::hard_link(path("target"), path("second-name")).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        std::fs::write(path("open"), "").unwrap();
        std::fs::set_permissions(path("open"), Permissions::from_mode(0o640)).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for name in ["link", "second-name", "folder", "socket"] {
            let (done, _) = put(&path(name), "text").await;
            assert!(words(&done).ends_with("it is not a regular file of this user"), "{name}: {done:?}");
        }
        let (done, _) = put(&path("open"), "text").await;
        assert!(words(&done).contains("others may read or write it"), "{done:?}");
        drop(socket);
        assert_eq!(std::fs::read_to_string(path("target")).unwrap(), "");
        assert_eq!(std::fs::read_to_string(path("open")).unwrap(), "");
        let (done, _) = put(&path("missing/outbox"), "text").await;
        assert!(words(&done).contains("entity not found"), "{done:?}");
    }

    #[test]
    fn a_file_of_another_user_is_not_ours() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("outbox");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let (metadata, me) = (std::fs::metadata(&path).unwrap(), owner_of_this_process().unwrap());
        assert!(is_ours(&metadata, me));
        assert!(!is_ours(&metadata, me + 1));
    }

    #[tokio::test]
    async fn it_does_not_grow_beyond_its_bound() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("outbox.jsonl");
        put(&path, "first").await;
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(LARGEST - 40).unwrap();
        let (done, _) = put(&path, "one too many").await;
        assert!(words(&done).ends_with("it is full: empty it"), "{done:?}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), LARGEST - 40);
        file.set_len(0).unwrap();
        assert!(matches!(put(&path, "room again").await.0, HandOver::Accepted { .. }));
    }
}
