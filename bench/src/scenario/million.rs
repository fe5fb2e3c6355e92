//! A million messages in the queue: memory, and how soon a start with them answers.
//!
//! The queue is filled over SMTP while the upstream is away, with small invitations, which live for days.

use tokio::time::Instant;

use super::{Bench, Wishes, settle_down};
use crate::client::{Until, send};
use crate::ledger::Ledger;
use crate::mail::Kind;
use crate::relay::Peer;
use crate::report::Figures;
use crate::sink::Sink;

pub(super) async fn queued(bench: &Bench, peer: Peer) -> anyhow::Result<Figures> {
    let none = Wishes::default();
    let ledger = Ledger::new(bench.sizes.million + 10);
    let sink = Sink::away(ledger.clone(), bench.manner(none, std::time::Duration::ZERO))?;
    let setup = bench.setup(peer, sink.address(), none)?;
    let running = setup.start(peer).await?;
    let mut habits = bench.habits(&running, Kind::SmallInvitations, 500, none);
    habits.server = running.bulk;
    let begun = Instant::now();
    let sent = send(&habits, &ledger, 50, Until::Messages(bench.sizes.million)).await?;
    let took = begun.elapsed();
    settle_down().await;
    let mebibytes = |octets: u64| octets as f64 / f64::from(1 << 20);
    let mut figures = Figures::new("a million queued messages");
    figures.higher("accepted meanwhile", "/s", sent.accepted.len() as f64 / took.as_secs_f64());
    figures.lower("memory (PSS)", "MiB", mebibytes(running.group.memory()));
    figures.note(format!("{} messages of 1 KiB in the queue", sent.accepted.len()));
    figures.check(&ledger, &sent, 0);
    running.stop().await?;

    let again = setup.start(peer).await?;
    figures.lower("start to listening", "ms", again.started_in.as_secs_f64() * 1e3);
    settle_down().await;
    figures.lower("memory after the start", "MiB", mebibytes(again.group.memory()));
    super::clear(&setup, again).await?;
    Ok(figures)
}
