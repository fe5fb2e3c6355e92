//! The failure report: what an application is told by mail about a message that was accepted and not handed over
//! (RFC 3464, RFC 6522). Pure.
//!
//! It holds the delivery status and nothing of the message: no text, no subject, no code. It has a null reverse-path
//! and is marked as an automatic reply, so nothing answers it.

use crate::clock::Timestamp;
use crate::ident::{ClientName, MessageId};
use crate::mail::{Address, Envelope, Folder, Message, ReversePath};
use crate::outcome::{Reason, ReasonClass, scrub};

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was refused for good.
    Failed,
    /// Its life was over first.
    Expired,
    /// It was sent, and no answer came.
    Unknown,
}

/// What is told of a message.
#[derive(Clone, Debug)]
pub struct Failure<'a> {
    /// The id the client was told.
    pub submission: MessageId,
    /// Who handed it to us.
    pub client: &'a ClientName,
    /// For whom it was.
    pub recipient: &'a Address,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How it ended.
    pub end: End,
    /// Why, as far as it is known.
    pub reason: Option<&'a Reason>,
}

/// Writes the report called `id` about `failure`, from `postmaster` at `hostname`, to `to`.
pub fn report(id: MessageId, failure: &Failure<'_>, hostname: &str, to: &Address) -> (Envelope, Message) {
    let boundary = format!("report-{id}");
    let ended = failure.ended.to_rfc5322();
    let mut text = String::with_capacity(2048);
    for (name, value) in [
        ("From", format!("Mail delivery <postmaster@{hostname}>")),
        ("To", to.as_str().to_owned()),
        ("Subject", "A message could not be handed over".to_owned()),
        ("Date", ended),
        ("Message-ID", format!("<{id}@{hostname}>")),
        ("Auto-Submitted", "auto-replied".to_owned()),
        ("MIME-Version", "1.0".to_owned()),
        (
            "Content-Type",
            format!("multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\""),
        ),
    ] {
        push_line(&mut text, &format!("{name}: {value}"));
    }
    push_part(&mut text, &boundary, "text/plain; charset=us-ascii", &for_people(failure, hostname));
    push_part(&mut text, &boundary, "message/delivery-status", &for_programs(failure, hostname));
    push_line(&mut text, &format!("\r\n--{boundary}--"));
    let envelope = Envelope { reverse_path: ReversePath::Null, recipients: vec![to.clone()] };
    (envelope, Message::new(text))
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push_str("\r\n");
}

fn push_part(text: &mut String, boundary: &str, kind: &str, content: &str) {
    push_line(text, &format!("\r\n--{boundary}\r\nContent-Type: {kind}\r\n"));
    text.push_str(content);
}

fn for_people(failure: &Failure<'_>, hostname: &str) -> String {
    let what = match failure.end {
        End::Failed => "It was refused, and it will not be tried again.",
        End::Expired => "It could not be handed over while it was still of use, so it was not sent.",
        End::Unknown => {
            "It was sent, but nobody said that it arrived. It may have arrived; it will not be sent again."
        }
    };
    let mut text = String::new();
    push_line(&mut text, &format!("This is the mail relay {hostname}."));
    push_line(&mut text, "");
    push_line(&mut text, &format!("A message that {} handed to it on", plain(failure.client.as_str())));
    push_line(&mut text, &format!("{} did not get through.", failure.accepted.to_rfc5322()));
    push_line(&mut text, what);
    push_line(&mut text, "");
    push_line(&mut text, &format!("Message: {}", failure.submission));
    push_line(&mut text, &format!("For:     {}", ascii_address(failure.recipient)));
    if let Some(reason) = failure.reason {
        push_line(&mut text, &format!("Reason:  {}", folded("Reason: ", &plain(&reason.to_string()))));
    }
    text
}

/// The fields of RFC 3464: those of the message, an empty line, those of the recipient.
fn for_programs(failure: &Failure<'_>, hostname: &str) -> String {
    let kind = if failure.recipient.is_ascii() { "rfc822" } else { "utf-8" };
    let mut text = String::new();
    push_line(&mut text, &format!("Reporting-MTA: dns; {hostname}"));
    push_line(&mut text, &format!("Arrival-Date: {}", failure.accepted.to_rfc5322()));
    push_line(&mut text, "");
    push_line(&mut text, &format!("Final-Recipient: {kind}; {}", ascii_address(failure.recipient)));
    // RFC 3464 has no action for "sent, no answer": the status and the part for people tell it apart.
    push_line(&mut text, "Action: failed");
    push_line(&mut text, &format!("Status: {}", status(failure)));
    push_line(&mut text, &format!("Last-Attempt-Date: {}", failure.ended.to_rfc5322()));
    if let Some((code, reason)) = failure.reason.and_then(|reason| Some((reason.code?, reason))) {
        let diagnostic = format!("smtp; {code} {}", plain(&reason.text));
        push_line(&mut text, &format!("Diagnostic-Code: {}", folded("Diagnostic-Code:", &diagnostic)));
    }
    text
}

/// The status code of RFC 3463: what the upstream said where it said one that fits the end, else ours.
fn status(failure: &Failure<'_>) -> String {
    match failure.end {
        End::Expired => "4.4.7".to_owned(),
        End::Unknown => "4.4.2".to_owned(),
        End::Failed => failure.reason.map_or_else(|| "5.0.0".to_owned(), status_of_reason),
    }
}

