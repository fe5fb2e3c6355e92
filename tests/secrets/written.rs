//! Nothing that must stay secret is in the log or, unsealed, on the disk: everything the relay writes is searched for it.

use crate::harness::config::{LISTENER, NO_REPLY, PASSWORD, USER, client, client_with_password, upstream};
use crate::harness::hook::Hook;
use crate::harness::mail::message;
use crate::harness::relay::{Home, Relay};
use crate::harness::search::{Places, assert_absent, files_as_places, find, forms};
use crate::harness::upstream::{Answer, Moment, Upstream};
use crate::harness::web::Connection;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const FROM: &str = "zebrafinch.sender@legacy.example";

/// What stands in the messages and dialogues below, and may stand nowhere else.
const SECRETS: [(&str, &str); 13] = [
    ("a code", "739182"),
    ("a token", "qUoKKa7token"),
    ("a link", "acme.example/wombat-reset"),
    ("a subject", "Pangolin"),
    ("a text", "axolotl"),
    ("a reverse-path", "zebrafinch.sender"),
    ("the recipient of a message that is taken", "narwhal.taken"),
    ("the recipient of a message that fails", "narwhal.failed"),
    ("the recipient of a message that waits", "narwhal.waits"),
    ("the recipient of a message that is refused", "narwhal.refused"),
    ("a recipient that is no address", "narwhal.broken"),
    ("a wrong password", "capybara-wrong"),
    ("the provider's password", "okapi-of-provider"),
];

fn letter(subject: &str) -> Vec<u8> {
    message(&[
        "From: Zebrafinch <zebrafinch.sender@legacy.example>",
        "To: undisclosed",
        &format!("Subject: {subject} Pangolin"),
        "",
        "The axolotl says: reset your password. Your code is 739182.",
        "https://acme.example/wombat-reset?token=qUoKKa7token",
    ])
}

/// A provider that repeats in its answers what it should rather not.
fn talkative() -> Upstream {
    Upstream::start(|moment| match moment {
        Moment::Rcpt(to) if to.starts_with("narwhal.failed") => Answer::Reply(
            "550 5.1.1 <narwhal.failed@customer.example>: unknown, https://acme.example/wombat-reset 739182",
        ),
        Moment::Rcpt(to) if to.starts_with("narwhal.waits") => {
            Answer::Reply("450 4.2.1 narwhal.waits@customer.example is busy (739182)")
        }
        _ => Answer::Accept,
    })
}

fn relay_to(provider: &Upstream, more: &str) -> Relay {
    let home = Home::new();
    home.write("provider.password", "okapi-of-provider");
    let table = upstream("provider", provider.address(), "");
    // Asked first, and never able to take anything: there is no AUTH on offer.
    let login = "user = \"relay\"\npassword_file = \"provider.password\"";
    let guarded = upstream("guarded", provider.address(), login);
    let app = client("app", "");
    let shop = client_with_password("category = \"password-reset\"");
    let rule = "[[rules]]\nname = \"refused\"\ncategory = \"marketing\"\nsubject = \"^refuse\"\n\
                [[rules]]\nname = \"kept\"\ncategory = \"invitation-bulk\"\nsubject = \"^keep\"\n\
                [[rules]]\nname = \"others\"\ncategory = \"password-reset\"\nsubject = \".\"\n";
    home.start_at_level(&format!("{LISTENER}{app}{shop}{NO_REPLY}{guarded}{table}{rule}{more}"), "trace")
}

/// Everything that a relay can be told, well and badly.
fn talk(relay: &Relay) {
    let to = |who: &str| format!("narwhal.{who}@customer.example");
    let taken = relay.accept(FROM, &[&to("taken")], &letter("pass"));
    let kept = relay.accept(FROM, &[&to("taken")], &letter("keep"));
    let failed = relay.accept(FROM, &[&to("failed")], &letter("pass"));
    let waits = relay.accept(FROM, &[&to("waits")], &letter("pass"));
    let mut dialogue = relay.hello();
    dialogue.send(FROM, &[&to("refused")], &letter("refuse")).expect(550);
    for line in [
        "RCPT TO:<narwhal.broken@@customer.example>",
        "MAIL FROM:<narwhal.broken@customer.example> BODY=narwhal.broken",
        "narwhal.broken@customer.example 739182",
        "VRFY narwhal.broken@customer.example",
        "HELP 739182",
    ] {
        dialogue.command(line);
    }
    dialogue.auth_plain(USER, "capybara-wrong");
    let mut dialogue = relay.encrypted();
    dialogue.auth_plain(USER, "capybara-wrong").expect(535);
    dialogue.auth_login("capybara-wrong", "capybara-wrong").expect(535);
    let mut dialogue = relay.encrypted();
    dialogue.auth_login(USER, PASSWORD).expect(235);
    let by_login = dialogue.send(FROM, &[&to("taken")], &letter("login")).expect(250).id();
    // One that breaks off in the middle of a message.
    let mut dialogue = relay.hello();
    dialogue.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
    dialogue.command(&format!("RCPT TO:<{}>", to("taken"))).expect(250);
    dialogue.command("DATA").expect(354);
    dialogue.write(&letter("broken off"));
    drop(dialogue);
    relay.wait_event(&taken, "handed-over");
    relay.wait_event(&by_login, "handed-over");
    relay.wait_event(&kept, "suppressed");
    relay.wait_event(&failed, "failed");
    relay.wait_event(&waits, "deferred");
    for id in [&taken, &failed, &waits] {
        relay.cli(&["trace", id]).ok();
    }
}

