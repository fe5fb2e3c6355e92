//! A disk that fails in the middle. The test starts itself again under strace, which makes one system call of the
//! writer fail, and then compares what the callers were told with what a fresh start finds.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use authrelay::clock::Clock;
use authrelay::ident::MessageId;
use authrelay::queue::store::sqlite::SqliteStore;
use authrelay::queue::{Keyring, Store, StoreError};

use crate::{skipped, support::*};

/// Names the folder for the process that runs under strace.
const CHILD: &str = "AUTHRELAY_TEST_FAULTS";
const PUTS: usize = 12;

#[tokio::test]
async fn what_a_caller_was_told_is_what_a_fresh_start_finds() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return put_and_write_down(Path::new(&folder)).await;
    }
    if Command::new("strace").arg("-V").stdout(std::process::Stdio::null()).status().is_err() {
        return skipped::skipped("a disk that fails: strace is not installed");
    }
    let (mut failed, mut full) = (0, 0);
    for fault in ["fdatasync:error=EIO", "pwrite64:error=EIO", "pwrite64:error=ENOSPC"] {
        // Counted by thread: the first calls of the writer's are the truncation at the start.
        for when in [3, 6, 7, 8, 11, 20, 40] {
            let told = run_with(&format!("{fault}:when={when}")).await;
            failed += told.iter().filter(|told| told.as_str() == "failed").count();
            full += told.iter().filter(|told| told.as_str() == "full").count();
        }
    }
    // A disk that is full for a while refuses for that while, and the store goes on afterwards.
    let told = run_with("pwrite64:error=ENOSPC:when=9..15").await;
    assert!(
        told.iter().any(|told| told == "full") && told.last().is_some_and(|told| told == "stored"),
        "{told:?}"
    );
    // A disk that stays broken stops the store: nothing that was promised is lost, and nothing more is promised.
    let told = run_with("fdatasync:error=EIO:when=8+").await;
    assert!(
        told.iter().any(|told| told == "stored") && told.last().is_some_and(|told| told == "failed"),
        "{told:?}"
    );
    // The faults did strike, and the disk that was full was called full.
    assert!(failed > 3 && full > 3, "{failed} failed, {full} full");
}

/// Runs the child under a fault and returns what its callers were told.
async fn run_with(fault: &str) -> Vec<String> {
    let folder = Folder::new();
    let lasting = fault.ends_with('+');
    // Made without faults, so that the counts are those of the writer's thread.
    drop(folder.sqlite(START));
    let status = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=fdatasync,pwrite64",
            "-e",
            &format!("inject={fault}"),
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "faults::what_a_caller_was_told_is_what_a_fresh_start_finds"])
        .env(CHILD, folder.directory.path())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    let written = std::fs::read_to_string(folder.directory.path().join("told")).unwrap_or_default();
    assert!(status.success(), "{fault}: {status}, {written}");
    let store = folder.sqlite(START);
    let mut all = Vec::new();
    for line in written.lines() {
        let (id, told) = line.split_once(' ').unwrap();
        let id: MessageId = id.parse().unwrap();
        let kept = store.message(id).await.unwrap().is_some();
        // What failed when the store stopped may be found by the next start; it is sent rather than lost.
        assert!(kept == (told == "stored") || kept && lasting, "{fault}: {line}");
        all.push(told.to_owned());
    }
    // After one failure that passes, the store goes on.
    assert!(all.len() == PUTS && (lasting || all[PUTS - 1] == "stored"), "{fault}: {all:?}");
    all
}

async fn put_and_write_down(folder: &Path) {
    let keyring = Arc::new(Keyring::load(&folder.join("queue.key")).unwrap());
    let open = || SqliteStore::open(&folder.join("queue.db"), Arc::clone(&keyring), Clock::simulated(START));
    // Calls are counted by thread, so the fault may strike here first; nothing was promised yet.
    let store = open().or_else(|_| open()).unwrap();
    let mut told = String::new();
    for _ in 0..PUTS {
        let draft = draft("shop", "anna@example.com", START).payload(mail(&noise(3000)));
        let id = draft.put.entries[0].entry.id;
        let what = match store.commit(vec![draft.change()]).await {
            Ok(_) => "stored",
            Err(StoreError::Full) => "full",
            Err(StoreError::Failed(_)) => "failed",
            Err(other) => panic!("{other}"),
        };
        told.extend([id.to_string().as_str(), " ", what, "\n"]);
    }
    std::fs::write(folder.join("told"), told).unwrap();
    // As a crash would: no clean stop.
    std::process::exit(0);
}
