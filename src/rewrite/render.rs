//! Writes the message as one sender sends it.
//!
//! Trusted: the plan and the configuration, which are our own. Not trusted: the message. Whatever it holds, the result
//! has exactly one `From`, none of the fields that a sender's change makes wrong, and after its header the bytes that
//! came. All other fields stand as they came, in their order.

use std::fmt;

use bytes::Bytes;

use super::dkim::{self, SignError};
use super::mailbox::{all_at, write_mailbox};
use super::{Business, Config, Plan, Sender};
use crate::mail::{Message, Need, ReversePath};

/// Fields that spoke for the old sender, ask for an answer to it, or vouch for bytes that are no longer there.
const REMOVED: [&str; 8] = [
    "Sender",
    "Return-Path",
    "Bcc",
    "Return-Receipt-To",
    "Disposition-Notification-To",
    "Errors-To",
    "DKIM-Signature",
    "Authentication-Results",
];

/// The same, for whole families of fields.
const REMOVED_FAMILIES: [&str; 2] = ["Resent-", "ARC-"];

/// Room for the fields that are added.
const ADDED: usize = 768;

/// A message as it is handed over. Made by [`render`] alone.
#[derive(Clone)]
pub struct Rendered {
    /// The envelope sender.
    pub reverse_path: ReversePath,
    /// Every byte, signed.
    pub raw: Bytes,
    /// What an upstream must be able to do to take it.
    pub need: Need,
    header_end: usize,
}

impl Rendered {
    /// The header block, signatures included, without the empty line that ends it.
    pub fn header(&self) -> &[u8] {
        &self.raw[..self.header_end]
    }
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rendered({} octets from {:?})", self.raw.len(), self.reverse_path)
    }
}

/// Why a message can't be written for another sender. All but `Sign` are the message's own fault and come out at
/// acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// There are two header fields `From`: which one people are shown is up to the reader.
    #[error("there is more than one From field")]
    TwoFrom,
    /// After the first field stands a line that is no field. For some readers the header ends there, for others not.
    #[error("line {line} of the header is no header field")]
    NoField {
        /// Which line, from 1.
        line: usize,
    },
    /// A CR without LF or an LF without CR, which some readers take for the end of a line.
    #[error("there is a CR or LF that is not part of a CR LF")]
    BareLineEnd,
    /// A key could not sign: our own fault.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Writes `message` as `sender` sends it, and signs it with the sender's keys. The same input always gives the same
/// bytes.
pub fn render(
    message: &Message,
    plan: &Plan,
    sender: &Sender,
    config: &Config,
) -> Result<Rendered, RenderError> {
    let header = write_header(message, plan, sender, config)?;
    let signatures = dkim::sign(&sender.dkim, &header, message.body())?;
    let scanned = message.header();
    let rest = &message.raw()[scanned.end()..];
    // A message that is all body has no empty line of its own in front of it.
    let is_all_body = scanned.fields().is_empty() && scanned.body() == scanned.end();
    let separator: &[u8] = if is_all_body { b"\r\n" } else { b"" };
    let header_end = signatures.len() + header.len();
    let raw = [&signatures, &header, separator, rest].concat();
    let need =
        Need { eight_bit_header: !raw[..header_end].is_ascii(), eight_bit_body: !message.body().is_ascii() };
    Ok(Rendered { reverse_path: reverse_path(plan, sender), raw: Bytes::from(raw), need, header_end })
}

