//! The real binary from end to end: mail in over SMTP, mail out to an upstream, the command line beside it.

mod access;
mod bytes;
mod configuration;
mod delivery;
mod entrance;
mod failover;
mod first_run;
mod operator;
mod reports;
mod transport;
mod unicode;

#[path = "../harness/mod.rs"]
mod harness;
