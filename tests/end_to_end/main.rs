//! The real binary from end to end: mail in over SMTP, mail out to an upstream; codes in over HTTP, texts out to a
//! provider; the command line beside it.

mod access;
mod bulk;
mod bytes;
mod code_order;
mod configuration;
mod contrib;
mod delivery;
mod entrance;
mod failover;
mod first_run;
mod links;
mod mending;
mod monitoring;
mod newer_codes;
mod operator;
mod page;
mod recognition;
mod reload;
mod reload_files;
mod reload_load;
mod reports;
mod sms_by_mail;
mod sms_clients;
mod sms_crash;
mod sms_failures;
mod sms_fuzzer;
mod sms_guard;
mod sms_memory;
mod sms_operator;
mod sms_outbox;
mod sms_requests;
mod sms_secrets;
mod sms_twilio;
mod transport;
mod troubles;
mod unicode;
mod webhook_news;
mod webhooks;

#[path = "../harness/mod.rs"]
mod harness;
