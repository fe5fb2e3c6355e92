//! Messages: made, taken apart and compared, independently of how the relay does it.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// A message as an upstream got it.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    pub reverse_path: String,
    pub recipients: Vec<String>,
    /// Every byte, dots unstuffed.
    pub raw: Vec<u8>,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reverse_path, recipients, raw } = self;
        write!(f, "Mail(from {reverse_path:?} to {recipients:?}: {})", raw.escape_ascii())
    }
}

impl Mail {
    /// The value of the first field called `name`, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers(name).into_iter().next()
    }

    /// The values of all fields called `name`.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let matching = fields(&self.raw).into_iter().filter(|field| is(field, name));
        let value = |field: &[u8]| {
            let text = String::from_utf8_lossy(field).into_owned();
            let (_, value) = text.split_once(':').expect("a field has a colon");
            value.replace("\r\n", "").trim().to_owned()
        };
        matching.map(value).collect()
    }

    /// The bytes behind the header.
    pub fn body(&self) -> &[u8] {
        body(&self.raw)
    }
}

/// A message with CR LF line ends, from lines.
pub fn message(lines: &[&str]) -> Vec<u8> {
    let mut text = lines.join("\r\n").into_bytes();
    text.extend_from_slice(b"\r\n");
    text
}

/// A password reset for `to`, with a link and a subject that no other has.
pub fn password_reset(to: &str) -> Vec<u8> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    message(&[
        "From: Shop <shop@legacy.example>",
        &format!("To: {to}"),
        &format!("Subject: Reset your password (request {number})"),
        "",
        "Somebody asked to reset the password of your account.",
        "To choose a new one, follow this link:",
        &format!("https://acme.example/reset?token=t0ken-{number}"),
        "If it was not you, ignore this message.",
    ])
}

/// The fields that are never handed on; `Reply-To` unless it is the business's own.
const REMOVED: [&str; 16] = [
    "From",
    "Sender",
    "Reply-To",
    "Return-Path",
    "Bcc",
    "Resent-From",
    "Resent-To",
    "Return-Receipt-To",
    "Disposition-Notification-To",
    "Errors-To",
    "DKIM-Signature",
    "ARC-Seal",
    "ARC-Message-Signature",
    "ARC-Authentication-Results",
    "Authentication-Results",
    "X-Authrelay-Category",
];

/// The fields that are added where they are missing, and stand as they are where they are not.
const ADDED: [&str; 3] = ["Date", "Message-ID", "Auto-Submitted"];

/// Asserts that a message arrived with one `From` of `sender`, one more `Received`, what was missing and without what is
/// removed, and that every other byte is as it was.
#[track_caller]
pub fn assert_rewritten(what: &str, original: &[u8], arrived: &Mail, sender: &str) {
    if let Err(difference) = rewritten(original, arrived, sender) {
        panic!("{what}: {difference}");
    }
}

/// The same as an answer: how the message that arrived differs from what was promised.
pub fn rewritten(original: &[u8], arrived: &Mail, sender: &str) -> Result<(), String> {
    let from = arrived.headers("From");
    if from.len() != 1 || !from[0].contains(sender) {
        return Err(format!("{from:?}"));
    }
    let was_there = |name: &str| fields(original).iter().any(|field| is(field, name));
    let missing: Vec<&str> = ADDED.into_iter().filter(|name| !was_there(name)).collect();
    if let Some(name) = missing.iter().find(|name| arrived.headers(name).len() != 1) {
        return Err(format!("{name} is not there once"));
    }
    let removed = |field: &[u8]| REMOVED.iter().any(|name| is(field, name));
    let shown = |fields: Vec<&[u8]>| -> Vec<String> {
        fields.into_iter().map(|field| field.escape_ascii().to_string()).collect()
    };
    let expected: Vec<&[u8]> = fields(original).into_iter().filter(|field| !removed(field)).collect();
    let mut found: Vec<&[u8]> = fields(&arrived.raw);
    found.retain(|field| !is(field, "From") && !missing.iter().any(|name| is(field, name)));
    if found.is_empty() || !is(found.remove(0), "Received") {
        return Err("the first field is not Received".to_owned());
    }
    let (found, expected) = (shown(found), shown(expected));
    if found != expected {
        return Err(format!("the other header fields: {found:?} for {expected:?}"));
    }
    let mut expected = body(original).to_vec();
    if !expected.is_empty() && !expected.ends_with(b"\r\n") {
        expected.extend_from_slice(b"\r\n");
    }
    let found = arrived.body();
    if expected != found {
        let first = expected.iter().zip(found).position(|(a, b)| a != b);
        return Err(format!(
            "the body differs: {} octets arrived of {}, the first difference is at {first:?}",
            found.len(),
            expected.len()
        ));
    }
    Ok(())
}

/// The header fields with their line ends, folded lines included.
fn fields(raw: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(end) = line_end(raw, at) {
        let folded = at > start && matches!(raw[at], b' ' | b'\t');
        if at > start && !folded {
            fields.push(&raw[start..at]);
            start = at;
        }
        if &raw[at..end] == b"\r\n" {
            return fields;
        }
        at = end;
    }
    fields.push(&raw[start..]);
    fields.retain(|field| !field.is_empty());
    fields
}

fn body(raw: &[u8]) -> &[u8] {
    if let Some(body) = raw.strip_prefix(b"\r\n") {
        return body;
    }
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n");
    end.map_or(&[], |end| &raw[end + 4..])
}

fn line_end(raw: &[u8], from: usize) -> Option<usize> {
    raw[from..].windows(2).position(|two| two == b"\r\n").map(|at| from + at + 2)
}

fn is(field: &[u8], name: &str) -> bool {
    let colon = field.iter().position(|&byte| byte == b':');
    colon.is_some_and(|colon| field[..colon].trim_ascii_end().eq_ignore_ascii_case(name.as_bytes()))
}
