//! SMTP smuggling and command injection against the real binary. The judge is an upstream that itself takes a bare
//! line feed for a line end: whatever slips through becomes a message of its own there.

#[path = "common/false_ends.rs"]
mod false_ends;
mod harness;

use false_ends::FALSE_ENDS;
use harness::config::{LISTENER, NO_REPLY, PASSWORD, USER, client, client_with_password, upstream};
use harness::dialogue::{Dialogue, Reply, dotted};
use harness::independent::Independent;
use harness::mail::password_reset;
use harness::relay::Relay;
use harness::upstream::Upstream;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";
const VICTIM: &str = "victim@customer.example";

/// What follows the false end: a second message to somebody else, for a server that believes in it.
fn smuggled() -> Vec<u8> {
    let mut text = b"MAIL FROM:<admin@acme.example>\r\n".to_vec();
    text.extend_from_slice(format!("RCPT TO:<{VICTIM}>\r\nDATA\r\n").as_bytes());
    text.extend_from_slice(
        b"From: admin@acme.example\r\nSubject: smuggled\r\n\r\nReset your password\r\n.\r\n",
    );
    text
}

fn relay_to(provider: &Independent) -> Relay {
    let listeners = "[listeners.smtp]\naddress = \"127.0.0.1:0\"\nbare_lf = \"refuse\"\n\
                     [listeners.lenient]\naddress = \"127.0.0.1:0\"\nbare_lf = \"normalize\"\n";
    let client = client("app", "category = \"password-reset\"");
    let provider = upstream("provider", provider.address(), "");
    Relay::start(&format!("{listeners}{client}{NO_REPLY}{provider}"))
}

/// Sends a message with a false end in it, in two pieces; gives the ids of what was taken.
fn attack(relay: &Relay, listener: &str, to: &str, end: &[u8], cut: usize) -> Vec<String> {
    let mut dialogue = Dialogue::hello(relay.listener(listener));
    dialogue.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
    dialogue.command(&format!("RCPT TO:<{to}>")).expect(250);
    dialogue.command("DATA").expect(354);
    let reset = password_reset(to);
    let mut wire = reset.strip_suffix(b"\r\n").expect("a line end").to_vec();
    let cut = wire.len() + cut;
    wire.extend_from_slice(end);
    wire.extend_from_slice(&smuggled());
    // A server that was not deceived may have hung up by now, which is an answer too.
    let _ = dialogue.try_write(&wire[..cut]);
    let _ = dialogue.try_write(&wire[cut..]);
    let _ = dialogue.try_write(b"QUIT\r\n");
    let replies = dialogue.replies_to_the_end();
    let taken = |reply: &&Reply| reply.code == 250 && reply.text().contains("queued as");
    replies.iter().filter(taken).map(Reply::id).collect()
}

#[test]
fn no_false_end_makes_two_messages_of_one() {
    let provider = Independent::open();
    let relay = relay_to(&provider);
    let mut taken = Vec::new();
    let mut number = 0;
    for listener in ["smtp", "lenient"] {
        for end in FALSE_ENDS {
            for cut in 0..=end.len() {
                number += 1;
                let ids = attack(&relay, listener, &format!("user{number}@customer.example"), end, cut);
                assert!(ids.len() <= 1, "{listener} took {} messages with {}", ids.len(), end.escape_ascii());
                taken.extend(ids);
            }
        }
    }
    assert!(!taken.is_empty(), "no attack was taken as one message: nothing was shown");
    for id in &taken {
        relay.wait_event(id, "handed-over");
    }
    let arrived = provider.wait_taken(taken.len());
    assert_eq!(arrived.len(), taken.len());
    for mail in &arrived {
        assert!(!mail.recipients.iter().any(|to| to == VICTIM), "{mail:?}");
        let mut before = 0;
        for &byte in &mail.raw {
            assert!(
                byte != b'\n' || before == b'\r',
                "a bare line feed arrived: {}",
                mail.raw.escape_ascii()
            );
            assert!(before != b'\r' || byte == b'\n', "a bare return arrived: {}", mail.raw.escape_ascii());
            before = byte;
        }
    }
}

#[test]
fn addresses_and_parameters_inject_no_commands() {
    let provider = Upstream::accepting();
    let client = client("app", "category = \"password-reset\"");
    let table = upstream("provider", provider.address(), "");
    let relay = Relay::start(&format!("{LISTENER}{client}{NO_REPLY}{table}"));
    for line in [
        "MAIL FROM:<a@legacy.example>\nRCPT TO:<victim@customer.example>",
        "MAIL FROM:<a@legacy.example\rRCPT TO:<victim@customer.example>",
        "MAIL FROM:<a@legacy.example> RET=FULL\0",
        "MAIL FROM:<\"a\nDATA\"@legacy.example>",
    ] {
        let mut dialogue = relay.hello();
        let reply = dialogue.command(line);
        assert!((500..600).contains(&reply.code), "{line:?}: {reply}");
    }
    let mut dialogue = relay.hello();
    dialogue.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
    for line in ["RCPT TO:<a@b.example\r>", "RCPT TO:<\"a\r\n\"@b.example>", "RCPT TO:<a b@c.example>"] {
        let reply = dialogue.command(line);
        assert!((500..600).contains(&reply.code), "{line:?}: {reply}");
        if line.contains("\r\n") {
            // The second half is a line of its own, and no command.
            let rest = dialogue.reply();
            assert!((500..600).contains(&rest.code), "{rest}");
        }
    }
    assert_eq!(provider.seen().connections, 0);
}

