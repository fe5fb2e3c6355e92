//! Taking in one message after `354`.
//!
//! A message that breaks a limit is read to its end all the same, and thrown away, so that the reply comes where the
//! client looks for it and the session goes on. Its memory is given back at once. Only a bare CR or LF, behind which
//! nothing can be trusted, and a peer that never comes to an end are cut off.

use bytes::Bytes;
use tokio::time::Instant;

use crate::mail::is_disguised_dot;
use crate::outcome::{Detail, Reply};

use super::budget::{Budget, Share};
use super::connection::{Connection, End, MESSAGE_CHUNK, Pace};
use super::data::{Framer, Framing, Sink};
use super::{BareLf, Limits};

/// What a message takes of the budget before its first octet is there.
const FIRST_SHARE: usize = 4 << 10;
/// How many times the largest message is read of one that is refused.
const DISCARD_FACTOR: usize = 16;

/// How the lines of a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnds {
    /// All in CR LF.
    CrLf,
    /// Some in LF alone.
    BareLf,
}

/// What came of a DATA command.
pub(super) enum Received {
    /// The message, and what it holds of the budget, to be kept until it is decided upon.
    Message(Bytes, Share),
    /// It came to its end, but not within the limits.
    Refused(Reply),
    /// It is refused before its end; the connection must be closed.
    Cut(Reply),
}

/// Room for one message. `None`: there is none left in the budget.
pub(super) fn make_room<'a>(budget: &Budget, limits: &'a Limits) -> Option<Collector<'a>> {
    let (mut input, mut share) = (budget.share(), budget.share());
    (input.grow(MESSAGE_CHUNK) && share.grow(FIRST_SHARE)).then(|| Collector {
        limits,
        share,
        _input: input,
        message: Vec::with_capacity(FIRST_SHARE),
        line: 0,
        in_header: true,
        fault: None,
    })
}

/// Reads a message to its end, and says how its lines ended.
pub(super) async fn receive(
    connection: &mut Connection,
    collector: Collector<'_>,
    bare_lf: BareLf,
) -> Result<(Received, LineEnds), End> {
    let mut framer = Framer::new(bare_lf);
    let received = read(connection, &mut framer, collector).await?;
    Ok((received, if framer.saw_bare_lf { LineEnds::BareLf } else { LineEnds::CrLf }))
}

async fn read(
    connection: &mut Connection,
    framer: &mut Framer,
    mut collector: Collector<'_>,
) -> Result<Received, End> {
    let limits = collector.limits;
    let mut pace = Pace { started: Instant::now(), octets: 0, minimum_rate: limits.minimum_rate };
    loop {
        let input = connection.read_message(pace).await?;
        let (taken, framing) = framer.push(input, &mut collector);
        connection.consume(taken);
        pace.octets = pace.octets.saturating_add(taken);
        match framing {
            Framing::More => {}
            Framing::Complete => return Ok(collector.finish()),
            Framing::BareCr => return Ok(Received::Cut(bare("bare <CR> received"))),
            Framing::BareLf => return Ok(Received::Cut(bare("bare <LF> received"))),
        }
        if let Some(fault) = collector.fault
            && pace.octets > limits.message_size.saturating_mul(DISCARD_FACTOR)
        {
            return Ok(Received::Cut(fault.reply(limits)));
        }
    }
}

/// The reply when there is no room for one more message.
pub(super) fn no_memory() -> Reply {
    Reply::new(452, Detail(3, 1), "too many messages at once, try again")
}

fn bare(text: &str) -> Reply {
    Reply::new(521, Detail(5, 2), text)
}

/// A message as it grows, and the limits it must keep.
pub(super) struct Collector<'a> {
    limits: &'a Limits,
    /// What the message holds.
    share: Share,
    /// What the connection's input buffer holds, also while it only throws away.
    _input: Share,
    message: Vec<u8>,
    line: usize,
    in_header: bool,
    fault: Option<Fault>,
}

/// The first limit that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Size,
    Header,
    Line,
    /// A line that another server may take for the end of the message.
    Dot,
    Memory,
}

impl Fault {
    fn reply(self, limits: &Limits) -> Reply {
        match self {
            Self::Size => too_big(limits.message_size),
            Self::Header => Reply::new(
                552,
                Detail(3, 4),
                format!("the header is larger than {} octets", limits.header_size),
            ),
            Self::Line => {
                Reply::new(554, Detail(6, 0), format!("a line is longer than {} octets", limits.line_length))
            }
            Self::Dot => Reply::new(554, Detail(6, 0), "a line is a lone dot behind NUL characters"),
            Self::Memory => no_memory(),
        }
    }
}

