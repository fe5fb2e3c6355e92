//! One connection: octets in, replies out, and the patience we have with both.
//!
//! Replies are collected and written at once, before the next read from the peer at the latest, so a pipelining client
//! gets the answers to a group of commands in one piece (RFC 2920). Every wait for the peer has an end.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::outcome::Reply;
use crate::secret::Digest;

use super::line::{Expect, Line, LineBuffer};
use super::{Limits, tls};

/// What a session can be led over: a TCP connection, a TLS stream, a pipe in memory.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// What is read at once while waiting for a command. An idle connection keeps this much memory.
const COMMAND_CHUNK: usize = 1 << 10;
/// What is read at once of a message. It counts against the budget of memory while a message is read.
pub(super) const MESSAGE_CHUNK: usize = 8 << 10;
/// Replies that have come to this are written even though more commands are waiting.
const OUTPUT_MAX: usize = 8 << 10;
/// How long a peer that is in the middle of a transaction may go on after we were told to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long a transaction may last that keeps every other limit. The largest message by default, at the slowest rate by
/// default, takes less.
const LONGEST_TRANSACTION: Duration = Duration::from_hours(6);
/// How long after the beginning of a message its rate is judged.
const RATE_GRACE: Duration = Duration::from_secs(10);
/// How long, and for how many octets, a connection that we end is still read from, so that the peer gets to see why.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_OCTETS: usize = 4 << 20;

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The peer is gone, or TLS failed.
    Disconnected,
    /// The last reply said all there is to say.
    Answered,
    /// The peer was silent, or took too long over one command.
    Idle,
    /// The session lasted too long.
    SessionOver,
    /// The transaction lasted too long.
    TransactionOver,
    /// The message came too slowly.
    TooSlow,
    /// We were told to stop.
    Stopping,
    /// Too many commands were answered with an error.
    TooManyErrors,
    /// Too many wrong passwords.
    TooManyAuthFailures,
    /// Too many messages over one connection.
    TooManyMessages,
    /// The peer speaks another protocol.
    NotSmtp,
    /// The peer speaks TLS where it was not asked to.
    TlsTooSoon,
    /// A fault of our own.
    Fault,
}

/// What the peer is in the middle of, which decides what it means that we are told to stop or that the session's time
/// is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Busy {
    /// Nothing: it may be sent away at any time.
    Idle,
    /// A transaction or an AUTH exchange: it may go on for [`STOP_GRACE`].
    InTransaction,
    /// A message: it gets its answer.
    InMessage,
}

/// How a message has been coming in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub started: Instant,
    pub octets: usize,
    /// Octets a second; 0: any.
    pub minimum_rate: u32,
}

/// What a TLS handshake brought.
pub(super) struct Encrypted {
    pub version: &'static str,
    pub certificate: Option<Digest>,
}

/// Why a TLS handshake brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoTls {
    /// The peer went away, or we stop.
    Gone,
    /// It took too long.
    TooSlow,
    /// It speaks no version, or no cipher suite, that is allowed here.
    TooOld,
    /// Anything else, in rustls's words.
    Failed(String),
}

impl NoTls {
    fn of(error: &std::io::Error) -> Self {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            None => Self::Gone,
            Some(rustls::Error::PeerIncompatible(_)) => Self::TooOld,
            Some(cause) => Self::Failed(cause.to_string()),
        }
    }

    /// What an operator is told of it; `None`: nothing.
    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Gone => None,
            Self::TooSlow => Some("the handshake took too long"),
            Self::TooOld => Some(
                "the client speaks no TLS 1.2 or 1.3 with a modern cipher suite; docs/hostile-peers.md says what it can do instead",
            ),
            Self::Failed(text) => Some(text),
        }
    }
}

/// A peer, the buffers in both directions, and the times that are set.
pub(super) struct Connection {
    transport: Box<dyn Transport>,
    input: LineBuffer,
    output: Vec<u8>,
    idle: Duration,
    session_end: Instant,
    transaction_end: Instant,
    stop: CancellationToken,
    stop_seen: Option<Instant>,
}

impl Connection {
    /// A connection whose session begins now.
    pub(super) fn new(transport: Box<dyn Transport>, limits: &Limits, stop: CancellationToken) -> Self {
        let session_end = Instant::now() + limits.session;
        Self {
            transport,
            input: LineBuffer::default(),
            output: Vec::new(),
            idle: limits.idle,
            session_end,
            transaction_end: session_end,
            stop,
            stop_seen: None,
        }
    }

    /// Whether another command may be taken from a peer that is in the middle of nothing.
    pub(super) fn may_go_on(&self) -> Result<(), End> {
        if self.stop.is_cancelled() {
            return Err(End::Stopping);
        }
        if Instant::now() >= self.session_end { Err(End::SessionOver) } else { Ok(()) }
    }

    /// A transaction or an AUTH exchange begins, which has an end of its own.
    pub(super) fn begin_transaction(&mut self) {
        self.transaction_end = Instant::now() + LONGEST_TRANSACTION;
    }

    /// Adds a reply to what will be written.
    pub(super) fn queue(&mut self, reply: &Reply) {
        self.output.extend_from_slice(&reply.to_wire());
    }

