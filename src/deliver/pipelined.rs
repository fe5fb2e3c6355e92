//! Several commands in one write (RFC 2920): MAIL, RCPT and DATA take one journey to the upstream and back, not three.
//!
//! What must stay true: every reply is read before anything else is sent, so the two ends never fall out of step; and
//! the message is only sent where all of them were positive.

use mail_send::{Error, SmtpClient};
use smtp_proto::Response;
use smtp_proto::response::parser::ResponseReceiver;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::connection::{Fault, Stream, is_expected, stays_usable};
use super::reply::{Step, judge, lost};

/// A command and the reply that is expected to it.
pub(super) struct Command {
    pub(super) step: Step,
    pub(super) line: String,
    pub(super) expected: u16,
}

/// Sends all of them at once and reads every reply. The first that is not as expected is what went wrong.
pub(super) async fn all_at_once(
    client: &mut SmtpClient<Box<dyn Stream>>,
    commands: &[Command],
) -> Result<(), Fault> {
    let lines: String = commands.iter().map(|command| command.line.as_str()).collect();
    let first = commands.first().map_or(Step::Mail, |command| command.step);
    if let Err(error) = write(client, lines.as_bytes()).await {
        return Err(Fault { hand_over: lost(first, &error), usable: false });
    }
    let mut replies = Replies::default();
    let mut fault: Option<Fault> = None;
    for command in commands {
        let reply = match replies.next(client).await {
            Ok(reply) => reply,
            // What was refused before says more than that the connection ended behind it.
            Err(error) => {
                let hand_over = fault.map_or_else(|| lost(command.step, &error), |fault| fault.hand_over);
                return Err(Fault { hand_over, usable: false });
            }
        };
        let is_expected = is_expected(&reply, command.expected);
        match &mut fault {
            None if is_expected => {}
            None => {
                let usable = stays_usable(&reply);
                fault = Some(Fault { hand_over: judge(command.step, &reply), usable });
                // Nothing comes behind a 421.
                if !usable {
                    break;
                }
            }
            // It waits for a message that is not to be sent: the connection ends without one.
            Some(fault) if command.step == Step::Data => fault.usable &= !is_expected && stays_usable(&reply),
            Some(fault) => fault.usable &= is_expected || stays_usable(&reply),
        }
    }
    fault.map_or(Ok(()), Err)
}

async fn write(client: &mut SmtpClient<Box<dyn Stream>>, lines: &[u8]) -> Result<(), Error> {
    let writing = async {
        client.stream.write_all(lines).await?;
        client.stream.flush().await
    };
    match timeout(client.timeout, writing).await {
        Ok(done) => done.map_err(Error::Io),
        Err(_) => Err(Error::Timeout),
    }
}

/// Replies that may come in one piece.
#[derive(Default)]
struct Replies {
    read: Vec<u8>,
    taken: usize,
}

/// More than any upstream says to three commands.
const REPLIES_MAX: usize = 16 << 10;

impl Replies {
    /// The next reply, each within the time for a command.
    async fn next(&mut self, client: &mut SmtpClient<Box<dyn Stream>>) -> Result<Response<String>, Error> {
        match timeout(client.timeout, self.read(client)).await {
            Ok(read) => read,
            Err(_) => Err(Error::Timeout),
        }
    }

    async fn read(&mut self, client: &mut SmtpClient<Box<dyn Stream>>) -> Result<Response<String>, Error> {
        let mut parser = ResponseReceiver::default();
        loop {
            let mut rest = self.read[self.taken..].iter();
            let parsed = parser.parse(&mut rest);
            self.taken = self.read.len() - rest.as_slice().len();
            match parsed {
                Ok(reply) => return Ok(reply),
                Err(smtp_proto::Error::NeedsMoreData { .. }) if self.read.len() < REPLIES_MAX => {}
                Err(_) => return Err(Error::UnparseableReply),
            }
            self.read.reserve(1 << 10);
            if client.stream.read_buf(&mut self.read).await? == 0 {
                return Err(Error::UnparseableReply);
            }
        }
    }
}
