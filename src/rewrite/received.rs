//! The Received field: the one we write, and those we count to find a mail loop (RFC 5321 sections 4.4 and 6.3).
//!
//! What the client called itself is untrusted text. Our field never names a recipient, and names the client's address
//! only where the configuration says so.

use std::net::IpAddr;

use super::Config;
use crate::ident::MessageId;
use crate::mail::{Folder, Message};
use crate::policy::Submission;

/// The most Received fields a message may come with (RFC 5321 section 6.3).
const RECEIVED_MAX: usize = 100;

/// How often a message may have passed here before.
const PASSES_MAX: usize = 1;

/// The longest client name that is repeated.
const HELO_MAX: usize = 63;

/// The value of our Received field, folded, without the name and the last line end.
pub(super) fn received(config: &Config, submission: &Submission) -> String {
    let origin = &submission.origin;
    let mut folder = Folder::after("Received:");
    folder.word("from");
    folder.word(&helo(&origin.helo, config.received_names_client));
    if let Some(peer) = origin.peer.filter(|_| config.received_names_client) {
        folder.word(&format!("({})", address_literal(peer)));
    }
    folder.word("by");
    folder.word(&config.hostname);
    folder.word("with");
    folder.word(origin.protocol);
    folder.word("id");
    folder.word(&format!("{};", submission.id));
    folder.word(&submission.accepted.to_rfc5322());
    folder.finish()
}

/// Whether a message goes round in circles.
pub(super) fn is_loop(config: &Config, message: &Message) -> bool {
    let mut fields = 0;
    let mut passes = 0;
    for value in message.values("Received") {
        fields += 1;
        passes += usize::from(is_ours(value, &config.hostname));
    }
    fields > RECEIVED_MAX || passes > PASSES_MAX
}

/// Whether a Received field is one of ours: outside comments, its `by` clause names `hostname` and its `id` is of our
/// form. Another mail server on the same machine has the same name, and other ids.
fn is_ours(value: &[u8], hostname: &str) -> bool {
    let text = without_comments(value);
    let mut words =
        text.split(|byte| byte.is_ascii_whitespace() || *byte == b';').filter(|word| !word.is_empty());
    let mut after = |keyword: &[u8]| {
        words.by_ref().find(|word| word.eq_ignore_ascii_case(keyword))?;
        words.next()
    };
    let by_us = after(b"by").is_some_and(|name| name.eq_ignore_ascii_case(hostname.as_bytes()));
    let id = after(b"id").and_then(|id| std::str::from_utf8(id).ok());
    by_us && id.is_some_and(|id| id.parse::<MessageId>().is_ok())
}

fn without_comments(value: &[u8]) -> Vec<u8> {
    let mut depth = 0_usize;
    let mut text = Vec::with_capacity(value.len());
    for &byte in value {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => text.push(byte),
            _ => {}
        }
    }
    text
}

/// The client's name as far as it can stand in a Received field. An address in place of a name is the client's address,
/// so it goes where that goes.
fn helo(given: &str, names_client: bool) -> String {
    let is_address = given.starts_with('[') || given.parse::<IpAddr>().is_ok();
    let clean: String =
        given.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(*c)).take(HELO_MAX).collect();
    let withheld = is_address && !names_client;
    if clean.is_empty() || withheld { "unknown".to_owned() } else { clean }
}

fn address_literal(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::testing;

    #[test]
    fn the_field_says_who_took_the_message_and_nothing_of_the_client_or_recipient() {
        let config = testing::config();
        let submission = testing::submission(b"Subject: x\r\n\r\n");
        let expected = format!(
            "from app.example by relay.example with ESMTPSA id\r\n\t{}; Mon, 23 Nov 2026 13:26:00 +0000",
            submission.id
        );
        assert_eq!(received(&config, &submission), expected);
    }

    #[test]
    fn the_client_address_is_named_only_where_configured() {
        let mut config = testing::config();
        let mut submission = testing::submission(b"Subject: x\r\n\r\n");
        submission.origin.helo = "[192.0.2.9]".to_owned();
        assert!(received(&config, &submission).starts_with("from unknown by relay.example"));
        config.received_names_client = true;
        assert!(
            received(&config, &submission).starts_with("from [192.0.2.9] ([192.0.2.9]) by relay.example")
        );
        submission.origin.peer = "2001:db8::1".parse().ok();
        assert!(received(&config, &submission).contains("([IPv6:2001:db8::1])"));
        submission.origin.peer = None;
        submission.origin.helo = String::new();
        assert!(received(&config, &submission).starts_with("from unknown by"));
    }

    #[test]
    fn a_hostile_client_name_stays_one_short_word() {
        let config = testing::config();
        let mut submission = testing::submission(b"Subject: x\r\n\r\n");
        submission.origin.helo = format!("x\r\nBcc: y@z.example (by relay.example; {}", "w".repeat(300));
        let value = received(&config, &submission);
        assert!(value.starts_with("from xBcc:yz.examplebyrelay.example"), "{value}");
        for line in format!("Received: {value}").split("\r\n") {
            assert!(line.len() <= 78 && !line.trim().is_empty(), "{line:?}");
        }
        assert!(value.split("\r\n").skip(1).all(|line| line.starts_with('\t')));
    }

    #[test]
    fn loops_are_found_by_count_and_by_our_own_name() {
        let config = testing::config();
        let looped = |field: &str, times: usize| {
            is_loop(&config, &Message::new(format!("{}Subject: x\r\n\r\n", field.repeat(times))))
        };
        let other =
            "Received: from a.example by b.example with ESMTP id 1; Mon, 23 Nov 2026 13:26:00 +0000\r\n";
        assert!(!looped(other, 100));
        assert!(looped(other, 101));
        let id = "01a208cd-cb3d-7355-b0d8-95e8a66e0111";
        let ours = &format!(
            "Received: from a.example (by x)\r\n\tBY Relay.example\r\n\twith ESMTP id {id}; today\r\n"
        );
        assert!(!looped(ours, 1));
        assert!(looped(ours, 2));
        // A mail server on the same machine, in front of us, as with pickup and a content filter.
        assert!(!looped("Received: by relay.example (Postfix, from userid 33)\r\n\tid 4Xyz12; today\r\n", 5));
        assert!(!looped("Received: from relay.example by b.example with ESMTP\r\n", 5));
        assert!(!looped("Received: from a (by relay.example) by b.example\r\n", 5));
    }
}
