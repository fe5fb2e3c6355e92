//! Configurations: wrong ones are explained, and what the helpers print can be pasted.

use std::process::Command;

use crate::harness::config::{LISTENER, NO_REPLY, client, small, upstream};
use crate::harness::mail::password_reset;
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::Upstream;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

/// A configuration that is right but for one thing: what it is, the line it is in, words of the explanation.
pub(crate) fn wrong_ones() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let address = "127.0.0.1:1".parse().expect("an address");
    let right = small(address, "", "");
    let local = format!("{LISTENER}{}{}", client("app", ""), upstream("provider", address, ""));
    let case = |name, text: String, words: &[&'static str]| (name, text, words.to_vec());
    vec![
        case("an unknown key", format!("hostnam = \"a.example\"\n{right}"), &["hostnam", "hostname", ":1:"]),
        case("a wrong type", format!("hostname = 7\n{right}"), &["hostname", ":1:"]),
        case("no TOML", format!("hostname = = 7\n{right}"), &[":1:"]),
        case(
            "an unknown section",
            format!("{right}[lisenters.b]\naddress = \"127.0.0.1:0\"\n"),
            &["lisenters", "listeners"],
        ),
        case("an unknown category", small(address, "categories = [\"sign-in\"]", ""), &["sign-in", "signin"]),
        case("an unknown business", small(address, "business = \"acme\"", ""), &["acme"]),
        case(
            "a pattern that is none",
            small(address, "", "[[rules]]\nname = \"r\"\ncategory = \"mfa\"\nsubject = \"(\"\n"),
            &["subject", "\"(\""],
        ),
        case("an open relay", right.replace("127.0.0.0/8", "0.0.0.0/0"), &["0.0.0.0/0"]),
        case(
            "no-reply of nowhere",
            format!("{local}[senders.no-reply]\nfrom = \"no-reply@localhost\"\n"),
            &["no-reply@localhost"],
        ),
        case(
            "a sender that nobody carries",
            right.replace("tls = \"plain\"", "tls = \"plain\"\nsenders = []"),
            &["no-reply"],
        ),
        case(
            "a missing file",
            format!("{right}[tls]\ncertificate = \"none.pem\"\nkey = \"none.key\"\n"),
            &["none.pem"],
        ),
        case(
            "a password in the clear",
            right.replace(
                "host = \"127.0.0.1\"",
                "host = \"mail.provider.example\"\nuser = \"u\"\npassword = \"pw-never-shown\"",
            ),
            &["plain"],
        ),
    ]
}

#[test]
fn every_kind_of_wrong_configuration_is_told_with_its_place() {
    let home = Home::new();
    for (name, text, words) in wrong_ones() {
        home.write("relay.toml", &text);
        for arguments in [&["check"][..], &["run"]] {
            let ran = home.cli(arguments);
            assert_eq!(ran.status.code(), Some(78), "{name}: {ran:?}");
            let all = format!("{}{}", ran.stdout, ran.stderr);
            assert!(all.contains("relay.toml:"), "{name} has no place: {all}");
            assert!(words.iter().all(|word| all.contains(word)), "{name} lacks one of {words:?}: {all}");
            assert!(!all.contains("pw-never-shown"), "{name}: {all}");
        }
    }
}

#[test]
fn every_command_ends_with_the_same_status_where_there_is_no_configuration_to_use() {
    let home = Home::new();
    let commands: [&[&str]; 7] = [
        &["run"],
        &["check"],
        &["status"],
        &["trace", ANNA],
        &["queue", "list"],
        &["queue", "list", "--offline"],
        &["explain", "-"],
    ];
    for arguments in commands {
        let ran = home.cli(arguments);
        assert_eq!(ran.status.code(), Some(78), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("can't read") && ran.stderr.contains("relay.toml"), "{ran:?}");
    }
}

#[test]
fn what_is_printed_into_a_closed_pipe_is_no_failure() {
    let home = Home::new();
    home.write("relay.toml", small("127.0.0.1:1".parse().expect("an address"), "", ""));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = home.command();
    let output = command.arg("--config").arg(home.config()).arg("check").stdout(writer).output();
    let output = output.expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !stderr.contains("panicked"), "{output:?}");
}

#[test]
fn all_errors_come_at_once_and_as_json() {
    let home = Home::new();
    let right = small("127.0.0.1:1".parse().expect("an address"), "", "");
    home.write("relay.toml", format!("hostnam = \"x\"\nno_reply = \"nobody\"\n{right}[queeu]\n"));
    let ran = home.cli(&["check"]);
    assert_eq!(ran.status.code(), Some(78));
    assert!(["hostnam", "nobody", "queeu"].iter().all(|word| ran.stderr.contains(word)), "{}", ran.stderr);
    let json = home.cli(&["check", "--json"]);
    assert_eq!(json.status.code(), Some(78));
    let report: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(report["valid"], false, "{report}");
    assert!(report["errors"]["errors"].as_array().is_some_and(|errors| errors.len() >= 3), "{report}");
}

