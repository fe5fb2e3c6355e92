//! This machine: the disk that messages are kept on, the clock, our own certificate, and folders that are delivered into.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::certificate::Certificate;
use super::{Area, Finding};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::deliver::UpstreamConfig;

/// Below this the store can hardly work.
const SPACE_LEAST: u64 = 64 << 20;
/// Below this somebody should make room.
const SPACE_LOW: u64 = 1 << 30;
const INODES_LEAST: u64 = 1000;

/// How long before its end our own certificate is warned of: what renews it should have long since.
const RENEWED_BEFORE_DAYS: u64 = 21;

/// How far apart two clocks may be: what is dated, signed and expires is judged by others to the minute.
const APART_SOME: Duration = Duration::from_secs(5);
const APART_MUCH: Duration = Duration::from_mins(1);

/// How long the system may take to say whether its clock is set.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks at this machine.
pub(super) async fn examine(config: &Config, clock: Clock) -> Vec<Finding> {
    let mut findings = vec![disk(&config.state_directory), certificate(config, clock.now())];
    findings.push(synchronised().await);
    findings
}

/// A folder of this machine that is delivered into.
pub(super) fn folder(upstream: &UpstreamConfig, path: &Path, what: &str) -> Finding {
    let shown = path.display();
    let Some(there) = existing(path) else {
        return Finding::error(Area::Upstream, &upstream.name, format!("{shown} can't be looked at"))
            .advise("see to its permissions, or use sudo");
    };
    if !there.is_dir() {
        return Finding::error(Area::Upstream, &upstream.name, format!("{shown} is not a folder"))
            .advise("name another `path`");
    }
    Finding::ok(Area::Upstream, &upstream.name, format!("{what} stays on this machine, in {shown}"))
}

fn disk(state: &Path) -> Finding {
    let shown = state.display();
    let Some(there) = existing(state) else {
        return Finding::error(Area::Disk, &shown, "can't be looked at")
            .advise("see to its permissions, or use sudo");
    };
    let status = match rustix::fs::statvfs(there) {
        Ok(status) => status,
        Err(error) => return Finding::error(Area::Disk, &shown, format!("can't be looked at: {error}")),
    };
    if status.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Finding::error(Area::Disk, &shown, "is mounted read-only: no message can be accepted")
            .advise("see why with `dmesg`, and mount it writable");
    }
    let free = status.f_bavail.saturating_mul(status.f_frsize);
    // Some file systems make inodes as they are needed and count none.
    let inodes = if status.f_files == 0 { u64::MAX } else { status.f_favail };
    let text = format!("{} free for messages", size(free));
    if free < SPACE_LEAST {
        return Finding::error(Area::Disk, &shown, text)
            .advise("make room: new messages are refused with 452");
    }
    if inodes < INODES_LEAST {
        return Finding::error(Area::Disk, &shown, format!("{inodes} inodes left"))
            .advise("remove small files: nothing new can be made here soon");
    }
    if free < SPACE_LOW {
        return Finding::warning(Area::Disk, &shown, text).advise("make room before it is full");
    }
    Finding::ok(Area::Disk, &shown, text)
}

/// The path, or the nearest of its parents that is there: it is made at first start.
fn existing(path: &Path) -> Option<&Path> {
    // Of a relative path the last one is empty, and means the folder we are in.
    let here = |part: &'_ Path| part.as_os_str().is_empty();
    path.ancestors()
        .find(|part| here(part) || part.try_exists().unwrap_or(false))
        .map(|part| if here(part) { Path::new(".") } else { part })
}

fn size(octets: u64) -> String {
    match octets {
        octets if octets >= 1 << 30 => format!("{} GiB", octets >> 30),
        octets => format!("{} MiB", octets >> 20),
    }
}

