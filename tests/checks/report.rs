//! The failure report.

use authrelay::bounce::{End, Failure, report};
use authrelay::clock::Timestamp;
use authrelay::ident::{ClientName, MessageId};
use authrelay::mail::{Address, HeaderFields, ReversePath};
use authrelay::outcome::{Reason, ReasonClass};

const FIELDS: [&str; 8] =
    ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"];

/// Whatever an upstream said and whoever it was for: the report has its eight fields and two parts and no others, plain
/// ASCII, short lines, and nothing that must not be told.
pub fn failure_report(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let (first, said) = text.split_once('\n').unwrap_or(("", &text));
    let (recipient, client) = first.split_once(' ').unwrap_or((first, "portal"));
    let recipient = Address::parse(recipient).or_else(|_| Address::parse("anna@customer.example")).unwrap();
    let code = octets.first().map_or(550, |byte| 500 + u16::from(*byte));
    // As it is made of an answer, and as it might come out of a store that somebody wrote into.
    let raw = Reason { class: ReasonClass::Reply, upstream: None, code: Some(code), text: said.to_owned() };
    for reason in [Reason::reply(code, said), raw] {
        for end in [End::Failed, End::Expired, End::Unknown] {
            written(&Failure {
                submission: MessageId::generate(),
                client: &ClientName::new(client),
                recipient: &recipient,
                accepted: Timestamp::from_millis(1_795_440_360_000),
                ended: Timestamp::from_millis(1_795_440_960_000),
                end,
                reason: Some(&reason),
            });
        }
    }
}

fn written(failure: &Failure<'_>) {
    let id = MessageId::generate();
    let to = Address::parse("postmaster@app.example").unwrap();
    let (envelope, message) = report(id, failure, "relay.example", &to);
    assert_eq!((envelope.reverse_path, envelope.recipients), (ReversePath::Null, vec![to]));
    let raw = message.raw();
    let header = HeaderFields::scan(raw);
    let names: Vec<_> =
        header.fields().iter().map(|field| String::from_utf8_lossy(&raw[field.name.clone()])).collect();
    assert_eq!(names, FIELDS);
    assert!(raw.ends_with(b"\r\n"));
    let text = std::str::from_utf8(raw).unwrap();
    for line in text.split("\r\n") {
        assert!(line.chars().all(|c| c == '\t' || c == ' ' || c.is_ascii_graphic()), "{line:?}");
        assert!(line.len() <= 998, "{} octets in a line", line.len());
    }
    let boundary = format!("--report-{id}");
    let parts = text.split("\r\n").filter(|line| line.starts_with(&boundary)).count();
    assert_eq!(parts, 3, "two parts, three boundaries");
    let status = text.split("\r\n").filter(|line| line.starts_with("Status: ")).count();
    let recipients = text.split("\r\n").filter(|line| line.starts_with("Final-Recipient: ")).count();
    assert_eq!((status, recipients), (1, 1));
    assert!(!text.contains("://"), "a link is told");
}
