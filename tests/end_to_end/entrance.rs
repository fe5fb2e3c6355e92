//! Who may hand in mail, what is taken, and what is left in the log of what is not.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::config::{
    LISTENER, NO_REPLY, NO_REPLY_ADDRESS, PASSWORD, USER, client, client_with_password, small, upstream,
};
use crate::harness::dialogue::Dialogue;
use crate::harness::mail::{message, password_reset};
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::Upstream;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

#[test]
fn a_stranger_gets_no_further_than_mail() {
    let provider = Upstream::accepting();
    let elsewhere = "[clients.elsewhere]\nnetworks = [\"10.0.0.0/8\"]\n";
    let off = "[listeners.bare]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n";
    let provider_table = upstream("provider", provider.address(), "");
    let relay = Relay::start(&format!("{LISTENER}{off}{elsewhere}{NO_REPLY}{provider_table}"));
    for listener in ["smtp", "bare"] {
        let mut dialogue = Dialogue::hello(relay.listener(listener));
        let reply = dialogue.command(&format!("MAIL FROM:<{FROM}>")).expect(530);
        assert!(reply.text().starts_with("5.7.0"), "{reply}");
        dialogue.command(&format!("RCPT TO:<{ANNA}>")).expect(503);
        let data = dialogue.command("DATA");
        assert!((500..600).contains(&data.code), "{data}");
    }
    assert_eq!(provider.seen().connections, 0);
}

#[test]
fn a_password_is_taken_over_tls_only() {
    let provider = Upstream::accepting();
    let (client, upstream) = (client_with_password(""), upstream("provider", provider.address(), ""));
    let relay = Relay::start(&format!("{LISTENER}{client}{NO_REPLY}{upstream}"));

    let mut plain = Dialogue::connect(relay.address());
    let ehlo = plain.command("EHLO client.test").expect(250);
    assert!(!ehlo.text().contains("AUTH"), "{ehlo}");
    assert!(ehlo.text().contains("STARTTLS"), "{ehlo}");
    let refused = plain.auth_plain(USER, PASSWORD);
    assert!((500..600).contains(&refused.code), "{refused}");
    plain.command(&format!("MAIL FROM:<{FROM}>")).expect(530);

    let mut wrong = relay.encrypted();
    wrong.auth_plain(USER, "wrong").expect(535);
    wrong.auth_plain("nobody", PASSWORD).expect(535);
    wrong.command(&format!("MAIL FROM:<{FROM}>")).expect(530);

    let mut by_plain = relay.encrypted();
    by_plain.auth_plain(USER, PASSWORD).expect(235);
    by_plain.send(FROM, &[ANNA], &password_reset(ANNA)).expect(250);
    let mut by_login = relay.encrypted();
    by_login.auth_login(USER, PASSWORD).expect(235);
    by_login.send(FROM, &[ANNA], &password_reset(ANNA)).expect(250);
    provider.wait_taken(2);
}

#[test]
fn a_null_reverse_path_stays_null() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&small(provider.address(), "", ""));
    relay.accept("", &[ANNA], &password_reset(ANNA));
    relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    let mut paths: Vec<String> = provider.wait_taken(2).into_iter().map(|mail| mail.reverse_path).collect();
    paths.sort();
    assert_eq!(paths, ["", NO_REPLY_ADDRESS]);
}

#[test]
fn a_refusal_names_category_rule_and_id_and_is_on_record() {
    let provider = Upstream::accepting();
    let rule = "[[rules]]\nname = \"the-newsletter\"\ncategory = \"marketing\"\nsubject = \"^autumn\"\n";
    let relay = Relay::start(&small(provider.address(), "", rule));
    let newsletter =
        message(&["From: a@legacy.example", "To: x@y.example", "Subject: Autumn news", "", "Hello"]);
    let reply = relay.hello().send(FROM, &[ANNA], &newsletter).expect(550);
    for word in ["5.7.1", "category marketing", "the-newsletter", "id "] {
        assert!(reply.text().contains(word), "{word} in {reply}");
    }
    let trace = relay.trace(&reply.id());
    assert_eq!(trace["events"][0]["event"], "refused", "{trace}");
    assert_eq!(trace["events"][0]["to"], ANNA);
    assert_eq!(provider.seen().connections, 0);
}

#[test]
fn an_urgent_message_has_one_recipient() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&small(provider.address(), "", ""));
    let reply = relay.hello().send(FROM, &[ANNA, "bert@customer.example"], &password_reset(ANNA)).expect(550);
    assert!(reply.text().contains("recipient"), "{reply}");
}

