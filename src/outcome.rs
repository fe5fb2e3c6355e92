//! What we answer, and what others answered us: SMTP replies, and the outcome of one attempt to hand a message over.
//!
//! Whether something is temporary is always derived from the first digit of the reply code, so the two can't disagree.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ident::UpstreamName;
use crate::mail::mask;
use crate::plain::is_plain;

/// The `subject.detail` part of an enhanced status code (RFC 3463); its class is the reply code's first digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail(pub u16, pub u16);

/// One SMTP reply, of one line or several. Every line is printable ASCII without CR or LF, whatever it was made from.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    detail: Option<Detail>,
    lines: Vec<String>,
}

/// What fits one reply line of 512 octets (RFC 5321 section 4.5.3.1.5) beside the codes.
const LINE_MAX: usize = 480;

impl Reply {
    /// A reply with an enhanced status code, such as `Reply::new(550, Detail(7, 1), "not allowed")`.
    pub fn new(code: u16, detail: Detail, text: impl AsRef<str>) -> Self {
        Self { code, detail: Some(detail), lines: vec![clean_line(text.as_ref())] }
    }

    /// A reply that carries no enhanced status code: the greeting, EHLO, 334 and 354 (RFC 2034 section 4).
    pub fn plain<T: AsRef<str>>(code: u16, lines: impl IntoIterator<Item = T>) -> Self {
        let mut lines: Vec<String> = lines.into_iter().map(|line| clean_line(line.as_ref())).collect();
        if lines.is_empty() {
            lines.push(String::new());
        }
        Self { code, detail: None, lines }
    }

    /// Our own fault: `451 4.3.0`. The client keeps the message and may try again.
    pub fn local_error(text: impl AsRef<str>) -> Self {
        Self::new(451, Detail(3, 0), text)
    }

    /// The three-digit code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// 2xx or 3xx.
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// 4xx: the same command may succeed later.
    pub fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// The enhanced status code, such as `5.7.1`, where the reply has one.
    pub fn enhanced(&self) -> Option<String> {
        self.detail.map(|Detail(subject, detail)| format!("{}.{subject}.{detail}", self.code / 100))
    }

    /// The lines of text, without codes.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The reply as it goes over the wire, with every line end, to be written in one write.
    pub fn to_wire(&self) -> Vec<u8> {
        let mut wire = Vec::with_capacity(64);
        let enhanced = self.enhanced();
        for (index, line) in self.lines.iter().enumerate() {
            let separator = if index + 1 == self.lines.len() { ' ' } else { '-' };
            wire.extend_from_slice(format!("{}{separator}", self.code).as_bytes());
            if let Some(enhanced) = &enhanced {
                wire.extend_from_slice(enhanced.as_bytes());
                wire.push(b' ');
            }
            wire.extend_from_slice(line.as_bytes());
            wire.extend_from_slice(b"\r\n");
        }
        wire
    }
}

/// The reply as on the wire, one line a line, without the last line end.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wire = self.to_wire();
        let text = String::from_utf8_lossy(&wire);
        f.write_str(&text.strip_suffix("\r\n").unwrap_or(&text).replace("\r\n", "\n"))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(String::from_utf8_lossy(&self.to_wire()).trim_end())
    }
}

fn clean_line(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).take(LINE_MAX).collect()
}

/// What became of one attempt to hand one message over to one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream took responsibility.
    HandedOver {
        /// The upstream's own words, such as `2.0.0 Ok: queued as 4Xyz`: how to find the message over there.
        reference: String,
        /// What an operator should know although it went well: that another sender had to be used.
        remark: Option<Reason>,
    },
    /// The provider took it, and will tell by and by whether it arrived.
    Taken {
        /// The provider's own id of it.
        reference: String,
    },
    /// Not now, and it is about this message or this recipient. Try again by the category's clock.
    Deferred(Reason),
    /// Not now, and it is about the upstream as a whole: connection, greeting, 421, 4.3.x, 4.7.x. Its breaker decides.
    UpstreamUnavailable(Reason),
    /// Never: the upstream refused this message or this recipient for good, or it can't take it as it is.
    Refused(Reason),
    /// No answer after everything was sent: the upstream may have it or not.
    InDoubt(Reason),
}

