//! Tells Twilio which codes were used, so that it learns which texts arrive and which numbers pump.
//!
//! Best effort: what waits here is in memory only, is bounded, and is lost at a restart. Nothing of ours depends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::registry::Registry;
use crate::ident::UpstreamName;

/// How many words may wait to be told.
const WAITING: usize = 1000;

/// The pauses between tries.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(20)];

/// What waits to be told.
#[derive(Debug)]
pub(super) struct FeedbackQueue {
    sender: mpsc::Sender<Word>,
    receiver: Mutex<mpsc::Receiver<Word>>,
    dropped: AtomicU64,
}

/// One word on one text.
#[derive(Debug)]
struct Word {
    upstream: UpstreamName,
    reference: String,
    used: bool,
}

impl Default for FeedbackQueue {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(receiver), dropped: AtomicU64::new(0) }
    }
}

impl FeedbackQueue {
    /// Takes a word, or counts it as dropped where too many wait.
    pub(super) fn push(&self, upstream: &UpstreamName, reference: &str, used: bool) {
        let word = Word { upstream: upstream.clone(), reference: reference.to_owned(), used };
        if self.sender.try_send(word).is_err() {
            self.drop_one(upstream, "too many wait");
        }
    }

    /// How many words were not told.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn drop_one(&self, upstream: &UpstreamName, why: &str) {
        let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::warn!(target: "authrelay::deliver", %upstream, why, dropped, "a feedback was not told");
    }
}

/// Tells until `shutdown`.
pub(super) async fn run(desk: Arc<Desk>, shutdown: CancellationToken) {
    let queue = &desk.feedback;
    loop {
        let next = async { queue.receiver.lock().await.recv().await };
        let word = tokio::select! {
            () = shutdown.cancelled() => return,
            word = next => word,
        };
        let Some(word) = word else { return };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tell(queue, &desk.registry, &word) => {}
        }
    }
}

async fn tell(queue: &FeedbackQueue, registry: &Registry, word: &Word) {
    let mut pauses = PAUSES.into_iter();
    loop {
        // Looked up at each try: the configuration may have changed.
        let upstream = registry.upstream(&word.upstream);
        let wanting = upstream.as_ref().and_then(|upstream| upstream.twilio());
        let Some(twilio) = wanting.filter(|twilio| twilio.wants_feedback()) else { return };
        let Err(error) = twilio.feedback(&word.reference, word.used).await else { return };
        let Some(pause) = pauses.next() else { return queue.drop_one(&word.upstream, &error.to_string()) };
        tokio::time::sleep(pause).await;
    }
}
