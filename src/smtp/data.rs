//! The framing of a message after DATA (RFC 5321 sections 4.1.1.4 and 4.5.2), as a state machine that is fed octets.
//!
//! Only CR LF . CR LF ends a message, wherever the network cut it. A bare LF never ends a message and never makes the
//! line that would: with [`BareLf::Normalize`] it becomes CR LF, in the header as in the body, and dot-stuffing is taken
//! off the lines that come of it. A bare CR is refused always. Nothing here holds on to text: runs go to a [`Sink`].

use super::BareLf;

/// Where the text of a message goes, without dot-stuffing and without line ends.
pub(super) trait Sink {
    /// Some octets of the current line; they hold no CR and no LF.
    fn text(&mut self, run: &[u8]);

    /// The current line is over.
    fn end_line(&mut self);
}

/// What feeding octets came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// The message goes on.
    More,
    /// CR LF . CR LF: the message is complete.
    Complete,
    /// A CR without LF behind it.
    BareCr,
    /// An LF without CR before it, where that is refused.
    BareLf,
}

/// What ended the line before: only behind a true CR LF may the final dot stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    CrLf,
    BareLf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart(Before),
    /// The dot at the beginning of a line, which is stuffing or the end.
    Dot(Before),
    DotCr(Before),
    Text,
    TextCr,
}

/// The framing of one message. After anything but [`Framing::More`] it has done its work.
#[derive(Debug)]
pub(super) struct Framer {
    bare_lf: BareLf,
    state: State,
    /// Whether a line ended in a bare LF.
    pub(super) saw_bare_lf: bool,
}

impl Framer {
    /// The framer for what follows `354`; the CR LF of the DATA command stands before its first line.
    pub(super) fn new(bare_lf: BareLf) -> Self {
        Self { bare_lf, state: State::LineStart(Before::CrLf), saw_bare_lf: false }
    }

    /// Takes octets from the front of `input`. Returns how many, and what they came to; the rest, after the end of the
    /// message, is not touched.
    pub(super) fn push(&mut self, input: &[u8], sink: &mut impl Sink) -> (usize, Framing) {
        let mut at = 0;
        while at < input.len() {
            if matches!(self.state, State::Text | State::LineStart(_)) {
                let run = self.run_length(&input[at..]);
                if run > 0 {
                    sink.text(&input[at..at + run]);
                    self.state = State::Text;
                    at += run;
                    continue;
                }
            }
            let framing = self.step(input[at], sink);
            at += 1;
            if framing != Framing::More {
                return (at, framing);
            }
        }
        (at, Framing::More)
    }

    /// How many octets from here on are plain text.
    fn run_length(&self, input: &[u8]) -> usize {
        let stuffed = matches!(self.state, State::LineStart(_)) && input.first() == Some(&b'.');
        if stuffed {
            return 0;
        }
        input.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(input.len())
    }

