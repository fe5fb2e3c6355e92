//! What the dispatcher has done for it in tasks of their own: claims, attempts with their settlement, returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{Ended, Means, Posted, Start, attempt};
use super::dispatch::RetryClock;
use super::expiry::ExpiryAlarm;
use super::feedback::FeedbackQueue;
use super::parcel::Carries;
use super::registry::Registry;
use crate::clock::{Clock, Timestamp};
use crate::defect::survive;
use crate::ident::{Class, UpstreamName};
use crate::outcome::Outcome;
use crate::queue::{Job, Payload, Queue, State, StoreError};

/// The pauses before the store is asked again to record something; the last one repeats.
const STORE_PAUSES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(10)];

/// Everything the tasks share.
pub(super) struct Desk {
    pub(super) queue: Arc<Queue>,
    pub(super) registry: Registry,
    pub(super) retry: RetryClock,
    pub(super) clock: Clock,
    pub(super) alarm: Arc<ExpiryAlarm>,
    pub(super) workers: Arc<Workers>,
    pub(super) hurry: CancellationToken,
    pub(super) feedback: FeedbackQueue,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

/// What a task ended with.
pub(super) enum Done {
    /// A claim, and when the store is due again where it brought less than was asked.
    Claimed { class: Class, asked: usize, result: Result<(Vec<Job>, Option<Instant>), StoreError> },
    /// A message waits in the store again.
    Waits { class: Class, until: Instant },
    /// A message needs nothing more.
    Ended,
}

impl Desk {
    pub(super) async fn claim(&self, class: Class, asked: usize) -> Done {
        let claimed = async {
            let jobs = self.queue.claim(class, asked).await?;
            let next = if jobs.len() < asked { self.queue.next_due(class).await } else { Ok(None) };
            // The jobs are claimed, whatever went wrong afterwards.
            let next = next.unwrap_or_else(|_| Some(self.clock.now()));
            Ok((jobs, next.map(|at| self.clock.instant_of(at))))
        };
        Done::Claimed { class, asked, result: claimed.await }
    }

    pub(super) async fn attempt(&self, job: Job, start: Start, worker: Worker) -> Done {
        let posted = Posted::default();
        let means = Means { queue: &self.queue, clock: self.clock, hurry: &self.hurry, posted: &posted };
        // After a defect the message is tried again by its clock, like after any other trouble of ours.
        let ended = survive(attempt(&means, &job.claimed, start)).await.unwrap_or_else(|defect| {
            tracing::error!(target: "authrelay::deliver", id = %job.claimed.entry().id, %defect, "an attempt failed");
            Ended::after_defect(job.claimed.entry(), defect, &posted)
        });
        let done = match ended {
            Ended::NotTried { again } => self.give_back(job, again).await,
            Ended::Tried { outcome, upstream, not_before } => {
                self.settle(job, upstream, &outcome, not_before).await
            }
        };
        drop(worker);
        done
    }

    /// Records the outcome. What was handed over must not be sent again only because it could not be written down at
    /// the first try; while the store is down it is also right that this worker does nothing else.
    async fn settle(
        &self,
        job: Job,
        upstream: Option<UpstreamName>,
        outcome: &Outcome,
        not_before: Option<Timestamp>,
    ) -> Done {
        let entry = job.claimed.entry();
        let retry = (self.retry)(&entry.category, entry.class);
        let record = || self.queue.settle(&job.claimed, upstream.clone(), outcome, &retry, not_before);
        match persist(record).await {
            Ok(State::Queued) => {
                self.alarm.not_after(entry.expires);
                Done::Waits { class: entry.class, until: Instant::now() }
            }
            Ok(State::AwaitingReport) => {
                self.alarm.not_after(entry.expires);
                Done::Ended
            }
            Ok(_) => Done::Ended,
            Err(error) => {
                tracing::error!(
                    target: "authrelay::deliver", message = %entry.id, %error, "an outcome was not recorded"
                );
                Done::Ended
            }
        }
    }

    /// Gives a message back that was not tried.
    pub(super) async fn give_back(&self, job: Job, until: Timestamp) -> Done {
        let entry = job.claimed.entry();
        let cargo = match job.claimed.payload() {
            Payload::Mail { .. } => Carries::Letters,
            Payload::Sms { .. } => Carries::Texts,
        };
        let reason = self.registry.trouble(cargo);
        if let Err(error) = persist(|| self.queue.give_back(&job.claimed, until, reason.clone())).await {
            tracing::error!(
                target: "authrelay::deliver", message = %entry.id, %error, "a message waits for its lease to end"
            );
        }
        self.alarm.not_after(entry.expires);
        Done::Waits { class: entry.class, until: self.clock.instant_of(until) }
    }
}

/// Asks the store until it has done it. Only a store that was closed ends this.
async fn persist<T, F: Future<Output = Result<T, StoreError>>>(
    mut ask: impl FnMut() -> F,
) -> Result<T, StoreError> {
    let mut pauses = STORE_PAUSES.into_iter();
    let mut pause = STORE_PAUSES[0];
    loop {
        match ask().await {
            Ok(done) => return Ok(done),
            Err(
                error @ (StoreError::Closed
                | StoreError::NewerSchema { .. }
                | StoreError::Damaged(_)
                | StoreError::Unreadable(_)),
            ) => {
                return Err(error);
            }
            Err(error @ (StoreError::Full | StoreError::Failed(_))) => {
                tracing::error!(target: "authrelay::deliver", %error, "the store is asked again");
            }
        }
        pause = pauses.next().unwrap_or(pause);
        tokio::time::sleep(pause).await;
    }
}

/// How many attempts are under way.
#[derive(Debug, Default)]
pub(super) struct Workers {
    urgent: AtomicUsize,
    normal: AtomicUsize,
}

impl Workers {
    fn count(&self, class: Class) -> &AtomicUsize {
        match class {
            Class::Urgent => &self.urgent,
            Class::Normal => &self.normal,
        }
    }

    pub(super) fn busy(&self, class: Class) -> usize {
        self.count(class).load(Ordering::Acquire)
    }

    /// Whether one more may start. Normal mail never takes the last quarter.
    pub(super) fn has_free(&self, class: Class, all: usize) -> bool {
        let all = all.max(1);
        let (urgent, normal) = (self.busy(Class::Urgent), self.busy(Class::Normal));
        match class {
            Class::Urgent => urgent + normal < all,
            Class::Normal => urgent + normal < all && normal < super::normal_share(all),
        }
    }

    pub(super) fn take(self: &Arc<Self>, class: Class) -> Worker {
        self.count(class).fetch_add(1, Ordering::AcqRel);
        Worker { workers: Arc::clone(self), class }
    }
}

/// One attempt under way; also counted down when it is cut off.
#[derive(Debug)]
pub(super) struct Worker {
    workers: Arc<Workers>,
    class: Class,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.workers.count(self.class).fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_mail_never_takes_the_last_quarter_of_the_workers() {
        let workers = Arc::new(Workers::default());
        let mut taken = Vec::new();
        while workers.has_free(Class::Normal, 8) {
            taken.push(workers.take(Class::Normal));
        }
        assert_eq!(taken.len(), 6);
        while workers.has_free(Class::Urgent, 8) {
            taken.push(workers.take(Class::Urgent));
        }
        assert_eq!(taken.len(), 8);
        taken.clear();
        assert_eq!(workers.busy(Class::Normal) + workers.busy(Class::Urgent), 0);
        assert!(workers.has_free(Class::Normal, 1), "with one worker normal mail still flows");
    }
}
