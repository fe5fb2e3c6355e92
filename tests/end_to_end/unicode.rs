//! Beyond ASCII: addresses, header fields and bodies, and upstreams that can take them or can't.

use crate::harness::config::{NO_REPLY, client, small, upstream};
use crate::harness::dialogue::{Dialogue, Reply, dotted};
use crate::harness::mail::{assert_rewritten, message};
use crate::harness::relay::Relay;
use crate::harness::upstream::Upstream;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";
const JUERGEN: &str = "jürgen@bücher.example";
const UTF8_LISTENER: &str = "[listeners.smtp]\naddress = \"127.0.0.1:0\"\nsmtputf8 = true\n";
const BOUND: &str = "category = \"password-reset\"";
const EVERYTHING: &[&str] = &["8BITMIME", "SMTPUTF8"];

/// A relay with SMTPUTF8 on its listener, whose client sends password resets only.
fn utf8_relay(upstreams: &[&Upstream]) -> Relay {
    let table = |(number, up): (usize, &&Upstream)| upstream(&format!("up{number}"), up.address(), "");
    let upstreams: String = upstreams.iter().enumerate().map(table).collect();
    Relay::start(&format!("{UTF8_LISTENER}{}{NO_REPLY}{upstreams}", client("app", BOUND)))
}

fn plain_relay(provider: &Upstream) -> Relay {
    Relay::start(&small(provider.address(), BOUND, ""))
}

/// One transaction, with parameters for MAIL.
#[track_caller]
fn hand_in(dialogue: &mut Dialogue, from: &str, to: &str, parameters: &str, raw: &[u8]) -> Reply {
    dialogue.command(&format!("MAIL FROM:<{from}> {parameters}")).expect(250);
    dialogue.command(&format!("RCPT TO:<{to}>")).expect(250);
    dialogue.command("DATA").expect(354);
    dialogue.write(&dotted(raw));
    dialogue.reply()
}

fn international(to: &str) -> Vec<u8> {
    message(&[
        "From: Bücherstube <büro@bücher.example>",
        &format!("To: Jürgen Groß <{to}>"),
        "Subject: Passwort zurücksetzen – für dich",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        "Möchtest du dein Passwort ändern? https://acme.example/reset?token=ü",
    ])
}

/// Asserts that a message failed because its upstream can't take it; gives its reason.
#[track_caller]
fn incapable(relay: &Relay, id: &str) -> String {
    let event = relay.wait_event(id, "failed");
    assert!(event.to_string().contains("capability"), "{event}");
    let traced = relay.traced(id);
    assert_eq!(traced["state"], "failed", "{traced}");
    traced["reason"].as_str().expect("a reason").to_owned()
}

#[test]
fn an_international_address_goes_where_it_is_understood() {
    let provider = Upstream::offering(EVERYTHING);
    let relay = utf8_relay(&[&provider]);
    let mut dialogue = Dialogue::connect(relay.address());
    let ehlo = dialogue.command("EHLO client.test").expect(250);
    assert!(ehlo.lines.iter().any(|line| line == "SMTPUTF8"), "{ehlo}");
    let raw = international(JUERGEN);
    let reply = hand_in(&mut dialogue, "büro@bücher.example", JUERGEN, "BODY=8BITMIME SMTPUTF8", &raw);
    let id = reply.expect(250).id();
    relay.wait_event(&id, "handed-over");
    let arrived = provider.wait_taken(1).remove(0);
    assert_eq!(arrived.recipients, [JUERGEN]);
    assert_rewritten("international", &raw, &arrived, "no-reply@acme.example");
    let command = provider.seen().mail_commands[0].clone();
    assert!(command.contains("SMTPUTF8") && command.contains("BODY=8BITMIME"), "{command}");
    // It is found by its recipient, however that is typed, and shown masked.
    let traced = relay.cli(&["trace", JUERGEN]).ok().stdout;
    assert!(traced.contains(&id) && !traced.contains("jürgen"), "{traced}");
    assert_eq!(relay.trace("jürgen@BÜCHER.example")["messages"][0]["submission"], *id);
    assert!(!relay.log().contains("jürgen"));
}

