//! Our DKIM signatures under the eyes of an independent verifier: dkimpy (Debian's python3-dkim, with python3-nacl for
//! Ed25519). Where it is not installed the tests that need it say so and pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod rewrite_support;
#[path = "common/skipped.rs"]
mod skipped;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use authrelay::mail::Message;
use authrelay::rewrite::{DkimKey, DkimKeyError};
use rewrite_support::{config, rendered};

const PYTHON: &str = "/usr/bin/python3";

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/dkim").join(name)
}

fn key(file: &str, selector: &str) -> Result<DkimKey, DkimKeyError> {
    DkimKey::from_pem("acme.example", selector, &std::fs::read_to_string(data(file)).unwrap())
}

fn both_keys() -> Vec<DkimKey> {
    vec![key("rsa2048.pkcs8.pem", "rsa").unwrap(), key("ed25519.pkcs8.pem", "ed").unwrap()]
}

fn signed(raw: &[u8]) -> Vec<u8> {
    let result = rendered(&Message::new(raw.to_vec()), &config(both_keys())).unwrap();
    let mut raw = result.raw.to_vec();
    // As on the wire, where the last line always has its end.
    if !raw.ends_with(b"\r\n") {
        raw.extend_from_slice(b"\r\n");
    }
    raw
}

fn verifier_is_missing() -> bool {
    let found = Command::new(PYTHON).args(["-c", "import dkim, nacl"]).stderr(Stdio::null()).status();
    let missing = !found.is_ok_and(|status| status.success());
    if missing {
        skipped::skipped("DKIM by an independent verifier: python3-dkim and python3-nacl are not installed");
    }
    missing
}

