//! The servers that are measured, each as the same gateway: accept durably, rewrite envelope and header sender, forward to
//! the sink. Every measurement starts one anew, in a folder and on ports of its own; the system's own are never touched.

mod authrelay;
mod exim;
mod postfix;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::group::Group;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// Nobody: the generator sends straight to the sink, which is the ceiling.
    Straight,
    Authrelay,
    Postfix,
    Exim,
}

/// All of them, in the order of the table.
pub const PEERS: [Peer; 4] = [Peer::Straight, Peer::Authrelay, Peer::Postfix, Peer::Exim];

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Self::Straight => "straight",
            Self::Authrelay => "authrelay",
            Self::Postfix => "postfix",
            Self::Exim => "exim",
        }
    }
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    pub authrelay: PathBuf,
    pub exim: PathBuf,
}

/// What one measurement needs of a server.
#[derive(Debug, Clone)]
pub struct Setup {
    pub programs: Programs,
    /// An empty folder of its own.
    pub folder: PathBuf,
    pub sink: SocketAddr,
    /// Certificate files, where both sides are to use STARTTLS.
    pub tls: Option<Certificates>,
    /// Whether to sign with RSA-2048 and Ed25519.
    pub sign: bool,
    /// Whether to count calls that sync.
    pub count_syncs: bool,
    pub ports: Ports,
}

/// Where a server listens: for the client that is measured, and for the one with the backlog.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub main: u16,
    pub bulk: u16,
}

impl Ports {
    /// Two that are free now.
    pub fn free() -> anyhow::Result<Self> {
        let find = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let (main, bulk) = (find()?, find()?);
        Ok(Self { main: main.local_addr()?.port(), bulk: bulk.local_addr()?.port() })
    }
}

/// Files in PEM.
#[derive(Debug, Clone)]
pub struct Certificates {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A server that runs.
pub struct Running {
    /// Where the client whose mail is measured sends.
    pub address: SocketAddr,
    /// Where the client with the backlog sends.
    pub bulk: SocketAddr,
    pub group: Group,
    /// Tells it that the upstream is back, where an operator would.
    flush: Option<Command>,
    traced: Option<PathBuf>,
    child: Option<Child>,
    pub started_in: Duration,
}

impl Setup {
    /// Starts a server and waits until it answers.
    pub async fn start(&self, peer: Peer) -> anyhow::Result<Running> {
        std::fs::create_dir_all(&self.folder)?;
        let mut running = match peer {
            Peer::Straight => return Ok(straight(self.sink)),
            Peer::Authrelay => authrelay::start(self)?,
            Peer::Postfix => postfix::start(self)?,
            Peer::Exim => exim::start(self)?,
        };
        let begun = Instant::now();
        running.await_greeting().await.with_context(|| {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(5).collect();
            format!("{} did not start; the end of its log: {end:?}", peer.name())
        })?;
        running.started_in = begun.elapsed();
        running.traced = self.count_syncs.then(|| self.folder.join(SYNCS));
        Ok(running)
    }
}

impl Running {
    async fn await_greeting(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + Duration::from_mins(2);
        while Instant::now() < end {
            if let Ok(stream) = TcpStream::connect(self.address).await {
                let mut wire = crate::wire::Wire::new(stream)?;
                if wire.expect(b'2').await.is_ok() {
                    let _ = wire.write(b"QUIT\r\n").await;
                    return Ok(());
                }
            }
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("it ended: {status}");
            }
            // Nobody tells when a port begins to answer.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("no greeting at {}", self.address)
    }

    /// Does what an operator would when the upstream is back. What retries by itself needs nothing.
    pub fn upstream_is_back(&mut self) -> anyhow::Result<()> {
        if let Some(flush) = &mut self.flush {
            flush.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        }
        Ok(())
    }

    /// Ends it.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.group.end().await;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }

    /// How often it has synced up to now.
    pub fn syncs(&self) -> u64 {
        let text = self.traced.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        text.map_or(0, |text| text.lines().filter(|line| is_sync(line)).count() as u64)
    }
}

/// The file with the calls that sync, in the folder of a measurement.
const SYNCS: &str = "syncs";

fn is_sync(line: &str) -> bool {
    // An interrupted call stands on two lines.
    ["fsync(", "fdatasync(", "sync_file_range(", "syncfs(", "msync("].iter().any(|call| line.contains(call))
}

fn straight(sink: SocketAddr) -> Running {
    Running {
        address: sink,
        bulk: sink,
        group: Group::new("straight"),
        flush: None,
        traced: None,
        child: None,
        started_in: Duration::ZERO,
    }
}

/// A running server of these parts.
fn running(
    group: Group,
    child: Option<Child>,
    address: SocketAddr,
    bulk: SocketAddr,
    flush: Option<Command>,
) -> Running {
    Running { address, bulk, group, flush, traced: None, child, started_in: Duration::ZERO }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A command in a group, under a tracer of what syncs where that is to be counted. The filter is in the kernel, so that
/// nothing else is slowed down.
fn command(setup: &Setup, group: &Group, program: &Path) -> Command {
    if !setup.count_syncs {
        return group.command(program);
    }
    let mut command = group.command(Path::new("strace"));
    command.args(["-f", "--seccomp-bpf", "-qq", "-e", "signal=none"]);
    command.args(["-e", "trace=fsync,fdatasync,sync_file_range,syncfs,msync", "-o"]);
    command.arg(setup.folder.join(SYNCS)).arg("--").arg(program);
    command
}

/// Runs a command to its end.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// A file for what a server says.
fn log(folder: &Path) -> anyhow::Result<Stdio> {
    Ok(std::fs::File::options().create(true).append(true).open(folder.join("log"))?.into())
}
