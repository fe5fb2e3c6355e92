//! Byte for byte: what is handed over is what was rendered, over the real wire, whatever its lines look like.

mod support;

use authrelay::deliver::HandOver;
use authrelay::mail::is_disguised_dot;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::scripted_upstream::ScriptedUpstream;
use support::{PLAIN, send, smtp, upstream};

/// Lines that end in CR LF and hold anything else, many with dots in front.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let byte =
        prop_oneof![4 => Just(b'.'), 4 => 32_u8..127, 1 => 128_u8..=255, 1 => Just(0_u8), 1 => Just(9_u8)];
    let line = prop_oneof![
        8 => proptest::collection::vec(byte, 0..12),
        1 => Just(vec![b'x'; 998]),
        1 => Just(vec![b'.'; 1100]),
    ];
    (proptest::collection::vec(line, 0..40), any::<bool>()).prop_map(|(lines, ended)| {
        let mut raw = b"From: a@example.com\r\n\r\n".to_vec();
        raw.extend_from_slice(&lines.join(&b"\r\n"[..]));
        if ended {
            raw.extend_from_slice(b"\r\n");
        }
        raw
    })
}

#[test]
fn the_upstream_has_exactly_the_bytes_that_were_rendered() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(ScriptedUpstream::start());
    let upstream = upstream(smtp(server.address));
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    runner
        .run(&messages(), |raw| {
            let done = runtime.block_on(send(&upstream, &raw));
            // What ends a message for a server that drops NULs never gets there; that it doesn't is tested by itself.
            let mut lines = raw.split(|byte| *byte == b'\n');
            if lines.any(|line| is_disguised_dot(line.strip_suffix(b"\r").unwrap_or(line))) {
                prop_assert!(matches!(done, HandOver::Refused(_)), "{done:?}");
                return Ok(());
            }
            prop_assert!(matches!(done, HandOver::Accepted { .. }), "{done:?}");
            let mut expected = raw;
            if !expected.ends_with(b"\r\n") {
                expected.extend_from_slice(b"\r\n");
            }
            let seen = server.seen();
            let last = seen.messages.last().unwrap();
            prop_assert_eq!(&last.bytes, &expected);
            Ok(())
        })
        .unwrap();
    let seen = server.seen();
    let known = ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"];
    assert!(seen.commands.iter().all(|line| known.iter().any(|verb| line.starts_with(verb))));
}

#[tokio::test]
async fn ten_mebibytes_of_dots_arrive_whole() {
    let server = ScriptedUpstream::start().await;
    let upstream = upstream(smtp(server.address));
    let line = [b".".repeat(76), b"\r\n".to_vec()].concat();
    let raw = [PLAIN.to_vec(), line.repeat(10 * 1024 * 1024 / line.len())].concat();
    let done = send(&upstream, &raw).await;
    assert!(matches!(done, HandOver::Accepted { .. }), "{done:?}");
    assert!(server.seen().messages[0].bytes == raw);
}