#[test]
fn what_was_sent_in_plain_text_behind_starttls_is_forgotten() {
    let provider = Upstream::accepting();
    let (app, shop) = (client("app", "category = \"password-reset\""), client_with_password(""));
    let table = upstream("provider", provider.address(), "");
    let relay = Relay::start(&format!("{LISTENER}{app}{shop}{NO_REPLY}{table}"));
    let mut dialogue = Dialogue::hello(relay.address());
    let injected = format!("STARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<{FROM}>\r\nRCPT TO:<{VICTIM}>\r\n");
    dialogue.write(injected.as_bytes());
    dialogue.reply().expect(220);
    dialogue.handshake(&relay.home.certificate());
    // Were a line of it still there, its reply would come before this one, or a transaction would be open.
    dialogue.command("NOOP").expect(250);
    dialogue.command(&format!("RCPT TO:<{ANNA}>")).expect(503);
    dialogue.command("EHLO client.test").expect(250);
    dialogue.command("DATA").expect(503);
    dialogue.auth_plain(USER, PASSWORD).expect(235);
    let reply = dialogue.command("NOOP").expect(250);
    assert_eq!(reply.lines.len(), 1);
    assert_eq!(provider.seen().connections, 0);
}

#[test]
fn a_transaction_from_before_starttls_is_forgotten() {
    let provider = Upstream::accepting();
    let app = client("app", "category = \"password-reset\"");
    let table = upstream("provider", provider.address(), "");
    let relay = Relay::start(&format!("{LISTENER}{app}{NO_REPLY}{table}"));
    let mut dialogue = relay.hello();
    dialogue.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
    let reply = dialogue.command("STARTTLS");
    if reply.code == 220 {
        dialogue.handshake(&relay.home.certificate());
    }
    dialogue.command("EHLO client.test").expect(250);
    dialogue.command(&format!("RCPT TO:<{VICTIM}>")).expect(503);
}

#[test]
fn many_messages_in_one_segment_are_counted_right() {
    const MESSAGES: usize = 40;
    let provider = Upstream::accepting();
    let app = client("app", "category = \"password-reset\"");
    let table = upstream("provider", provider.address(), "");
    let relay = Relay::start(&format!("{LISTENER}{app}{NO_REPLY}{table}"));
    let mut wire = b"EHLO client.test\r\n".to_vec();
    for number in 0..MESSAGES {
        let to = format!("user{number}@customer.example");
        let commands = format!("MAIL FROM:<{FROM}>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
        wire.extend_from_slice(commands.as_bytes());
        wire.extend_from_slice(&dotted(&password_reset(&to)));
    }
    wire.extend_from_slice(b"QUIT\r\n");
    let mut dialogue = Dialogue::connect(relay.address());
    dialogue.write(&wire);
    let codes: Vec<u16> = dialogue.replies_to_the_end().iter().map(|reply| reply.code).collect();
    let mut expected = vec![250];
    expected.extend([250, 250, 354, 250].repeat(MESSAGES));
    expected.push(221);
    assert_eq!(codes, expected);
    let mut recipients: Vec<String> =
        provider.wait_taken(MESSAGES).into_iter().flat_map(|mail| mail.recipients).collect();
    recipients.sort();
    recipients.dedup();
    assert_eq!(recipients.len(), MESSAGES);
}

#[test]
fn a_refused_message_does_not_become_commands() {
    let provider = Upstream::accepting();
    let app = client("app", "category = \"marketing\"");
    let table = upstream("provider", provider.address(), "");
    let relay = Relay::start(&format!("{LISTENER}{app}{NO_REPLY}{table}"));
    let mut dialogue = relay.hello();
    let mut message = smuggled();
    message.truncate(message.len() - 3);
    dialogue.send(FROM, &[ANNA], &message).expect(550);
    // The session is where a session without a transaction is.
    dialogue.command("NOOP").expect(250);
    dialogue.command(&format!("RCPT TO:<{VICTIM}>")).expect(503);
    dialogue.command("RSET").expect(250);
    dialogue.command("QUIT").expect(221);
    assert!(dialogue.try_reply().is_none());
    assert_eq!(provider.seen().connections, 0);
}
