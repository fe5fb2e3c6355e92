//! Octets that came in and were not looked at yet, and the command lines in them.
//!
//! A line ends at CR LF and nowhere else. A bare LF is told at once, because a client that ends its lines so waits for an
//! answer; nothing that came with it or behind it is looked at, or what we take for one line would be two to somebody
//! before us. Memory is bounded: of a line that is too long nothing is kept, and a peer that
//! goes on and on is cut off. A line that was taken out is overwritten, because it may have been a password.

use zeroize::{Zeroize as _, Zeroizing};

/// RFC 5321 section 4.5.3.1.4, CR LF included.
const COMMAND_MAX: usize = 512;
/// MAIL with all that SIZE (26), 8BITMIME (17), SMTPUTF8 (10) and AUTH (500) add to it.
const MAIL_MAX: usize = COMMAND_MAX + 26 + 17 + 10 + 500;
/// RFC 4954 section 4.
const AUTH_MAX: usize = 12_288;
/// How many octets of a line that is too long are read before the peer is given up.
const FLOOD: usize = 128 << 10;
/// What an idle connection may keep.
const IDLE_CAPACITY: usize = 1 << 10;

/// What is being waited for: an answer inside an AUTH exchange may be longer than a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    Command,
    AuthResponse,
}

/// One line, as far as it is one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line without its CR LF, and without any CR, LF or NUL in it.
    Whole(Zeroizing<Vec<u8>>),
    /// It held a bare CR or a NUL.
    Broken,
    /// A bare LF came. Everything that was there is forgotten, and nothing behind it can be trusted.
    BareLf,
    /// It was longer than its limit; all of it was read.
    TooLong,
    /// It was still not over after [`FLOOD`] octets.
    Flood,
    /// A TLS client is talking on a connection that is not TLS.
    ClientHello,
}

/// The octets between the socket and whoever reads them.
#[derive(Debug, Default)]
pub(super) struct LineBuffer {
    octets: Vec<u8>,
    at: usize,
    discarded: usize,
}

impl LineBuffer {
    /// The next line, when it is there.
    pub(super) fn next(&mut self, expect: Expect) -> Option<Line> {
        if self.pending().starts_with(&[0x16, 0x03]) && self.discarded == 0 {
            return Some(Line::ClientHello);
        }
        let limit = self.limit(expect);
        let Some(feed) = self.pending().iter().position(|&byte| byte == b'\n') else {
            return self.unfinished(limit);
        };
        let Some(end) = feed.checked_sub(1).filter(|&before| self.pending()[before] == b'\r') else {
            self.octets.zeroize();
            self.discarded = 0;
            self.clear();
            return Some(Line::BareLf);
        };
        let line = if std::mem::take(&mut self.discarded) > 0 || end + 2 > limit {
            Line::TooLong
        } else {
            let line = &self.pending()[..end];
            let broken = line.iter().any(|byte| matches!(byte, b'\r' | 0));
            if broken { Line::Broken } else { Line::Whole(Zeroizing::new(line.to_vec())) }
        };
        let taken = self.at..self.at + end;
        self.octets[taken].zeroize();
        self.consume(end + 2);
        Some(line)
    }

    /// What came in and was not taken.
    pub(super) fn pending(&self) -> &[u8] {
        &self.octets[self.at..]
    }

