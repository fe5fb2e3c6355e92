//! How a message goes over the wire: the parameters of MAIL, and the bytes of DATA. Pure.
//!
//! What must stay true: the upstream ends up with exactly the bytes that were given in (plus the last line end, where it
//! was missing), and nothing inside them can end DATA early: not at this upstream, and not at one behind it that takes a
//! bare CR or LF for a line end.

use std::fmt::Write as _;

use super::reply::HandOver;
use super::route::{Letter, Outgoing};
use crate::mail::is_disguised_dot;
use crate::outcome::{Reason, ReasonClass};

/// What an upstream said in its EHLO reply that it can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Offers {
    /// 8BITMIME (RFC 6152).
    pub(super) eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub(super) smtp_utf8: bool,
    /// PIPELINING (RFC 2920).
    pub(super) pipelining: bool,
    /// SIZE (RFC 1870).
    pub(super) size: SizeOffer,
}

/// What an upstream said of sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum SizeOffer {
    /// Nothing: it does not know the parameter.
    #[default]
    Unknown,
    /// It takes the parameter and names no limit.
    Unlimited,
    /// It takes messages up to so many octets.
    UpTo(usize),
}

/// The parameters of MAIL for this message at this upstream, with a space before each; or why the upstream can't have it.
///
/// A header field with raw 8-bit bytes is asked of SMTPUTF8 where that is offered and the bytes are UTF-8. Elsewhere it
/// goes out as it came, with the 8-bit transport it needs: old applications write such fields, every upstream in use
/// takes them, and one that does not says so in its own words. Only an 8-bit address can't be sent without SMTPUTF8.
pub(super) fn mail_parameters(letter: Letter<'_>, offers: Offers) -> Result<String, HandOver> {
    let outgoing = letter.outgoing;
    let ascii_envelope = outgoing.reverse_path.as_str().is_ascii() && letter.recipient.is_ascii();
    if !ascii_envelope && !offers.smtp_utf8 {
        return Err(unfit("an address is not ASCII and the upstream offers no SMTPUTF8"));
    }
    let mut parameters = String::new();
    match offers.size {
        SizeOffer::UpTo(most) if outgoing.raw.len() > most => {
            return Err(unfit("the message is larger than the upstream takes"));
        }
        SizeOffer::UpTo(_) | SizeOffer::Unlimited => {
            let _ = write!(parameters, " SIZE={}", outgoing.raw.len());
        }
        SizeOffer::Unknown => {}
    }
    let utf8 = !ascii_envelope
        || (offers.smtp_utf8 && outgoing.need.eight_bit_header && is_utf8(header_of(&outgoing.raw)));
    if outgoing.need.eight_bit_body || outgoing.need.eight_bit_header {
        if !offers.eight_bit_mime {
            return Err(unfit("the message has 8-bit bytes and the upstream offers no 8BITMIME"));
        }
        parameters.push_str(" BODY=8BITMIME");
    }
    if utf8 {
        parameters.push_str(" SMTPUTF8");
    }
    Ok(parameters)
}

fn unfit(text: &str) -> HandOver {
    HandOver::Unfit(Reason::new(ReasonClass::Capability, text))
}

fn is_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
}

fn header_of(raw: &[u8]) -> &[u8] {
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n");
    end.map_or(raw, |end| &raw[..end + 2])
}

/// Refuses a message with a CR or LF on its own, or with a line that is a lone dot for whoever leaves NULs out. None gets
/// this far, unless by a defect of ours; and none must go further, because upstreams disagree on what such bytes mean (SMTP
/// smuggling).
pub(super) fn check_line_ends(outgoing: &Outgoing) -> Result<(), HandOver> {
    let raw: &[u8] = &outgoing.raw;
    let clean = raw.iter().enumerate().all(|(at, byte)| match byte {
        b'\r' => raw.get(at + 1) == Some(&b'\n'),
        b'\n' => at > 0 && raw[at - 1] == b'\r',
        _ => true,
    });
    let mut lines = raw.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    if clean && !lines.any(is_disguised_dot) {
        return Ok(());
    }
    Err(HandOver::Refused(Reason::new(
        ReasonClass::Local,
        "the message could be taken for two and is not sent",
    )))
}