/// Which kind of thing stood in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReasonClass {
    /// No connection, or it broke before the message was sent.
    Connect,
    /// The TLS handshake or the certificate.
    Tls,
    /// Our credentials were not accepted, or there was no way to present them.
    Auth,
    /// A time-out.
    Timeout,
    /// A reply of the upstream.
    Reply,
    /// The upstream can't carry what this message needs (RFC 6152, RFC 6531, its size).
    Capability,
    /// No upstream carries a sender that this category allows.
    NoRoute,
    /// Another sender was used than the one it should have had.
    Sender,
    /// Something of our own: disk, configuration, a defect.
    Local,
    /// Its life was over.
    Expired,
    /// A newer message took its place.
    Superseded,
    /// An operator said so.
    Operator,
    /// Policy decided so.
    Policy,
}

impl ReasonClass {
    /// The name used in logs, events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Timeout => "timeout",
            Self::Reply => "reply",
            Self::Capability => "capability",
            Self::NoRoute => "no-route",
            Self::Sender => "sender",
            Self::Local => "local",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Operator => "operator",
            Self::Policy => "policy",
        }
    }
}

/// Why a message waits or ended. Safe to log: [`Reason::new`] scrubs its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The kind.
    pub class: ReasonClass,
    /// The upstream that was asked, if one was.
    pub upstream: Option<UpstreamName>,
    /// The upstream's reply code, if it gave one.
    pub code: Option<u16>,
    /// One line for people, scrubbed of addresses, links and long numbers.
    pub text: String,
}

impl Reason {
    /// A reason of our own.
    pub fn new(class: ReasonClass, text: impl AsRef<str>) -> Self {
        Self { class, upstream: None, code: None, text: scrub(text.as_ref()) }
    }

    /// A reason that ends with another one, whose reply code is not taken for something secret.
    pub fn quoting(class: ReasonClass, words: &'static str, last: &Self) -> Self {
        Self { class, upstream: None, code: None, text: format!("{words}{last}").chars().take(300).collect() }
    }

    /// An upstream's reply.
    pub fn reply(code: u16, text: impl AsRef<str>) -> Self {
        Self { class: ReasonClass::Reply, upstream: None, code: Some(code), text: scrub(text.as_ref()) }
    }

