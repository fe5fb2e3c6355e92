//! What is asked of a message after it is known what it is, and before anything is kept of it.
//!
//! [`mail`] is pure. [`sms`] is pure too, but for the smoother of rates; what guards money is a counter in the store, and
//! is only named here. [`ration`] bounds what is written about refusals.

pub mod mail;
pub mod ration;
pub mod sms;

pub use mail::{Objection, allow};
