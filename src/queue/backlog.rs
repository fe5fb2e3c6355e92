//! How many messages of the normal lane wait. Where too many do, no more are taken; urgent mail is never asked.
//!
//! Counting costs a walk through all that waits, so it is done once a second at most. What was put since the last count is
//! added to it, and what has gone since is not taken off: this errs on the side of saying no, and only for so long.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Store, StoreError};

/// How long a count is good for.
const RECOUNT: Duration = Duration::from_secs(1);

/// The last count, and what was put since.
#[derive(Debug, Default)]
pub(super) struct Backlog(Mutex<Option<Count>>);

#[derive(Debug)]
struct Count {
    waiting: u64,
    at: Instant,
}

impl Backlog {
    /// Whether there is room for so many `more` where at most `most` may wait; if so, they are counted as put.
    pub(super) async fn has_room(
        &self,
        store: &dyn Store,
        more: usize,
        most: Option<u64>,
    ) -> Result<bool, StoreError> {
        let Some(most) = most else { return Ok(true) };
        let mut last = self.0.lock().await;
        let count = match last.take_if(|count| count.at.elapsed() < RECOUNT) {
            Some(count) => count,
            None => Count { waiting: store.depth().await?.normal, at: Instant::now() },
        };
        let with_these = count.waiting.saturating_add(more as u64);
        let room = with_these <= most;
        *last = Some(Count { waiting: if room { with_these } else { count.waiting }, ..count });
        Ok(room)
    }
}