    /// The same, naming the upstream.
    #[must_use]
    pub fn at(mut self, upstream: &UpstreamName) -> Self {
        self.upstream = Some(upstream.clone());
        self
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(upstream) = &self.upstream {
            write!(f, "{upstream}: ")?;
        }
        match self.code {
            Some(code) => write!(f, "{code} {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Takes out of a text what must not be logged: addresses are masked, links and runs of four or more digits are
/// replaced (an enhanced status code has no run that long), control characters and line ends become spaces, and characters that nobody
/// sees or that turn the writing around are left out.
pub fn scrub(text: &str) -> String {
    scrub_words(text, scrub_word)
}

/// Takes addresses and links out of an upstream's reference, and nothing else: its digits are how the message is found
/// over there.
pub fn scrub_reference(text: &str) -> String {
    scrub_words(text, |word| scrub_address_or_link(word).unwrap_or_else(|| word.to_owned()))
}

fn scrub_words(text: &str, scrub_word: impl Fn(&str) -> String) -> String {
    let ends_word = |c: char| c.is_whitespace() || c.is_control();
    // First, so that what is not seen hides nothing from what follows.
    let seen: String = text.chars().filter(|&c| ends_word(c) || is_plain(c)).collect();
    let words = seen.split(ends_word).filter(|word| !word.is_empty());
    let mut clean = String::new();
    for word in words.take(60) {
        if !clean.is_empty() {
            clean.push(' ');
        }
        clean.push_str(&scrub_word(word));
    }
    clean.chars().take(300).collect()
}

fn scrub_address_or_link(word: &str) -> Option<String> {
    if word.contains("://")
        || word.trim_start_matches(['(', '<', '"']).starts_with("www.")
        || is_bare_link(word)
    {
        return Some("[link]".to_owned());
    }
    if word.contains('@') {
        let inner = word.trim_matches(|c: char| !c.is_alphanumeric());
        return Some(word.replace(inner, &mask(inner)));
    }
    None
}

/// A link without its scheme, such as `(shop.example/reset?token=abc)`.
fn is_bare_link(word: &str) -> bool {
    let word = word.trim_start_matches(|c: char| !c.is_alphanumeric());
    let Some((host, path)) = word.split_once(['/', '?']) else { return false };
    let top = host.rsplit_once('.').map_or("", |(_, top)| top.split(':').next().unwrap_or_default());
    !path.is_empty() && top.len() >= 2 && top.chars().all(char::is_alphabetic)
}

fn scrub_word(word: &str) -> String {
    if let Some(scrubbed) = scrub_address_or_link(word) {
        return scrubbed;
    }
    let mut out = String::with_capacity(word.len());
    let mut digits = String::new();
    for c in word.chars().chain(std::iter::once(' ')) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        out.push_str(if digits.len() >= 4 { "[digits]" } else { &digits });
        digits.clear();
        out.push(c);
    }
    out.pop();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_written_whole_with_codes_on_every_line() {
        let reply = Reply::new(550, Detail(7, 1), "category marketing is not relayed");
        assert_eq!(reply.to_wire(), b"550 5.7.1 category marketing is not relayed\r\n");
        let ehlo = Reply::plain(250, ["relay.example", "SIZE 10", "PIPELINING"]);
        assert_eq!(ehlo.to_wire(), b"250-relay.example\r\n250-SIZE 10\r\n250 PIPELINING\r\n");
        assert_eq!(ehlo.to_string(), "250-relay.example\n250-SIZE 10\n250 PIPELINING");
        assert_eq!(reply.to_string(), "550 5.7.1 category marketing is not relayed");
    }

    #[test]
    fn nothing_breaks_out_of_a_reply_line() {
        let reply = Reply::new(550, Detail(7, 1), "x\r\n250 2.0.0 fine\u{2028}\u{1b}[31m");
        assert_eq!(reply.to_wire(), b"550 5.7.1 x??250 2.0.0 fine??[31m\r\n");
        assert!(Reply::new(550, Detail(7, 1), "y".repeat(900)).to_wire().len() <= 512);
    }

    #[test]
    fn a_reason_that_quotes_another_keeps_its_code_and_is_bounded() {
        let last = Reason::reply(20429, "too many requests").at(&"sms".into());
        let reason = Reason::quoting(ReasonClass::Expired, "its life ended; last: ", &last);
        assert_eq!(reason.to_string(), "its life ended; last: sms: 20429 too many requests");
        let long = (0..200).fold(last, |last, _| Reason::quoting(ReasonClass::Expired, "again: ", &last));
        assert!(long.text.chars().count() <= 300);
    }

    #[test]
    fn nothing_breaks_out_of_a_line_of_the_log_and_nothing_hides_in_it() {
        let hostile = "no\r\n250 ok\0\u{85}a\u{2028}b\u{2029}c\u{b}d\u{c}e\u{1b}[2J\u{9b}f \u{202e}g\u{200b}";
        let clean = "no 250 ok a b c d e [2J f g";
        assert_eq!((scrub(hostile).as_str(), scrub_reference(hostile).as_str()), (clean, clean));
        assert_eq!(scrub("ht\u{200b}tps://x.example 12\u{202e}3456"), "[link] [digits]");
    }

    #[test]
    fn reasons_hold_nothing_that_must_not_be_logged() {
        let reason = Reason::reply(
            550,
            "5.1.1 <anna.smith@example.com>: no such user, see https://x.example/?token=abc code 123456",
        );
        assert_eq!(reason.text, "5.1.1 <a***@example.com>: no such user, see [link] code [digits]");
        for link in
            ["shop.example/reset?token=abc", "(www.shop.example)", "shop.example:8443/x", "shop.example?t=a"]
        {
            assert_eq!(Reason::reply(550, format!("see {link} now")).text, "see [link] now", "{link}");
        }
        for plain in ["5.7.1/x", "and/or", "mx.example.com", "4.2.1", "smtp.example.", "TLS/1.2"] {
            assert_eq!(scrub(plain), plain);
        }
    }
}
