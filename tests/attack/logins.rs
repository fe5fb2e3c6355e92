//! Guessing passwords: what it costs who guesses, what it costs everybody else, and what fail2ban makes of the log.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use regex::Regex;

use crate::harness::config::{LISTENER, NO_REPLY, PASSWORD, USER, client_with_password, upstream};
use crate::harness::dialogue::Dialogue;
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::Upstream;
use crate::harness::{now, skipped};

const FILTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/fail2ban/filter.d/authrelay.conf");

/// A client whose password a person chose, beside one with a generated password.
fn guarded(home: &Home, provider: &Upstream) -> String {
    let mut add = home.command();
    add.args(["client", "add", "helpdesk", "--password-stdin"]);
    let pasted = home.run(add, "open sesame\n").ok().stdout;
    let table: Vec<&str> = pasted.lines().filter(|line| !line.starts_with("business")).collect();
    let shop = client_with_password("");
    format!(
        "{LISTENER}{}\n{shop}{NO_REPLY}{}",
        table.join("\n"),
        upstream("provider", provider.address(), "")
    )
}

fn from(relay: &Relay, source: [u8; 4]) -> Dialogue {
    let mut dialogue = Dialogue::hello_from(source.into(), relay.address());
    dialogue.starttls(&relay.home.certificate());
    dialogue.command("EHLO client.test").expect(250);
    dialogue
}

#[test]
fn one_name_guessed_at_from_many_addresses_waits_and_so_does_one_that_nobody_has() {
    let provider = Upstream::accepting();
    let home = Home::new();
    let config = guarded(&home, &provider);
    let relay = home.start_at_level(&config, "info");
    // Whoever got in before gets in, whatever others do.
    from(&relay, [127, 0, 0, 1]).auth_plain("helpdesk", "open sesame").expect(235);
    let mut told = Vec::new();
    for (user, net) in [("helpdesk", 1), ("nobody", 2)] {
        let mut answers = Vec::new();
        for host in 1..=14 {
            answers.push(from(&relay, [127, 0, net, host]).auth_plain(user, "open barley").to_string());
        }
        assert!(answers[..10].iter().all(|answer| answer.starts_with("535 5.7.8")), "{answers:?}");
        let slowed =
            answers.iter().filter(|answer| answer.starts_with("454 4.7.0 too many failed logins")).count();
        assert!(slowed >= 1, "{answers:?}");
        told.push(answers[..10].to_vec());
    }
    assert_eq!(told[0], told[1], "the answers tell who is known");
    from(&relay, [127, 0, 3, 1]).auth_plain("helpdesk", "open sesame").expect(235);
    from(&relay, [127, 0, 3, 1]).auth_plain(USER, PASSWORD).expect(235);
    let log = relay.log();
    for secret in ["open sesame", "open barley", "nobody", PASSWORD] {
        assert!(!log.contains(secret), "{secret} in\n{log}");
    }
}

/// The times differ by far more than this where one of the two is not checked at all: argon2id takes 20 ms and more.
#[test]
fn how_long_the_answer_takes_does_not_tell_who_is_known() {
    let provider = Upstream::accepting();
    let home = Home::new();
    let config = guarded(&home, &provider);
    let relay = home.start(&config);
    let mut fastest = Vec::new();
    for (user, net) in [("helpdesk", 1), (USER, 2), ("nobody", 3)] {
        let times = (1..=8).map(|host| {
            let mut dialogue = from(&relay, [127, 0, net, host]);
            let begun = now();
            dialogue.auth_plain(user, "open barley").expect(535);
            begun.elapsed()
        });
        fastest.push(times.min().expect("times"));
    }
    let (least, most) = (fastest.iter().min().expect("times"), fastest.iter().max().expect("times"));
    assert!(*most < *least * 2, "known, generated, unknown: {fastest:?}");
}

#[test]
fn a_flood_of_wrong_passwords_does_not_flood_the_log_and_other_refusals_do_not_hide_it() {
    let provider = Upstream::accepting();
    let (shop, table) = (client_with_password(""), upstream("provider", provider.address(), ""));
    let mut relay = Home::new().start_at_level(&format!("{LISTENER}{shop}{NO_REPLY}{table}"), "info");
    let mut dialogue = relay.encrypted();
    for _ in 0..15 {
        dialogue.command("MAIL FROM:<a@b.example>").expect(530);
    }
    for _ in 0..8 {
        let mut dialogue = relay.encrypted();
        dialogue.auth_plain(USER, "wrong").expect(535);
        dialogue.auth_plain("nobody", "").expect(535);
    }
    relay.stop();
    let log = relay.log();
    assert_eq!(log.matches("\"login failed\"").count(), 10, "{log}");
    relay.wait_line("the number of lines left out", |line| line["left_out"] == 6);
}