    /// Writes all replies, in one write where the system takes it.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        let output = std::mem::take(&mut self.output);
        if output.is_empty() {
            return Ok(());
        }
        let writing = async {
            self.transport.write_all(&output).await?;
            self.transport.flush().await
        };
        match timeout(self.idle, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Disconnected),
        }
    }

    /// The next line. The peer has the idle time for all of it, not for each octet.
    pub(super) async fn read_line(&mut self, expect: Expect, busy: Busy) -> Result<Line, End> {
        let until = Instant::now() + self.idle;
        loop {
            if let Some(line) = self.input.next(expect) {
                if self.output.len() > OUTPUT_MAX {
                    self.flush().await?;
                }
                return Ok(line);
            }
            self.fill(COMMAND_CHUNK, busy, (until, End::Idle)).await?;
        }
    }

    /// What has come in of a message; waits for some.
    pub(super) async fn read_message(&mut self, pace: Pace) -> Result<&[u8], End> {
        if self.input.pending().is_empty() {
            let idle = Instant::now() + self.idle;
            let slow = pace.deadline().filter(|&slow| slow < idle);
            let until = slow.map_or((idle, End::Idle), |slow| (slow, End::TooSlow));
            self.fill(MESSAGE_CHUNK, Busy::InMessage, until).await?;
        }
        Ok(self.input.pending())
    }

    /// Takes octets of a message off the front.
    pub(super) fn consume(&mut self, count: usize) {
        self.input.consume(count);
    }

    /// Leads the TLS handshake as server, or says why there was none. What came in before it in the clear is thrown away
    /// (RFC 3207 section 4.2).
    pub(super) async fn start_tls(
        &mut self,
        config: &Arc<rustls::ServerConfig>,
        patience: Duration,
    ) -> Result<Encrypted, NoTls> {
        self.flush().await.map_err(|_| NoTls::Gone)?;
        self.input.clear();
        let clear = std::mem::replace(&mut self.transport, Box::new(tokio::io::empty()));
        let handshake = Box::pin(TlsAcceptor::from(Arc::clone(config)).accept(clear));
        let until = Instant::now() + patience;
        let stream = tokio::select! {
            finished = timeout_at(until, handshake) => match finished {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return Err(NoTls::of(&error)),
                Err(_) => return Err(NoTls::TooSlow),
            },
            () = self.stop.cancelled() => return Err(NoTls::Gone),
        };
        let (version, certificate) = tls::facts(stream.get_ref().1);
        self.transport = Box::new(stream);
        Ok(Encrypted { version, certificate })
    }

    /// Writes what is left and ends the connection so that the peer can read it: a connection that is closed with
    /// octets unread is reset, and the last reply with it.
    pub(super) async fn close(mut self) {
        if self.flush().await.is_err() {
            return;
        }
        let ending = async {
            self.transport.shutdown().await?;
            let (mut rest, mut scratch) = (LINGER_OCTETS, Vec::with_capacity(COMMAND_CHUNK));
            while rest > 0 {
                scratch.clear();
                match self.transport.read_buf(&mut scratch).await? {
                    0 => break,
                    count => rest = rest.saturating_sub(count),
                }
            }
            std::io::Result::Ok(())
        };
        // Whatever comes of it, the connection is over.
        let _ = timeout(LINGER, ending).await;
    }

    async fn fill(&mut self, chunk: usize, busy: Busy, until: (Instant, End)) -> Result<(), End> {
        self.flush().await?;
        let over = match busy {
            Busy::Idle => (self.session_end, End::SessionOver),
            Busy::InTransaction | Busy::InMessage => (self.transaction_end, End::TransactionOver),
        };
        let (until, end) = if over.0 < until.0 { over } else { until };
        loop {
            let (until, end) = match self.stop_deadline(busy) {
                Some(stop) if stop < until => (stop, End::Stopping),
                _ => (until, end),
            };
            let hear_stop = busy != Busy::InMessage && self.stop_seen.is_none();
            tokio::select! {
                biased;
                read = self.transport.read_buf(self.input.room(chunk)) => return match read {
                    Ok(0) | Err(_) => Err(End::Disconnected),
                    Ok(_) => Ok(()),
                },
                () = self.stop.cancelled(), if hear_stop => self.stop_seen = Some(Instant::now()),
                () = sleep_until(until) => return Err(end),
            }
        }
    }

    fn stop_deadline(&self, busy: Busy) -> Option<Instant> {
        match busy {
            Busy::Idle => self.stop_seen,
            Busy::InTransaction => self.stop_seen.map(|seen| seen + STOP_GRACE),
            Busy::InMessage => None,
        }
    }
}

impl Pace {
    /// When the average will have fallen below the minimum, should nothing more come.
    fn deadline(&self) -> Option<Instant> {
        if self.minimum_rate == 0 {
            return None;
        }
        let octets = u64::try_from(self.octets).unwrap_or(u64::MAX);
        let earned = Duration::from_millis(octets.saturating_mul(1000) / u64::from(self.minimum_rate));
        Some(self.started + earned.max(RATE_GRACE))
    }
}
