//! Programs that real applications use, over TCP, a unix socket and TLS. Each is skipped, visibly, where it is not there.

use std::path::Path;
use std::process::Command;

use crate::harness::config::{LISTENER, NO_REPLY, sha256};
use crate::harness::pki::Pki;
use crate::harness::relay::{Home, Relay};
use crate::harness::skipped;
use crate::harness::texts::{ANNA, TOKEN};

/// A relay that takes codes on every kind of listener, and writes their texts to a file.
struct House {
    relay: Relay,
    pki: Pki,
}

impl House {
    fn new() -> Self {
        let home = Home::new();
        let pki = Pki::new(home.path());
        let digest = sha256(TOKEN);
        let config = format!(
            "{LISTENER}tls = \"off\"\n[http.http]\naddress = \"127.0.0.1:0\"\n[http.local]\nsocket = \"http.sock\"\n\
             [http.secure]\naddress = \"127.0.0.1:0\"\ntls = \"on\"\n\
             [tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n\
             [clients.shop]\nbusiness = \"acme\"\ntoken_sha256 = \"{digest}\"\n\
             [businesses.acme]\nurl = \"https://acme.example\"\n{NO_REPLY}\
             [upstreams.mail]\nkind = \"maildir\"\n[upstreams.phones]\nkind = \"outbox\"\n"
        );
        Self { relay: home.start(&config), pki }
    }

    fn secure(&self) -> String {
        format!("https://localhost:{}", self.relay.listener("secure").port())
    }

    fn authority(&self) -> &str {
        self.pki.authority.to_str().expect("a UTF-8 path")
    }

    fn plain(&self) -> String {
        format!("http://{}", self.relay.http())
    }

    /// Waits until the text of this id is in the outbox.
    fn assert_written(&self, id: &str) {
        self.relay.wait_event(id, "handed-over");
        let outbox = std::fs::read_to_string(self.relay.home.file("state/outbox.jsonl")).expect("the outbox");
        assert_eq!(outbox.lines().filter(|line| line.contains(id)).count(), 1, "{outbox}");
    }
}

/// What a program says; `None` where there is no such program.
fn said(house: &House, command: Command) -> Option<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    if Command::new(&name).arg("--version").output().is_err() {
        skipped(&format!("{name} is not here: it was not tried against the HTTP interface"));
        return None;
    }
    Some(house.relay.home.run(command, "").ok().stdout)
}

fn curl(house: &House, number: u32, more: &[&str], base: &str) -> Option<String> {
    let mut command = Command::new("curl");
    let body = format!("{{\"to\": \"+1212555{number:04}\", \"code\": \"739182\", \"factor\": \"primary\"}}");
    command.args(["-sS", "--fail-with-body", "-H", &format!("Authorization: Bearer {TOKEN}")]);
    command
        .args(["-H", "Content-Type: application/json", "-d", &body])
        .args(more)
        .arg(format!("{base}/v1/otp"));
    said(house, command)
}

#[test]
fn curl_over_tcp_a_unix_socket_and_tls() {
    let house = House::new();
    let socket = house.relay.home.file("http.sock");
    let ways: [(&[&str], String); 3] = [
        (&[], house.plain()),
        (&["--unix-socket", socket.to_str().expect("a UTF-8 path")], "http://relay".to_owned()),
        (&["--cacert", house.authority()], house.secure()),
    ];
    for (number, (more, base)) in (0..).zip(ways) {
        let Some(answer) = curl(&house, number, more, &base) else { return };
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["status"], "queued", "{answer}");
        house.assert_written(answer["id"].as_str().expect("an id"));
    }
    // A large body makes curl ask first whether it may send it.
    let large = format!("{{\"to\": \"{}\"}}", "1".repeat(5_000_000));
    let file = house.relay.home.write("large.json", large);
    let mut command = Command::new("curl");
    command.args([
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        &format!("Authorization: Bearer {TOKEN}"),
    ]);
    command.args(["-H", "Content-Type: application/json", "--data-binary", &format!("@{}", file.display())]);
    command.arg(format!("{}/v1/otp", house.plain()));
    let answer = house.relay.home.run(command, "");
    assert!(answer.stdout.starts_with("413"), "{answer:?}");
}

#[test]
fn python_s_urllib_over_tcp_and_tls() {
    let house = House::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/urllib_post.py");
    for (base, authority, number) in
        [(house.plain(), "", ANNA), (house.secure(), house.authority(), "+12126660100")]
    {
        let mut command = Command::new("python3");
        command.arg(&script).args([&base, TOKEN, authority, number]);
        let Some(id) = said(&house, command) else { return };
        house.assert_written(id.trim());
    }
}