/// The bytes that follow the 354: the message with its dots doubled, and the final dot.
pub(super) fn data_bytes(raw: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(raw.len() + raw.len() / 64 + 5);
    let mut line_start = 0;
    while line_start < raw.len() {
        let line_end = raw[line_start..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(raw.len(), |length| line_start + length + 1);
        if raw[line_start] == b'.' {
            wire.push(b'.');
        }
        wire.extend_from_slice(&raw[line_start..line_end]);
        line_start = line_end;
    }
    if !wire.is_empty() && !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::mail::{Address, Message, ReversePath};

    fn outgoing(raw: &'static [u8], from: &str) -> Outgoing {
        let raw = Bytes::from_static(raw);
        let need = Message::new(raw.clone()).need();
        Outgoing { reverse_path: ReversePath::Address(Address::parse(from).unwrap()), raw, need }
    }

    fn parameters(raw: &'static [u8], from: &str, to: &str, offers: Offers) -> Result<String, HandOver> {
        let outgoing = outgoing(raw, from);
        let recipient = Address::parse(to).unwrap();
        mail_parameters(Letter { outgoing: &outgoing, recipient: &recipient, file_name: "x" }, offers)
    }

    const NOTHING: Offers =
        Offers { eight_bit_mime: false, smtp_utf8: false, pipelining: false, size: SizeOffer::Unknown };
    const ALL: Offers =
        Offers { eight_bit_mime: true, smtp_utf8: true, pipelining: true, size: SizeOffer::UpTo(1000) };
    const MIME: Offers = Offers { smtp_utf8: false, ..ALL };

    #[test]
    fn parameters_are_what_the_bytes_need_and_the_upstream_offers() {
        let (a, u) = ("a@example.com", "ü@example.com");
        let plain = b"Subject: x\r\n\r\nhi\r\n";
        let body = "Subject: x\r\n\r\ngrüße\r\n".as_bytes();
        let header = "Subject: grüße\r\n\r\nhi\r\n".as_bytes();
        let latin = b"Subject: gr\xfc\xdfe\r\n\r\nhi\r\n";
        for (raw, to, offers, expected) in [
            (plain.as_slice(), a, NOTHING, Some("")),
            (plain, a, ALL, Some(" SIZE=18")),
            (plain, u, ALL, Some(" SIZE=18 SMTPUTF8")),
            (plain, u, MIME, None),
            (body, a, ALL, Some(" SIZE=23 BODY=8BITMIME")),
            (body, a, NOTHING, None),
            (header, a, ALL, Some(" SIZE=24 BODY=8BITMIME SMTPUTF8")),
            (header, a, MIME, Some(" SIZE=24 BODY=8BITMIME")),
            (header, a, NOTHING, None),
            (latin, a, ALL, Some(" SIZE=22 BODY=8BITMIME")),
        ] {
            let made = parameters(raw, a, to, offers);
            assert_eq!(made.ok().as_deref(), expected, "{to} {offers:?}");
        }
        assert!(parameters(plain, u, a, MIME).is_err());
    }

    #[test]
    fn a_message_larger_than_the_upstream_takes_is_not_begun() {
        let offers = Offers { size: SizeOffer::UpTo(17), ..ALL };
        let made = parameters(b"Subject: x\r\n\r\nhi\r\n", "a@example.com", "a@example.com", offers);
        assert!(matches!(made, Err(HandOver::Unfit(_))));
    }

    #[test]
    fn what_another_server_may_take_for_the_end_never_goes_out() {
        for raw in [&b"a\r\n.\nb\r\n"[..], b"a\rb\r\n", b"\n", b"a\r", b"a\r\r\n", b"a\r\n\0.\r\nb", b"\0."] {
            assert!(check_line_ends(&outgoing(raw, "a@example.com")).is_err(), "{raw:?}");
        }
        for raw in [&b""[..], b"a", b"a\r\n.\r\nb\r\n", b"\r\n\r\n"] {
            assert!(check_line_ends(&outgoing(raw, "a@example.com")).is_ok(), "{raw:?}");
        }
    }

    #[test]
    fn dots_are_doubled_at_line_starts_only() {
        for (raw, wire) in [
            (&b""[..], &b".\r\n"[..]),
            (b"a", b"a\r\n.\r\n"),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b".\r\n.\r\n", b"..\r\n..\r\n.\r\n"),
            (b"a.b\r\n..c\r\n", b"a.b\r\n...c\r\n.\r\n"),
            (b"\r\n\r\n", b"\r\n\r\n.\r\n"),
        ] {
            assert_eq!(data_bytes(raw), wire, "{raw:?}");
        }
    }

    /// RFC 5321 section 4.5.2, as a receiver reads it.
    fn receive(wire: &[u8]) -> (Vec<u8>, usize) {
        let (mut message, mut at) = (Vec::new(), 0);
        while let Some(length) = wire[at..].windows(2).position(|pair| pair == b"\r\n") {
            let line = &wire[at..at + length];
            at += length + 2;
            if line == b"." {
                break;
            }
            message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            message.extend_from_slice(b"\r\n");
        }
        (message, at)
    }

    proptest! {
        #[test]
        fn a_receiver_reads_back_what_was_given_and_nothing_is_left_over(
            lines in proptest::collection::vec("[.a\u{0}\u{e9} ]{0,6}", 0..20),
            ended in any::<bool>(),
        ) {
            let mut raw = lines.join("\r\n").into_bytes();
            if ended { raw.extend_from_slice(b"\r\n"); }
            let wire = data_bytes(&raw);
            let (message, read) = receive(&wire);
            prop_assert_eq!(read, wire.len());
            if !raw.is_empty() && !raw.ends_with(b"\r\n") { raw.extend_from_slice(b"\r\n"); }
            prop_assert_eq!(message, raw);
        }
    }
}
