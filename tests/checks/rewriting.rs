//! What must hold of every message that is rewritten.
//!
//! Written apart from the code it judges: it takes the named fields out of the message before and after, and compares
//! what is left byte by byte.

use authrelay::mail::Message;
use authrelay::rewrite::RenderError;

use super::rewrite_support::{config, fields, rendered};

/// Fields that rewriting may remove, replace or add.
fn is_named(name: &str) -> bool {
    let named = [
        "from",
        "sender",
        "return-path",
        "bcc",
        "return-receipt-to",
        "disposition-notification-to",
        "errors-to",
        "dkim-signature",
        "authentication-results",
        "x-authrelay-category",
        "reply-to",
        "date",
        "message-id",
        "auto-submitted",
    ];
    named.contains(&name) || name.starts_with("resent-") || name.starts_with("arc-")
}

/// The header block and what follows it, the empty line included.
pub fn split(raw: &[u8]) -> (&[u8], &[u8]) {
    if raw.starts_with(b"\r\n") {
        return (&[], raw);
    }
    match raw.windows(4).position(|window| window == b"\r\n\r\n") {
        Some(at) => raw.split_at(at + 2),
        None => (raw, &[]),
    }
}

/// What rewriting must not touch: all other fields joined, in order.
fn untouched(header: &[u8]) -> Vec<u8> {
    let kept = fields(header).into_iter().filter(|(name, _)| !name.is_empty() && !is_named(name));
    kept.flat_map(|(_, whole)| whole).collect()
}

/// How many fields there are of that name.
pub fn count(header: &[u8], name: &str) -> usize {
    fields(header).iter().filter(|(field, _)| field == name).count()
}

/// Checks everything that must hold of a message that can be rewritten.
pub fn check(raw: &[u8]) -> Result<(), RenderError> {
    let config = config(Vec::new());
    let message = Message::new(raw.to_vec());
    let result = rendered(&message, &config)?;
    assert_eq!(result.raw, rendered(&message, &config)?.raw, "two runs differ");
    let (header_after, rest_after) = split(&result.raw);
    assert_eq!(result.header(), header_after);
    let ours = b"Received: from app.example by relay.example with ESMTPSA id 1;\r\n\tMon, 23 Nov 2026 13:26:00 +0000\r\n";
    let below = header_after.strip_prefix(ours.as_slice()).expect("our trace stands on top");
    assert_eq!(count(header_after, "from"), 1);
    for name in ["date", "message-id", "auto-submitted"] {
        assert!(count(header_after, name) >= 1, "{name} is missing");
    }
    for name in ["sender", "bcc", "return-path", "dkim-signature", "x-authrelay-category"] {
        assert_eq!(count(header_after, name), 0, "{name} is still there");
    }
    let has_header = !fields(raw).is_empty() || raw.starts_with(b"\r\n");
    if has_header {
        let (header_before, rest_before) = split(raw);
        let (after, mut before) = (untouched(below), untouched(header_before));
        // A header that is cut off inside a field (from a file; SMTP has no such thing) gets its line end.
        if after.len() == before.len() + 2 && !header_before.ends_with(b"\r\n") {
            before.extend_from_slice(b"\r\n");
        }
        assert_eq!(after, before, "other fields changed");
        assert_eq!(rest_after, rest_before, "the body changed");
        for name in ["date", "message-id"] {
            let of =
                |header: &[u8]| -> Vec<_> { fields(header).into_iter().filter(|(n, _)| n == name).collect() };
            let before = of(header_before);
            assert!(before.is_empty() || before == of(below), "{name} changed");
        }
    } else {
        assert_eq!(rest_after.strip_prefix(b"\r\n").expect("an empty line"), raw, "the text changed");
    }
    assert_eq!(result.need.eight_bit_header, !header_after.is_ascii());
    assert_eq!(result.need.eight_bit_body, !rest_after.is_ascii());
    Ok(())
}

/// The same for anything at all: what can't be rewritten is refused.
#[allow(dead_code, reason = "one of the two tests that share this has only messages made for it")]
pub fn rewriting(octets: &[u8]) {
    let _ = check(octets);
}
