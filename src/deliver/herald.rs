//! Has it on record, for whoever wants to be told, when an upstream fails as a whole and when it works again.
//!
//! Those who meet that can't wait for the store. What they tell is written down behind them, in order; where more is told
//! than can be written, the oldest news stays and the newest is left out, which the log says.
//!
//! Who was told that an upstream is down is told once it works, also where that is seen by another process, or after a reload
//! that made the upstream anew: what was told last is in the store.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::event::{UpstreamNews, UpstreamTurn};
use crate::ident::{MessageId, UpstreamName};
use crate::outcome::Reason;
use crate::queue::Queue;

/// How much news may wait to be written down.
const WAITING: usize = 256;

/// The upstreams that were last told to be down.
pub(super) type Down = Arc<Mutex<HashSet<UpstreamName>>>;

/// Takes news. Without a listener it is forgotten.
#[derive(Debug, Clone, Default)]
pub(super) struct Herald {
    sender: Option<mpsc::Sender<UpstreamNews>>,
    down: Down,
}

impl Herald {
    /// A herald, and what it is told.
    pub(super) fn new() -> (Self, mpsc::Receiver<UpstreamNews>) {
        let (sender, news) = mpsc::channel(WAITING);
        (Self { sender: Some(sender), down: Down::default() }, news)
    }

    /// The upstreams that were last told to be down.
    pub(super) fn down(&self) -> Down {
        Arc::clone(&self.down)
    }

    /// Whether it was told to be down, and nothing since.
    pub(super) fn owes_good_news(&self, upstream: &UpstreamName) -> bool {
        self.sender.is_some() && names(&self.down).contains(upstream)
    }

    pub(super) fn tell(
        &self,
        upstream: &UpstreamName,
        at: Timestamp,
        turn: UpstreamTurn,
        reason: Option<&Reason>,
    ) {
        let Some(sender) = &self.sender else { return };
        match turn {
            UpstreamTurn::Down => names(&self.down).insert(upstream.clone()),
            UpstreamTurn::Up => names(&self.down).remove(upstream),
        };
        let (id, upstream, reason) = (MessageId::generate(), upstream.clone(), reason.cloned());
        if let Err(mpsc::error::TrySendError::Full(news)) =
            sender.try_send(UpstreamNews { id, at, upstream, turn, reason })
        {
            tracing::warn!(target: "authrelay::deliver", upstream = %news.upstream, "news of an upstream was left out");
        }
    }
}

/// Learns what was told before, then writes down what is told, until `shutdown`.
pub(super) async fn run(
    queue: Arc<Queue>,
    down: Down,
    mut news: mpsc::Receiver<UpstreamNews>,
    shutdown: CancellationToken,
) {
    match queue.upstreams_down().await {
        // What happened meanwhile counts as well: one that worked before this works again, and is told of then.
        Ok(before) => names(&down).extend(before),
        Err(error) => {
            tracing::error!(target: "authrelay::deliver", %error, "what was told of upstreams before can't be read");
        }
    }
    while let Some(Some(one)) = shutdown.run_until_cancelled(news.recv()).await {
        let upstream = one.upstream.clone();
        if let Err(error) = queue.announce(one).await {
            tracing::error!(target: "authrelay::deliver", %upstream, %error, "news of an upstream was not recorded");
        }
    }
}

fn names(down: &Down) -> MutexGuard<'_, HashSet<UpstreamName>> {
    down.lock().unwrap_or_else(PoisonError::into_inner)
}
