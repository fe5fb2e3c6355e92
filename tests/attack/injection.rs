//! Text that breaks out: whatever a client, a recipient's provider or an application writes into a field, it stays one
//! field in replies, logs, webhooks, the audit trail and failure reports, and mere text on an operator's terminal.

use serde_json::{Value, json};

use crate::harness::config::{NO_REPLY, client, upstream};
use crate::harness::dialogue::{Dialogue, Reply};
use crate::harness::hook::Hook;
use crate::harness::mail::password_reset;
use crate::harness::relay::Relay;
use crate::harness::texts::{CODE, TOKEN};
use crate::harness::upstream::{Answer, Moment, Upstream};
use crate::harness::web::Connection;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";
const NOBODY: &str = "nobody@customer.example";

/// Line ends of every kind but CR and LF, what terminals obey, what is not seen, what turns writing around, and something
/// that looks like a line of the log.
const HOSTILE: &str = "x\u{1b}[2J\u{7}\u{8}\u{85}y\u{2028}z\u{2029}\u{b}\u{c}\u{9b}31m\u{202e}\u{2066}\u{200b}\u{7f}\u{feff} \
                       login failed listener=smtp peer=192.0.2.99 code=535 reason=";

/// A provider's words about [`NOBODY`].
const REFUSED: &str =
    "550 5.1.1 no\u{1b}[31m\u{9b}2J\u{7} \u{202e}user\u{2028}login failed peer=192.0.2.99 code=535";

