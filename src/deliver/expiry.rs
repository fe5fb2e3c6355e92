//! Ends messages when their life is over, at the time and not when somebody happens to look.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::queue::Queue;

/// It looks this often even if nobody told it anything.
const SAFETY_NET: Duration = Duration::from_mins(1);

/// The pause before it tries again what the store could not do, or did not find.
const PAUSE: Duration = Duration::from_secs(1);

/// What others tell the expiry of messages that wait.
#[derive(Debug, Default)]
pub(super) struct ExpiryAlarm {
    /// When it wakes by itself; `None` while it looks.
    set_for: Mutex<Option<Timestamp>>,
    changed: Notify,
}

impl ExpiryAlarm {
    /// A message that waits expires at `at`.
    pub(super) fn not_after(&self, at: Timestamp) {
        let later = {
            let set_for = self.set_for.lock().unwrap_or_else(PoisonError::into_inner);
            set_for.is_none_or(|set_for| at < set_for)
        };
        if later {
            self.changed.notify_one();
        }
    }

    /// Some message may have been put into the store.
    pub(super) fn look_again(&self) {
        self.changed.notify_one();
    }

    fn set(&self, at: Option<Timestamp>) {
        *self.set_for.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// Runs until `shutdown`.
pub(super) async fn run(
    queue: Arc<Queue>,
    alarm: Arc<ExpiryAlarm>,
    clock: Clock,
    shutdown: CancellationToken,
) {
    loop {
        alarm.set(None);
        let wait = expire_and_look(&queue, clock).await;
        alarm.set(Some(clock.now().plus(wait)));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = alarm.changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Ends what is over, and says how long nothing more will be.
async fn expire_and_look(queue: &Queue, clock: Clock) -> Duration {
    let looked = async {
        let due = |next: Option<Timestamp>| next.is_some_and(|at| at <= clock.now());
        let mut next = queue.next_expiry().await?;
        let ended_some = due(next);
        if ended_some {
            queue.expire().await?;
            next = queue.next_expiry().await?;
        }
        let wait = next.map_or(SAFETY_NET, |at| clock.now().until(at).min(SAFETY_NET));
        Ok::<_, crate::queue::StoreError>(if ended_some { wait.max(PAUSE) } else { wait })
    };
    looked.await.unwrap_or_else(|error| {
        tracing::error!(target: "authrelay::deliver", %error, "expired messages can't be ended");
        PAUSE
    })
}
