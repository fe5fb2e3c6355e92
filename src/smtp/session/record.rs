//! What is told in the log of a session in which something was refused.

use crate::mail::{Address, mask};
use crate::outcome::Reply;
use crate::smtp::command;
use crate::smtp::connection::End;
use crate::smtp::refusals::{self, Refusal};

use super::Session;

/// How much of an address that is none is shown.
const ADDRESS_MAX: usize = 80;

/// The command that is being obeyed, as far as a log line may tell of it.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    command: Option<&'static str>,
    address: Option<String>,
}

impl Attempt {
    /// What a line asks for, whether it is well formed or not.
    pub(super) fn of(line: &[u8]) -> Self {
        let address = command::envelope_path(line).map(masked_path);
        Self { command: Some(verb(line)), address }
    }

    /// A line that could not be read as a command.
    pub(super) fn unreadable() -> Self {
        Self { command: Some("unreadable"), address: None }
    }

    /// The same command, which is about this recipient.
    pub(super) fn to(&mut self, recipient: Option<&Address>) {
        self.address = recipient.map(Address::masked);
    }
}

impl Session {
    /// Tells of a command that was refused.
    pub(super) fn record(&self, reply: &Reply) {
        self.log(reply, refusals::Session::GoesOn);
    }

    /// Tells of a session that we end with this reply.
    pub(super) fn record_last(&self, reply: &Reply) {
        self.log(reply, refusals::Session::Closed);
    }

    /// Tells why the session ends. That we stop is no refusal, nor that a client did its work and then said no more.
    pub(super) fn record_end(&self, end: End, farewell: &Reply) {
        let has_done_its_work = self.tally.messages > 0 && self.transaction.is_none();
        match end {
            End::Disconnected | End::Answered | End::Stopping => {}
            End::Idle if has_done_its_work => {}
            End::Idle
            | End::SessionOver
            | End::TransactionOver
            | End::TooSlow
            | End::TooManyErrors
            | End::TooManyAuthFailures
            | End::TooManyMessages
            | End::NotSmtp
            | End::TlsTooSoon
            | End::Fault => self.record_last(farewell),
        }
    }

    fn log(&self, reply: &Reply, session: refusals::Session) {
        let client = if self.handler.is_known_client() { "known" } else { "unknown" };
        self.setting.server.refusals().log(&Refusal {
            peer: &self.setting.peer,
            client: Some(client),
            command: self.attempt.command,
            address: self.attempt.address.as_deref(),
            reply,
            session,
        });
    }
}

/// The verb, if it is one of SMTP: what a peer makes up is not for the log.
fn verb(line: &[u8]) -> &'static str {
    const VERBS: [&str; 14] = [
        "MAIL", "RCPT", "DATA", "AUTH", "EHLO", "HELO", "STARTTLS", "RSET", "NOOP", "QUIT", "VRFY", "EXPN",
        "HELP", "BDAT",
    ];
    let first = line.trim_ascii().split(u8::is_ascii_whitespace).next().unwrap_or_default();
    VERBS.into_iter().find(|verb| first.eq_ignore_ascii_case(verb.as_bytes())).unwrap_or("other")
}

/// A path, masked. It may be anything, so only what a domain is made of is shown behind the last `@`.
fn masked_path(path: &[u8]) -> String {
    if path.trim_ascii().is_empty() {
        return "<>".to_owned();
    }
    let plain = |c: char| if c.is_alphanumeric() || "@*.-_:[]".contains(c) { c } else { '?' };
    mask(&String::from_utf8_lossy(path)).chars().map(plain).take(ADDRESS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_line_is_masked_and_harmless() {
        for (line, command, address) in [
            (&b"MAIL FROM:<anna.smith@b.example> SIZE=5"[..], "MAIL", Some("a***@b.example")),
            (b"mail from:<>", "MAIL", Some("<>")),
            (b"RCPT TO:<anna smith@b.example>", "RCPT", Some("a***@b.example")),
            (b"RCPT TO:<anna.smith>", "RCPT", Some("***")),
            (b"RCPT TO:<a@b.example, \x1b[31m; 9>", "RCPT", Some("a***@b.example???[31m??9")),
            (b"RCPT TO:<j\xfcrgen@b.example>", "RCPT", Some("j***@b.example")),
            (b"RCPT anna@b.example", "RCPT", None),
            (b"DATA", "DATA", None),
            (b"AUTH PLAIN AGFubmEAc2VjcmV0", "AUTH", None),
            (b"anna@b.example c2VjcmV0", "other", None),
        ] {
            let attempt = Attempt::of(line);
            assert_eq!((attempt.command, attempt.address.as_deref()), (Some(command), address));
        }
        let long = [b"RCPT TO:<a@".to_vec(), vec![b'x'; 400], b">".to_vec()].concat();
        assert_eq!(Attempt::of(&long).address.map(|address| address.len()), Some(ADDRESS_MAX));
    }
}
