//! Between the edges and the pipeline: finds out who is speaking, and turns what was said into what the pipeline takes.
//!
//! [`Reception`] receives mail (and takes the codes out of mail that is for phones), [`Codes`] one-time codes for phones, [`Reports`] what the provider says became of them.
//! No client, no relaying: whoever is nobody we know gets no further.

mod code_mail;
mod codes;
mod mail;
mod reports;
mod seldom;

pub use code_mail::{ExplainedCodeMail, explain_code_mail};
pub use codes::Codes;
pub use mail::Reception;
pub use reports::{ReportCounts, Reports};
