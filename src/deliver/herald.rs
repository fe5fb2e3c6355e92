//! Has it on record, for whoever wants to be told, when an upstream fails as a whole and when it works again.
//!
//! Those who meet that can't wait for the store. What they tell is written down behind them, in order; where more is told
//! than can be written, the oldest news stays and the newest is left out, which the log says.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::event::{UpstreamNews, UpstreamTurn};
use crate::ident::{MessageId, UpstreamName};
use crate::outcome::Reason;
use crate::queue::Queue;

/// How much news may wait to be written down.
const WAITING: usize = 256;

/// Takes news. Without a listener it is forgotten.
#[derive(Debug, Clone, Default)]
pub(super) struct Herald(Option<mpsc::Sender<UpstreamNews>>);

impl Herald {
    /// A herald, and what it is told.
    pub(super) fn new() -> (Self, mpsc::Receiver<UpstreamNews>) {
        let (sender, news) = mpsc::channel(WAITING);
        (Self(Some(sender)), news)
    }

    pub(super) fn tell(
        &self,
        upstream: &UpstreamName,
        at: Timestamp,
        turn: UpstreamTurn,
        reason: Option<&Reason>,
    ) {
        let Some(sender) = &self.0 else { return };
        let (id, upstream, reason) = (MessageId::generate(), upstream.clone(), reason.cloned());
        if let Err(mpsc::error::TrySendError::Full(news)) =
            sender.try_send(UpstreamNews { id, at, upstream, turn, reason })
        {
            tracing::warn!(target: "authrelay::deliver", upstream = %news.upstream, "news of an upstream was left out");
        }
    }
}

/// Writes down what is told, until `shutdown`.
pub(super) async fn run(
    queue: Arc<Queue>,
    mut news: mpsc::Receiver<UpstreamNews>,
    shutdown: CancellationToken,
) {
    while let Some(Some(one)) = shutdown.run_until_cancelled(news.recv()).await {
        let upstream = one.upstream.clone();
        if let Err(error) = queue.announce(one).await {
            tracing::error!(target: "authrelay::deliver", %upstream, %error, "news of an upstream was not recorded");
        }
    }
}
