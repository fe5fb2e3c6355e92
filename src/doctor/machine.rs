//! This machine: the disk that messages are kept on, the clock, our own certificate, and folders that are delivered into.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::certificate::Certificate;
use super::{Area, Finding};
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Reserve};
use crate::deliver::UpstreamConfig;
use crate::http::Bind;
use crate::ident::ListenerName;
use crate::smtp::ListenAt;

/// Below so many times what is kept back somebody should make room.
const SOON: u64 = 4;

/// How long before its end our own certificate is warned of: what renews it should have long since.
const RENEWED_BEFORE_DAYS: u64 = 21;

/// How far apart two clocks may be: what is dated, signed and expires is judged by others to the minute.
const APART_SOME: Duration = Duration::from_secs(5);
const APART_MUCH: Duration = Duration::from_mins(1);

/// How long the system may take to say whether its clock is set.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks at this machine.
pub(super) async fn examine(config: &Config, clock: Clock) -> Vec<Finding> {
    let mut findings = disks(config);
    findings.push(certificate(config, clock.now()));
    findings.extend(listeners(config));
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

/// Where messages are kept, and the state directory where that is on another disk: the daemon keeps room back on both.
fn disks(config: &Config) -> Vec<Finding> {
    let queue = config.queue.path.parent().unwrap_or(Path::new("."));
    let state = &config.state_directory;
    let device =
        |path: &Path| existing(path).and_then(|there| there.metadata().ok()).map(|found| found.dev());
    let mut findings = vec![disk(queue, config.queue.reserve)];
    if device(queue) != device(state) {
        findings.push(disk(state, config.queue.reserve));
    }
    findings
}

fn disk(folder: &Path, reserve: Reserve) -> Finding {
    let shown = folder.display();
    let Some(there) = existing(folder) else {
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
    room(&shown, free, inodes, reserve)
}

/// Judges what is free by what is kept back, as the daemon does.
fn room(shown: &impl std::fmt::Display, free: u64, inodes: u64, reserve: Reserve) -> Finding {
    let bytes = format!("{} free for messages, {} of it kept back", size(free), size(reserve.bytes));
    let files = format!("{inodes} more files fit, {} of them kept back", reserve.inodes);
    let refused = "new messages are answered 452 until there is more";
    if free < reserve.bytes {
        return Finding::error(Area::Disk, shown, bytes)
            .advise(format!("make room (disk_reserve in [queue]): {refused}"));
    }
    if inodes < reserve.inodes {
        return Finding::error(Area::Disk, shown, files)
            .advise(format!("remove small files (inode_reserve in [queue]): {refused}"));
    }
    if free < reserve.bytes.saturating_mul(SOON) {
        return Finding::warning(Area::Disk, shown, bytes).advise("make room before it is full");
    }
    if inodes < reserve.inodes.saturating_mul(SOON) {
        return Finding::warning(Area::Disk, shown, files).advise("remove small files before none fits");
    }
    Finding::ok(Area::Disk, shown, bytes)
}

/// Whether somebody else has the addresses of our listeners. A daemon of ours that runs has them.
fn listeners(config: &Config) -> Vec<Finding> {
    if std::os::unix::net::UnixStream::connect(&config.control_socket).is_ok() {
        return Vec::new();
    }
    let smtp = config.listeners.iter().filter_map(|listener| match listener.at {
        ListenAt::Address(address) => Some((&listener.name, address)),
        ListenAt::Systemd => None,
    });
    let http = config.http.iter().filter_map(|listener| match &listener.bind {
        Bind::Tcp(address) => Some((&listener.name, *address)),
        Bind::Unix(..) | Bind::Systemd => None,
    });
    let taken = |(name, address): (&ListenerName, SocketAddr)| {
        let text = format!("the daemon does not run, and another program listens on {address}");
        let finding = Finding::error(Area::Listener, name, text);
        is_taken(address).then(|| finding.advise("`ss -ltnp` says which; end it, or write another address"))
    };
    smtp.chain(http).filter_map(taken).collect()
}

/// Whether somebody listens there. Nothing listens for this: the address is bound, and given back.
fn is_taken(address: SocketAddr) -> bool {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
    };
    let bound = socket.and_then(|socket| {
        // As the daemon itself does: what is left of connections that ended is nobody's.
        socket.set_reuseaddr(true)?;
        socket.bind(address)
    });
    bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
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
    // Our environment may hold passwords (`password_env`).
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
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
    fn room_is_judged_by_what_is_kept_back() {
        let reserve = Reserve { bytes: 100 << 20, inodes: 1000 };
        for (mebibytes, inodes, severity, words) in [
            (99, 9000, Severity::Error, "99 MiB free for messages, 100 MiB of it kept back"),
            (9000, 999, Severity::Error, "999 more files fit, 1000 of them kept back"),
            (399, 9000, Severity::Warning, "399 MiB free"),
            (9000, 3999, Severity::Warning, "3999 more files fit"),
            (400, 4000, Severity::Ok, "400 MiB free"),
        ] {
            let finding = room(&"/srv", mebibytes << 20, inodes, reserve);
            assert!(finding.severity == severity && finding.message.contains(words), "{finding:?}");
        }
    }

    #[test]
    fn an_address_is_taken_while_somebody_listens_there() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        assert!(is_taken(address));
        drop(listener);
        assert!(!is_taken(address));
    }

    #[test]
    fn a_relative_path_ends_in_the_folder_we_are_in() {
        assert_eq!(existing(Path::new("not/yet/there")), Some(Path::new(".")));
    }

    #[test]
    fn a_state_directory_that_is_not_there_yet_is_judged_by_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        let none = Reserve { bytes: 0, inodes: 0 };
        let finding = disk(&folder.path().join("not/yet"), none);
        assert!(finding.severity != Severity::Error || finding.message.contains("free"), "{finding:?}");
        assert!(finding.message.contains("free for messages"), "{finding:?}");
    }
}
