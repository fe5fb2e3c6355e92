//! Large messages are judged a few at a time, so that however many come at once, small ones never wait for them.
//!
//! To judge a message is work for the processor, and the time it takes grows with the size. Sign-in mail is small and is
//! judged where it is. What is large waits for a place, and is then judged on a thread that the runtime has replaced, so
//! that the sessions of others go on.

use std::num::NonZero;
use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

/// From this size on a message is large. Judging a smaller one takes a few milliseconds at worst.
const LARGE: usize = 64 << 10;

/// The places for large messages. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Heavy(Arc<Semaphore>);

impl Heavy {
    /// Half of the processors, and one at least.
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Semaphore::new((processors / 2).max(1))))
    }

    /// Does the work on a message of `octets`: at once where it is small, when there is a place where it is large.
    pub(super) async fn work<T>(&self, octets: usize, work: impl FnOnce() -> T) -> T {
        if octets < LARGE {
            return work();
        }
        // Nobody closes it. Were it closed, the work would still be done.
        let _place = self.0.acquire().await.ok();
        match Handle::current().runtime_flavor() {
            RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
            // There is one thread, which nothing can replace.
            _ => work(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn small_work_is_done_while_all_large_work_waits() {
        let heavy = Heavy(Arc::new(Semaphore::new(1)));
        let (gate, at_once, most) =
            (Arc::new(Barrier::new(2)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let large = (0..8).map(|number| {
            let (heavy, gate) = (heavy.clone(), Arc::clone(&gate));
            let (at_once, most) = (Arc::clone(&at_once), Arc::clone(&most));
            tokio::spawn(async move {
                heavy
                    .work(LARGE, || {
                        most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        gate.wait();
                        at_once.fetch_sub(1, Ordering::SeqCst);
                        number
                    })
                    .await
            })
        });
        let large: Vec<_> = large.collect();
        // Each of the large ones goes on only when a small one was done beside it.
        for _ in 0..large.len() {
            let (heavy, gate) = (heavy.clone(), Arc::clone(&gate));
            tokio::spawn(async move { heavy.work(LARGE - 1, || ()).await }).await.unwrap();
            tokio::task::spawn_blocking(move || gate.wait()).await.unwrap();
        }
        for (number, task) in large.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), number);
        }
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn on_one_thread_it_is_done_all_the_same() {
        assert_eq!(Heavy::new().work(LARGE, || 7).await, 7);
    }
}
