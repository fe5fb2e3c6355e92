//! Programs that real applications send with, over TLS and AUTH. Each is skipped, visibly, where it is not installed.

mod harness;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::config::{NO_REPLY, NO_REPLY_ADDRESS, PASSWORD, USER, client_with_password, upstream};
use harness::mail::{Mail, message};
use harness::pki::Pki;
use harness::relay::{Home, Relay};
use harness::skipped;
use harness::upstream::Upstream;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

/// What a client may get wrong on the way: dots, empty lines, a long line.
fn body() -> String {
    let long = "0123456789".repeat(90);
    format!("Reset your password:\r\n.\r\n..\r\n.hidden\r\n\r\n{long}\r\nFrom the shop\r\n\r\nlast\r\n")
}

/// A relay that knows one login, and the upstream behind it.
struct Scene {
    provider: Upstream,
    relay: Relay,
    authority: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let home = Home::new();
        let pki = Pki::new(home.path());
        let provider = Upstream::accepting();
        let listeners = "[listeners.smtp]\naddress = \"127.0.0.1:0\"\ntls = \"required\"\n\
                         [listeners.implicit]\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n\
                         [tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n";
        let client = client_with_password("category = \"password-reset\"");
        let table = upstream("provider", provider.address(), "");
        let relay = home.start(&format!("{listeners}{client}{NO_REPLY}{table}"));
        Self { provider, relay, authority: pki.authority }
    }

    fn port(&self) -> String {
        self.relay.address().port().to_string()
    }

    fn authority(&self) -> &str {
        self.authority.to_str().expect("a UTF-8 path")
    }

    /// The message as a file, with CR LF line ends.
    fn letter(&self) -> PathBuf {
        self.relay.home.write("letter.eml", letter("@NUMBER@"))
    }

    /// The message as a file for clients that add a line end of their own: with line feeds, and none at the end.
    fn open_letter(&self) -> PathBuf {
        let text = String::from_utf8_lossy(&letter("@NUMBER@")).replace("\r\n", "\n");
        self.relay.home.write("letter.eml", text.trim_end_matches('\n'))
    }

    /// The arguments that the scripts in `tests/clients` begin with.
    fn login(&self, port: &str) -> Vec<String> {
        [port, self.authority(), USER, PASSWORD].map(ToOwned::to_owned).to_vec()
    }

    /// Asserts that so many messages arrived, each with the body as it was sent.
    #[track_caller]
    fn assert_arrived(&self, count: usize) {
        for mail in self.arrived(count) {
            assert_eq!(String::from_utf8_lossy(mail.body()), body(), "{mail:?}");
        }
    }

    #[track_caller]
    fn arrived(&self, count: usize) -> Vec<Mail> {
        let taken = self.provider.wait_taken(count);
        assert_eq!(taken.len(), count);
        for mail in &taken {
            assert_eq!(mail.recipients, [ANNA]);
            assert_eq!(mail.reverse_path, NO_REPLY_ADDRESS);
            let from = mail.headers("From");
            assert!(from.len() == 1 && from[0].contains(NO_REPLY_ADDRESS), "{from:?}");
        }
        taken
    }
}

fn letter(number: &str) -> Vec<u8> {
    let head = ["From: Shop <shop@legacy.example>", "To: anna@customer.example"];
    let subject = format!("Subject: Reset your password {number}");
    let mut text = message(&[head[0], head[1], &subject, ""]);
    text.extend_from_slice(body().as_bytes());
    text
}

fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name);
    path.to_str().expect("a UTF-8 path").to_owned()
}

/// Runs a client with some standard input; `None` where there is no such program.
#[track_caller]
fn run(command: &mut Command, input: &[u8]) -> Option<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        skipped(&format!("{name} is not here"));
        return None;
    };
    let mut stdin = child.stdin.take().expect("its input");
    // A client that needs no input may close it.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{said}", output.status);
    Some(output)
}

