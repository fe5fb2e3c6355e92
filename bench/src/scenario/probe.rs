//! An urgent message behind a backlog: the figure that outranks the others.
//!
//! The backlog is accepted while the upstream stalls, then the upstream takes 50 ms for each message, and while it drains
//! an urgent message is sent every quarter of a second, whether or not the last has arrived.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::flow::{percentile, to_hand_over};
use super::{Bench, Wishes, clear};
use crate::client::{Habits, Sent, Until, send};
use crate::ledger::Ledger;
use crate::mail::Kind;
use crate::relay::Peer;
use crate::report::Figures;
use crate::sink::Sink;

/// What the probe is behind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Backlog {
    /// Invitations.
    Normal,
    /// Sign-in mail of another client.
    UrgentOfAnother,
}

const UPSTREAM: Duration = Duration::from_millis(50);
const EVERY: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_mins(10);
/// Probes on the idle server before.
const IDLE: usize = 40;

pub(super) async fn behind(bench: &Bench, peer: Peer, backlog: Backlog) -> anyhow::Result<Figures> {
    let none = Wishes::default();
    let ledger = Ledger::new(bench.sizes.backlog + 10_000);
    let sink = Sink::start(ledger.clone(), bench.manner(none, UPSTREAM))?;
    let setup = bench.setup(peer, sink.address(), none)?;
    let running = setup.start(peer).await?;
    let probes = bench.habits(&running, Kind::Urgent, 1, none);
    let idle = probe(&probes, &ledger, EVERY * IDLE as u32, usize::MAX).await?;
    ledger.wait_for(idle.accepted.len(), PATIENCE).await;

    let (row, kind) = match backlog {
        Backlog::Normal => ("urgent probe behind a normal backlog", Kind::Invitations),
        Backlog::UrgentOfAnother => ("urgent probe behind another client's urgent backlog", Kind::Urgent),
    };
    sink.stall(true);
    let mut bulk = bench.habits(&running, kind, 10, none);
    bulk.server = running.bulk;
    let backlog = send(&bulk, &ledger, 20, Until::Messages(bench.sizes.backlog)).await?;
    let all = idle.accepted.len() + backlog.accepted.len();
    sink.stall(false);
    let begun = Instant::now();
    let sent = probe(&probes, &ledger, bench.sizes.probing, all).await?;
    let drained_by_then = ledger.arrivals().saturating_sub(idle.accepted.len());
    let all = all + sent.accepted.len();
    ledger.wait_for(all, PATIENCE).await;

    let mut figures = Figures::new(row);
    let (before, behind) = (to_hand_over(&ledger, &idle), to_hand_over(&ledger, &sent));
    figures.lower("idle, p99", "ms", percentile(&before, 99));
    figures.lower("behind it, p50", "ms", percentile(&behind, 50));
    figures.lower("behind it, p99", "ms", percentile(&behind, 99));
    figures.lower("all handed over after", "s", begun.elapsed().as_secs_f64());
    figures.note(format!("{} probes while {drained_by_then} messages drained", sent.accepted.len()));
    figures.check(&ledger, &sent, all);
    clear(&setup, running).await?;
    Ok(figures)
}

/// Sends one message every `EVERY` for `time`, or until `all` messages have arrived.
async fn probe(habits: &Habits, ledger: &Arc<Ledger>, time: Duration, all: usize) -> anyhow::Result<Sent> {
    let end = Instant::now() + time;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tasks = JoinSet::new();
    while Instant::now() < end && ledger.arrivals() < all {
        ticks.tick().await;
        let (habits, ledger) = (habits.clone(), Arc::clone(ledger));
        tasks.spawn(async move { send(&habits, &ledger, 1, Until::Messages(1)).await });
    }
    let mut sent = Sent::default();
    while let Some(one) = tasks.join_next().await {
        let one = one??;
        sent.accepted.extend(one.accepted);
        sent.refused.extend(one.refused);
    }
    Ok(sent)
}