#[test]
fn what_is_suppressed_is_answered_kept_and_released_by_hand_only() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&small(provider.address(), "category = \"invitation-bulk\"", ""));
    let invitation =
        message(&["From: a@legacy.example", "Subject: Join us", "", "https://acme.example/join?t=1"]);
    let id = relay.accept(FROM, &[ANNA], &invitation);
    relay.wait_event(&id, "suppressed");
    assert_eq!(relay.traced(&id)["state"], "suppressed");
    assert_eq!(relay.traced(&id)["attempts"], 0);
    assert_eq!(provider.seen().connections, 0);
    relay.cli(&["queue", "release", &id]).ok();
    relay.wait_event(&id, "handed-over");
    assert_eq!(provider.wait_taken(1)[0].recipients, [ANNA]);
    // Once it is handed over there is nothing to release.
    assert!(!relay.cli(&["queue", "release", &id]).status.success());
}

#[test]
fn what_is_held_waits_for_an_operator() {
    let provider = Upstream::accepting();
    let category = "[categories.invitation]\naction = \"hold\"\n";
    let relay = Relay::start(&small(provider.address(), "category = \"invitation\"", category));
    let invitation =
        |n: u8| message(&["From: a@legacy.example", &format!("Subject: Join {n}"), "", "Join us."]);
    let kept = relay.accept(FROM, &[ANNA], &invitation(1));
    let dropped = relay.accept(FROM, &[ANNA], &invitation(2));
    relay.wait_event(&kept, "held");
    relay.wait_event(&dropped, "held");
    relay.cli(&["queue", "remove", &dropped]).ok();
    assert_eq!(relay.traced(&dropped)["state"], "removed");
    relay.cli(&["queue", "release", &kept]).ok();
    relay.wait_event(&kept, "handed-over");
    assert_eq!(provider.wait_taken(1)[0].header("Subject").as_deref(), Some("Join 1"));
    assert!(!relay.cli(&["queue", "release", &dropped]).status.success());
}

#[test]
fn a_client_sends_only_its_categories_unless_it_is_observed() {
    let provider = Upstream::accepting();
    let listed = "categories = [\"signin\", \"mfa\"]";
    let relay = Relay::start(&small(provider.address(), listed, ""));
    let reply = relay.hello().send(FROM, &[ANNA], &password_reset(ANNA)).expect(550);
    assert!(reply.text().contains("category password-reset is not relayed for this client"), "{reply}");
    assert_eq!(provider.seen().connections, 0);
    drop(relay);

    let observed = "observe_until = 2999-01-31";
    let relay = Relay::start(&small(provider.address(), observed, ""));
    let chat = message(&["From: a@legacy.example", "Subject: Lunch", "", "Shall we?"]);
    let id = relay.accept(FROM, &[ANNA], &chat);
    relay.wait_event(&id, "handed-over");
    let taken = provider.wait_taken(1);
    assert!(taken[0].header("From").is_some_and(|from| from.contains(NO_REPLY_ADDRESS)), "{taken:?}");
    let status = relay.cli(&["status"]).ok().stdout;
    assert!(status.contains("app") && status.contains("2999-01-31"), "{status}");
}

#[test]
fn two_clients_are_told_apart_by_login_and_network() {
    let provider = Upstream::accepting();
    let tables = [
        LISTENER,
        &client("app", "category = \"marketing\""),
        &client_with_password("category = \"signin\""),
        NO_REPLY,
        &upstream("provider", provider.address(), ""),
    ];
    let relay = Relay::start(&tables.concat());
    relay.hello().send(FROM, &[ANNA], &password_reset(ANNA)).expect(550);
    let mut dialogue = relay.encrypted();
    dialogue.auth_plain(USER, PASSWORD).expect(235);
    let id = dialogue.send(FROM, &[ANNA], &password_reset(ANNA)).expect(250).id();
    relay.wait_event(&id, "handed-over");
    let traced = relay.traced(&id);
    assert_eq!((traced["client"].as_str(), traced["category"].as_str()), (Some(USER), Some("signin")));
}

/// The lines of the log about what was refused before there was a message.
fn refused(relay: &Relay) -> Vec<Value> {
    let log = relay.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line["target"] == "authrelay::smtp" && line["message"] == "refused").collect()
}