#[test]
fn swaks() {
    let scene = Scene::new();
    let (port, letter) = (scene.port(), format!("@{}", scene.open_letter().display()));
    for (round, more) in [&["--auth", "PLAIN"][..], &["--auth", "LOGIN"], &["--auth", "PLAIN", "--pipeline"]]
        .into_iter()
        .enumerate()
    {
        let mut command = Command::new("swaks");
        command.args(["--server", "localhost", "--port", &port, "--ehlo", "vm", "--tls", "--tls-verify"]);
        command.args(["--tls-ca-path", scene.authority(), "--auth-user", USER, "--auth-password", PASSWORD]);
        command.args(["--from", FROM, "--to", ANNA, "--data", &letter, "--add-header"]);
        command.arg(format!("X-Round: {round}")).args(more);
        if run(&mut command, b"").is_none() {
            return;
        }
    }
    scene.assert_arrived(3);
}

#[test]
fn curl() {
    let scene = Scene::new();
    let letter = scene.letter();
    for url in [
        format!("smtp://localhost:{}/vm", scene.port()),
        format!("smtps://localhost:{}/vm", scene.relay.listener("implicit").port()),
    ] {
        std::fs::write(&letter, self::letter(&url)).expect("written");
        let mut command = Command::new("curl");
        command.args(["-sS", "--ssl-reqd", "--cacert", scene.authority(), "--user"]);
        command.arg(format!("{USER}:{PASSWORD}")).args(["--mail-from", FROM, "--mail-rcpt", ANNA]);
        command.arg("-T").arg(&letter).arg(url);
        if run(&mut command, b"").is_none() {
            return;
        }
    }
    scene.assert_arrived(2);
}

#[test]
fn msmtp() {
    let scene = Scene::new();
    for method in ["plain", "login"] {
        let config = format!(
            "host localhost\nport {}\ntls on\ntls_starttls on\ntls_trust_file {}\nauth {method}\nuser {USER}\n\
             password {PASSWORD}\nfrom {FROM}\ndomain vm\n",
            scene.port(),
            scene.authority()
        );
        let config = scene.relay.home.write("msmtprc", config);
        let mut command = Command::new("msmtp");
        command.env("HOME", scene.relay.home.path()).arg("-C").arg(config).args(["-f", FROM, ANNA]);
        let with_line_feeds = String::from_utf8_lossy(&letter(method)).replace("\r\n", "\n");
        if run(&mut command, with_line_feeds.as_bytes()).is_none() {
            return;
        }
    }
    scene.assert_arrived(2);
}

#[test]
fn python_smtplib_with_text() {
    smtplib("str");
}

/// smtplib sends bytes as they are: with bare line feeds, where the application has them.
#[test]
fn python_smtplib_with_bare_line_feeds() {
    smtplib("bytes");
}

fn smtplib(kind: &str) {
    let scene = Scene::new();
    let letter = scene.open_letter();
    let mut command = Command::new("python3");
    command.arg(script("smtplib_send.py")).args(scene.login(&scene.port()));
    command.args([kind, "3", ANNA]).arg(letter);
    if run(&mut command, b"").is_some() {
        scene.assert_arrived(3);
    }
}

#[test]
fn python_email_over_implicit_tls() {
    let scene = Scene::new();
    let mut command = Command::new("python3");
    let port = scene.relay.listener("implicit").port().to_string();
    command.arg(script("email_send.py")).args(scene.login(&port)).arg(ANNA);
    if run(&mut command, b"").is_none() {
        return;
    }
    let mail = scene.arrived(1).remove(0);
    assert!(mail.header("Subject").is_some_and(|subject| subject.starts_with("=?utf-8?")), "{mail:?}");
    let text = String::from_utf8_lossy(mail.body()).into_owned();
    assert!(text.contains("says Python.") && text.contains("says <b>Python</b>."), "{text}");
}

#[test]
fn python_aiosmtplib() {
    let Some(python) = std::env::var_os("AUTHRELAY_PYTHON") else {
        skipped("aiosmtplib was not tried: AUTHRELAY_PYTHON names no Python that has it");
        return;
    };
    let scene = Scene::new();
    let mut command = Command::new(python);
    command.arg(script("aiosmtplib_send.py")).args(scene.login(&scene.port())).arg(ANNA);
    if run(&mut command, b"").is_some() {
        scene.arrived(2);
    }
}

#[test]
fn nodemailer() {
    let Some(modules) = std::env::var_os("AUTHRELAY_NODE_MODULES") else {
        skipped("nodemailer was not tried: AUTHRELAY_NODE_MODULES names no folder that has it");
        return;
    };
    let scene = Scene::new();
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules).arg(script("nodemailer_send.js"));
    command.args(scene.login(&scene.port())).arg(ANNA);
    if run(&mut command, b"").is_some() {
        scene.arrived(2);
    }
}

