//! DKIM signing (RFC 6376, RFC 8301, RFC 8463): relaxed/relaxed, SHA-256, no `l=`, RSA of at least 2048 bits and
//! Ed25519, one signature for each key of the sender.
//!
//! Signed is what a reader sees and what says how to show it. Every signed field is listed once more than it occurs, so
//! that nobody can add another one without breaking the signature; `From` above all. Date, Message-ID, Return-Path and
//! Received are left out, because providers rewrite them. There is no `t=`, so a message is signed the same on every
//! attempt (Ed25519 and RSA with PKCS #1 v1.5 padding are both deterministic).

mod canonical;
mod key;

pub use key::{DkimKey, DkimKeyError, GeneratedKey, KeyKind, generate_key};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::mail::{Folder, HeaderFields};

/// The fields that are signed beside `Content-*`, in the order in which they are listed.
const SIGNED: [&str; 11] = [
    "From",
    "To",
    "Cc",
    "Subject",
    "Reply-To",
    "MIME-Version",
    "Auto-Submitted",
    "In-Reply-To",
    "References",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];

/// How much of `h=` or `b=` stands on one line.
const CHUNK: usize = 70;

/// A key could not sign. Our own fault, never the message's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message could not be signed")]
pub struct SignError;

/// The `DKIM-Signature` fields for a message of `header` (all of its fields, each with its line end) and `body`: one for
/// each key, in their order, to be put above the header.
pub(super) fn sign(keys: &[DkimKey], header: &[u8], body: &[u8]) -> Result<Vec<u8>, SignError> {
    let mut signatures = Vec::new();
    if keys.is_empty() {
        return Ok(signatures);
    }
    let body_hash = STANDARD.encode(canonical::body_hash(body));
    let fields = HeaderFields::scan(header);
    let names = signed_names(header, &fields);
    let mut signed = Vec::with_capacity(header.len());
    for name in &names {
        for field in fields.fields().iter().rev() {
            if header[field.name.clone()].eq_ignore_ascii_case(name.as_bytes()) {
                canonical::relaxed_field(name.as_bytes(), &header[field.value.clone()], &mut signed);
            }
        }
    }
    let listed = listing(header, &fields, &names);
    for key in keys {
        let unsigned = unsigned_value(key, &listed, &body_hash);
        let mut data = signed.clone();
        canonical::relaxed_field(b"dkim-signature", unsigned.as_bytes(), &mut data);
        // The signature's own field is hashed without its line end (RFC 6376 section 3.7).
        data.truncate(data.len() - 2);
        let signature = STANDARD.encode(key.sign(&data)?);
        signatures.extend_from_slice(b"DKIM-Signature: ");
        signatures.extend_from_slice(unsigned.as_bytes());
        signatures.extend_from_slice(chunks(&signature).join("\r\n\t").as_bytes());
        signatures.extend_from_slice(b"\r\n");
    }
    Ok(signatures)
}

/// The names that are signed and occur in the header: each once.
fn signed_names(header: &[u8], fields: &HeaderFields) -> Vec<String> {
    let present = |name: &str| fields.named(header, name).next().is_some();
    let mut names: Vec<String> =
        SIGNED.iter().filter(|name| present(name)).map(|name| (*name).to_owned()).collect();
    for field in fields.fields() {
        let name = &header[field.name.clone()];
        let is_content = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
        let listed = names.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(name));
        // A semicolon would end the tag (RFC 6376 section 3.5): such a field is not of MIME anyway.
        let plain = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        if is_content && plain && !listed {
            names.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    names
}

/// The value of `h=`, cut where lines may end: every name as often as it occurs, and once more.
fn listing(header: &[u8], fields: &HeaderFields, names: &[String]) -> Vec<String> {
    let mut lines = vec![String::new()];
    let repeated = names.iter().flat_map(|name| {
        let count = fields.named(header, name).count();
        std::iter::repeat_n(name, count + 1)
    });
    for name in repeated {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(name),
            Some(line) => {
                line.push(':');
                if line.len() + name.len() < CHUNK {
                    line.push_str(name);
                } else {
                    lines.push(name.clone());
                }
            }
            None => {}
        }
    }
    lines
}

/// The field's value up to and with `b=`, folded.
fn unsigned_value(key: &DkimKey, listed: &[String], body_hash: &str) -> String {
    let mut folder = Folder::after("DKIM-Signature:");
    for tag in ["v=1;", &format!("a={};", key.algorithm()), "c=relaxed/relaxed;"] {
        folder.word(tag);
    }
    folder.word(&format!("d={};", key.domain()));
    folder.word(&format!("s={};", key.selector()));
    let value = folder.finish();
    format!("{value}\r\n\th={};\r\n\tbh={body_hash};\r\n\tb=", listed.join("\r\n\t "))
}

fn chunks(base64: &str) -> Vec<&str> {
    let mut rest = base64;
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at(rest.len().min(CHUNK));
        chunks.push(chunk);
        rest = tail;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signed_name_is_listed_once_more_than_it_occurs() {
        let header =
            b"Date: x\r\nFrom: a@b.example\r\nSubject: x\r\nsubject: y\r\ncontent-ID: <1>\r\nX-Other: z\r\n";
        let fields = HeaderFields::scan(header);
        let names = signed_names(header, &fields);
        assert_eq!(names, ["From", "Subject", "content-ID"]);
        assert_eq!(
            listing(header, &fields, &names).concat(),
            "From:From:Subject:Subject:Subject:content-ID:content-ID"
        );
    }

    #[test]
    fn signatures_are_folded_and_equal_every_time() {
        let keys = [KeyKind::Rsa2048, KeyKind::Ed25519].map(|kind| {
            let made = generate_key(kind, "acme.example", "s1").unwrap();
            DkimKey::from_pem("acme.example", "s1", made.pem.reveal()).unwrap()
        });
        let header = b"From: a@b.example\r\nTo: b@c.example\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 7bit\r\nAuto-Submitted: auto-generated\r\n";
        let signed = sign(&keys, header, b"Hello\r\n").unwrap();
        assert_eq!(signed, sign(&keys, header, b"Hello\r\n").unwrap());
        let text = String::from_utf8(signed).unwrap();
        assert_eq!(text.matches("DKIM-Signature: v=1; a=").count(), 2);
        assert!(text.split("\r\n").all(|line| line.len() <= 78), "{text}");
        let fields = HeaderFields::scan(text.as_bytes());
        assert_eq!(fields.fields().len(), 2);
    }
}
