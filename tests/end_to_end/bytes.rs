//! Every byte of a message but the named header fields: messages at the edges of what is allowed, and real ones.

use authrelay::guard::attachment::forbidden;
use authrelay::guard::links::{LinkGuard, survey};
use authrelay::mail::Message;
use authrelay::policy::{Recognition, Text, TextLimits};

use crate::harness::config::{NO_REPLY_ADDRESS, small};
use crate::harness::mail::{Mail, assert_rewritten, message};
use crate::harness::relay::Relay;
use crate::harness::skipped;
use crate::harness::upstream::Upstream;

const FROM: &str = "shop@legacy.example";

/// So many recipients may be waited for at once.
const BATCH: usize = 50;

fn relay_to(provider: &Upstream, limits: &str) -> Relay {
    Relay::start(&small(provider.address(), "category = \"password-reset\"", limits))
}

/// Sends all of them over one connection, each to a recipient of its own, and compares what arrives.
fn compare(relay: &Relay, provider: &Upstream, originals: &[(String, Vec<u8>)]) {
    let mut dialogue = relay.hello();
    for (round, batch) in originals.chunks(BATCH).enumerate() {
        let recipient = |index: usize| format!("user{}@customer.example", round * BATCH + index);
        for (index, (name, original)) in batch.iter().enumerate() {
            let reply = dialogue.send(FROM, &[&recipient(index)], original);
            assert_eq!(reply.code, 250, "{name}: {reply}");
        }
        let taken = provider.wait_taken(round * BATCH + batch.len());
        for (index, (name, original)) in batch.iter().enumerate() {
            let to = recipient(index);
            let mut matching = taken.iter().filter(|mail| mail.recipients == [&*to]);
            let arrived: &Mail = matching.next().expect("it arrived");
            assert!(matching.next().is_none(), "{name} arrived twice");
            assert_rewritten(name, original, arrived, NO_REPLY_ADDRESS);
        }
    }
}

#[test]
fn messages_at_the_edges_arrive_as_they_are() {
    let line = |length: usize| "x".repeat(length);
    let (at_limit, over, far_over) = (line(998), line(1000), line(60_000));
    let folded = "From: Shop\r\n <shop@\r\n\tlegacy.example>\r\n  (by\r\n\tday)";
    let cases: Vec<(&str, Vec<&str>)> = vec![
        ("no From", vec!["Subject: x", "", "body"]),
        ("From folded over five lines", vec![folded, "Subject: x", "", "body"]),
        ("From in group syntax", vec!["From: Shop: a@legacy.example, b@legacy.example;", "", "body"]),
        ("From in encoded words", vec!["From: =?iso-8859-1?Q?Sh=F6p?= <a@legacy.example>", "", "body"]),
        (
            "fields that are removed",
            vec!["Bcc: x@y.example", "Errors-To: x@y.example", "From: a@b.example", "", "body"],
        ),
        (
            "its own Date and Message-ID",
            vec!["Date: today", "Message-ID: <1@x>", "Auto-Submitted: no", "", "body"],
        ),
        ("the same field often", vec!["X-A: 1", "X-A: 2", "x-a: 1", "Subject: x", "", "body"]),
        (
            "fields that could be thought to be somebody's",
            vec![
                "Cc: b@customer.example",
                "List-Unsubscribe: <https://legacy.example/u>",
                "Return-Receipt: no",
                "X-Sender: app",
                "Delivered-To: x@y.example",
                "References: <1@x>",
                "Content-Type: text/plain",
                "Subject: x",
                "",
                "body",
            ],
        ),
        ("odd spaces in fields", vec!["X-A:no space", "X-B :before", "X-C:  two  ", "", "body"]),
        ("NUL", vec!["Subject: x", "", "a\0b"]),
        ("8-bit", vec!["Subject: x", "", "\u{e4}\u{f6} \u{1f600}"]),
        ("long lines", vec!["Subject: x", "", &at_limit, &over, &far_over]),
        ("dots", vec!["Subject: x", "", ".", "..", "...", ".x", " ."]),
        ("an empty body", vec!["Subject: x", ""]),
        ("only empty lines", vec!["Subject: x", "", "", "", ""]),
        ("no body at all", vec!["Subject: x"]),
    ];
    let originals: Vec<(String, Vec<u8>)> =
        cases.into_iter().map(|(name, lines)| (name.to_owned(), message(&lines))).collect();
    let provider = Upstream::accepting();
    let relay = relay_to(&provider, "");
    compare(&relay, &provider, &originals);
}

#[test]
fn a_message_of_almost_ten_megabytes_arrives() {
    let line = "0123456789".repeat(7);
    let mut lines = vec!["Subject: large", ""];
    lines.extend(std::iter::repeat_n(&*line, (10 << 20) / 72 - 10));
    let originals = [("large".to_owned(), message(&lines))];
    let provider = Upstream::accepting();
    let relay = relay_to(&provider, "[limits]\nmessage_size = \"10 MiB\"\n");
    compare(&relay, &provider, &originals);
}

#[test]
fn two_from_fields_are_refused() {
    let provider = Upstream::accepting();
    let relay = relay_to(&provider, "");
    let two = message(&["From: a@legacy.example", "From: b@legacy.example", "Subject: x", "", "body"]);
    let reply = relay.hello().send(FROM, &["anna@customer.example"], &two).expect(550);
    assert!(reply.text().starts_with("5.6.0"), "{reply}");
    assert_eq!(provider.seen().connections, 0);
}

/// `AUTHRELAY_CORPUS` names a folder with real messages as `eml/*.eml`.
#[test]
fn real_messages_arrive_as_they_are() {
    let Some(corpus) = std::env::var_os("AUTHRELAY_CORPUS") else {
        skipped("no real messages were sent through: AUTHRELAY_CORPUS names no folder that has them");
        return;
    };
    let folder = std::path::Path::new(&corpus).join("eml");
    let mut originals: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .expect("the corpus")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let text = std::fs::read(&path).expect("a message");
            (path.file_name().expect("a name").to_string_lossy().into_owned(), clean(&text))
        })
        .collect();
    originals.sort();
    assert!(!originals.is_empty(), "the corpus is empty");
    let all = originals.len();
    originals.retain(|(_, raw)| !is_guarded(raw));
    assert!(originals.len() * 10 >= all * 9, "{} of {all} are left", originals.len());
    let provider = Upstream::accepting();
    let relay = relay_to(&provider, "");
    compare(&relay, &provider, &originals);
}

/// Whether the guards would refuse it for what it brings along or can't be read of it, whoever sends it.
fn is_guarded(raw: &[u8]) -> bool {
    let text = Text::of(&Message::new(raw.to_vec()), &TextLimits::default());
    let links = survey(&text, None, &Recognition::default());
    text.parts_left_out
        || text.enclosures.iter().any(|enclosure| forbidden(enclosure).is_some())
        || links.objection(LinkGuard::On).is_some()
}

/// The message with the line ends of SMTP, as a client would bring it.
fn clean(text: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        clean.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        clean.extend_from_slice(b"\r\n");
    }
    clean
}
