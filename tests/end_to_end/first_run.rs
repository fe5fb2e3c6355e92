//! The first minute of somebody who has no configuration.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::harness::config::{LISTENER, small};
use crate::harness::mail::{self, Mail};
use crate::harness::relay::{Home, Ran, Unconfigured};
use crate::harness::upstream::unused_address;
use crate::harness::{PATIENCE, skipped};

/// The ports of the built-in defaults.
const PORTS: [u16; 2] = [2525, 8025];

#[test]
fn the_examples_that_it_prints_do_what_it_says() {
    if PORTS.iter().any(|port| TcpListener::bind(("127.0.0.1", *port)).is_err()) {
        skipped("the built-in defaults were not tried: port 2525 or 8025 is in use on this machine");
        return;
    }
    if Command::new("curl").arg("--version").output().is_err() {
        skipped("the built-in defaults were not tried: curl is not here");
        return;
    }
    let relay = Unconfigured::start();
    let welcome = relay.stdout.wait(PATIENCE, |lines| {
        let complete = lines.iter().any(|line| line.starts_with("For real use"));
        complete.then(|| lines.clone())
    });
    let welcome = welcome.unwrap_or_else(|| panic!("no welcome in {:?}", relay.stderr.get()));
    let [accepted, refused, code] = examples(&welcome).try_into().expect("three examples");

    // The first example is three commands: send, look into the maildir, trace.
    let (send, look) = accepted.split_once("\n  ls ").expect("a look into the maildir");
    shell(&relay, send);
    wait_for_hand_overs(&relay, 1);
    let looked = shell(&relay, &format!("ls {look}"));
    assert!(looked.contains("HANDED-OVER"), "{looked}");
    let (folder, _) = look.split_once('\n').expect("the trace behind it");
    let files: Vec<_> = std::fs::read_dir(folder).expect("the maildir").collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let raw = std::fs::read(files[0].as_ref().expect("a file").path()).expect("the message");
    let mail = Mail { reverse_path: String::new(), recipients: Vec::new(), raw };
    assert_eq!(mail.headers("From").len(), 1);
    assert!(mail.header("From").is_some_and(|from| from.contains("no-reply@localhost")), "{mail:?}");
    assert_eq!(mail.header("To").as_deref(), Some("anna@example.com"));

    let answer = shell(&relay, &refused);
    let words = ["550 5.7.1", "category marketing", "rule", "id"];
    assert!(words.iter().all(|word| answer.contains(word)), "{answer}");
    assert_eq!(std::fs::read_dir(folder).expect("the maildir").count(), 1);

    // So is the third: post a code, look at its text, trace.
    let (post, look) = code.split_once("\n  cat ").expect("a look into the outbox");
    let answer = shell(&relay, post);
    assert!(answer.contains("\"status\"") && !answer.contains("123456"), "{answer}");
    wait_for_hand_overs(&relay, 2);
    let looked = shell(&relay, &format!("cat {look}"));
    let text = "\"123456 is your one-time code to sign in to localhost #123456\"}";
    assert!(looked.contains(text) && looked.contains("HANDED-OVER"), "{looked}");
    let id = answer.split('"').skip_while(|word| *word != "id").nth(2).expect("an id");
    let state = relay.home.file(".local/state/authrelay");
    for file in ["otp.token", "outbox.jsonl"] {
        let metadata = std::fs::metadata(state.join(file)).expect(file);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
    let token = state.join("otp.token").display().to_string();
    let get =
        format!("curl -sS http://127.0.0.1:8025/v1/otp/{id} -H \"Authorization: Bearer $(cat {token})\"");
    let view = shell(&relay, &get);
    assert!(view.contains("\"handed-over\"") && view.contains(id), "{view}");
    let said = relay.stderr.get().join("\n");
    assert!(!said.contains("123456") && !said.contains("2025550100"), "{said}");
}

fn wait_for_hand_overs(relay: &Unconfigured, count: usize) {
    let told = |lines: &Vec<String>| {
        (lines.iter().filter(|line| line.contains("handed-over")).count() >= count).then_some(())
    };
    assert!(relay.stderr.wait(PATIENCE, told).is_some(), "not handed over: {:?}", relay.stderr.get());
}

#[test]
fn the_message_parts_are_taken_apart_as_they_stand() {
    let raw = mail::message(&["A: 1", "B: 2", " 3", "", "body", ""]);
    let mail = Mail { reverse_path: String::new(), recipients: Vec::new(), raw };
    assert_eq!(mail.header("b").as_deref(), Some("2 3"));
    assert_eq!(mail.body(), b"body\r\n\r\n");
}

/// Makes a start that fails; `before` puts something in its way.
#[track_caller]
fn failing_start(config: &str, before: impl Fn(&Home)) -> (Home, Ran) {
    let home = Home::new();
    home.write("relay.toml", format!("state_directory = \"state\"\n{config}"));
    before(&home);
    let ran = home.cli(&["run"]);
    (home, ran)
}

fn state(home: &Home, name: &str, content: &[u8]) {
    std::fs::create_dir_all(home.file("state")).expect("a folder");
    home.write(&format!("state/{name}"), content);
}

#[test]
fn what_a_restart_does_not_mend_has_the_status_on_which_the_service_manager_gives_up() {
    let config = small(unused_address(), "", "");
    let (home, ran) = failing_start(&config, |home| state(home, "queue.db", b"some queue"));
    assert_eq!(ran.status.code(), Some(78), "{ran:?}");
    assert!(ran.stderr.contains("queue.key is missing") && ran.stderr.contains("move"), "{ran:?}");
    assert!(!home.file("state/queue.key").exists(), "a new key hides that the old one is lost");

    let (_, ran) = failing_start(&config, |home| state(home, "queue.key", b"no key\n"));
    assert_eq!(ran.status.code(), Some(78), "{ran:?}");

    let (home, ran) = failing_start(&config, |home| state(home, "control.sock", b"precious"));
    assert_eq!(ran.status.code(), Some(78), "{ran:?}");
    assert!(ran.stderr.contains("is no socket"), "{ran:?}");
    assert_eq!(std::fs::read(home.file("state/control.sock")).expect("still there"), b"precious");
}

#[test]
fn what_may_pass_is_tried_again() {
    let config = small(unused_address(), "", "");
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let listener = LISTENER.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let (_, ran) = failing_start(&config.replace(LISTENER, &listener), |_| {});
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(ran.stderr.contains("another program listens there"), "{ran:?}");

    let (_, ran) = failing_start(&config, |home| drop(home.write("state", "a file")));
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(ran.stderr.contains("state directory") && ran.stderr.contains("state_directory"), "{ran:?}");
}

/// The indented blocks of the welcome: what stands between two unindented lines.
fn examples(welcome: &[String]) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Vec<&str> = Vec::new();
    for line in welcome {
        if line.starts_with("  ") {
            block.push(line);
        } else if !line.is_empty() && !block.is_empty() {
            blocks.push(block.join("\n"));
            block.clear();
        }
    }
    blocks
}

fn shell(relay: &Unconfigured, script: &str) -> String {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).env_clear().env("HOME", relay.home.path()).current_dir(relay.home.path());
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let output = command.output().expect("a shell");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{script}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
