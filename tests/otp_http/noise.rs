//! Whatever is sent: no fault of ours is shown, nothing is taken, and nothing secret comes back.

use authrelay::http::Limits;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::support::{Ask, CODE, NUMBER, Server, code_body};

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let server = Server::start().await;
    for (bytes, answer) in [
        ("\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03", "HTTP/1.1 400 "),
        ("EHLO relay.example\r\n\r\n", "HTTP/1.1 400 "),
        ("GET / HTTP/9.9\r\n\r\n", "HTTP/1.1 400 "),
        ("GET /\r\n\r\n", "HTTP/1.1 400 "),
        ("POST /v1/otp HTTP/1.1\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 400 "),
        ("POST /v1/otp HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 400 "),
        ("POST /v1/otp HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 400 "),
        ("POST /v1/otp HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 "),
        ("POST /v1/otp HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", "HTTP/1.1 400 "),
        ("GET / HTTP/1.1\r\nA : b\r\n\r\n", "HTTP/1.1 400 "),
        ("GET / HTTP/1.1\r\nA: b\x00\r\n\r\n", "HTTP/1.1 400 "),
        // Another protocol: hyper just closes.
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
    ] {
        let got = server.raw(bytes.as_bytes()).await;
        assert!(got.starts_with(answer.as_bytes()), "{bytes:?}: {}", got.escape_ascii());
    }
    for request in [
        format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000)),
        format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(20_000)),
        format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(200)),
    ] {
        let got = server.raw(request.as_bytes()).await;
        assert!(got.starts_with(b"HTTP/1.1 431 "), "{}", got.escape_ascii());
    }
}

#[tokio::test]
async fn a_body_whose_end_is_declared_too_far_away_is_not_waited_for() {
    let server = Server::start().await;
    let head = "POST /v1/otp HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n";
    let mut client = server.connect().await;
    client.write(head.as_bytes()).await;
    let response = client.response("POST").await.unwrap();
    response.is_problem(413, "content-too-large");
    client.ended().await;
}

#[tokio::test]
async fn a_chunked_body_is_read_and_bounded() {
    let server = Server::start().await;
    let head = String::from_utf8(Ask::post("/v1/otp", "").bytes()).unwrap();
    let head = head.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n");
    let whole = code_body();
    let (one, two) = whole.split_at(10);
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let mut client = server.connect().await;
    client.write(format!("{head}{}{}0\r\n\r\n", chunk(one), chunk(two)).as_bytes()).await;
    assert_eq!(client.response("POST").await.unwrap().status, 202);
    let long = chunk(&" ".repeat(1000)).repeat(500);
    client.write(format!("{head}{long}0\r\n\r\n").as_bytes()).await;
    let response = client.response("POST").await.unwrap();
    response.is_problem(413, "content-too-large");
    assert_eq!(response.field("connection"), Some("close"));
    client.ended().await;
}

/// A value that holds the code and the number, in some place that has nothing to do with them.
fn with_secrets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(CODE.to_owned()),
        Just(NUMBER.to_owned()),
        Just(format!("\"{CODE}\"")),
        Just(format!("\"{NUMBER}\"")),
        proptest::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"to\"",
            "\"code\"",
            "\"factor\"",
            "\"primary\"",
            "\"expires_in\"",
            "\"reference\"",
            "\"business\"",
            "null",
            "1e9",
            "\\u0000",
            "\"",
            "\u{7f}",
        ])
        .prop_map(str::to_owned),
        ".{0,4}",
    ];
    let pieces = proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes());
    // A good body with something put into it somewhere gets further than noise.
    let damaged = (any::<proptest::sample::Index>(), pieces.clone()).prop_map(|(at, piece)| {
        let mut body = code_body().into_bytes();
        let at = at.index(body.len());
        body.splice(at..at, piece);
        body
    });
    prop_oneof![pieces, damaged, proptest::collection::vec(any::<u8>(), 0..200)]
}

fn check(answer: &[u8]) -> Result<(), TestCaseError> {
    let text = String::from_utf8_lossy(answer);
    prop_assert!(!text.contains(CODE) && !text.contains(NUMBER), "{}", text);
    prop_assert!(!text.starts_with("HTTP/1.1 5"), "{}", text);
    Ok(())
}

#[test]
fn no_answer_repeats_the_code_or_the_number_or_is_our_fault() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::with(Limits::default()));
    proptest!(ProptestConfig::with_cases(300), |(body in with_secrets())| {
        let ask = Ask::post("/v1/otp", &body).with("Connection", "close");
        let answer = runtime.block_on(server.raw(&ask.bytes()));
        prop_assert!(answer.starts_with(b"HTTP/1.1 "), "{}", answer.escape_ascii());
        check(&answer)?;
        let key = format!("\"{CODE}{}", String::from_utf8_lossy(&body).replace(['\r', '\n', '\0'], ""));
        let ask = Ask::code().with("Idempotency-Key", &key).with("Connection", "close");
        check(&runtime.block_on(server.raw(&ask.bytes())))?;
    });
    proptest!(ProptestConfig::with_cases(300), |(bytes in with_secrets(), cut in any::<proptest::sample::Index>())| {
        check(&runtime.block_on(server.raw(&bytes)))?;
        let mut request = Ask::code().with("Connection", "close").bytes();
        let at = cut.index(request.len());
        request.splice(at..at, bytes);
        check(&runtime.block_on(server.raw(&request)))?;
    });
}
