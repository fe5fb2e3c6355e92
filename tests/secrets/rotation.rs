//! Another key for the queue, as an operator gives it one: nothing stops, nothing is lost, and no key goes too early.

use std::fs;

use serde_json::{Value, json};

use crate::harness::config::small;
use crate::harness::look_until;
use crate::harness::mail::password_reset;
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::{Answer, Moment, Upstream};

const FROM: &str = "shop@legacy.example";
const KEY: &str = "[queue]\nkey_file = \"keys/queue.key\"\n";

/// A provider that takes nothing yet.
fn busy() -> Upstream {
    Upstream::start(|moment| match moment {
        Moment::Rcpt(_) => Answer::Reply("450 4.2.1 busy"),
        _ => Answer::Accept,
    })
}

fn start(provider: &Upstream) -> (Relay, String) {
    let home = Home::new();
    fs::create_dir(home.file("keys")).expect("a folder");
    home.configure("", "debug");
    home.cli(&["key", "make", "keys/queue.key"]).ok();
    let config = small(provider.address(), "", KEY);
    (home.start(&config), config)
}

fn keys(relay: &Relay) -> Value {
    relay.cli(&["status", "--json"]).json()["keys"].clone()
}

fn customer(number: usize) -> String {
    format!("anna{number}@customer.example")
}

fn accept(relay: &Relay, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers
        .map(|number| relay.accept(FROM, &[&customer(number)], &password_reset(&customer(number))))
        .collect()
}

#[track_caller]
fn wait_resealed(relay: &Relay, key: u32) {
    look_until("everything to be sealed with the new key", || {
        (keys(relay)["in_use"] == json!([key])).then_some(())
    });
}

#[test]
fn a_new_key_takes_over_without_a_stop_and_nothing_is_lost() {
    let provider = busy();
    let (mut relay, config) = start(&provider);
    let mut ids = accept(&relay, 0..4);
    for id in &ids {
        relay.wait_event(id, "deferred");
    }
    // In the middle of a transaction, on a connection that stays.
    let mut open = relay.hello();
    open.command(&format!("MAIL FROM:<{FROM}>")).expect(250);

    let said = relay.cli(&["key", "rotate"]).ok().stdout;
    assert!(said.contains("key 2 is in") && said.contains("authrelay reload"), "{said}");
    assert!(relay.cli(&["key", "list"]).ok().stdout.contains("key 2 is new"), "it is not in force yet");
    assert_eq!(keys(&relay)["seals"], 1);
    relay.reload(&config);
    assert_eq!(keys(&relay)["seals"], 2);
    open.command(&format!("RCPT TO:<{}>", customer(4))).expect(250);
    open.command("DATA").expect(354);
    open.write(&crate::harness::dialogue::dotted(&password_reset(&customer(4))));
    ids.push(open.reply().expect(250).id());
    ids.extend(accept(&relay, 5..7));
    wait_resealed(&relay, 2);
    let told = relay.cli(&["status"]).ok().stdout;
    assert!(told.contains("key 1 is not needed any more: authrelay key remove 1"), "{told}");
    assert!(relay.cli(&["check"]).ok().stderr.contains("key 1 is not needed any more"), "check says it too");

    // A crash in between, then the old key goes; first in the file, then in the daemon.
    relay.kill9();
    relay.restart();
    let refused = relay.cli(&["key", "remove", "2"]);
    assert!(!refused.status.success() && refused.stderr.contains("key 2 is still needed"), "{refused:?}");
    relay.cli(&["key", "remove", "1"]).ok();
    relay.reload(&config);
    assert_eq!(keys(&relay), json!({ "seals": 2, "known": [2], "in_use": [2] }));
    ids.extend(accept(&relay, 7..8));
    assert!(relay.stop().success());
    relay.restart();

    provider.become_(|_| Answer::Accept);
    let mut to: Vec<String> = provider.wait_taken(8).iter().map(|mail| mail.recipients.join(",")).collect();
    to.sort();
    assert_eq!(to, (0..8).map(customer).collect::<Vec<_>>(), "each once");
    for id in &ids {
        relay.wait_event(id, "handed-over");
    }
    // With the daemon down the file says the same.
    assert!(relay.stop().success());
    assert_eq!(relay.cli(&["key", "list", "--json"]).json()["in_use"], json!([2]));
}

#[test]
fn a_key_that_is_needed_does_not_go() {
    let provider = busy();
    let (mut relay, config) = start(&provider);
    let id = accept(&relay, 0..1).remove(0);
    relay.wait_event(&id, "deferred");
    let file = relay.home.file("keys/queue.key");
    let right = fs::read_to_string(&file).expect("the key file");

    let other_seal = right.replace("seal 1 ", "seal 2 ");
    let lookup = right.lines().find(|line| line.starts_with("lookup ")).expect("a look-up key");
    let seal = right.lines().find_map(|line| line.strip_prefix("seal 1 ")).expect("a key");
    let other_lookup = right.replace(lookup, &format!("lookup {seal}"));
    for (text, words) in [
        (&other_seal, "key 1 is still in use and was removed: put its line `seal 1 ...` back"),
        (&other_lookup, "its look-up key is not the one of this queue"),
    ] {
        relay.home.write("keys/queue.key", text);
        relay.configure(&config);
        let refused = relay.cli(&["reload"]);
        assert!(!refused.status.success() && refused.stderr.contains(words), "{refused:?}");
        assert!(
            refused.stderr.contains("nothing was changed") && !refused.stderr.contains(seal),
            "{refused:?}"
        );
        assert_eq!(keys(&relay)["seals"], 1);
    }

    // Nor does the daemon start without it, or touch the queue.
    assert!(relay.stop().success());
    relay.home.write("keys/queue.key", &other_seal);
    for refused in [relay.cli(&["run"]), relay.cli(&["queue", "list", "--offline"])] {
        assert!(!refused.status.success(), "{refused:?}");
        let log = format!("{}{}", refused.stdout, refused.stderr);
        assert!(log.contains("another key") && !log.contains(seal), "{log}");
    }
    assert_eq!(relay.cli(&["run"]).status.code(), Some(78), "a restart does not mend it");
    assert!(relay.cli(&["check"]).ok().stderr.contains("another key"), "check tells of it");
    relay.home.write("keys/queue.key", &right);
    relay.restart();
    provider.become_(|_| Answer::Accept);
    assert_eq!(provider.wait_taken(1).len(), 1);
}

#[test]
fn check_says_where_the_key_lies_and_who_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    fs::create_dir(home.file("keys")).expect("a folder");
    let check = |config: &str| {
        home.configure(config, "debug");
        home.cli(&["check"]).ok().stderr
    };
    assert!(check("").contains("made at first start and lies beside the queue"));
    home.cli(&["key", "make", "keys/queue.key"]).ok();
    let told = check(KEY);
    assert!(told.contains("the key lies on the same file system as the queue"), "{told}");
    fs::create_dir(home.file("state")).expect("a folder");
    fs::copy(home.file("keys/queue.key"), home.file("state/other.key")).expect("a copy");
    assert!(check("[queue]\nkey_file = \"state/other.key\"\n").contains("the key lies beside the data"));
    fs::set_permissions(home.file("keys/queue.key"), fs::Permissions::from_mode(0o644)).expect("changed");
    assert!(check(KEY).contains("every user of this machine can open"));
    // A second one is never made over the first.
    let again = home.cli(&["key", "make", "keys/queue.key"]);
    assert!(!again.status.success() && again.stderr.contains("exists already"), "{again:?}");
}