#[test]
fn an_upstream_without_smtputf8_is_not_given_an_international_address() {
    let provider = Upstream::offering(&["8BITMIME"]);
    let relay = utf8_relay(&[&provider]);
    let raw = international(JUERGEN);
    let id = hand_in(&mut relay.hello(), FROM, JUERGEN, "SMTPUTF8", &raw).expect(250).id();
    let reason = incapable(&relay, &id);
    assert!(reason.contains("SMTPUTF8") && reason.contains("address"), "{reason}");
    assert!(provider.seen().mail_commands.is_empty(), "{:?}", provider.seen());
    // Go clients say SMTPUTF8 always: what counts is what the message needs.
    let ascii = message(&["From: a@legacy.example", "Subject: Reset", "", "https://acme.example/r?t=1"]);
    let id = hand_in(&mut relay.hello(), FROM, ANNA, "BODY=8BITMIME SMTPUTF8", &ascii).expect(250).id();
    relay.wait_event(&id, "handed-over");
    let command = provider.seen().mail_commands[0].clone();
    assert!(!command.contains("UTF8") && !command.contains("8BITMIME"), "{command}");
}

#[test]
fn the_next_upstream_takes_what_the_first_does_not_understand() {
    let (first, second) = (Upstream::offering(&["8BITMIME"]), Upstream::offering(EVERYTHING));
    let relay = utf8_relay(&[&first, &second]);
    let raw = international(JUERGEN);
    let id = hand_in(&mut relay.hello(), FROM, JUERGEN, "SMTPUTF8", &raw).expect(250).id();
    assert_eq!(relay.wait_event(&id, "handed-over")["upstream"], "up1");
    assert_eq!(second.wait_taken(1)[0].recipients, [JUERGEN]);
    assert!(first.seen().mail_commands.is_empty());
}

#[test]
fn a_listener_takes_international_addresses_only_where_it_says_so() {
    let provider = Upstream::offering(EVERYTHING);
    let relay = plain_relay(&provider);
    let mut dialogue = Dialogue::connect(relay.address());
    let ehlo = dialogue.command("EHLO client.test").expect(250);
    assert!(!ehlo.text().contains("SMTPUTF8"), "{ehlo}");
    let permanent = |reply: Reply| assert!((500..600).contains(&reply.code), "{reply}");
    permanent(dialogue.command(&format!("MAIL FROM:<{FROM}> SMTPUTF8")));
    permanent(dialogue.command(&format!("MAIL FROM:<{JUERGEN}>")));
    permanent(dialogue.command(&format!("MAIL FROM:<{JUERGEN}> SMTPUTF8")));
    dialogue.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
    permanent(dialogue.command(&format!("RCPT TO:<{JUERGEN}>")));
    // The transaction stands, and goes on with an address that is fine.
    dialogue.command(&format!("RCPT TO:<{ANNA}>")).expect(250);

    // Where it is offered, it still has to be asked for (RFC 6531 section 3.4).
    let relay = utf8_relay(&[&provider]);
    let mut dialogue = relay.hello();
    permanent(dialogue.command(&format!("MAIL FROM:<{JUERGEN}>")));
    dialogue.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
    dialogue.command(&format!("RCPT TO:<{JUERGEN}>")).expect(553);
    assert_eq!(provider.seen().connections, 0);
}

#[test]
fn bytes_that_are_no_utf8_are_no_address() {
    let provider = Upstream::offering(EVERYTHING);
    let relay = utf8_relay(&[&provider]);
    let mut dialogue = relay.hello();
    dialogue.write(b"MAIL FROM:<j\xfcrgen@legacy.example> SMTPUTF8\r\n");
    let reply = dialogue.reply();
    assert!((500..600).contains(&reply.code), "{reply}");
    dialogue.command(&format!("MAIL FROM:<{FROM}> SMTPUTF8")).expect(250);
    dialogue.write(b"RCPT TO:<j\xfcrgen@customer.example>\r\n");
    let reply = dialogue.reply();
    assert!((500..600).contains(&reply.code), "{reply}");
    dialogue.command("NOOP").expect(250);
}