/// The certificate that our own listeners show.
fn certificate(config: &Config, now: Timestamp) -> Finding {
    let (path, is_own) = match &config.tls {
        Some(files) => (files.certificate.clone(), false),
        None => (config.tls_directory().join("certificate.pem"), true),
    };
    let shown = path.display();
    let read = CertificateDer::pem_file_iter(&path).ok().and_then(|all| {
        all.filter_map(Result::ok).filter_map(|der| Certificate::read(&der)).min_by_key(|one| one.ends)
    });
    let Some(certificate) = read else {
        if is_own {
            let text = "a self-signed certificate is made at first start";
            return Finding::note(Area::Certificate, &shown, text).advise(OWN);
        }
        return Finding::error(Area::Certificate, &shown, "no certificate can be read from it")
            .advise("see to the file and its permissions, or use sudo");
    };
    let (ends, left) = (certificate.ends(), certificate.days_left(now));
    if certificate.ends <= now {
        return Finding::error(Area::Certificate, &shown, format!("ended at {ends}: clients can't connect"))
            .advise("renew it, then `systemctl reload authrelay`");
    }
    let text = format!("good until {ends} ({})", super::days(left));
    if left < RENEWED_BEFORE_DAYS {
        return Finding::warning(Area::Certificate, &shown, text)
            .advise("what renews it should have by now: see its log");
    }
    if is_own {
        return Finding::note(Area::Certificate, &shown, format!("{text}, self-signed")).advise(OWN);
    }
    Finding::ok(Area::Certificate, &shown, text)
}

const OWN: &str = "clients that verify certificates refuse it: set [tls] certificate and key";

/// Compares our clock with what a server said at this moment.
pub(super) fn clock_against(theirs: Timestamp, whose: &str, ours: Timestamp) -> Finding {
    let (apart, how) =
        if ours > theirs { (ours.since(theirs), "fast") } else { (theirs.since(ours), "slow") };
    let seconds = apart.as_secs();
    if apart <= APART_SOME {
        return Finding::ok(
            Area::Clock,
            "machine",
            format!("agrees with {whose} to within {} s", seconds + 1),
        );
    }
    let text = format!("is {seconds} s {how}, by {whose}");
    let finding = if apart > APART_MUCH {
        Finding::error(Area::Clock, "machine", text)
    } else {
        Finding::warning(Area::Clock, "machine", text)
    };
    finding.advise("set it by NTP: `timedatectl set-ntp true`, or install chrony")
}

/// Whether the kernel says that something keeps its clock right.
async fn synchronised() -> Finding {
    let mut command = tokio::process::Command::new("timedatectl");
    command.args(["show", "--property=NTPSynchronized", "--value"]);
    command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let answer = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Ok(Err(_)) | Err(_) => String::new(),
    };
    said(&answer)
}

fn said(answer: &str) -> Finding {
    match answer {
        "yes" => Finding::ok(Area::Clock, "machine", "is kept right over the network"),
        "no" => Finding::warning(Area::Clock, "machine", "nothing keeps it right").advise(
            "`timedatectl set-ntp true`, or install chrony: lives of codes, dates and signatures depend on it",
        ),
        _ => Finding::note(Area::Clock, "machine", "whether something keeps it right can't be told here"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    #[test]
    fn clocks_that_differ_are_told_by_how_much_and_which_way() {
        let theirs = Timestamp::from_millis(1_000_000_000);
        for (ours, severity, words) in [
            (theirs.plus(Duration::from_millis(900)), Severity::Ok, "within 1 s"),
            (theirs.plus(Duration::from_secs(20)), Severity::Warning, "20 s fast"),
            (theirs.minus(Duration::from_secs(20)), Severity::Warning, "20 s slow"),
            (theirs.minus(Duration::from_hours(1)), Severity::Error, "3600 s slow"),
        ] {
            let finding = clock_against(theirs, "Twilio", ours);
            assert!(finding.severity == severity && finding.message.contains(words), "{finding:?}");
        }
    }

    #[test]
    fn what_the_system_says_of_its_clock() {
        assert_eq!(said("yes").severity, Severity::Ok);
        assert_eq!(said("no").severity, Severity::Warning);
        assert_eq!(said("").severity, Severity::Note);
    }

    #[test]
    fn a_relative_path_ends_in_the_folder_we_are_in() {
        assert_eq!(existing(Path::new("not/yet/there")), Some(Path::new(".")));
    }

    #[test]
    fn a_state_directory_that_is_not_there_yet_is_judged_by_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        let finding = disk(&folder.path().join("not/yet"));
        assert!(finding.severity != Severity::Error || finding.message.contains("free"), "{finding:?}");
        assert!(finding.message.contains("free for messages"), "{finding:?}");
    }
}
