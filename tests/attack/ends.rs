//! What is handed on must not hold what another server takes for the end of a message, and a message must not go round
//! in circles.

use crate::harness::config::{LISTENER, NO_REPLY, client, small, upstream};
use crate::harness::dialogue::Dialogue;
use crate::harness::mail::{message, password_reset};
use crate::harness::relay::Relay;
use crate::harness::upstream::Upstream;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

/// How many messages a server sees in what is handed to it that leaves NULs out, takes any line end for one, and knows
/// nothing of dot-stuffing but at the start of a line.
fn messages_seen_by_a_careless_server(raw: &[u8]) -> usize {
    let mut wire = Vec::new();
    for line in raw.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(b".\r\n");
    wire.retain(|&byte| byte != 0);
    let text: Vec<u8> = wire.iter().map(|&byte| if byte == b'\r' { b'\n' } else { byte }).collect();
    text.split(|&byte| byte == b'\n').filter(|line| *line == b".").count()
}

/// A regression: `CR LF NUL . CR LF` was taken in and handed on as it was, and ended the message at a server that leaves
/// NULs out.
#[test]
fn no_line_that_is_handed_on_is_a_dot_to_a_careless_server() {
    let provider = Upstream::accepting();
    let listeners = "[listeners.smtp]\naddress = \"127.0.0.1:0\"\nbare_lf = \"refuse\"\n\
                     [listeners.lenient]\naddress = \"127.0.0.1:0\"\nbare_lf = \"normalize\"\n";
    let app = client("app", "category = \"password-reset\"");
    let table = upstream("provider", provider.address(), "");
    let relay = Relay::start(&format!("{listeners}{app}{NO_REPLY}{table}"));
    let mut taken = 0;
    for listener in ["smtp", "lenient"] {
        for hostile in [
            &b"\0."[..],
            b"\0\0.",
            b"\0.\0",
            b".\0.",
            b".\0",
            b"..",
            b"..\0",
            b"\0..",
            b" .",
            b". ",
            b"x\0.",
            b"\n.",
            b"\0\n\0.\n",
        ] {
            taken += 1;
            let to = format!("user{taken}@customer.example");
            let mut wire = password_reset(&to);
            wire.extend_from_slice(hostile);
            wire.extend_from_slice(b"\r\nMAIL FROM:<evil@evil.example>\r\n.\r\n");
            let mut dialogue = Dialogue::hello(relay.listener(listener));
            dialogue.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
            dialogue.command(&format!("RCPT TO:<{to}>")).expect(250);
            dialogue.command("DATA").expect(354);
            dialogue.write(&wire);
            let reply = dialogue.reply();
            let fine = [(250, "2.0.0"), (554, "5.6.0"), (521, "5.5.2")];
            let seen = (reply.code, reply.text().split(' ').next().unwrap_or_default().to_owned());
            assert!(
                fine.iter().any(|&(code, status)| (code, status) == (seen.0, seen.1.as_str())),
                "{reply}"
            );
            if reply.code == 250 {
                relay.wait_event(&reply.id(), "handed-over");
            }
        }
    }
    let seen = provider.seen();
    assert!(seen.taken.len() > 8, "{} were taken", seen.taken.len());
    for mail in &seen.taken {
        assert_eq!(messages_seen_by_a_careless_server(&mail.raw), 1, "{mail:?}");
        assert!(!mail.raw.windows(2).any(|two| (two[0] == b'\r') != (two[1] == b'\n')), "{mail:?}");
    }
}

#[test]
fn a_message_that_goes_round_in_circles_is_stopped() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&small(provider.address(), "category = \"password-reset\"", ""));
    // What went out comes in again, as it does where the provider routes back to us.
    let mut raw = password_reset(ANNA);
    for round in 1..=2 {
        let id = relay.accept(FROM, &[ANNA], &raw);
        relay.wait_event(&id, "handed-over");
        raw = provider.wait_taken(round).remove(round - 1).raw;
    }
    let reply = relay.hello().send(FROM, &[ANNA], &raw).expect(554);
    assert!(reply.text().starts_with("5.4.6"), "{reply}");
    assert_eq!(provider.seen().dots.len(), 2);

    let hop = "Received: from a.example by b.example with ESMTP id 1; Mon, 5 Jan 2026 10:00:00 +0000";
    let mut lines = vec![hop; 101];
    lines.extend([
        "From: a@legacy.example",
        "Subject: Reset your password",
        "",
        "https://acme.example/reset?token=t",
    ]);
    let reply = relay.hello().send(FROM, &[ANNA], &message(&lines)).expect(554);
    assert!(reply.text().starts_with("5.4.6"), "{reply}");
}

/// One group of commands with everything behind it, as a client writes that trusts nobody to answer.
#[test]
fn what_is_pipelined_behind_a_message_that_is_cut_off_is_not_obeyed() {
    let provider = Upstream::accepting();
    let app = client("app", "category = \"password-reset\"");
    let table = upstream("provider", provider.address(), "");
    let relay = Relay::start(&format!("{LISTENER}{app}{NO_REPLY}{table}"));
    let mut wire = format!("MAIL FROM:<{FROM}>\r\nRCPT TO:<{ANNA}>\r\nDATA\r\n").into_bytes();
    wire.extend_from_slice(b"Subject: x\r\n\r\na\rb\r\n.\r\n");
    wire.extend_from_slice(format!("MAIL FROM:<{FROM}>\r\nRCPT TO:<{ANNA}>\r\nDATA\r\n").as_bytes());
    wire.extend_from_slice(&password_reset(ANNA));
    wire.extend_from_slice(b".\r\n");
    let mut dialogue = relay.hello();
    dialogue.write(&wire);
    let codes: Vec<u16> = dialogue.replies_to_the_end().iter().map(|reply| reply.code).collect();
    assert_eq!(codes, [250, 250, 354, 521]);
    assert_eq!(provider.seen().connections, 0);
}