#[test]
fn an_eight_bit_body_needs_an_upstream_that_takes_it() {
    let raw = message(&[
        "From: a@legacy.example",
        "Subject: Reset",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        "Möchtest du? https://acme.example/r?token=1",
    ]);
    let old = Upstream::offering(&["ENHANCEDSTATUSCODES"]);
    let relay = plain_relay(&old);
    let id = relay.accept(FROM, &[ANNA], &raw);
    let reason = incapable(&relay, &id);
    assert!(reason.contains("8BITMIME"), "{reason}");
    assert!(old.seen().mail_commands.is_empty());

    let provider = Upstream::offering(&["8BITMIME"]);
    let relay = plain_relay(&provider);
    // Whatever the client said of it.
    for said in ["", "BODY=7BIT", "BODY=8BITMIME"] {
        let before = provider.seen().taken.len();
        // The same bytes to the same person would be one message.
        let to = format!("anna{before}@customer.example");
        hand_in(&mut relay.hello(), FROM, &to, said, &raw).expect(250);
        let arrived = provider.wait_taken(before + 1).remove(before);
        assert_rewritten(said, &raw, &arrived, "no-reply@acme.example");
        let command = provider.seen().mail_commands[before].clone();
        assert!(command.contains("BODY=8BITMIME"), "{said}: {command}");
    }
}

#[test]
fn rules_see_what_encoded_words_say() {
    let provider = Upstream::accepting();
    let rule =
        "[[rules]]\nname = \"reset\"\ncategory = \"password-reset\"\nsubject = \"^passwort zurücksetzen$\"\n";
    let relay = Relay::start(&small(provider.address(), "", rule));
    for subject in [
        "Subject: =?utf-8?Q?Passwort_zur=C3=BCcksetzen?=",
        "Subject: =?UTF-8?B?UGFzc3dvcnQgenVyw7xja3NldHplbg==?=",
        "Subject: =?iso-8859-1?q?Passwort_zur=FCcksetzen?=",
        "Subject: Passwort =?windows-1252?Q?zur=FCcksetzen?=",
        "Subject: =?utf-8?Q?Passwort_zur?= =?utf-8?B?w7w=?=\r\n =?us-ascii?Q?cksetzen?=",
        "Subject:\r\n\t=?utf-8*de?Q?PASSWORT?=\r\n =?utf-8?Q?_ZUR=C3=9CCKSETZEN?=",
        "Subject: Passwort zurücksetzen",
    ] {
        let raw = message(&["From: a@legacy.example", subject, "", "Hallo"]);
        let id = relay.hello().send(FROM, &[ANNA], &raw);
        assert_eq!(id.code, 250, "{subject}: {id}");
        assert_eq!(relay.traced(&id.id())["rule"], "rule:reset", "{subject}");
    }
    let other = message(&["From: a@legacy.example", "Subject: =?utf-8?Q?Passwort?=", "", "Hallo"]);
    relay.hello().send(FROM, &[ANNA], &other).expect(550);
    let taken = provider.wait_taken(7);
    // What was decoded to be looked at goes out as it came.
    assert!(taken.iter().any(|mail| mail.raw.windows(10).any(|ten| ten == b"zur=FCckse")));
}

#[test]
fn raw_eight_bit_header_fields_go_out_as_they_came() {
    let utf8 = "Subject: Zurücksetzen".as_bytes();
    let latin: &[u8] = b"Subject: Zur\xfccksetzen";
    let raw = |subject: &[u8]| {
        [b"From: a@legacy.example\r\n", subject, b"\r\n\r\nhttps://acme.example/r?token=1\r\n"].concat()
    };
    // SMTPUTF8 is asked for only where the bytes are UTF-8 and it is offered; it is never a reason to fail.
    for (offers, subject, with_utf8) in [
        (EVERYTHING, utf8, true),
        (EVERYTHING, latin, false),
        (&["8BITMIME"], utf8, false),
        (&["8BITMIME"], latin, false),
    ] {
        let provider = Upstream::offering(offers);
        let relay = plain_relay(&provider);
        let what = format!("{} to {offers:?}", subject.escape_ascii());
        relay.accept(FROM, &[ANNA], &raw(subject));
        let arrived = provider.wait_taken(1).remove(0);
        assert_rewritten(&what, &raw(subject), &arrived, "no-reply@acme.example");
        let command = provider.seen().mail_commands[0].clone();
        assert_eq!(command.contains("SMTPUTF8"), with_utf8, "{what}: {command}");
        assert!(command.contains("BODY=8BITMIME"), "{what}: {command}");
    }
    let old = Upstream::offering(&[]);
    let relay = plain_relay(&old);
    let id = relay.accept(FROM, &[ANNA], &raw(utf8));
    let reason = incapable(&relay, &id);
    assert!(reason.contains("8BITMIME"), "{reason}");
    assert!(!relay.trace(&id).to_string().contains("setzen"));
}