/// What the verifier says of each signature, top to bottom: RSA, Ed25519.
fn verify(message: &[u8]) -> Vec<bool> {
    let records: serde_json::Map<String, serde_json::Value> =
        both_keys().iter().map(|key| (key.dns_name(), key.dns_record().unwrap().into())).collect();
    let mut child = Command::new(PYTHON)
        .arg(data("verify.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = serde_json::to_vec(&records).unwrap();
    input.push(b'\n');
    input.extend_from_slice(message);
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let output = child.wait_with_output().unwrap();
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line == "True").collect()
}

const MESSAGE: &str = "From: app@app.internal\r\nTo: Anna <anna@example.com>,\r\n\tBert <bert@example.com>\r\n\
    Subject:  Sign   in\t\r\n to Acme \r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=utf-8\r\n\
    Content-Transfer-Encoding: 8bit\r\nContent-Language: de\r\n\r\nDein  Code \t lautet\t\r\n\r\n  123456 \r\n\r\n\r\n";

fn replaced(message: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(message.to_vec()).unwrap();
    assert!(text.contains(from), "{from:?} is not there");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn both_signatures_hold_on_messages_of_every_shape() {
    if verifier_is_missing() {
        return;
    }
    let long = format!("Subject: x\r\n\r\n{}\r\n", "word  ".repeat(20_000));
    let messages: [&[u8]; 9] = [
        MESSAGE.as_bytes(),
        b"Subject: x\r\n\r\n",
        b"Subject: x\r\n\r\nno line end",
        b"Subject: x\r\n\r\n \r\n\t\r\n\r\n",
        b"Subject: x",
        b"Subject: one\r\nSubject: two\r\nReceived: a\r\n\r\n\r\n\r\nafter empty lines\r\n",
        b"Subject: \xfc\0\r\n\r\n\xfc\0\xff \r\n",
        b"Your code is 123456\r\n\r\nBye\r\n",
        long.as_bytes(),
    ];
    for raw in messages {
        assert_eq!(
            verify(&signed(raw)),
            [true, true],
            "{:?}",
            String::from_utf8_lossy(&raw[..raw.len().min(80)])
        );
    }
}

#[test]
fn signatures_survive_what_providers_do() {
    if verifier_is_missing() {
        return;
    }
    let message = signed(MESSAGE.as_bytes());
    let message =
        replaced(&message, "Date: Mon, 23 Nov 2026 13:26:00 +0000", "Date: Tue, 24 Nov 2026 00:00:00 +0000");
    let message = replaced(&message, "Message-ID: <1@relay.example>", "Message-ID: <other@provider.example>");
    let top =
        b"Return-Path: <bounces@provider.example>\r\nReceived: from relay.example by provider.example\r\n";
    assert_eq!(verify(&[top, message.as_slice()].concat()), [true, true]);
}

#[test]
fn signatures_break_when_what_people_see_is_changed() {
    if verifier_is_missing() {
        return;
    }
    let message = signed(MESSAGE.as_bytes());
    for added in [
        "From: evil@evil.example\r\n",
        "Subject: Pay here\r\n",
        "To: x@evil.example\r\n",
        "Content-Type: text/html\r\n",
    ] {
        let on_top = [added.as_bytes(), &message].concat();
        assert_eq!(verify(&on_top), [false, false], "{added:?} on top");
        let below = replaced(&message, "MIME-Version: 1.0\r\n", &format!("MIME-Version: 1.0\r\n{added}"));
        assert_eq!(verify(&below), [false, false], "{added:?} below");
    }
    for (from, to) in
        [("123456", "123457"), ("hello@acme.example>", "other@acme.example>"), ("Sign   in", "Log in")]
    {
        assert_eq!(verify(&replaced(&message, from, to)), [false, false], "{from:?}");
    }
}

/// Every tenth real message, where `AUTHRELAY_CORPUS` names a folder with `eml/*.eml`.
#[test]
fn both_signatures_hold_on_a_corpus_of_real_messages() {
    let Ok(corpus) = std::env::var("AUTHRELAY_CORPUS") else {
        skipped::skipped("DKIM on real messages: AUTHRELAY_CORPUS is not set");
        return;
    };
    if verifier_is_missing() {
        return;
    }
    let folder = std::path::Path::new(&corpus).join("eml");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths.iter().step_by(10) {
        assert_eq!(verify(&signed(&std::fs::read(path).unwrap())), [true, true], "{}", path.display());
    }
}

#[test]
fn keys_made_by_openssl_are_read_in_both_forms() {
    // As `openssl pkey -pubout` prints them.
    let rsa = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0QJPn76T6uXnsvgu34DpQWAHW7zpwxPmor33GY3chls0oAXrcJ6NarT6dgluDC4C3Efwif4WDKW3HM4ZYxVWoS8bNVu0w8gWAIvgtcFKiSxj+y/qaGwfD+X8euCZXfE8VfbNh5o/oPaxBx/kVOFzWfOZNcoJf+Prn8GfqmkUSRvMc84Ugw12WilOYd/rbCHQ382Pwpvk4S5px3MBVUv3K5i5XTu5zBekAq5uPbMOBITed8d676IbgtYpfKtF6GuaVLtp0/Uyu0aAF4rpAp55sMn8V/nFOAzFfTchS+DFnBYE3BH03nozdrJewItbaTb+Dw3aiy7gXSVxMtBVgiPrpQIDAQAB";
    let ed25519 = "mUOzGXe7rR+P1Lzvx4OIN/DUzGHG2hMvdD0co+heFeA=";
    for file in ["rsa2048.pkcs8.pem", "rsa2048.pkcs1.pem"] {
        let key = key(file, "s").unwrap();
        assert_eq!(
            (key.algorithm(), key.dns_record().unwrap()),
            ("rsa-sha256", format!("v=DKIM1; k=rsa; p={rsa}"))
        );
    }
    let key = key("ed25519.pkcs8.pem", "s").unwrap();
    assert_eq!(
        (key.algorithm(), key.dns_record().unwrap()),
        ("ed25519-sha256", format!("v=DKIM1; k=ed25519; p={ed25519}"))
    );
}

#[test]
fn weak_foreign_and_locked_keys_are_refused() {
    for (file, error) in [
        ("rsa1024.pkcs8.pem", DkimKeyError::TooShort),
        ("rsa1024.pkcs1.pem", DkimKeyError::TooShort),
        ("p256.pkcs8.pem", DkimKeyError::Kind),
        ("encrypted.pem", DkimKeyError::Pem),
    ] {
        assert_eq!(key(file, "s").err(), Some(error), "{file}");
    }
}