#[test]
fn a_right_one_shows_what_is_in_force() {
    let home = Home::new();
    home.write("relay.toml", small("127.0.0.1:1".parse().expect("an address"), "", ""));
    let ran = home.cli(&["check"]).ok();
    for word in ["[listeners.smtp]", "[clients.app]", "[upstreams.provider]", "message_size", "valid"] {
        assert!(ran.stdout.contains(word), "{word} in {}", ran.stdout);
    }
    // The file may be named instead.
    let named = home.command().arg("check").arg(home.config()).output().expect("runs");
    assert!(named.status.success());
}

#[test]
fn the_password_that_client_add_makes_works_when_pasted() {
    let home = Home::new();
    let made = home.command().args(["client", "add", "portal"]).output().expect("runs");
    assert!(made.status.success());
    let text = String::from_utf8(made.stdout).expect("UTF-8");
    let shown = |label: &str| {
        let line = text.lines().find(|line| line.contains(label)).expect("a line for the application");
        line.split_whitespace().last().expect("a word").to_owned()
    };
    let (user, password) = (shown("user name"), shown("password  "));
    let provider = Upstream::accepting();
    // All of it is pasted as it was printed.
    let table = text.as_str();
    let upstream = upstream("provider", provider.address(), "");
    let relay = home.start(&format!("{LISTENER}{table}{NO_REPLY}{upstream}"));
    let mut dialogue = relay.encrypted();
    dialogue.auth_plain(&user, "wrong").expect(535);
    dialogue.auth_plain(&user, &password).expect(235);
    dialogue.send(FROM, &[ANNA], &password_reset(ANNA)).expect(250);
    provider.wait_taken(1);
    assert!(!relay.log().contains(&password));
}

#[test]
fn a_password_that_a_person_chose_works_too() {
    let home = Home::new();
    home.write("chosen", "open sesame\n");
    let script = format!("{} client add portal --password-stdin < chosen", crate::harness::relay::BINARY);
    let made = Command::new("sh").arg("-c").arg(script).current_dir(home.path()).output().expect("a shell");
    assert!(made.status.success());
    let text = String::from_utf8(made.stdout).expect("UTF-8");
    assert!(!text.contains("open sesame"), "{text}");
    let provider = Upstream::accepting();
    let upstream = upstream("provider", provider.address(), "");
    let relay = home.start(&format!("{LISTENER}{text}{NO_REPLY}{upstream}"));
    let mut dialogue = relay.encrypted();
    dialogue.auth_login("portal", "open sesame").expect(235);
    dialogue.send(FROM, &[ANNA], &password_reset(ANNA)).expect(250);
    provider.wait_taken(1);
}

#[test]
fn the_keys_that_keygen_makes_sign() {
    let home = Home::new();
    let mut dkim = Vec::new();
    for kind in ["rsa", "ed25519"] {
        let file = format!("{kind}.pem");
        let mut command = home.command();
        let arguments = ["keygen", "acme.example", "--selector", kind, "--kind", kind, "--output", &file];
        let made = command.args(arguments).output().expect("runs");
        let text = String::from_utf8(made.stdout).expect("UTF-8");
        assert!(made.status.success(), "{text}{}", String::from_utf8_lossy(&made.stderr));
        assert!(text.contains(&format!("{kind}._domainkey")) && text.contains("v=DKIM1"), "{text}");
        let line =
            text.lines().find(|line| line.starts_with("dkim = ")).expect("a line for the configuration");
        // The line works wherever the configuration lies, and the service is let read the file.
        let written = home.path().join(&file).display().to_string();
        assert!(line.contains(&format!("\"{written}\"")), "{line}");
        for command in ["chown root:authrelay", "chmod 0640"] {
            assert!(text.contains(&format!("{command} {written}")), "{text}");
        }
        let entry = line.trim_start_matches("dkim = [").trim_end_matches(']');
        dkim.push(entry.to_owned());
        let again = home.command().args(arguments).output().expect("runs");
        assert!(!again.status.success(), "an existing key was overwritten");
    }
    let provider = Upstream::accepting();
    let sender = format!("{NO_REPLY}dkim = [{}]\n", dkim.join(", "));
    let (client, upstream) = (client("app", ""), upstream("provider", provider.address(), ""));
    let relay: Relay = home.start(&format!("{LISTENER}{client}{sender}{upstream}"));
    relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    let mail = &provider.wait_taken(1)[0];
    let signatures = mail.headers("DKIM-Signature");
    assert_eq!(signatures.len(), 2, "{signatures:?}");
    for (kind, algorithm) in [("rsa", "rsa-sha256"), ("ed25519", "ed25519-sha256")] {
        let has = |signature: &String| {
            let parts: Vec<&str> = signature.split(';').map(str::trim).collect();
            [format!("s={kind}"), format!("a={algorithm}"), "d=acme.example".to_owned()]
                .iter()
                .all(|part| parts.contains(&part.as_str()))
        };
        assert!(signatures.iter().any(has), "{kind} in {signatures:?}");
    }
}