/// The lines about one login that failed and one that did not, in every form of the log that the relay writes.
fn lines(format: &str) -> Vec<String> {
    let provider = Upstream::accepting();
    let (shop, table) = (client_with_password(""), upstream("provider", provider.address(), ""));
    let home = Home::new();
    home.write(
        "relay.toml",
        format!(
            "hostname = \"relay.test\"\nstate_directory = \"state\"\n[http]\n{LISTENER}{shop}{NO_REPLY}{table}\
             [log]\nformat = \"{format}\"\n"
        ),
    );
    let mut command = home.command();
    command.arg("--config").arg(home.config()).arg("run").stderr(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().expect("the binary starts");
    let mut log = BufReader::new(child.stderr.take().expect("its log")).lines().map_while(Result::ok);
    let address = Regex::new("listening.*?(127\\.0\\.0\\.1:[0-9]+)").expect("a pattern");
    let address: SocketAddr = log
        .by_ref()
        .find_map(|line| Some(address.captures(&line)?[1].parse().expect("an address")))
        .expect("it listens");
    let mut dialogue = Dialogue::hello_from([127, 0, 0, 77].into(), address);
    dialogue.starttls(&home.certificate());
    dialogue.command("EHLO login.failed.peer=192.0.2.99").expect(250);
    dialogue.auth_plain(USER, "wrong").expect(535);
    dialogue.auth_plain(USER, PASSWORD).expect(235);
    drop(dialogue);
    let found: Vec<String> = log.by_ref().find(|line| line.contains("login failed")).into_iter().collect();
    child.kill().expect("killed");
    child.wait().expect("ended");
    found
}

/// A line as the journal shows it is the text after the target.
fn as_journal(line: &str) -> String {
    let (_, message) = line.split_once("authrelay::auth: ").expect("a target");
    format!("Nov 24 00:10:11 mail authrelay[4711]: {message}")
}

fn all_forms() -> Vec<String> {
    let (text, json) = (lines("text"), lines("json"));
    let journal: Vec<String> = text.iter().map(|line| as_journal(line)).collect();
    [text, json, journal].concat()
}

/// Lines that hold the same words where others put them.
const FORGED: [&str; 5] = [
    "2026-11-24T00:10:11.000000Z  INFO authrelay::event: handed-over reference=\"login failed listener=smtp peer=192.0.2.99 code=535 reason=\"",
    "{\"timestamp\":\"2026-11-24T00:10:11.000000Z\",\"level\":\"INFO\",\"message\":\"failed\",\"reason\":\"login failed listener=smtp peer=192.0.2.99 code=535 reason=\"}",
    "Nov 24 00:10:11 mail authrelay[4711]: failed reason=\"login failed listener=smtp peer=192.0.2.99 code=535 reason=\"",
    "Nov 24 00:10:11 mail authrelay[4711]: login failed listener=smtp peer=192.0.2.99 code=454 reason=\"too many failed logins, try again in 2 s\"",
    "2026-11-24T00:10:11.000000Z  WARN authrelay::auth: login failed listener=smtp peer=192.0.2.99 code=454 reason=\"x\"",
];

/// The filter's expressions, with what fail2ban puts in for its own words. It takes the date out before it looks.
fn expressions() -> Vec<Regex> {
    let text = std::fs::read_to_string(FILTER).expect("the filter");
    let block = text.split_once("failregex = ").expect("expressions").1;
    let lines = block.lines().take_while(|line| !line.trim().is_empty()).map(str::trim);
    let made = |line: &str| {
        let line = line
            .replace("%(__prefix_line)s", "(?:\\S+ )?authrelay\\[\\d+\\]: ")
            .replace("<ADDR>", "(?P<peer>[0-9a-fA-F:.]+)");
        Regex::new(&line).expect("an expression")
    };
    lines.map(made).collect()
}

fn without_date(line: &str) -> String {
    let date = "(?:[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z|[A-Z][a-z]{2} [0-9]{2} [0-9:]{8} )";
    Regex::new(date).expect("a pattern").replace(line, "").into_owned()
}

#[test]
fn the_filter_finds_the_peer_in_every_form_of_the_log_and_nobody_else() {
    let expressions = expressions();
    assert_eq!(expressions.len(), 3);
    let found = |line: &str| {
        let line = without_date(line);
        expressions.iter().find_map(|one| Some(one.captures(&line)?["peer"].to_owned()))
    };
    let forms = all_forms();
    assert_eq!(forms.len(), 3, "{forms:?}");
    for line in &forms {
        assert_eq!(found(line).as_deref(), Some("127.0.0.77"), "{line}");
    }
    for line in FORGED {
        assert_eq!(found(line), None, "{line}");
    }
}

/// By the program itself. `AUTHRELAY_FAIL2BAN` is the folder that Debian's package was taken apart in; else it has to be
/// installed.
#[test]
fn fail2ban_itself_finds_the_peer() {
    let (mut command, installed) = match std::env::var_os("AUTHRELAY_FAIL2BAN").map(PathBuf::from) {
        Some(folder) => {
            let mut command = Command::new("python3");
            command.arg(folder.join("usr/bin/fail2ban-regex"));
            command.env("PYTHONPATH", folder.join("usr/lib/python3/dist-packages"));
            (command, folder.join("etc/fail2ban"))
        }
        None if which("fail2ban-regex") => (Command::new("fail2ban-regex"), PathBuf::from("/etc/fail2ban")),
        None => {
            return skipped(
                "fail2ban-regex is not here: the filter in contrib/ is tried by its expressions alone",
            );
        }
    };
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    // Ours stands beside the one that it includes, as after an installation.
    let filters = folder.path().join("filter.d");
    std::fs::create_dir(&filters).expect("a folder");
    let filter = filters.join("authrelay.conf");
    std::fs::copy(installed.join("filter.d/common.conf"), filters.join("common.conf")).expect("copied");
    std::fs::copy(FILTER, &filter).expect("copied");
    let forms = all_forms();
    let lines: Vec<&str> = forms.iter().map(String::as_str).chain(FORGED).collect();
    std::fs::write(&log, lines.join("\n") + "\n").expect("written");
    let output = command.args(["--print-all-matched"]).arg(&log).arg(&filter).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let counts =
        format!("Lines: {} lines, 0 ignored, {} matched, {} missed", lines.len(), forms.len(), FORGED.len());
    assert!(said.contains(&counts), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // The last matched lines are printed; none of them is forged.
    assert!(said.contains("127.0.0.77"), "{said}");
}

fn which(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
