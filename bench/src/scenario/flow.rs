//! Mail that flows: rates, latencies, CPU time, syncs, and a backlog after an outage.

use std::time::Duration;

use super::{Bench, Wishes, clear, ledger_for, settle_down};
use crate::client::{Sent, Until, send};
use crate::ledger::Ledger;
use crate::mail::Kind;
use crate::relay::Peer;
use crate::report::Figures;
use crate::sink::Sink;

const SESSIONS: usize = 20;
/// How many sessions send at once while syncs are counted.
const CROWDS: [(usize, &str); 3] =
    [(SESSIONS, "under load, 20 sessions"), (5, "5 sessions"), (100, "100 sessions")];
/// How long what was accepted may take to arrive.
const PATIENCE: Duration = Duration::from_mins(3);

/// Sends as much as is taken, for a while.
pub(super) async fn accept(
    bench: &Bench,
    peer: Peer,
    row: &'static str,
    per_connection: usize,
    wishes: Wishes,
) -> anyhow::Result<Figures> {
    let ledger = ledger_for(bench.sizes.load);
    let sink = Sink::start(ledger.clone(), bench.manner(wishes, Duration::ZERO))?;
    let setup = bench.setup(peer, sink.address(), wishes)?;
    let running = setup.start(peer).await?;
    let habits = bench.habits(&running, Kind::Mixed, per_connection, wishes);
    // Processes that are started on demand, and connections, are there before the clock starts.
    let warm = send(&habits, &ledger, SESSIONS, Until::Messages(SESSIONS)).await?;
    ledger.wait_for(warm.accepted.len(), PATIENCE).await;
    settle_down().await;

    let (cpu, begun) = (running.group.cpu()?, ledger.now());
    let sent = send(&habits, &ledger, SESSIONS, Until::After(bench.sizes.load)).await?;
    let all = warm.accepted.len() + sent.accepted.len();
    ledger.wait_for(all, PATIENCE).await;
    let handed_over = Duration::from_nanos(ledger.last_arrival().saturating_sub(begun));
    settle_down().await;
    let used = running.group.cpu()?.saturating_sub(cpu);

    let count = sent.accepted.len() as f64;
    let mut figures = Figures::new(row);
    figures.higher("accepted", "/s", count / sent.took.as_secs_f64());
    if peer != Peer::Straight {
        figures.higher("handed over", "/s", count / handed_over.as_secs_f64());
        figures.lower("CPU a message", "ms", used.as_secs_f64() * 1e3 / count);
    }
    let to_accept = to_accept(&ledger, &sent);
    figures.lower("accepted after, p50", "ms", percentile(&to_accept, 50));
    figures.lower("accepted after, p99", "ms", percentile(&to_accept, 99));
    figures.check(&ledger, &sent, all);
    clear(&setup, running).await?;
    Ok(figures)
}

/// One message at a time: the next is sent when the last has arrived.
pub(super) async fn single(bench: &Bench, peer: Peer) -> anyhow::Result<Figures> {
    let ledger = Ledger::new(bench.sizes.singles + 10);
    let sink = Sink::start(ledger.clone(), bench.manner(Wishes::default(), Duration::ZERO))?;
    let setup = bench.setup(peer, sink.address(), Wishes::default())?;
    let running = setup.start(peer).await?;
    let habits = bench.habits(&running, Kind::Urgent, 1, Wishes::default());
    let mut sent = Sent::default();
    for _ in 0..bench.sizes.singles {
        let one = send(&habits, &ledger, 1, Until::Messages(1)).await?;
        for number in &one.accepted {
            ledger.wait_for_one(*number, PATIENCE).await;
        }
        sent.accepted.extend(one.accepted);
        sent.refused.extend(one.refused);
    }
    let mut figures = Figures::new("single message");
    let (to_accept, to_hand_over) = (to_accept(&ledger, &sent), to_hand_over(&ledger, &sent));
    figures.lower("accepted after, p50", "ms", percentile(&to_accept, 50));
    figures.lower("accepted after, p99", "ms", percentile(&to_accept, 99));
    figures.lower("accepted to handed over, p50", "ms", percentile(&to_hand_over, 50));
    figures.lower("accepted to handed over, p99", "ms", percentile(&to_hand_over, 99));
    figures.check(&ledger, &sent, sent.accepted.len());
    clear(&setup, running).await?;
    Ok(figures)
}

