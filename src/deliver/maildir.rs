//! Delivery into a folder in maildir form on this machine: what a first run and the tests use.
//!
//! A message is there whole or not at all, and it is on stable storage before we say so. The file's name is the same on
//! every attempt, so that one repeated after a crash replaces the first instead of standing beside it. The folder is the
//! last stop, so `Return-Path` and `Delivered-To` are put on top (RFC 5321 section 4.4); below them every byte is as rendered.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::reply::{HandOver, Trip};
use super::route::Letter;
use crate::outcome::{Reason, ReasonClass};

/// Writes the letter into the folder at `path`.
pub(super) async fn deliver(path: &Path, hostname: &str, letter: Letter<'_>) -> HandOver {
    let name = unique_name(letter.file_name, hostname);
    let head = format!(
        "Return-Path: <{}>\r\nDelivered-To: {}\r\n",
        letter.outgoing.reverse_path.as_str(),
        letter.recipient.as_str()
    );
    let (folder, file_name, raw) = (path.to_owned(), name.clone(), letter.outgoing.raw.clone());
    let task = tokio::task::spawn_blocking(move || write(&folder, &file_name, &[head.as_bytes(), &raw]));
    match task.await {
        Ok(Ok(())) => HandOver::Accepted { reference: name },
        Ok(Err(error)) => unavailable(&error.kind().to_string()),
        Err(_) => unavailable("the write was cut off"),
    }
}

fn unavailable(what: &str) -> HandOver {
    let reason = Reason::new(ReasonClass::Local, format!("the folder can't be written to: {what}"));
    HandOver::Unavailable(reason, Trip::AtOnce)
}

/// The name of the file: unique over machines, without the characters that mean something in a maildir.
fn unique_name(id: &str, hostname: &str) -> String {
    format!("{id}.{hostname}").replace('/', "\\057").replace(':', "\\072")
}

fn write(folder: &Path, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    make_folder(folder)?;
    let (temporary, place) = (folder.join("tmp").join(name), folder.join("new").join(name));
    let written = write_synced(&temporary, parts).and_then(|()| std::fs::rename(&temporary, &place));
    if written.is_err() {
        // What is half written only takes space; that it can't be removed changes nothing.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    // Without this a power cut undoes the rename.
    sync_folder(&folder.join("new"))
}

fn write_synced(path: &PathBuf, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

fn make_folder(folder: &Path) -> io::Result<()> {
    if ["tmp", "new", "cur"].iter().all(|part| folder.join(part).is_dir()) {
        return Ok(());
    }
    for part in ["tmp", "new", "cur"] {
        DirBuilder::new().recursive(true).mode(0o700).create(folder.join(part))?;
    }
    sync_folder(folder)?;
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        Some(_) | None => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::deliver::Outgoing;
    use crate::mail::{Address, Message, ReversePath};

    async fn put(path: &Path, raw: &'static [u8], name: &str) -> HandOver {
        let raw = Bytes::from_static(raw);
        let outgoing =
            Outgoing { reverse_path: ReversePath::Null, need: Message::new(raw.clone()).need(), raw };
        let recipient = Address::parse("anna@example.com").unwrap();
        let letter = Letter { outgoing: &outgoing, recipient: &recipient, file_name: name };
        deliver(path, "relay:1/x", letter).await
    }

    fn names(path: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(path).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_message_is_there_whole_with_its_envelope_on_top() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("deep/mail");
        let done = put(&folder, b"Subject: x\r\n\r\n.\r\nno end", "1.id").await;
        assert_eq!(done, HandOver::Accepted { reference: "1.id.relay\\0721\\057x".to_owned() });
        assert_eq!(names(&folder.join("new")), ["1.id.relay\\0721\\057x"]);
        let bytes = std::fs::read(folder.join("new/1.id.relay\\0721\\057x")).unwrap();
        assert_eq!(
            bytes,
            b"Return-Path: <>\r\nDelivered-To: anna@example.com\r\nSubject: x\r\n\r\n.\r\nno end"
        );
        assert!(names(&folder.join("tmp")).is_empty());
    }

    #[tokio::test]
    async fn an_attempt_repeated_after_a_crash_leaves_one_message() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("mail");
        put(&folder, b"Subject: x\r\n\r\nhi\r\n", "same").await;
        std::fs::write(folder.join("tmp/same.relay\\0721\\057x"), b"half").unwrap();
        put(&folder, b"Subject: x\r\n\r\nhi\r\n", "same").await;
        put(&folder, b"Subject: y\r\n\r\nhi\r\n", "other").await;
        assert_eq!(names(&folder.join("new")).len(), 2);
        assert!(names(&folder.join("tmp")).is_empty());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_unavailable() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, b"in the way").unwrap();
        let done = put(&file, b"Subject: x\r\n\r\n", "1").await;
        assert!(matches!(done, HandOver::Unavailable(_, Trip::AtOnce)), "{done:?}");
    }
}
