//! What is asked of a message after it is known what it is, and before anything is kept of it.
//!
//! [`mail`] is pure, and asks [`links`], [`names`] and [`attachment`]; [`seen`] remembers the foreign hosts they saw.
//! [`limits`] are pure but for the pace of normal mail, [`sms`] but for the smoother of rates; what guards money is a
//! counter in the store, and is only named here. [`ration`] bounds what is written about refusals.

pub mod attachment;
pub mod limits;
pub mod links;
pub mod mail;
pub mod names;
pub mod ration;
pub mod seen;
pub mod sms;

pub use mail::{Asked, Content, Objection, allow, inspect};