/// The reply to a message larger than `limit`, announced or sent.
pub(super) fn too_big(limit: usize) -> Reply {
    Reply::new(552, Detail(3, 4), format!("the message is larger than {limit} octets"))
}

impl Collector<'_> {
    fn append(&mut self, octets: &[u8]) {
        let length = self.message.len() + octets.len();
        let fault = if length > self.limits.message_size {
            Some(Fault::Size)
        } else if self.in_header && length > self.limits.header_size {
            Some(Fault::Header)
        } else if self.line > self.limits.line_length {
            Some(Fault::Line)
        } else {
            self.grow(length)
        };
        match fault {
            None => self.message.extend_from_slice(octets),
            Some(_) => self.give_up(fault),
        }
    }

    /// Memory is taken in doubling steps, and from the budget before it is taken from the system.
    fn grow(&mut self, length: usize) -> Option<Fault> {
        let capacity = self.message.capacity();
        if length <= capacity {
            return None;
        }
        let wanted = capacity.saturating_mul(2).min(self.limits.message_size).max(length);
        if !self.share.grow(wanted - capacity) {
            return Some(Fault::Memory);
        }
        self.message.reserve_exact(wanted - self.message.len());
        None
    }

    fn give_up(&mut self, fault: Option<Fault>) {
        self.fault = fault;
        self.message = Vec::new();
        self.share.release();
    }

    fn finish(mut self) -> Received {
        if let Some(fault) = self.fault {
            return Received::Refused(fault.reply(self.limits));
        }
        self.message.shrink_to_fit();
        Received::Message(Bytes::from(self.message), self.share)
    }
}

impl Sink for Collector<'_> {
    fn text(&mut self, run: &[u8]) {
        if self.fault.is_none() {
            self.line += run.len();
            self.append(run);
        }
    }

    fn end_line(&mut self) {
        if self.fault.is_none() && is_disguised_dot(&self.message[self.message.len() - self.line..]) {
            self.give_up(Some(Fault::Dot));
        }
        if self.fault.is_none() {
            self.append(b"\r\n");
            self.in_header &= self.line > 0;
            self.line = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(limits: &Limits, budget: &Budget, wire: &[u8]) -> Result<Bytes, String> {
        let mut collector = make_room(budget, limits).ok_or("452 at once")?;
        let (_, framing) = Framer::new(BareLf::Normalize).push(wire, &mut collector);
        assert_eq!(framing, Framing::Complete);
        match collector.finish() {
            Received::Message(message, _share) => Ok(message),
            Received::Refused(reply) | Received::Cut(reply) => Err(format!("{reply:?}")),
        }
    }

    #[test]
    fn each_limit_has_its_reply_and_its_last_good_value() {
        let limits = Limits { message_size: 100, header_size: 40, line_length: 30, ..Limits::default() };
        let budget = Budget::new(1 << 20);
        let code = |head: usize, line: usize, lines: usize| {
            let text = format!(
                "{}\r\n\r\n{}.\r\n",
                "h".repeat(head),
                format!("{}\r\n", "b".repeat(line)).repeat(lines)
            );
            collected(&limits, &budget, text.as_bytes()).map(|m| m.len()).map_err(|r| r[..9].to_owned())
        };
        assert_eq!(code(30, 30, 2), Ok(98));
        assert_eq!(code(30, 31, 1), Err("554 5.6.0".into()));
        assert_eq!(code(30, 20, 3), Ok(100));
        assert_eq!(code(30, 21, 3), Err("552 5.3.4".into()));
        let wire = b"a: b\r\n".repeat(7);
        let wire = [&wire, &b".\r\n"[..]].concat();
        assert!(collected(&limits, &budget, &wire).unwrap_err().starts_with("552 5.3.4 the header"));
        assert_eq!(budget.free(), 1 << 20);
    }

    #[test]
    fn a_message_that_finds_no_memory_gives_back_what_it_had() {
        let limits = Limits::default();
        let budget = Budget::new(20_000);
        let wire = [&b"x\r\n".repeat(10_000)[..], b".\r\n"].concat();
        assert!(collected(&limits, &budget, &wire).unwrap_err().starts_with("452 4.3.1"));
        assert_eq!(budget.free(), 20_000);
        assert!(collected(&limits, &Budget::new(10), b".\r\n").is_err());
        assert_eq!(collected(&limits, &budget, b"x\n.\r\n..y\r\n.\r\n").unwrap(), "x\r\n\r\n.y\r\n");
    }
}