    /// Takes `count` octets off the front.
    pub(super) fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.octets.len());
        if self.at == self.octets.len() {
            self.clear();
        }
    }

    /// Forgets everything that came in.
    pub(super) fn clear(&mut self) {
        self.octets.clear();
        self.at = 0;
        if self.octets.capacity() > IDLE_CAPACITY {
            self.octets = Vec::new();
        }
    }

    /// Room for at least `count` octets more behind what is pending.
    pub(super) fn room(&mut self, count: usize) -> &mut Vec<u8> {
        if self.at > 0 {
            self.octets.drain(..self.at);
            self.at = 0;
        }
        self.octets.reserve_exact(count);
        &mut self.octets
    }

    fn limit(&self, expect: Expect) -> usize {
        let verb =
            |verb: &[u8]| self.pending().get(..verb.len()).is_some_and(|v| v.eq_ignore_ascii_case(verb));
        match expect {
            Expect::AuthResponse => AUTH_MAX,
            Expect::Command if verb(b"AUTH ") => AUTH_MAX,
            Expect::Command if verb(b"MAIL ") => MAIL_MAX,
            Expect::Command => COMMAND_MAX,
        }
    }

    /// There is no line end yet. Of a line that is too long already only its last octet is kept, which may be the CR.
    fn unfinished(&mut self, limit: usize) -> Option<Line> {
        let length = self.pending().len();
        if self.discarded == 0 && length < limit {
            return None;
        }
        let discard = length.saturating_sub(1);
        self.discarded += discard;
        self.consume(discard);
        if self.discarded > FLOOD {
            self.clear();
            return Some(Line::Flood);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(parts: &[&[u8]]) -> Vec<Line> {
        let (mut buffer, mut lines) = (LineBuffer::default(), Vec::new());
        for part in parts {
            buffer.room(part.len()).extend_from_slice(part);
            while let Some(line) = buffer.next(Expect::Command) {
                let over = matches!(line, Line::BareLf | Line::Flood | Line::ClientHello);
                lines.push(line);
                if over {
                    return lines;
                }
            }
        }
        lines
    }

    fn whole(text: &[u8]) -> Line {
        Line::Whole(Zeroizing::new(text.to_vec()))
    }

    #[test]
    fn a_line_ends_at_cr_lf_and_nowhere_else_however_it_is_cut() {
        let input = b"NOOP\r\nQ\rUIT\r\nEH\0LO\r\n\r\nDATA\r\r\nRS\nET\r\nNOOP\r\n";
        let lines = fed(&[input]);
        assert_eq!(
            lines,
            [whole(b"NOOP"), Line::Broken, Line::Broken, whole(b""), Line::Broken, Line::BareLf]
        );
        for cut in 0..input.len() {
            assert_eq!(fed(&[&input[..cut], &input[cut..]]), lines, "{cut}");
        }
        assert_eq!(fed(&input.chunks(1).collect::<Vec<_>>()), lines);
    }

    #[test]
    fn a_bare_line_feed_is_told_at_once_and_takes_all_there_is_with_it() {
        let long = [vec![b'x'; 600], b"\n".to_vec()].concat();
        for input in [&b"\n"[..], b"NOOP\n", b"NOOP\nRSET\r\nRSET\r\n", b"\r\r\n\n", &long] {
            let mut buffer = LineBuffer::default();
            buffer.room(input.len()).extend_from_slice(input);
            let mut line = buffer.next(Expect::Command);
            if line == Some(Line::Broken) {
                line = buffer.next(Expect::Command);
            }
            assert_eq!(line, Some(Line::BareLf), "{}", input.escape_ascii());
            assert_eq!(buffer.next(Expect::Command), None);
            assert!(buffer.pending().is_empty());
        }
    }

    #[test]
    fn limits_are_those_of_the_command() {
        for (verb, limit) in [("NOOP ", 512), ("mail ", 1065), ("AUTH ", 12_288)] {
            let longest = format!("{verb}{}\r\n", "x".repeat(limit - verb.len() - 2));
            assert_eq!(fed(&[longest.as_bytes()]), [whole(longest.trim_end().as_bytes())]);
            let longer = format!("{verb}{}\r\nNOOP\r\n", "x".repeat(limit - verb.len() - 1));
            assert_eq!(fed(&[longer.as_bytes()]), [Line::TooLong, whole(b"NOOP")]);
            assert_eq!(
                fed(&longer.as_bytes().chunks(1).collect::<Vec<_>>()),
                [Line::TooLong, whole(b"NOOP")]
            );
        }
    }

    #[test]
    fn a_line_that_never_ends_keeps_no_memory_and_is_cut_off() {
        let mut buffer = LineBuffer::default();
        let mut flood = false;
        for _ in 0..300 {
            buffer.room(512).extend_from_slice(&[b'x'; 512]);
            flood |= buffer.next(Expect::Command) == Some(Line::Flood);
            assert!(buffer.octets.capacity() <= 2048, "{}", buffer.octets.capacity());
        }
        assert!(flood);
    }

    #[test]
    fn what_was_taken_is_wiped() {
        let mut buffer = LineBuffer::default();
        buffer.room(64).extend_from_slice(b"hunter2\r\nNOOP\r\n");
        assert_eq!(buffer.next(Expect::AuthResponse), Some(whole(b"hunter2")));
        assert_eq!(&buffer.octets[..9], b"\0\0\0\0\0\0\0\r\n");
    }

    #[test]
    fn a_tls_client_on_a_clear_connection_is_seen() {
        assert_eq!(fed(&[b"\x16\x03\x01\x02\x00"]), [Line::ClientHello]);
    }
}