#[test]
fn what_is_refused_before_there_is_a_message_is_in_the_log() {
    let provider = Upstream::accepting();
    let relay = Home::new().start_at_level(&small(provider.address(), "", ""), "info");
    let mut dialogue = relay.hello();
    dialogue.command("MAIL FROM:<shop@legacy.example> SIZE=99999999").expect(552);
    dialogue.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
    dialogue.command("RCPT TO:<anna smith@customer.example>").expect(501);
    dialogue.command(&format!("RCPT TO:<{ANNA}>")).expect(250);
    dialogue.command("DATA").expect(354);
    dialogue.write(&[&b"Subject: 471123\r\n\r\n"[..], &vec![b'x'; 70_000], b"\r\n.\r\n"].concat());
    dialogue.reply().expect(554);
    dialogue.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
    dialogue.command(&format!("RCPT TO:<{ANNA}>")).expect(250);
    dialogue.command("DATA").expect(354);
    dialogue.write(b"Subject: 471123\rX");
    dialogue.reply().expect(521);
    let mut bare = relay.hello();
    bare.write(b"MAIL FROM:<shop@legacy.example>\n");
    bare.reply().expect(500);
    // A message that policy refuses has an event, and no second line.
    let newsletter =
        message(&["From: a@legacy.example", "Subject: Autumn sale", "", "Buy. Unsubscribe here."]);
    let by_policy = relay.hello().send(FROM, &[ANNA], &newsletter).expect(550).id();
    relay.wait_event(&by_policy, "refused");

    let mut found = Vec::new();
    for line in refused(&relay) {
        assert_eq!(line["listener"], "smtp", "{line}");
        assert_eq!((&line["peer"], &line["client"]), (&"127.0.0.1".into(), &"known".into()), "{line}");
        assert!(line["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{line}");
        let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
        let closed = if line["closed"] == true { " closed" } else { "" };
        found.push(format!(
            "{} {} {} {}{closed}",
            text("command"),
            line["code"],
            text("status"),
            text("address")
        ));
    }
    assert_eq!(
        found,
        [
            "MAIL 552 5.3.4 s***@legacy.example",
            "RCPT 501 5.1.3 a***@customer.example",
            "DATA 554 5.6.0 a***@customer.example",
            "DATA 521 5.5.2 a***@customer.example closed",
            "unreadable 500 5.5.2 - closed",
        ]
    );
    for secret in ["471123", "anna", "shop@"] {
        assert!(!relay.log().contains(secret), "{secret} in\n{}", relay.log());
    }
}

#[test]
fn what_the_documentation_says_to_look_for_finds_it_and_a_flood_does_not_fill_the_log() {
    let provider = Upstream::accepting();
    let elsewhere = "[clients.elsewhere]\nnetworks = [\"10.0.0.0/8\"]\n";
    let table = upstream("provider", provider.address(), "");
    let limits = "[limits]\nconnections_per_address = 2\n";
    let config = format!("{LISTENER}{elsewhere}{NO_REPLY}{table}{limits}");
    let mut relay = Home::new().start_at_level(&config, "info");
    let mut dialogue = relay.hello();
    dialogue.command(&format!("MAIL FROM:<{FROM}>")).expect(530);
    let mut second = relay.hello();
    for _ in 0..3 {
        let turned_away = Dialogue::connect_silent(relay.address()).reply().expect(421);
        assert!(turned_away.text().contains("too many connections"), "{turned_away}");
    }
    for _ in 0..12 {
        second.command(&format!("MAIL FROM:<{FROM}>")).expect(530);
    }
    relay.stop();
    let left_out = relay.wait_line("the number of lines left out", |line| line["left_out"].is_number());
    let lines = refused(&relay);
    assert_eq!(lines.len(), 10, "{lines:?}");
    assert_eq!((&lines[0]["client"], &lines[0]["code"]), (&"unknown".into(), &530.into()));
    assert_eq!((&lines[1]["level"], &lines[1]["code"]), (&"WARN".into(), &421.into()));
    assert_eq!((&left_out["peer"], &left_out["left_out"]), (&"127.0.0.1".into(), &6.into()));

    let documented = include_str!("../../docs/where-is-my-mail.md");
    let grep = documented.lines().find_map(|line| Some(line.split_once("journalctl")?.1.split_once('|')?.1));
    let mut shell = Command::new("sh");
    shell.args(["-c", grep.expect("a command in the documentation")]);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
    shell.stdin.take().expect("its input").write_all(relay.log().as_bytes()).expect("written");
    let found = String::from_utf8(shell.wait_with_output().expect("grep ends").stdout).expect("UTF-8");
    assert_eq!(found.lines().count(), 11, "{found}");
}