#[test]
fn the_log_and_the_disk_hold_no_secret() {
    let provider = talkative();
    let mut relay = relay_to(&provider, "");
    talk(&relay);
    let shown = relay.cli(&["queue", "list"]).ok().stdout;
    // First with everything in the write-ahead log, then as a stopped relay leaves it.
    search(&relay, &shown);
    assert!(relay.stop().success());
    search(&relay, &shown);
}

/// Killed while messages wait: what lies on the disk then, and after the start that follows.
#[test]
fn a_killed_relay_leaves_no_secret_on_the_disk() {
    let provider = talkative();
    let mut relay = relay_to(&provider, "");
    talk(&relay);
    relay.kill9();
    let wal = std::fs::metadata(relay.home.file("state/queue.db-wal")).expect("a log of writes").len();
    assert!(wal > 0, "nothing waits to be moved into the queue's file");
    search(&relay, "");
    relay.restart();
    search(&relay, &relay.cli(&["queue", "list"]).ok().stdout);
}

/// Whatever shows something to somebody: no code, link or subject, and whole addresses only where they are asked for.
#[test]
fn nothing_that_is_shown_or_told_holds_a_secret() {
    const ADMIN: &str = "[http.admin]\naddress = \"127.0.0.1:0\"\nserves = [\"admin\"]\n";
    let provider = talkative();
    let (hook, whole) = (Hook::start(), Hook::start());
    let hooks = hook.config("hashed", "") + &whole.config("whole", "recipient = \"full\"\n");
    let relay = relay_to(&provider, &format!("{ADMIN}{hooks}"));
    talk(&relay);
    let mut shown: Places = Vec::new();
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["queue", "list"],
        &["queue", "list", "--json"],
        &["clients"],
        &["webhook", "list"],
        &["audit", "export"],
        &["log"],
        &["key", "list"],
        &["check"],
        &["check", "--json"],
        &["reload"],
        &["trace", "narwhal.taken@customer.example"],
        &["trace", "narwhal.failed@customer.example", "--json"],
        &["trace", "narwhal.waits@customer.example"],
    ] {
        let ran = relay.cli(arguments).ok();
        shown.push((arguments.join(" "), [ran.stdout, ran.stderr].concat().into_bytes()));
    }
    for path in ["/", "/queue", "/metrics", "/healthz", "/readyz"] {
        let asked =
            Connection::open(relay.listener("admin")).and_then(|mut one| one.ask("GET", path, &[], ""));
        let answer = asked.expect("an answer");
        shown.push((path.to_owned(), answer.body.into_bytes()));
    }
    let bodies = |hook: &Hook| hook.requests().into_iter().map(|one| ("a webhook".to_owned(), one.raw));
    hook.wait_for(8);
    whole.wait_for(8);
    shown.extend(bodies(&hook));
    assert!(shown.iter().filter(|(_, text)| !text.is_empty()).count() > 20);
    let mut secrets = SECRETS.to_vec();
    secrets.push(("a client's password", PASSWORD));
    assert_absent(&secrets, &shown);
    // Where the configuration says so the recipient is told, and nothing else.
    secrets.retain(|(what, _)| !what.starts_with("the recipient"));
    assert_absent(&secrets, &bodies(&whole).collect());
}

#[track_caller]
fn search(relay: &Relay, shown: &str) {
    let log = relay.log();
    assert!(log.contains("handed-over") && log.contains("\"TRACE\""), "the log is not what it should be");
    let mut places = files_as_places(&relay.home.file("state"));
    let is_queue = |(name, _): &(String, Vec<u8>)| name.ends_with("/queue.db");
    assert!(places.iter().any(is_queue), "there is no queue");
    // The file that keeps room on the disk: millions of zeros would take minutes to search.
    places.retain(|(_, content)| content.iter().any(|byte| *byte != 0));
    places.push(("the log".to_owned(), log.into_bytes()));
    places.push(("queue list".to_owned(), shown.as_bytes().to_vec()));
    let mut secrets = SECRETS.to_vec();
    secrets.push(("a client's password", PASSWORD));
    assert_absent(&secrets, &places);
}

#[test]
fn what_is_searched_for_would_be_found() {
    assert_eq!(find(b"xxPANGOLIN", b"Pangolin"), Some(2));
    for around in ["", "a", "ab"] {
        let encoded = STANDARD.encode(format!("{around}\0capybara-wrong"));
        let found =
            forms("capybara-wrong").iter().any(|form| find(encoded.as_bytes(), form.as_bytes()).is_some());
        assert!(found, "{encoded}");
    }
}
