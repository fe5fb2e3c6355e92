//! The applications: SMTP clients that wait for every reply, as client libraries do, one after another on each of their
//! connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::ledger::Ledger;
use crate::mail::{Mail, recipient};
use crate::wire::Wire;

/// The longest wait for anything, so that a server that hangs ends the measurement and not the evening.
const PATIENCE: Duration = Duration::from_mins(2);

/// How the applications send.
#[derive(Clone)]
pub struct Habits {
    pub server: SocketAddr,
    pub messages_per_connection: usize,
    pub tls: Option<Arc<rustls::ClientConfig>>,
    pub mail: Arc<Mail>,
}

/// How long to send.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// So many messages in all.
    Messages(usize),
    /// Until the time is over.
    After(Duration),
}

/// What a run of the generator came to.
#[derive(Debug, Default)]
pub struct Sent {
    /// The numbers of what was accepted.
    pub accepted: Vec<u64>,
    /// What was not, by the server's reply.
    pub refused: Vec<String>,
    /// From the first connection to the last `250`.
    pub took: Duration,
}

/// Sends over so many sessions at once.
pub async fn send(
    habits: &Habits,
    ledger: &Arc<Ledger>,
    sessions: usize,
    until: Until,
) -> anyhow::Result<Sent> {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for index in 0..sessions {
        let (habits, ledger) = (habits.clone(), Arc::clone(ledger));
        let goal = match until {
            // Their shares add up to the whole.
            Until::Messages(all) => Goal::Messages(all / sessions + usize::from(index < all % sessions)),
            Until::After(time) => Goal::Until(begun + time),
        };
        tasks.spawn(async move { application(&habits, &ledger, goal).await });
    }
    let mut all = Sent::default();
    while let Some(done) = tasks.join_next().await {
        let sent = done??;
        all.accepted.extend(sent.accepted);
        all.refused.extend(sent.refused);
    }
    all.took = begun.elapsed();
    Ok(all)
}

enum Goal {
    Messages(usize),
    Until(Instant),
}

impl Goal {
    fn is_reached(&self, sent: usize) -> bool {
        match self {
            Self::Messages(messages) => sent >= *messages,
            Self::Until(end) => Instant::now() >= *end,
        }
    }
}

async fn application(habits: &Habits, ledger: &Ledger, goal: Goal) -> anyhow::Result<Sent> {
    let mut sent = Sent::default();
    let mut text = Vec::new();
    while !goal.is_reached(sent.accepted.len() + sent.refused.len()) {
        let mut begun = ledger.now();
        let mut wire = connect(habits).await?;
        for _ in 0..habits.messages_per_connection {
            if goal.is_reached(sent.accepted.len() + sent.refused.len()) {
                break;
            }
            let number = ledger.next().context("the ledger is full")?;
            habits.mail.write(number, &mut text);
            let to = recipient(number);
            let sending = one_message(&mut wire, &to, &text);
            match timeout(PATIENCE, sending).await.context("no answer for two minutes")? {
                Ok(()) => {
                    ledger.accepted(number, begun, ledger.now());
                    sent.accepted.push(number);
                }
                Err(error) => {
                    sent.refused.push(format!("{error:#}"));
                    break;
                }
            }
            begun = ledger.now();
        }
        // A server may have closed the connection behind a refusal.
        let _ = wire.write(b"QUIT\r\n").await;
        let _ = timeout(PATIENCE, wire.expect(b'2')).await;
        if sent.refused.len() > 100 {
            break;
        }
    }
    Ok(sent)
}

/// Connects and greets, under TLS where that is asked for.
pub async fn connect(habits: &Habits) -> anyhow::Result<Wire> {
    let connecting = async {
        let mut wire = Wire::new(TcpStream::connect(habits.server).await?)?;
        wire.expect(b'2').await?;
        wire.write(b"EHLO application.example\r\n").await?;
        wire.expect(b'2').await?;
        if let Some(tls) = &habits.tls {
            wire.write(b"STARTTLS\r\n").await?;
            wire.expect(b'2').await?;
            wire = wire.connect_tls(Arc::clone(tls)).await?;
            wire.write(b"EHLO application.example\r\n").await?;
            wire.expect(b'2').await?;
        }
        anyhow::Ok(wire)
    };
    timeout(PATIENCE, connecting).await.context("no greeting for two minutes")?
}

/// One transaction; `text` ends with the final dot.
pub async fn one_message(wire: &mut Wire, recipient: &str, text: &[u8]) -> anyhow::Result<()> {
    wire.write(b"MAIL FROM:<app@kestrel.example>\r\n").await?;
    wire.expect(b'2').await?;
    wire.write(format!("RCPT TO:<{recipient}>\r\n").as_bytes()).await?;
    wire.expect(b'2').await?;
    wire.write(b"DATA\r\n").await?;
    wire.expect(b'3').await?;
    wire.write(text).await?;
    wire.expect(b'2').await?;
    Ok(())
}
