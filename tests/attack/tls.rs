//! TLS on the listeners: what is too old gets no connection and is told of, and a scanner finds nothing to complain about.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, date_time_ymd};

use crate::harness::config::{LISTENER, NO_REPLY, client, upstream};
use crate::harness::dialogue::Dialogue;
use crate::harness::pki::Authority;
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::Upstream;
use crate::harness::{PATIENCE, skipped};

const LISTENERS: &str = "[listeners.implicit]\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n\
                         [http.http]\naddress = \"127.0.0.1:0\"\nserves = [\"admin\"]\ntls = \"on\"\n";

fn config(provider: &Upstream) -> String {
    let table = upstream("provider", provider.address(), "");
    format!("{LISTENER}{LISTENERS}{}{NO_REPLY}{table}", client("app", "category = \"password-reset\""))
}

/// A `ClientHello` as a client writes it that knows nothing newer than `version` (3, 0 to 3, 2: SSL 3.0 to TLS 1.1).
fn old_hello(version: [u8; 2]) -> Vec<u8> {
    let suites = [0xc0, 0x14, 0xc0, 0x13, 0x00, 0x39, 0x00, 0x35, 0x00, 0x2f, 0x00, 0x0a, 0x00, 0xff];
    let mut body = version.to_vec();
    body.extend_from_slice(&[0x5a; 32]);
    body.push(0);
    body.extend_from_slice(&[0, small(suites.len())]);
    body.extend_from_slice(&suites);
    body.extend_from_slice(&[1, 0]);
    let mut record = vec![22, 3, 1, 0, small(body.len() + 4), 1, 0, 0, small(body.len())];
    record.extend_from_slice(&body);
    record
}

fn small(length: usize) -> u8 {
    u8::try_from(length).expect("a short hello")
}

/// What the peer says to a hello until it hangs up.
fn answer(mut stream: TcpStream, hello: &[u8]) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.write_all(hello).expect("written");
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => answer,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => answer,
        Err(error) => panic!("{error}"),
    }
}

fn after_starttls(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.write_all(b"EHLO old.test\r\nSTARTTLS\r\n").expect("written");
    let mut said = Vec::new();
    while !said.windows(13).any(|part| part == b"ready for TLS") || !said.ends_with(b"\r\n") {
        let mut piece = [0; 512];
        let count = stream.read(&mut piece).expect("an answer");
        assert!(count > 0, "{}", said.escape_ascii());
        said.extend_from_slice(&piece[..count]);
    }
    stream
}

#[test]
fn below_tls_1_2_there_is_no_connection_and_the_log_says_why() {
    let provider = Upstream::accepting();
    let relay = Home::new().start_at_level(&config(&provider), "info");
    for version in [[3, 0], [3, 1], [3, 2]] {
        for (listener, stream) in [
            ("smtp", after_starttls(relay.address())),
            ("implicit", TcpStream::connect(relay.listener("implicit")).expect("a connection")),
            ("http", TcpStream::connect(relay.http()).expect("a connection")),
        ] {
            let answer = answer(stream, &old_hello(version));
            // A fatal alert, protocol_version or handshake_failure (RFC 5246 section 7.2), and no `ServerHello`.
            assert!(matches!(answer[..], [21, 3, _, 0, 2, 2, 70 | 40]), "{listener} {version:?}: {answer:?}");
        }
    }
    for listener in ["smtp", "implicit"] {
        let line = relay.wait_line("a handshake that failed", |line| {
            line["message"] == "TLS failed" && line["listener"] == listener
        });
        assert_eq!((&line["peer"], &line["level"]), (&"127.0.0.1".into(), &"INFO".into()), "{line}");
        let reason = line["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("TLS 1.2") && reason.contains("docs/hostile-peers.md"), "{line}");
    }
    // Who is good is served.
    relay.encrypted().command("NOOP").expect(250);
}

/// Who speaks in the clear where TLS is asked for gets no further, and nothing it said counts after TLS.
#[test]
fn where_tls_is_required_nothing_is_done_in_the_clear() {
    let provider = Upstream::accepting();
    let required = "[listeners.smtp]\naddress = \"127.0.0.1:0\"\ntls = \"required\"\n";
    let app = client("app", "category = \"password-reset\"");
    let relay =
        Relay::start(&format!("{required}{app}{NO_REPLY}{}", upstream("provider", provider.address(), "")));
    let mut dialogue = Dialogue::connect(relay.address());
    let offer = dialogue.command("EHLO client.test").expect(250).text();
    assert!(offer.contains("STARTTLS") && !offer.contains("AUTH"), "{offer}");
    for line in ["MAIL FROM:<a@b.example>", "AUTH PLAIN AGFubmEAc2VjcmV0", "HELO x", "RSET", "VRFY a", "DATA"]
    {
        dialogue.command(line).expect(530);
    }
    dialogue.write(b"STARTTLS\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<evil@b.example>\r\nDATA\r\n");
    dialogue.reply().expect(220);
    dialogue.handshake(&relay.home.certificate());
    dialogue.command("RCPT TO:<evil@b.example>").expect(503);
    dialogue.command("EHLO client.test").expect(250);
    dialogue.command("RCPT TO:<evil@b.example>").expect(503);
    assert_eq!(provider.seen().connections, 0);
}

/// Mozilla's "intermediate" profile, as sslyze sees it, at STARTTLS, implicit TLS and HTTPS. `AUTHRELAY_SSLYZE` is the
/// program.
#[test]
fn a_scanner_finds_the_intermediate_profile() {
    let Some(program) = std::env::var_os("AUTHRELAY_SSLYZE") else {
        return skipped("AUTHRELAY_SSLYZE is not set: the listeners' TLS is not scanned");
    };
    let provider = Upstream::accepting();
    let home = Home::new();
    // As an authority makes them today: 90 days.
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let day = Duration::from_hours(24);
    let now = authrelay::clock::Clock::System.now().as_millis();
    let today = date_time_ymd(1970, 1, 1) + Duration::from_millis(u64::try_from(now).expect("after 1970"));
    params.not_before = today - day;
    params.not_after = today + 89 * day;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let authority = Authority::new();
    let own = authority.sign_with(params);
    home.write("authority.pem", authority.pem());
    home.write("certificate.pem", own.certificate);
    home.write("key.pem", own.key);
    let tls = "[tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n";
    let relay = home.start(&format!("{}{tls}", config(&provider)));
    for (listener, starttls) in [("smtp", &["--starttls", "smtp"][..]), ("implicit", &[]), ("http", &[])] {
        let target = format!("localhost:{}", relay.listener(listener).port());
        let mut command = Command::new(&program);
        command
            .args(["--mozilla_config", "intermediate", "--certinfo_ca_file"])
            .arg(relay.home.file("authority.pem"));
        let output = command.args(starttls).arg(&target).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("OK - Compliant"), "{listener}: {said}");
    }
}
