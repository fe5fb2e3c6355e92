//! The durable queue: what got a `250` is here, until it is handed over or its end is recorded.
//!
//! [`Queue`] is what the rest of the crate talks to. It stands on a [`Store`], the only place with SQL, which applies
//! changes in transactions and writes the events that tell of them in the same transaction. States and their
//! transitions are in [`state`], the retry clock is in [`schedule`], what a provider's word makes of a text is in
//! [`report`]: all pure.

mod active;
mod backlog;
mod codes;
mod entry;
mod keyring;
mod operator;
#[expect(clippy::module_inception, reason = "the queue itself, beside its parts")]
mod queue;
mod report;
mod schedule;
mod state;
pub mod store;
mod terms;

pub use active::{Active, ActiveLimits, Slot};
pub use codes::StoredCode;
pub use entry::{Awaited, Claimed, Entry, Idempotency, NewCode, NewEntry, Payload};
pub use keyring::{Keyring, KeyringError, SealError};
pub use queue::{Job, Queue, Stored, recipient_key, search_key};
pub use schedule::{Settlement, settle};
pub use state::State;
pub use store::decision::{Decision, DecisionPlace, DecisionQuery, Shelf, Step};
pub use store::outbox::{
    Audience, CurrentAudience, EndpointState, Outbox, OutboxChange, Subscription, Waiting,
};
pub use store::{
    Applied, Change, ClaimRequest, Counter, Depth, Effect, History, News, OpenBurst, Operation, Put, Query,
    Report, Settle, Settling, Store, StoreError,
};
pub use terms::Terms;