/// What an operator's terminal must not get. Kept apart from the relay's own list.
fn is_harmful(c: char) -> bool {
    let unseen = ['\u{200b}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{feff}'];
    (c.is_control() && c != '\n' && c != '\t')
        || unseen.contains(&c)
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

#[track_caller]
fn assert_harmless(what: &str, text: &str) {
    let found: Vec<char> = text.chars().filter(|&c| is_harmful(c)).collect();
    assert!(found.is_empty(), "{what} holds {found:?}:\n{}", text.escape_debug());
}

#[track_caller]
fn assert_one_reply(reply: &Reply) {
    assert_eq!(reply.lines.len(), 1, "{reply:?}");
    assert!(reply.lines[0].bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{reply:?}");
}

/// All that an operator can ask, in both forms.
fn shown(relay: &Relay, ids: &[String]) -> Vec<(String, String)> {
    let mut asked: Vec<Vec<&str>> = vec![
        vec!["status"],
        vec!["clients"],
        vec!["queue", "list", "--full"],
        vec!["trace", ANNA, "--full"],
        vec!["trace", NOBODY, "--full"],
        vec!["webhook", "list"],
    ];
    for id in ids {
        asked.push(vec!["trace", id]);
    }
    let mut said = Vec::new();
    for command in asked {
        for form in [&[][..], &["--json"]] {
            let ran = relay.cli(&[&command[..], form].concat());
            said.push((format!("{command:?} {form:?}"), ran.stdout + &ran.stderr));
        }
    }
    let audit = relay.cli(&["audit", "export"]).ok().stdout;
    assert!(audit.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{audit}");
    said.push(("audit".to_owned(), audit));
    said
}

/// A message whose every field is hostile. The link's host and the attachment's name are among what refusals name.
fn hostile_message(link: &str) -> Vec<u8> {
    let lines = [
        format!("From: \"{HOSTILE}\" <shop@legacy.example>"),
        format!("To: {HOSTILE} <{ANNA}>"),
        format!("Message-ID: <{HOSTILE}@legacy.example>"),
        format!("X-Authrelay-Category: {HOSTILE}"),
        "Subject: Reset your password".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: multipart/mixed; boundary=b".to_owned(),
        String::new(),
        "--b".to_owned(),
        "Content-Type: text/plain; charset=utf-8".to_owned(),
        String::new(),
        format!("{HOSTILE} To choose a new password, follow this link: {link}"),
        "--b".to_owned(),
        format!("Content-Type: application/octet-stream; name=\"{HOSTILE}.exe\""),
        format!("Content-Disposition: attachment; filename=\"{HOSTILE}.exe\""),
        String::new(),
        "x".to_owned(),
        "--b--".to_owned(),
    ];
    (lines.join("\r\n") + "\r\n").into_bytes()
}

fn commands(relay: &Relay) {
    // Unknown, out of place, with every argument hostile.
    for command in
        ["NOOP", "HELO", "EHLO", "VRFY", "HELP", "XCLIENT NAME=", "MAIL FROM:", "RCPT TO:", "STARTTLS"]
    {
        let mut dialogue = relay.hello();
        let reply = dialogue.command(&format!("{command} {HOSTILE}"));
        assert!(
            reply.lines.iter().all(|line| line.bytes().all(|byte| (b' '..=b'~').contains(&byte))),
            "{reply:?}"
        );
    }
    for path in [
        format!("<\"{HOSTILE}\"@legacy.example>"),
        format!("<a@{HOSTILE}>"),
        format!("<{HOSTILE}@b.example>"),
    ] {
        let mut dialogue = relay.hello();
        for option in ["", " SMTPUTF8"] {
            assert_one_reply(&dialogue.command(&format!("MAIL FROM:{path}{option}")).expect(501));
        }
        dialogue.command(&format!("MAIL FROM:<{FROM}> SMTPUTF8")).expect(250);
        assert_one_reply(&dialogue.command(&format!("RCPT TO:{path}")).expect(501));
        assert_one_reply(&dialogue.command(&format!("RCPT TO:<{ANNA}> {HOSTILE}")));
    }
    let mut dialogue = relay.encrypted();
    assert_one_reply(&dialogue.auth_plain(HOSTILE, HOSTILE).expect(535));
    assert_one_reply(&dialogue.auth_login("shop", HOSTILE).expect(535));
}

/// A relay before a provider with hostile words, and a webhook.
struct Scene {
    provider: Upstream,
    hook: Hook,
    relay: Relay,
}

fn scene() -> Scene {
    let provider = Upstream::start(|moment| match moment {
        Moment::Rcpt(NOBODY) => Answer::Reply(REFUSED),
        Moment::Dot(mail) if mail.recipients == ["odd@customer.example"] => {
            Answer::Reply("250 2.0.0 queued as \u{1b}]0;owned\u{7}\u{9b}2J\u{202e}4Xyz")
        }
        _ => Answer::Accept,
    });
    let hook = Hook::start();
    let listener = "[listeners.smtp]\naddress = \"127.0.0.1:0\"\nsmtputf8 = true\n";
    let app = client("app", "business = \"acme\"\nmay_declare = true");
    let business = "[businesses.acme]\nurl = \"https://acme.example\"\nsender = \"no-reply\"\n";
    let tables = [
        listener,
        &app,
        business,
        NO_REPLY,
        &upstream("provider", provider.address(), ""),
        "[queue]\nbounces = \"postmaster@acme.example\"\n",
        &hook.config("crm", "recipient = \"full\""),
    ];
    let relay = Relay::start(&tables.concat());
    Scene { provider, hook, relay }
}

/// Hands in messages whose fields are all hostile; gives their ids. The last three were taken.
fn send_all(relay: &Relay) -> Vec<String> {
    let mut ids = Vec::new();
    let mut dialogue = Dialogue::connect(relay.address());
    dialogue.command(&format!("EHLO {HOSTILE}")).expect(250);
    for link in [
        "https://acme.example/reset?token=t0ken1",
        "https://ev\u{202e}il.example/reset?token=t0ken1",
        "https://evil\u{1b}[2J.example/reset?token=t0ken1",
    ] {
        let reply = dialogue.send(FROM, &[ANNA], &hostile_message(link));
        assert_one_reply(&reply);
        ids.push(reply.id());
    }
    // The same without an attachment, so that it goes all the way.
    for to in [ANNA, "odd@customer.example", NOBODY] {
        let head = format!("Message-ID: <{HOSTILE}@legacy.example>\r\nX-Odd: {HOSTILE}\r\n");
        let reset = [head.into_bytes(), password_reset(to)].concat();
        let reply = dialogue.send(FROM, &[to], &reset).expect(250);
        assert_one_reply(&reply);
        ids.push(reply.id());
    }
    ids
}

#[test]
fn nothing_breaks_out_of_its_field_on_the_way_of_mail() {
    let Scene { provider, hook, relay } = scene();
    commands(&relay);
    let ids = send_all(&relay);
    relay.wait_event(&ids[3], "handed-over");
    relay.wait_event(&ids[5], "failed");
    hook.wait_told("message.failed", &ids[5]);

    for (what, text) in shown(&relay, &ids) {
        assert_harmless(&what, &text);
    }
    relay.home.write("hostile.eml", hostile_message("https://ev\u{202e}il.example/reset?token=t0ken1"));
    for form in [&[][..], &["--json"]] {
        let explained = relay.cli(&[&["explain", "hostile.eml", "--client", "app"][..], form].concat());
        assert_harmless("explain", &(explained.stdout + &explained.stderr));
    }
    for line in relay.log().lines() {
        let parsed: Value = serde_json::from_str(line).expect("one object a line");
        assert_ne!(parsed["peer"], "192.0.2.99", "{line}");
        assert_harmless("the log", line);
    }
    for request in hook.requests() {
        assert!(request.body().is_object());
        assert!(!request.raw.iter().any(|byte| *byte < b' '), "{}", request.raw.escape_ascii());
    }
    what_was_handed_on_is_whole(&provider);
}

/// The failure report, and what became of the fields that are handed on.
fn what_was_handed_on_is_whole(provider: &Upstream) {
    provider.wait_seen("the report", |seen| {
        seen.taken.iter().any(|mail| mail.recipients == ["postmaster@acme.example"])
    });
    let seen = provider.seen();
    let report =
        seen.taken.iter().find(|mail| mail.recipients == ["postmaster@acme.example"]).expect("the report");
    let plain = |byte: &u8| (b' '..=b'~').contains(byte) || matches!(byte, b'\r' | b'\n' | b'\t');
    assert!(report.raw.iter().all(plain), "{report:?}");
    for mail in seen.taken.iter().filter(|mail| mail.recipients == [ANNA]) {
        let received = mail.header("Received").expect("a Received field");
        assert!(
            received.is_ascii() && !received.contains("login failed") && !received.contains('\u{1b}'),
            "{received}"
        );
    }
}

#[test]
fn nothing_breaks_out_of_its_field_on_the_way_of_codes() {
    let digest = crate::harness::config::sha256(TOKEN);
    let relay = Relay::start(&format!(
        "[listeners.smtp]\naddress = \"127.0.0.1:0\"\n[http.http]\naddress = \"127.0.0.1:0\"\nserves = [\"otp\"]\n\
         [clients.shop]\nbusiness = \"acme\"\ntoken_sha256 = \"{digest}\"\n\
         [businesses.acme]\nurl = \"https://acme.example\"\n{NO_REPLY}\
         [upstreams.mail]\nkind = \"maildir\"\n[upstreams.phones]\nkind = \"outbox\"\n"
    ));
    let mut connection = Connection::open(relay.http()).expect("a connection");
    let post = |connection: &mut Connection, body: &Value, key: Option<&str>| {
        let token = format!("Bearer {TOKEN}");
        let mut fields = vec![("Authorization", token.as_str()), ("Content-Type", "application/json")];
        fields.extend(key.map(|key| ("Idempotency-Key", key)));
        connection.ask("POST", "/v1/otp", &fields, &body.to_string()).expect("an answer")
    };
    // What is no control character may stand in a reference.
    let odd: String = HOSTILE.chars().filter(|c| !c.is_control()).collect();
    let code = json!({ "to": "+12025550100", "code": CODE, "factor": "secondary", "reference": odd });
    let taken = post(&mut connection, &code, None);
    assert!(matches!(taken.status, 202 | 400 | 422), "{taken:?}");
    for member in ["to", "code", "business", "factor", "reference"] {
        let mut hostile = code.clone();
        hostile[member] = HOSTILE.into();
        let answer = post(&mut connection, &hostile, None);
        assert!((400..500).contains(&answer.status), "{member}: {answer:?}");
        assert_harmless(member, &answer.body);
        assert!(!answer.body.contains("192.0.2.99"), "{member}: {answer:?}");
    }
    let answer = post(&mut connection, &code, Some(&odd));
    assert!((400..500).contains(&answer.status), "{answer:?}");
    for command in [
        &["trace", "+12025550100"][..],
        &["trace", "+12025550100", "--json"],
        &["queue", "list"],
        &["status"],
    ] {
        let ran = relay.cli(command);
        assert_harmless(&format!("{command:?}"), &(ran.stdout + &ran.stderr));
    }
    relay.log().lines().for_each(|line| assert_harmless("the log", line));
}