fn status_of_reason(reason: &Reason) -> String {
    let said = reason.text.split_whitespace().next().filter(|word| is_permanent_status(word));
    match (reason.class, said) {
        (ReasonClass::Reply, Some(said)) => said.to_owned(),
        (ReasonClass::Capability, _) => "5.6.3".to_owned(),
        (ReasonClass::NoRoute, _) => "5.4.4".to_owned(),
        (ReasonClass::Policy, _) => "5.7.1".to_owned(),
        (ReasonClass::Auth | ReasonClass::Tls, _) => "5.7.0".to_owned(),
        (ReasonClass::Connect | ReasonClass::Timeout, _) => "5.4.0".to_owned(),
        (ReasonClass::Local, _) => "5.3.0".to_owned(),
        (
            ReasonClass::Reply
            | ReasonClass::Expired
            | ReasonClass::Superseded
            | ReasonClass::Operator
            | ReasonClass::Sender,
            _,
        ) => "5.0.0".to_owned(),
    }
}

fn is_permanent_status(word: &str) -> bool {
    let mut parts = word.split('.');
    let is_number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.next() == Some("5")
        && parts.next().is_some_and(is_number)
        && parts.next().is_some_and(is_number)
        && parts.next().is_none()
}

/// Text in printable ASCII, scrubbed once more: a reason may have come from anywhere.
fn plain(text: &str) -> String {
    scrub(text).chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

fn folded(name: &str, text: &str) -> String {
    let mut folder = Folder::after(name);
    for word in text.split(' ') {
        folder.word(word);
    }
    folder.finish()
}

/// The address in ASCII: other characters as RFC 6533 section 3 writes them.
fn ascii_address(address: &Address) -> String {
    if address.is_ascii() {
        return address.as_str().to_owned();
    }
    let plain = |c: char| c.is_ascii() && c != '\\';
    address
        .as_str()
        .chars()
        .map(|c| if plain(c) { c.to_string() } else { format!("\\x{{{:X}}}", u32::from(c)) })
        .collect()
}

#[cfg(test)]
mod tests {
    use mail_parser::{MessageParser, MimeHeaders};

    use super::*;

    fn written(end: End, recipient: &str, reason: Option<&Reason>) -> (Envelope, String) {
        let failure = Failure {
            submission: "01931c6e-0000-7000-8000-000000000001".parse().unwrap(),
            client: &"portal".into(),
            recipient: &Address::parse(recipient).unwrap(),
            accepted: Timestamp::from_millis(1_795_440_360_000),
            ended: Timestamp::from_millis(1_795_440_960_000),
            end,
            reason,
        };
        let to = Address::parse("postmaster@app.example").unwrap();
        let (envelope, message) = report(MessageId::generate(), &failure, "relay.example", &to);
        (envelope, String::from_utf8(message.raw().to_vec()).unwrap())
    }

    #[test]
    fn a_report_is_what_programs_expect() {
        let reason = Reason::reply(550, "5.1.1 <anna@example.com> has no mailbox, code 123456");
        let (envelope, text) = written(End::Failed, "anna@example.com", Some(&reason));
        assert_eq!(envelope.reverse_path, ReversePath::Null);
        let message = MessageParser::default().parse(&text).unwrap();
        assert_eq!(message.header_raw("Auto-Submitted"), Some(" auto-replied\r\n"));
        let kind = message.content_type().unwrap();
        assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
        assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
        assert_eq!(message.parts.len(), 3);
        let status = String::from_utf8_lossy(message.parts[2].contents());
        assert_eq!(
            status.trim_end(),
            "Reporting-MTA: dns; relay.example\r\n\
             Arrival-Date: Mon, 23 Nov 2026 13:26:00 +0000\r\n\r\n\
             Final-Recipient: rfc822; anna@example.com\r\n\
             Action: failed\r\n\
             Status: 5.1.1\r\n\
             Last-Attempt-Date: Mon, 23 Nov 2026 13:36:00 +0000\r\n\
             Diagnostic-Code: smtp; 550 5.1.1 <a***@example.com> has no mailbox, code\r\n\t[digits]"
        );
        assert!(!text.contains("123456"));
        assert!(text.split("\r\n").all(|line| line.len() <= 78 && !line.contains('\n')), "{text}");
    }

    #[test]
    fn the_status_says_how_it_ended() {
        let status = |end, reason: Option<&Reason>| {
            let (_, text) = written(end, "anna@example.com", reason);
            text.split("Status: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned()
        };
        assert_eq!(status(End::Failed, None), "5.0.0");
        assert_eq!(status(End::Failed, Some(&Reason::reply(550, "no"))), "5.0.0");
        assert_eq!(status(End::Failed, Some(&Reason::reply(550, "4.2.0 odd"))), "5.0.0");
        assert_eq!(status(End::Failed, Some(&Reason::new(ReasonClass::NoRoute, "none"))), "5.4.4");
        assert_eq!(status(End::Expired, Some(&Reason::reply(451, "4.7.1 later"))), "4.4.7");
        assert_eq!(status(End::Unknown, None), "4.4.2");
    }

    #[test]
    fn hostile_reasons_and_foreign_addresses_stay_ascii_and_in_their_place() {
        let reason = Reason {
            class: ReasonClass::Reply,
            upstream: None,
            code: Some(550),
            text: "x\r\n\r\n--report\r\nSubject: \u{fc} https://evil.example/?t=1".to_owned(),
        };
        let (_, text) = written(End::Failed, "j\u{fc}rgen@example.com", Some(&reason));
        assert!(text.is_ascii());
        assert!(text.contains("Final-Recipient: utf-8; j\\x{FC}rgen@example.com\r\n"));
        assert!(text.contains("Diagnostic-Code: smtp; 550 x --report Subject: ? [link]\r\n"));
    }
}
