//! One connection: the TLS handshake, then requests one after the other, each step within a time limit.
//!
//! Whatever a peer does or leaves undone, its connection ends: a header that does not come, an answer that is not read
//! and a shutdown each have their bound.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, answer, no_place};
use super::{Limits, Vouched};

/// The most bytes of a request line and its header.
const LARGEST_HEADER: usize = 16 * 1024;

/// The most bytes that are read ahead.
const READ_BUFFER: usize = 32 * 1024;

/// How long an answer may lie unread.
const UNREAD: Duration = Duration::from_secs(5);

/// How long a connection without a request is kept when we shut down: a request may be on its way.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// What is done with a connection's requests.
#[derive(Clone)]
pub(super) enum Answers {
    /// The router answers.
    Routed(Router),
    /// There is no place for it: `503`.
    NoPlace,
}

impl Answers {
    /// The same for a caller whose certificate was vouched for.
    pub(super) fn vouched(self) -> Self {
        match self {
            Self::Routed(router) => Self::Routed(router.layer(axum::Extension(Vouched))),
            Self::NoPlace => Self::NoPlace,
        }
    }
}

/// Encrypts the connection. `None` when the handshake fails or takes too long.
pub(super) async fn handshake<S>(
    stream: S,
    tls: Arc<rustls::ServerConfig>,
    limits: &Limits,
) -> Option<tokio_rustls::server::TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match timeout(limits.header, tokio_rustls::TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(encrypted)) => Some(encrypted),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            None
        }
    }
}

/// Answers requests until the peer goes, a limit is met, or `shutdown`; then ends what was begun.
pub(super) async fn converse<S>(stream: S, answers: Answers, limits: Limits, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let pulse = Arc::new(Pulse::new());
    let service = service_fn(|request: Request<Incoming>| {
        let (answers, beat) = (answers.clone(), Pulse::begin(&pulse));
        async move {
            let response = match answers {
                Answers::Routed(router) => answer(router, request, limits.request).await,
                Answers::NoPlace => no_place(),
            };
            drop(beat);
            Answer::Ok(response)
        }
    });
    let mut connection = std::pin::pin!(builder(&limits).serve_connection(TokioIo::new(stream), service));
    let longest = limits.header + limits.request + UNREAD;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let patience = if pulse.is_busy() { limits.request + UNREAD } else { LAST_REQUEST };
                break timeout(patience, connection.as_mut()).await.unwrap_or(Ok(()));
            }
            () = sleep_until(pulse.last() + longest) => {
                if pulse.last().elapsed() >= longest {
                    tracing::debug!("a peer did not read its answer");
                    break Ok(());
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection broke");
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_header_size(LARGEST_HEADER)
        .max_buf_size(READ_BUFFER)
        // Else a peer that closes its writing half, or goes, would end a handler in the middle of its work.
        .half_close(true);
    builder
}

/// When something was last begun or answered on a connection, and how much is not answered yet.
#[derive(Debug)]
struct Pulse {
    last: Mutex<Instant>,
    open: AtomicUsize,
}

impl Pulse {
    fn new() -> Self {
        Self { last: Mutex::new(Instant::now()), open: AtomicUsize::new(0) }
    }

    fn begin(pulse: &Arc<Self>) -> Beat {
        pulse.open.fetch_add(1, Ordering::SeqCst);
        pulse.touch();
        Beat(Arc::clone(pulse))
    }

    fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_busy(&self) -> bool {
        self.open.load(Ordering::SeqCst) > 0
    }
}

/// A request under way.
struct Beat(Arc<Pulse>);

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        self.0.touch();
    }
}