/// Calls that sync, one message at a time and under load. Nothing else is taken from this run: it is traced.
pub(super) async fn syncs(bench: &Bench, peer: Peer) -> anyhow::Result<Figures> {
    let wishes = Wishes { count_syncs: true, ..Wishes::default() };
    let singles = 50;
    let ledger = Ledger::new(bench.sizes.synced * CROWDS.len() + singles + 10);
    let sink = Sink::start(ledger.clone(), bench.manner(wishes, Duration::ZERO))?;
    let setup = bench.setup(peer, sink.address(), wishes)?;
    let running = setup.start(peer).await?;
    let habits = bench.habits(&running, Kind::Urgent, 1, wishes);
    settle_down().await;
    let before = running.syncs();
    for _ in 0..singles {
        let one = send(&habits, &ledger, 1, Until::Messages(1)).await?;
        for number in &one.accepted {
            ledger.wait_for_one(*number, PATIENCE).await;
        }
        // One at a time means that its outcome is written down too before the next comes.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    settle_down().await;
    let mut figures = Figures::new("syncs a message");
    figures.lower("one at a time", "", (running.syncs() - before) as f64 / singles as f64);
    let habits = bench.habits(&running, Kind::Mixed, 10, wishes);
    let mut expected = singles;
    for (sessions, name) in CROWDS {
        let before = running.syncs();
        let sent = send(&habits, &ledger, sessions, Until::Messages(bench.sizes.synced)).await?;
        expected += sent.accepted.len();
        ledger.wait_for(expected, PATIENCE).await;
        settle_down().await;
        figures.lower(name, "", (running.syncs() - before) as f64 / sent.accepted.len() as f64);
        figures.check(&ledger, &sent, expected);
    }
    clear(&setup, running).await?;
    Ok(figures)
}

/// A backlog that was accepted while the upstream was away, from the moment at which it is back.
pub(super) async fn drain(bench: &Bench, peer: Peer) -> anyhow::Result<Figures> {
    let ledger = Ledger::new(bench.sizes.outage + 10);
    let mut sink = Sink::away(ledger.clone(), bench.manner(Wishes::default(), Duration::ZERO))?;
    let setup = bench.setup(peer, sink.address(), Wishes::default())?;
    let mut running = setup.start(peer).await?;
    let habits = bench.habits(&running, Kind::Mixed, 10, Wishes::default());
    let sent = send(&habits, &ledger, SESSIONS, Until::Messages(bench.sizes.outage)).await?;
    settle_down().await;
    let cpu = running.group.cpu()?;
    sink.appear()?;
    let back = ledger.now();
    running.upstream_is_back()?;
    ledger.wait_for(sent.accepted.len(), PATIENCE).await;
    let took = Duration::from_nanos(ledger.last_arrival().saturating_sub(back));
    settle_down().await;
    let used = running.group.cpu()?.saturating_sub(cpu);
    let mut figures = Figures::new("drain after an outage");
    figures.lower("time", "s", took.as_secs_f64());
    figures.higher("handed over", "/s", sent.accepted.len() as f64 / took.as_secs_f64());
    figures.lower("CPU a message", "ms", used.as_secs_f64() * 1e3 / sent.accepted.len() as f64);
    figures.check(&ledger, &sent, sent.accepted.len());
    clear(&setup, running).await?;
    Ok(figures)
}

fn to_accept(ledger: &Ledger, sent: &Sent) -> Vec<Duration> {
    sorted(sent.accepted.iter().filter_map(|number| Some(ledger.passage(*number)?.to_accept)))
}

/// From `250` to the sink, of each message in order of length.
pub(super) fn to_hand_over(ledger: &Ledger, sent: &Sent) -> Vec<Duration> {
    sorted(sent.accepted.iter().filter_map(|number| ledger.passage(*number)?.to_hand_over))
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times
}

/// In milliseconds.
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}
