//! What is measured. Each scenario starts a server anew and returns figures; none knows which server it is.

mod crowd;
mod flow;
mod million;
mod probe;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::ValueEnum;

use crate::certificate::Tls;
use crate::client::Habits;
use crate::ledger::Ledger;
use crate::mail::{Kind, Mail};
use crate::relay::{Peer, Ports, Programs, Running, Setup};
use crate::report::Figures;
use crate::sink::Manner;

/// What can be asked for with `--only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// 20 sessions, one message a connection.
    Accept1,
    /// 20 sessions, ten messages a connection.
    Accept10,
    /// One message at a time.
    Single,
    /// An urgent message behind a backlog of the normal class that drains to a slow upstream.
    ProbeNormal,
    /// The same behind a backlog of urgent mail of another client.
    ProbeUrgent,
    /// A backlog after the upstream was away.
    Drain,
    /// Like `accept10`, with STARTTLS on both sides.
    Starttls,
    /// Like `accept10`, signed with RSA-2048 and Ed25519.
    Dkim,
    /// Calls that sync, by message.
    Syncs,
    /// Memory, idle and with idle connections.
    Memory,
    /// Normal clients beside slow ones.
    Slow,
    /// A million messages in the queue.
    Million,
}

impl Scenario {
    /// Whether it is made in every round. What hardly varies is made once.
    pub fn repeats(self) -> bool {
        match self {
            Self::Accept1
            | Self::Accept10
            | Self::Single
            | Self::ProbeNormal
            | Self::ProbeUrgent
            | Self::Drain
            | Self::Starttls
            | Self::Dkim => true,
            Self::Syncs | Self::Memory | Self::Slow | Self::Million => false,
        }
    }

    /// Whether it makes sense for a server.
    pub fn concerns(self, peer: Peer) -> bool {
        match self {
            Self::Accept1 | Self::Accept10 | Self::Starttls => true,
            Self::Single | Self::Drain | Self::Syncs | Self::Memory | Self::Slow => peer != Peer::Straight,
            // Exim is a process a message: it has no queue in the way of one, and no bound on its upstream either.
            Self::ProbeNormal | Self::ProbeUrgent => matches!(peer, Peer::Authrelay | Peer::Postfix),
            // Postfix signs only with a further program; a million takes the others an hour.
            Self::Dkim | Self::Million => peer == Peer::Authrelay,
        }
    }
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub load: Duration,
    pub singles: usize,
    pub backlog: usize,
    pub probing: Duration,
    pub outage: usize,
    pub synced: usize,
    pub million: usize,
    pub crowd: [usize; 2],
}

impl Sizes {
    pub const FULL: Self = Self {
        load: Duration::from_secs(6),
        singles: 300,
        backlog: 5_000,
        probing: Duration::from_secs(30),
        outage: 5_000,
        synced: 2_000,
        million: 1_000_000,
        crowd: [1_000, 10_000],
    };
    pub const QUICK: Self = Self {
        load: Duration::from_secs(2),
        singles: 50,
        backlog: 1_000,
        probing: Duration::from_secs(6),
        outage: 500,
        synced: 300,
        million: 20_000,
        crowd: [200, 1_000],
    };
}

/// What all scenarios stand on.
pub struct Bench {
    pub programs: Programs,
    pub scratch: PathBuf,
    pub sizes: Sizes,
    pub tls: Tls,
    pub runs: AtomicUsize,
}

/// What a scenario asks of its server.
#[derive(Debug, Clone, Copy, Default)]
struct Wishes {
    tls: bool,
    sign: bool,
    count_syncs: bool,
}

impl Bench {
    /// Measures one server in one scenario.
    pub async fn measure(&self, scenario: Scenario, peer: Peer) -> anyhow::Result<Figures> {
        let none = Wishes::default();
        match scenario {
            Scenario::Accept1 => flow::accept(self, peer, "accept, 1 a connection", 1, none).await,
            Scenario::Accept10 => flow::accept(self, peer, "accept, 10 a connection", 10, none).await,
            Scenario::Starttls => {
                let wishes = Wishes { tls: true, ..none };
                flow::accept(self, peer, "STARTTLS on both sides", 10, wishes).await
            }
            Scenario::Dkim => {
                flow::accept(self, peer, "DKIM, RSA and Ed25519", 10, Wishes { sign: true, ..none }).await
            }
            Scenario::Single => flow::single(self, peer).await,
            Scenario::Syncs => flow::syncs(self, peer).await,
            Scenario::Drain => flow::drain(self, peer).await,
            Scenario::ProbeNormal => probe::behind(self, peer, probe::Backlog::Normal).await,
            Scenario::ProbeUrgent => probe::behind(self, peer, probe::Backlog::UrgentOfAnother).await,
            Scenario::Memory => crowd::memory(self, peer).await,
            Scenario::Slow => crowd::slow(self, peer).await,
            Scenario::Million => million::queued(self, peer).await,
        }
    }

    fn setup(&self, peer: Peer, sink: std::net::SocketAddr, wishes: Wishes) -> anyhow::Result<Setup> {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        Ok(Setup {
            programs: self.programs.clone(),
            folder: self.scratch.join(format!("{run}-{}", peer.name())),
            sink,
            tls: wishes.tls.then(|| self.tls.files.clone()),
            sign: wishes.sign,
            count_syncs: wishes.count_syncs,
            ports: Ports::free()?,
        })
    }

    fn manner(&self, wishes: Wishes, pause: Duration) -> Manner {
        Manner { pause, tls: wishes.tls.then(|| Arc::clone(&self.tls.server)) }
    }

    fn habits(
        &self,
        running: &Running,
        mail: Kind,
        messages_per_connection: usize,
        wishes: Wishes,
    ) -> Habits {
        Habits {
            server: running.address,
            messages_per_connection,
            tls: wishes.tls.then(|| Arc::clone(&self.tls.client)),
            mail: Arc::new(Mail::new(mail)),
        }
    }
}

/// Ends a server and removes what it left.
async fn clear(setup: &Setup, running: Running) -> anyhow::Result<()> {
    running.stop().await?;
    std::fs::remove_dir_all(&setup.folder).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error.into()),
    })
}

/// Room for this many messages a second at the most.
fn ledger_for(time: Duration) -> Arc<Ledger> {
    Ledger::new(usize::try_from(time.as_secs() + 1).unwrap_or(1) * 60_000)
}

/// After the last message has arrived a server still writes that down, of which nothing tells outside.
async fn settle_down() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}
