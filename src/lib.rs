//! authrelay: a relay that lets only authentication mail through.
//!
//! The modules stand in the order in which a message meets them; `ARCHITECTURE.md` draws the way. To see the whole path
//! of a message on one page, read [`pipeline`].

// The vocabulary: knows nothing of what stands below it.
mod admission;
pub mod certificate;
pub mod clock;
pub mod conduct;
pub mod defect;
pub mod event;
pub mod ident;
pub mod mail;
pub mod metrics;
pub mod outbound;
pub mod outcome;
pub mod phone;
pub mod plain;
pub mod pulse;
pub mod secret;

// The way in: SMTP and HTTP, and who is speaking.
pub mod client;
pub mod http;
pub mod otp;
pub mod reception;
pub mod smtp;

// The way to the answer. Decisions are pure.
pub mod pipeline;

pub mod guard;
pub mod policy;
pub mod rewrite;
pub mod sms;

// Kept until it is handed over.
pub mod queue;

// The way out, and what is told when it fails.
pub mod bounce;
pub mod callback;
pub mod deliver;
pub mod webhook;

// Operating it.
pub mod admin;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod snapshot;