/// The header block as `sender` sends it, without signatures. Fails for every message that `render` would fail for.
pub(super) fn write_header(
    message: &Message,
    plan: &Plan,
    sender: &Sender,
    config: &Config,
) -> Result<Vec<u8>, RenderError> {
    if has_bare_line_end(message.raw()) {
        return Err(RenderError::BareLineEnd);
    }
    let raw = message.raw();
    let business = plan.business.as_ref().and_then(|name| config.businesses.get(name));
    let keeps_reply_to = keeps_reply_to(message, business);
    let from = write_mailbox("From:", &sender.from);
    let mut from_seen = false;
    let mut added = added_fields(message, plan, business, &from);
    let mut header = Vec::with_capacity(message.header().end() + ADDED);
    write_field(&mut header, "Received", &plan.received);
    for (index, field) in message.header().fields().iter().enumerate() {
        let fate = fate(message.name_of(field), keeps_reply_to, config);
        if matches!(fate, Fate::Replaced | Fate::Kept) {
            header.append(&mut added);
        }
        match fate {
            // The separator line of an mbox file: see `HeaderFields::scan`.
            Fate::NoField if index == 0 => {}
            Fate::NoField => return Err(RenderError::NoField { line: line_of(raw, field.whole.start) }),
            Fate::Removed => {}
            Fate::Replaced if from_seen => return Err(RenderError::TwoFrom),
            Fate::Replaced => {
                from_seen = true;
                write_field(&mut header, "From", &from);
            }
            Fate::Trace | Fate::Kept => header.extend_from_slice(&raw[field.whole.clone()]),
        }
    }
    if !added.is_empty() && !header.ends_with(b"\r\n") {
        header.extend_from_slice(b"\r\n");
    }
    header.append(&mut added);
    Ok(header)
}

/// What becomes of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is the From: ours stands in its place.
    Replaced,
    Removed,
    /// It is part of the trace at the top, below which fields are added (RFC 5321 section 4.4).
    Trace,
    Kept,
    /// It is no field at all.
    NoField,
}

fn fate(name: &[u8], keeps_reply_to: bool, config: &Config) -> Fate {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    let is_of = |family: &&str| {
        name.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family.as_bytes()))
    };
    if name.is_empty() {
        Fate::NoField
    } else if is("From") {
        Fate::Replaced
    } else if is("Received") {
        Fate::Trace
    } else if REMOVED.into_iter().any(is)
        || REMOVED_FAMILIES.iter().any(is_of)
        || is(&config.declared_header)
        || (is("Reply-To") && !keeps_reply_to)
    {
        Fate::Removed
    } else {
        Fate::Kept
    }
}

/// Whether the message's own Reply-To stays: there is one, nothing else is configured, and it leads to the business.
fn keeps_reply_to(message: &Message, business: Option<&Business>) -> bool {
    let Some(business) = business.filter(|business| business.reply_to.is_none()) else { return false };
    let mut values = message.values("Reply-To");
    match (values.next(), values.next()) {
        (Some(value), None) => all_at(value, &business.domains),
        (Some(_) | None, _) => false,
    }
}