#[test]
fn perl_net_smtp() {
    let modules = ["-MNet::SMTP", "-MIO::Socket::SSL", "-MAuthen::SASL", "-e", "1"];
    if !Command::new("perl").args(modules).output().is_ok_and(|output| output.status.success()) {
        skipped("Net::SMTP was not tried: perl, IO::Socket::SSL or Authen::SASL is not here");
        return;
    }
    let scene = Scene::new();
    let mut command = Command::new("perl");
    command.arg(script("net_smtp_send.pl")).args(scene.login(&scene.port())).arg(ANNA).arg(scene.letter());
    if run(&mut command, b"").is_some() {
        scene.assert_arrived(1);
    }
}

/// By hand, as a sysadmin would try it: each line when the reply to the one before is there.
#[test]
fn openssl_s_client() {
    let scene = Scene::new();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-crlf", "-starttls", "smtp", "-verify_return_error"]);
    command.args(["-connect", &format!("localhost:{}", scene.port()), "-CAfile", scene.authority()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else {
        skipped("openssl is not here");
        return;
    };
    let mut stdin = child.stdin.take().expect("its input");
    let mut stdout = BufReader::new(child.stdout.take().expect("its output"));
    let mut said = String::new();
    let login = STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
    let mut text = String::from_utf8(letter("s_client")).expect("ASCII").replace("\n.", "\n..");
    text.push_str(".\r\n");
    // It shows the last line of its own EHLO's reply first, so the first reply is told by the host's name.
    let steps = [
        ("EHLO vm\n".to_owned(), "250-relay.test"),
        (String::new(), "250 "),
        (format!("AUTH PLAIN {login}\n"), "235 "),
        (format!("MAIL FROM:<{FROM}>\n"), "250 "),
        (format!("RCPT TO:<{ANNA}>\n"), "250 "),
        ("DATA\n".to_owned(), "354 "),
        (text.replace("\r\n", "\n"), "250 "),
        ("QUIT\n".to_owned(), "221 "),
    ];
    for (line, answer) in steps {
        stdin.write_all(line.as_bytes()).expect("it reads");
        loop {
            let mut reply = String::new();
            let count = stdout.read_line(&mut reply).expect("it writes");
            assert!(count > 0, "closed before {answer} came: {said}");
            write!(said, "{reply}").expect("a string");
            if reply.starts_with(answer) {
                break;
            }
        }
    }
    drop(stdin);
    child.wait().expect("it ends");
    scene.assert_arrived(1);
}

#[test]
fn rust_mail_send() {
    let scene = Scene::new();
    harness::install_tls();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&scene.authority).expect("PEM")).expect("a root");
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let port = scene.relay.address().port();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let builder = mail_send::SmtpClientBuilder::new_with_tls_connector("localhost", port, connector);
        let mut client = builder
            .implicit_tls(false)
            .credentials((USER, PASSWORD))
            .timeout(harness::PATIENCE)
            .connect()
            .await
            .expect("a connection");
        for number in 0..3 {
            // It ends every message with a line end of its own.
            let mut text = letter(&number.to_string());
            text.truncate(text.len() - 2);
            let message = mail_send::smtp::message::Message::new(FROM, [ANNA], text);
            client.send(message).await.expect("accepted");
        }
    });
    scene.assert_arrived(3);
}

#[test]
fn a_wrong_password_is_told_as_such() {
    let scene = Scene::new();
    let mut command = Command::new("curl");
    command.args(["-sS", "--ssl-reqd", "--cacert", scene.authority(), "--user"]);
    command.arg(format!("{USER}:wrong")).args(["--mail-from", FROM, "--mail-rcpt", ANNA]);
    command.arg("-T").arg(scene.letter()).arg(format!("smtp://localhost:{}", scene.port()));
    match command.output() {
        // 67: the server denied the login.
        Ok(output) => assert_eq!(output.status.code(), Some(67), "{output:?}"),
        Err(_) => skipped("curl is not here"),
    }
    assert_eq!(scene.provider.seen().connections, 0);
}
