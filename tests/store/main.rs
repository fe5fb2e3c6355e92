//! What a store of the queue must do. `suite`, `bursts`, `lives`, `texts`, `requests`, `model` and `burst_model` know nothing but the trait, so that every store passes the
//! same tests; `sqlite`, `outbox`, `archive`, `forgetting` and `migration` hold what only a
//! file can be asked; `codes` asks the queue on top.
#![allow(missing_docs, reason = "nobody outside calls it")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "that is how a test fails"
)]

/// Runs each test against each store.
macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    super::$name(&crate::support::Folder::new()).await;
                }
            )*
        }
    };
}

mod archive;
mod burst_model;
mod bursts;
mod codes;
mod damage;
mod faults;
mod forgetting;
mod lives;
mod migration;
mod model;
mod outbox;
mod requests;
mod resealing;
#[path = "../common/skipped.rs"]
mod skipped;
mod sqlite;
mod suite;
mod support;
mod texts;