    fn step(&mut self, byte: u8, sink: &mut impl Sink) -> Framing {
        let (state, framing) = match (self.state, byte) {
            (State::DotCr(Before::CrLf), b'\n') => (self.state, Framing::Complete),
            (State::DotCr(Before::BareLf) | State::TextCr, b'\n') => {
                sink.end_line();
                (State::LineStart(Before::CrLf), Framing::More)
            }
            (State::DotCr(_) | State::TextCr, _) => (self.state, Framing::BareCr),
            (State::Dot(before), b'\r') => (State::DotCr(before), Framing::More),
            (State::LineStart(_) | State::Text, b'\r') => (State::TextCr, Framing::More),
            (State::LineStart(_) | State::Dot(_) | State::Text, b'\n') => {
                self.saw_bare_lf = true;
                match self.bare_lf {
                    BareLf::Normalize => {
                        sink.end_line();
                        (State::LineStart(Before::BareLf), Framing::More)
                    }
                    BareLf::Refuse => (self.state, Framing::BareLf),
                }
            }
            (State::LineStart(before), b'.') => (State::Dot(before), Framing::More),
            (State::LineStart(_) | State::Dot(_) | State::Text, _) => {
                sink.text(&[byte]);
                (State::Text, Framing::More)
            }
        };
        self.state = state;
        framing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Lines(Vec<u8>);

    impl Sink for Lines {
        fn text(&mut self, run: &[u8]) {
            assert!(!run.iter().any(|byte| matches!(byte, b'\r' | b'\n')));
            self.0.extend_from_slice(run);
        }

        fn end_line(&mut self) {
            self.0.extend_from_slice(b"\r\n");
        }
    }

    /// Message, octets taken, end.
    type Result = (Vec<u8>, usize, Framing);

    fn framed(parts: &[&[u8]], bare_lf: BareLf) -> Result {
        let (mut framer, mut lines, mut taken) = (Framer::new(bare_lf), Lines::default(), 0);
        for part in parts {
            let (used, framing) = framer.push(part, &mut lines);
            taken += used;
            if framing != Framing::More {
                return (lines.0, taken, framing);
            }
            assert_eq!(used, part.len());
        }
        (lines.0, taken, Framing::More)
    }

    /// The same in plain words: look for the end, look for what is refused before it, take the lines apart.
    fn slowly(input: &[u8], bare_lf: BareLf) -> (Option<Vec<u8>>, Framing) {
        let wire = [b"\r\n", input].concat();
        let end = wire.windows(5).position(|window| window == b"\r\n.\r\n");
        let reach = end.map_or(wire.len(), |end| end + 5);
        for at in 2..reach {
            match wire[at] {
                b'\r' if at + 1 < wire.len() && wire[at + 1] != b'\n' => return (None, Framing::BareCr),
                b'\n' if wire[at - 1] != b'\r' && bare_lf == BareLf::Refuse => {
                    return (None, Framing::BareLf);
                }
                _ => {}
            }
        }
        let Some(end) = end else { return (None, Framing::More) };
        let text = String::from_utf8_lossy(&wire[..end + 2]).into_owned();
        let mut lines: Vec<&str> =
            text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
        lines.remove(0);
        let last = lines.pop();
        assert_eq!(last, Some(""));
        let unstuffed = lines.iter().map(|line| line.strip_prefix('.').unwrap_or(line));
        (Some(unstuffed.flat_map(|line| [line, "\r\n"]).collect::<String>().into_bytes()), Framing::Complete)
    }

    #[test]
    fn the_end_is_cr_lf_dot_cr_lf_and_the_rest_is_left_alone() {
        let (text, taken, framing) = framed(&[b"a\r\n..b\r\n.c\r\n\r\n.\r\nQUIT\r\n"], BareLf::Refuse);
        assert_eq!((text.as_slice(), framing), (&b"a\r\n.b\r\nc\r\n\r\n"[..], Framing::Complete));
        assert_eq!(taken, 17);
        assert_eq!(framed(&[b".\r\n"], BareLf::Refuse), (vec![], 3, Framing::Complete));
        assert_eq!(
            framed(&[b"\0\xff\r\n.\r\n"], BareLf::Refuse),
            (b"\0\xff\r\n".to_vec(), 7, Framing::Complete)
        );
    }

    #[test]
    fn a_bare_line_feed_is_made_a_line_end_but_never_the_last() {
        let all = |input: &[u8]| {
            let (text, _, framing) = framed(&[input], BareLf::Normalize);
            (String::from_utf8(text).unwrap(), framing)
        };
        assert_eq!(
            all(b"S: x\n\na\n..b\n\r\n.\r\n"),
            ("S: x\r\n\r\na\r\n.b\r\n\r\n".into(), Framing::Complete)
        );
        for open in [&b"a\n.\n"[..], b"a\n.\r\n", b"a\r\n.\n", b"\n.\r\nb", b".\n.\r\n"] {
            assert_eq!(all(open).1, Framing::More, "{open:?}");
        }
        assert_eq!(all(b"a\n.\r\nb\r\n.\r\n"), ("a\r\n\r\nb\r\n".into(), Framing::Complete));
    }

    #[test]
    fn bare_line_ends_are_refused_where_they_stand() {
        for bare_lf in [BareLf::Normalize, BareLf::Refuse] {
            for (input, taken) in [(&b"a\rb"[..], 3), (b"a\r\r\n", 3), (b".\rx", 3), (b"a\r\n.\r\r\n", 6)] {
                let (_, used, framing) = framed(&[input], bare_lf);
                assert_eq!((used, framing), (taken, Framing::BareCr), "{input:?}");
            }
        }
        for input in [&b"a\nb"[..], b"\n", b".\n", b"a\r\n.\n"] {
            assert_eq!(framed(&[input], BareLf::Refuse).2, Framing::BareLf, "{input:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn it_agrees_with_a_slow_obvious_version_wherever_it_is_cut(
            input in prop::collection::vec(prop_oneof![
                4 => Just(&b"\r\n"[..]), 3 => Just(&b"."[..]), 1 => Just(&b"\n"[..]), 1 => Just(&b"\r"[..]),
                2 => Just(&b"a"[..]), 1 => Just(&b"\0"[..]), 2 => Just(&b"\r\n.\r\n"[..]),
            ], 0..14).prop_map(|parts| parts.concat()),
            bare_lf in prop_oneof![Just(BareLf::Normalize), Just(BareLf::Refuse)],
        ) {
            let whole = framed(&[&input], bare_lf);
            let (text, framing) = slowly(&input, bare_lf);
            prop_assert_eq!(whole.2, framing);
            if let Some(text) = text {
                prop_assert_eq!(&whole.0, &text);
            }
            for cut in 0..=input.len() {
                prop_assert_eq!(&framed(&[&input[..cut], &input[cut..]], bare_lf), &whole);
            }
            let single: Vec<&[u8]> = input.chunks(1).collect();
            prop_assert_eq!(&framed(&single, bare_lf), &whole);
        }
    }
}
