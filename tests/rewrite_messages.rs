//! Rewriting changes the fields it names and nothing else, whatever the message looks like.
//!
//! The oracle is written apart from the code it judges: it takes the named fields out of the message before and after,
//! and compares what is left byte by byte.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod rewrite_support;
#[path = "checks/rewriting.rs"]
mod rewriting;
#[path = "common/skipped.rs"]
mod skipped;

use authrelay::mail::Message;
use authrelay::rewrite::RenderError;
use proptest::prelude::*;
use rewrite_support::{config, rendered};
use rewriting::check;

fn name() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "From",
        "from ",
        "Sender",
        "Reply-To",
        "Date",
        "Message-ID",
        "Subject",
        "To",
        "Bcc",
        "Received",
        "Return-Path",
        "DKIM-Signature",
        "ARC-Seal",
        "Resent-From",
        "Content-Type",
        "MIME-Version",
        "X-Authrelay-Category",
        "Errors-To",
        "Auto-Submitted",
        "Fromage",
        "X-From",
        "Archive",
        "Resented",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => "[!-9;-~]{1,20}"]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just(b" Anna <anna@example.com>".to_vec()),
        Just(b" =?UTF-8?Q?J=C3=BCrgen?= =?ISO-8859-1?B?/A==?=".to_vec()),
        Just(b" team: a@acme.example, b@acme.example;".to_vec()),
        Just(b"\t".to_vec()),
        Just(b" ".to_vec()),
        Just([b" ".as_slice(), &[b'x'; 998]].concat()),
        prop::collection::vec(any::<u8>().prop_filter("line ends", |byte| !b"\r\n".contains(byte)), 0..60)
            .prop_map(|bytes| [b" ".as_slice(), &bytes].concat()),
    ];
    prop::collection::vec(line, 1..6).prop_map(|lines| lines.join(b"\r\n".as_slice()))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b".\r\n".to_vec()),
        Just(b"From: x@y.example\r\n".to_vec()),
        Just(vec![0, 0xff, b' ']),
        Just(vec![b'y'; 1000]),
        "\\PC{0,40}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_named_fields_change(
        header in prop::collection::vec((name(), value()), 0..14),
        separator in any::<bool>(),
        body in body(),
    ) {
        let mut raw = Vec::new();
        let mut froms = 0;
        for (name, value) in &header {
            froms += usize::from(name.trim_end().eq_ignore_ascii_case("from"));
            // A second From is the other test's matter.
            if froms > 1 && name.trim_end().eq_ignore_ascii_case("from") {
                continue;
            }
            raw.extend_from_slice(name.as_bytes());
            raw.push(b':');
            raw.extend_from_slice(value);
            raw.extend_from_slice(b"\r\n");
        }
        if separator {
            raw.extend_from_slice(b"\r\n");
            raw.extend_from_slice(&body);
        }
        prop_assert_eq!(check(&raw), Ok(()));
    }

    #[test]
    fn anything_is_rewritten_or_refused(raw in prop::collection::vec(
        prop_oneof![4 => Just(b"\r\n".to_vec()), 2 => Just(b"From: a\r\n".to_vec()), 1 => Just(b"Subject: b\r\n".to_vec()),
            1 => Just(b"From a 13:26\r\n".to_vec()), 2 => "[ -~\t]{0,8}".prop_map(String::into_bytes),
            1 => any::<u8>().prop_map(|byte| vec![byte])], 0..12)) {
        let raw = raw.concat();
        let bare = String::from_utf8_lossy(&raw).replace("\r\n", "").contains(['\r', '\n']);
        let result = check(&raw);
        prop_assert_eq!(result == Err(RenderError::BareLineEnd), bare);
    }
}

#[test]
fn messages_of_unusual_size_and_shape() {
    let ten_megabytes =
        [b"From: a@b.example\r\n\r\n".as_slice(), &b"0123456789abcde\r\n".repeat(620_000)].concat();
    let long = |length: usize| {
        format!("From: a@b.example\r\nX-Long: {0}\r\n\r\n{0}\r\n", "z".repeat(length)).into_bytes()
    };
    let messages: [Vec<u8>; 16] = [
        ten_megabytes,
        long(990),
        long(998),
        long(1000),
        long(64 * 1024),
        b"".to_vec(),
        b"\r\n".to_vec(),
        b"\r\n\r\n".to_vec(),
        b"Subject: x".to_vec(),
        b"Subject: x\r\n".to_vec(),
        b"Subject: x\r\n\r\n".to_vec(),
        b"From: a@b.example".to_vec(),
        b"From:\r\n\r\nno final line end".to_vec(),
        b"Subject: \0\r\n\r\n\0\xff\r\n".to_vec(),
        b"Your code is 123456".to_vec(),
        b"From a Mon Nov 23 13:26:00 2026\r\nFrom: a@b.example\r\n\r\nHi\r\n".to_vec(),
    ];
    for message in messages {
        assert_eq!(
            check(&message),
            Ok(()),
            "{:?}",
            String::from_utf8_lossy(&message[..message.len().min(60)])
        );
    }
}

/// Pairs of what comes in and what goes out, to be read by people. `*.in.eml` beside `*.out.eml`.
#[test]
fn golden_pairs() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rewrite");
    let mut pairs = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(stem) = name.strip_suffix(".in.eml") else { continue };
        let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap().replace('\n', "\r\n");
        let result = rendered(&Message::new(read(&path)), &config(Vec::new())).unwrap();
        let expected = read(&folder.join(format!("{stem}.out.eml")));
        assert_eq!(String::from_utf8(result.raw.to_vec()).unwrap(), expected, "{stem}");
        pairs += 1;
    }
    assert!(pairs >= 4, "only {pairs} pairs found");
}

/// Real messages, where `AUTHRELAY_CORPUS` names a folder with `eml/*.eml`.
#[test]
fn a_corpus_of_real_messages() {
    let Ok(corpus) = std::env::var("AUTHRELAY_CORPUS") else {
        skipped::skipped("rewriting of real messages: AUTHRELAY_CORPUS is not set");
        return;
    };
    let mut messages = 0;
    for entry in std::fs::read_dir(std::path::Path::new(&corpus).join("eml")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(check(&std::fs::read(&path).unwrap()), Ok(()), "{}", path.display());
        messages += 1;
    }
    println!("{messages} messages of the corpus compared");
    assert!(messages > 0);
}
