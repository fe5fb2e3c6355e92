//! What is done about a defect of our own: a panic ends the piece of work it happened in, and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// The work panicked. The panic itself was reported where panics are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an internal error")]
pub struct Panicked;

/// Does the work, and outlives a panic in it.
pub async fn survive<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        // What a panic left half done is dropped with `work` and never looked at again.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_anything_else_is_passed_on() {
        assert_eq!(survive(async { 7 }).await, Ok(7));
        let defect = async {
            tokio::task::yield_now().await;
            panic!("a defect");
        };
        assert_eq!(survive::<()>(defect).await, Err(Panicked));
    }
}