/// The fields the message lacks, each with its line end.
fn added_fields(message: &Message, plan: &Plan, business: Option<&Business>, from: &str) -> Vec<u8> {
    let mut fields = Vec::new();
    if message.values("From").next().is_none() {
        write_field(&mut fields, "From", from);
    }
    if let Some(reply_to) = business.and_then(|business| business.reply_to.as_ref()) {
        write_field(&mut fields, "Reply-To", &write_mailbox("Reply-To:", reply_to));
    }
    if let Some(date) = &plan.date {
        write_field(&mut fields, "Date", date);
    }
    if let Some(message_id) = &plan.message_id {
        write_field(&mut fields, "Message-ID", message_id);
    }
    if plan.auto_submitted {
        write_field(&mut fields, "Auto-Submitted", "auto-generated");
    }
    fields
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn reverse_path(plan: &Plan, sender: &Sender) -> ReversePath {
    match plan.reverse_path {
        ReversePath::Null if !sender.replace_null_reverse_path => ReversePath::Null,
        ReversePath::Null | ReversePath::Address(_) => ReversePath::Address(sender.return_path.clone()),
    }
}

/// Whether any CR or LF is not part of a CR LF: somewhere a CR has no LF behind it, or an LF no CR before it. One pass
/// without branches, as every message goes through here twice.
fn has_bare_line_end(raw: &[u8]) -> bool {
    let (Some(first), Some(last)) = (raw.first(), raw.last()) else { return false };
    let behind = raw.get(1..).unwrap_or_default();
    let within =
        raw.iter().zip(behind).fold(0, |bare, (&a, &b)| bare | u8::from((a == b'\r') != (b == b'\n')));
    within != 0 || *first == b'\n' || *last == b'\r'
}

fn line_of(raw: &[u8], offset: usize) -> usize {
    raw[..offset].split(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Mailbox;
    use crate::policy::SenderPolicy;
    use crate::rewrite::testing;

    fn plan() -> Plan {
        Plan {
            category: "signin".into(),
            business: Some("acme".into()),
            sender: SenderPolicy::CustomElseNoReply,
            reverse_path: ReversePath::Null,
            received: "by relay.example; today".to_owned(),
            date: None,
            message_id: None,
            auto_submitted: false,
        }
    }

    fn rendered_with(raw: &str, plan: &Plan, config: &Config) -> Result<String, RenderError> {
        let sender = config.senders_for(plan)[0];
        let rendered = render(&Message::new(raw.to_owned()), plan, sender, config)?;
        let text = String::from_utf8_lossy(&rendered.raw).into_owned();
        let rest = text.strip_prefix("Received: by relay.example; today\r\n").map(str::to_owned);
        Ok(rest.unwrap())
    }

    fn rendered(raw: &str) -> Result<String, RenderError> {
        rendered_with(raw, &plan(), &testing::config())
    }

    const FROM: &str = "From: \"Acme, Inc.\" <hello@acme.example>\r\n";

    #[test]
    fn from_is_replaced_where_it_stands_with_all_its_folds() {
        let raw = "To: a@b.example\r\nfrom :\r\n one\r\n two\r\n three\r\n four <a@b.example>\r\nSubject:x\r\n\r\nHi\r\n";
        let expected = format!("To: a@b.example\r\n{FROM}Subject:x\r\n\r\nHi\r\n");
        assert_eq!(rendered(raw).unwrap(), expected);
    }

    #[test]
    fn fields_that_speak_for_the_old_sender_are_removed() {
        let raw = "Return-Path: <a@b.example>\r\nFrom: a@b.example\r\nSENDER: a\r\n b\r\nBcc: c\r\nResent-Anything: d\r\n\
                   ARC-Seal: e\r\nDKIM-Signature: f\r\nAuthentication-Results: g\r\nErrors-To: h\r\nx-authrelay-category: i\r\n\
                   Return-Receipt-To: j\r\nDisposition-Notification-To: k\r\nReply-To: l@b.example\r\nX-Kept: m\r\n\r\n";
        assert_eq!(rendered(raw).unwrap(), format!("{FROM}X-Kept: m\r\n\r\n"));
    }

    #[test]
    fn what_is_missing_is_added_below_the_trace() {
        let plan = Plan {
            date: Some("Mon, 23 Nov 2026 13:26:00 +0000".to_owned()),
            message_id: Some("<1@relay.example>".to_owned()),
            auto_submitted: true,
            ..plan()
        };
        let added = format!(
            "{FROM}Date: Mon, 23 Nov 2026 13:26:00 +0000\r\nMessage-ID: <1@relay.example>\r\nAuto-Submitted: auto-generated\r\n"
        );
        let with = |raw: &str| rendered_with(raw, &plan, &testing::config()).unwrap();
        let raw =
            "Return-Path: <>\r\nReceived: one\r\nReceived: two\r\nSubject: x\r\nReceived: odd\r\n\r\nHi";
        let trace = "Received: one\r\nReceived: two\r\n";
        assert_eq!(with(raw), format!("{trace}{added}Subject: x\r\nReceived: odd\r\n\r\nHi"));
        assert_eq!(with("Subject: x"), format!("{added}Subject: x"));
        assert_eq!(with("Received: x"), format!("Received: x\r\n{added}"));
    }

    #[test]
    fn text_without_a_header_stays_text() {
        for raw in ["Your code: 123456\r\n\r\nBye\r\n", "Hello\r\nBcc: x@y.example\r\n", ""] {
            assert_eq!(rendered(raw).unwrap(), format!("{FROM}\r\n{raw}"));
        }
        let raw = "\r\nSubject: this is text\r\n\r\nBye\r\n";
        assert_eq!(rendered(raw).unwrap(), format!("{FROM}{raw}"));
        let raw = "From a Mon Nov 23 13:26:00 2026\r\nSubject: x\r\n\r\nHi\r\n";
        assert_eq!(rendered(raw).unwrap(), format!("{FROM}Subject: x\r\n\r\nHi\r\n"));
    }

    #[test]
    fn what_readers_would_disagree_about_is_refused() {
        for (raw, error) in [
            ("From: a@b.example\r\nFROM : c@d.example\r\n\r\n", RenderError::TwoFrom),
            ("From: a\r\n b\r\nno field\r\nSubject: x\r\n\r\n", RenderError::NoField { line: 3 }),
            ("Subject: x\r\nBad Name: y\r\n\r\n", RenderError::NoField { line: 2 }),
            ("Subject: x\nFrom: evil@b.example\r\n\r\n", RenderError::BareLineEnd),
            ("Subject: x\rFrom: evil@b.example\r\n\r\n", RenderError::BareLineEnd),
            ("Subject: x\r\n\r\nHi\n.\r\n", RenderError::BareLineEnd),
            ("Subject: x\r\n\r\nHi\r", RenderError::BareLineEnd),
        ] {
            assert_eq!(rendered(raw).err(), Some(error), "{raw:?}");
        }
    }

    #[test]
    fn reply_to_stays_only_where_it_leads_to_the_business() {
        let mut config = testing::config();
        let kept = "Reply-To: Help <help@acme.example>\r\n";
        let with = |fields: &str, plan: &Plan, config: &Config| {
            rendered_with(&format!("From: a@b.example\r\n{fields}\r\n"), plan, config).unwrap()
        };
        assert_eq!(with(kept, &plan(), &config), format!("{FROM}{kept}\r\n"));
        assert_eq!(with(&kept.repeat(2), &plan(), &config), format!("{FROM}\r\n"));
        let unbound = Plan { business: None, ..plan() };
        assert!(!with(kept, &unbound, &config).contains("Reply-To"));
        config.businesses.get_mut("acme").unwrap().reply_to = Mailbox::parse("desk@acme.example").ok();
        assert_eq!(with(kept, &plan(), &config), format!("Reply-To: desk@acme.example\r\n{FROM}\r\n"));
    }

    #[test]
    fn the_null_reverse_path_stays_unless_the_sender_says_otherwise() {
        let mut config = testing::config();
        let path = |reverse_path: ReversePath, config: &Config| {
            let plan = Plan { reverse_path, sender: SenderPolicy::NoReply, ..plan() };
            let sender = config.senders_for(&plan)[0];
            render(&Message::new("Subject: x\r\n\r\n"), &plan, sender, config).unwrap().reverse_path
        };
        let given = ReversePath::Address(crate::mail::Address::parse("app@app.example").unwrap());
        assert_eq!(path(given.clone(), &config).as_str(), "bounces@relay.example");
        assert_eq!(path(ReversePath::Null, &config), ReversePath::Null);
        let no_reply = config.senders.get_mut("no-reply").unwrap();
        std::sync::Arc::get_mut(no_reply).unwrap().replace_null_reverse_path = true;
        assert_eq!(path(ReversePath::Null, &config).as_str(), "bounces@relay.example");
    }

    #[test]
    fn need_is_judged_by_the_bytes_that_leave() {
        let config = testing::config();
        let sender = config.senders_for(&plan())[0].clone();
        let need = |raw: &str| render(&Message::new(raw.to_owned()), &plan(), &sender, &config).unwrap().need;
        let eight_bit_from = need("From: \u{fc}@b.example\r\nSubject: x\r\n\r\nHi\r\n");
        assert_eq!(eight_bit_from, Need { eight_bit_header: false, eight_bit_body: false });
        let eight_bit = need("Subject: \u{fc}\r\n\r\n\u{fc}\r\n");
        assert_eq!(eight_bit, Need { eight_bit_header: true, eight_bit_body: true });
    }
}
