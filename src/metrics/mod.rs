//! Numbers about what happens, for Prometheus. What can happen to a message is counted from `event`; the edges count what
//! only they see in a few atomics of their own, and whoever answers `/metrics` asks them for those.
//!
//! Invariants: no label holds anything that a peer can choose (no address, no subject, no name in EHLO), every family has
//! a bound of series ([`Family`]), and counting takes a look-up and an addition: it never waits for whoever reads.

mod flow;
mod histogram;
mod messages;
mod observed;
mod page;
mod series;

pub use flow::{CategoryFlow, Flow};
pub use histogram::Histogram;
pub use messages::{Lives, Messages};
pub use observed::{Observed, WouldRefuse};
pub use page::{Form, Page};
pub use series::{Counter, Family};
