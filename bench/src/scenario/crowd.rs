//! Many connections: what idle ones cost, and whether slow ones take anybody's turn.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Bench, Wishes, clear, settle_down};
use crate::client::{Until, send};
use crate::ledger::Ledger;
use crate::mail::Kind;
use crate::relay::Peer;
use crate::report::Figures;
use crate::sink::Sink;
use crate::wire::Wire;

/// How long a client waits for its greeting, and a normal client for all it wants.
const GREETING: Duration = Duration::from_secs(15);
const NORMAL: Duration = Duration::from_secs(30);
const NORMAL_CLIENTS: usize = 10;
/// How many connect at once: what is measured is that they stand, not the storm.
const WAVE: usize = 500;

/// The fewer slow connections; the more are as many as the most idle ones.
const SLOW: usize = 300;

/// Memory idle, and with so many connections that have said EHLO and nothing since.
pub(super) async fn memory(bench: &Bench, peer: Peer) -> anyhow::Result<Figures> {
    let ledger = Ledger::new(100);
    let sink = Sink::start(ledger.clone(), bench.manner(Wishes::default(), Duration::ZERO))?;
    let setup = bench.setup(peer, sink.address(), Wishes::default())?;
    let running = setup.start(peer).await?;
    let habits = bench.habits(&running, Kind::Urgent, 1, Wishes::default());
    let sent = send(&habits, &ledger, 1, Until::Messages(1)).await?;
    ledger.wait_for(1, GREETING).await;
    settle_down().await;
    let mut figures = Figures::new("memory (PSS)");
    figures.lower("idle", "MiB", mebibytes(running.group.memory()));
    let mut open = Vec::new();
    for (index, many) in bench.sizes.crowd.into_iter().enumerate() {
        if index > 0 && peer != Peer::Authrelay {
            // 10,000 processes.
            break;
        }
        open.extend(greet(running.address, many - open.len()).await);
        let names = ["with 1,000 idle connections", "with 10,000 idle connections"];
        figures.lower(names[index], "MiB", mebibytes(running.group.memory()));
        figures.note(format!("{} of {many} idle connections were greeted", open.len()));
    }
    drop(open);
    figures.check(&ledger, &sent, 1);
    clear(&setup, running).await?;
    Ok(figures)
}

/// Ten normal clients beside connections that send an octet a minute.
pub(super) async fn slow(bench: &Bench, peer: Peer) -> anyhow::Result<Figures> {
    let mut figures = Figures::new("normal clients served, of 10");
    for (many, name) in
        [(SLOW, "beside 300 slow connections"), (bench.sizes.crowd[1], "beside 10,000 slow connections")]
    {
        if many > SLOW && peer != Peer::Authrelay {
            break;
        }
        let ledger = Ledger::new(100);
        let sink = Sink::start(ledger.clone(), bench.manner(Wishes::default(), Duration::ZERO))?;
        let setup = bench.setup(peer, sink.address(), Wishes::default())?;
        let running = setup.start(peer).await?;
        let (crowd, stand) = crawl(running.address, many).await;
        let habits = bench.habits(&running, Kind::Urgent, 1, Wishes::default());
        let sending = send(&habits, &ledger, NORMAL_CLIENTS, Until::Messages(NORMAL_CLIENTS));
        // What is in the ledger by then counts, whether or not all were served.
        let _ = timeout(NORMAL, sending).await;
        let served = (0..NORMAL_CLIENTS as u64).filter(|&number| ledger.passage(number).is_some()).count();
        figures.higher(name, "", served as f64);
        figures.note(format!("{stand} of {many} slow connections stood"));
        clear(&setup, running).await?;
        drop(crowd);
    }
    Ok(figures)
}

/// Connections that were greeted.
async fn greet(server: SocketAddr, many: usize) -> Vec<Wire> {
    let mut tasks = JoinSet::new();
    let waves = Arc::new(Semaphore::new(WAVE));
    for _ in 0..many {
        let waves = Arc::clone(&waves);
        tasks.spawn(async move {
            let _turn = waves.acquire().await;
            timeout(GREETING, idle(server)).await
        });
    }
    let mut greeted = Vec::new();
    while let Some(done) = tasks.join_next().await {
        if let Ok(Ok(Ok(wire))) = done {
            greeted.push(wire);
        }
    }
    greeted
}

async fn idle(server: SocketAddr) -> anyhow::Result<Wire> {
    let mut wire = Wire::new(TcpStream::connect(server).await?)?;
    wire.expect(b'2').await?;
    wire.write(b"EHLO application.example\r\n").await?;
    wire.expect(b'2').await?;
    Ok(wire)
}

/// Connections that send the letters of a command that never ends, one a minute; they go on until they are dropped.
async fn crawl(server: SocketAddr, many: usize) -> (JoinSet<anyhow::Result<()>>, usize) {
    let (stands, mut standing) = tokio::sync::mpsc::unbounded_channel();
    let waves = Arc::new(Semaphore::new(WAVE));
    let mut tasks = JoinSet::new();
    for _ in 0..many {
        let (stands, waves) = (stands.clone(), Arc::clone(&waves));
        tasks.spawn(async move {
            let turn = waves.acquire().await?;
            let mut stream = TcpStream::connect(server).await?;
            stream.write_all(b"E").await?;
            drop(turn);
            stands.send(())?;
            loop {
                tokio::time::sleep(Duration::from_mins(1)).await;
                stream.write_all(b"H").await?;
            }
        });
    }
    let mut stand = 0;
    let all = async {
        while stand < many {
            standing.recv().await;
            stand += 1;
        }
    };
    // A server that takes no more leaves some of them out.
    let _ = timeout(GREETING, all).await;
    (tasks, stand)
}

fn mebibytes(octets: u64) -> f64 {
    octets as f64 / f64::from(1 << 20)
}
