//! The upstream: an SMTP server that keeps nothing, syncs nothing, and notes when each message arrived.
//!
//! It can be slow (a pause before the answer to a message), stall (no answer to a message until it is let go), or be away
//! (connections refused).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ledger::Ledger;
use crate::mail::number_of;
use crate::wire::Wire;

/// How the sink behaves.
#[derive(Clone)]
pub struct Manner {
    /// Before the answer to each message.
    pub pause: Duration,
    /// Offers STARTTLS with this.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// A sink that runs until it is dropped.
pub struct Sink {
    address: SocketAddr,
    ledger: Arc<Ledger>,
    manner: Manner,
    stalled: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Sink {
    /// A sink on a port of its own, in service.
    pub fn start(ledger: Arc<Ledger>, manner: Manner) -> anyhow::Result<Self> {
        let mut sink = Self::away(ledger, manner)?;
        sink.appear()?;
        Ok(sink)
    }

    /// A sink that is not in service yet: its port refuses connections.
    pub fn away(ledger: Arc<Ledger>, manner: Manner) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        Ok(Self { address, ledger, manner, stalled: watch::channel(false).0, tasks: JoinSet::new() })
    }

    /// Goes into service.
    pub fn appear(&mut self) -> anyhow::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        let listener = socket.listen(4096)?;
        let ledger = Arc::clone(&self.ledger);
        let (manner, stalled) = (self.manner.clone(), self.stalled.subscribe());
        self.tasks.spawn(serve(listener, ledger, manner, stalled));
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on no message is answered, or those that wait and all later ones are.
    pub fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }
}

async fn serve(listener: TcpListener, ledger: Arc<Ledger>, manner: Manner, stalled: watch::Receiver<bool>) {
    let mut sessions = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let Ok(wire) = Wire::new(stream) else { continue };
        let (ledger, manner, stalled) = (Arc::clone(&ledger), manner.clone(), stalled.clone());
        // How a session ends is the client's affair.
        sessions.spawn(async move { drop(session(wire, &ledger, &manner, stalled).await) });
        while sessions.try_join_next().is_some() {}
    }
}

async fn session(
    mut wire: Wire,
    ledger: &Ledger,
    manner: &Manner,
    mut stalled: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    wire.write(b"220 sink ESMTP\r\n").await?;
    let mut encrypted = false;
    let mut replies = Vec::new();
    loop {
        if !wire.pending().contains(&b'\n') && !replies.is_empty() {
            wire.write(&replies).await?;
            replies.clear();
        }
        let Some(length) = wire.until(b"\r\n").await? else { return Ok(()) };
        let verb = wire.pending()[..length.min(4)].to_ascii_uppercase();
        wire.take(length);
        match verb.as_slice() {
            b"EHLO" => {
                replies.extend_from_slice(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n");
                if manner.tls.is_some() && !encrypted {
                    replies.extend_from_slice(b"250-STARTTLS\r\n");
                }
                replies.extend_from_slice(b"250 SIZE 20000000\r\n");
            }
            b"STAR" => {
                let Some(tls) = &manner.tls else { return Ok(()) };
                wire.write(b"220 2.0.0 Go ahead\r\n").await?;
                wire = wire.accept_tls(Arc::clone(tls)).await?;
                encrypted = true;
            }
            b"DATA" => {
                replies.extend_from_slice(b"354 Go ahead\r\n");
                wire.write(&replies).await?;
                replies.clear();
                let Some(length) = wire.until(b"\r\n.\r\n").await? else { return Ok(()) };
                let number = number_of(&wire.pending()[..length]);
                wire.take(length);
                stalled.wait_for(|stalled| !stalled).await?;
                if !manner.pause.is_zero() {
                    tokio::time::sleep(manner.pause).await;
                }
                if let Some(number) = number {
                    ledger.arrived(number);
                }
                replies.extend_from_slice(b"250 2.0.0 Ok: queued\r\n");
            }
            b"QUIT" => {
                wire.write(b"221 2.0.0 Bye\r\n").await?;
                return Ok(());
            }
            _ => replies.extend_from_slice(b"250 2.0.0 Ok\r\n"),
        }
    }
}
