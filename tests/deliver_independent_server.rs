//! An SMTP server that nobody here wrote, as the upstream.

#![allow(clippy::unwrap_used, reason = "a test may fail in its helpers")]

mod support;

use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex};

use authrelay::deliver::{HandOver, UpstreamTls};
use authrelay::secret::Secret;
use mailin_embedded::{AuthMechanism, Handler, Response, Server, SslConfig, response};
use support::certificates::{Authority, VALID};
use support::{PLAIN, send, send_to, smtp, upstream};

#[derive(Clone, Default)]
struct Inbox {
    taken: Arc<Mutex<Vec<Vec<u8>>>>,
    current: Vec<u8>,
}

impl Handler for Inbox {
    fn rcpt(&mut self, to: &str) -> Response {
        if to.contains("gone") { response::NO_MAILBOX } else { response::OK }
    }

    fn data_start(&mut self, _: &str, _: &str, _: bool, _: &[String]) -> Response {
        self.current.clear();
        response::OK
    }

    fn data(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.current.extend_from_slice(bytes);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        self.taken.lock().unwrap().push(std::mem::take(&mut self.current));
        response::OK
    }

    fn auth_plain(&mut self, _: &str, user: &str, password: &str) -> Response {
        if (user, password) == ("relay", "s3cret") {
            response::AUTH_OK
        } else {
            response::INVALID_CREDENTIALS
        }
    }

    fn mail(&mut self, _: IpAddr, _: &str, _: &str) -> Response {
        response::OK
    }
}

/// Starts the server in a thread of its own; it ends with the test's process.
fn serve(tls: SslConfig) -> (std::net::SocketAddr, Inbox) {
    let inbox = Inbox::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = Server::new(inbox.clone());
    let with_login = !matches!(tls, SslConfig::None);
    server.with_name("independent.example").with_ssl(tls).unwrap();
    if with_login {
        server.with_auth(AuthMechanism::Plain);
    }
    server.with_tcp_listener(listener);
    std::thread::spawn(move || server.serve().is_ok());
    (address, inbox)
}

#[tokio::test]
async fn it_gets_every_message_as_it_is_and_its_refusals_are_understood() {
    let (address, inbox) = serve(SslConfig::None);
    let upstream = upstream(smtp(address));
    let dots = b"From: a@example.com\r\n\r\n.\r\n..\r\n.hidden\r\nend\r\n";
    for raw in [PLAIN, dots] {
        let done = send(&upstream, raw).await;
        assert!(matches!(done, HandOver::Accepted { .. }), "{done:?}");
    }
    let done = send_to(&upstream, PLAIN, "gone@example.com").await;
    assert!(matches!(done, HandOver::Refused(_)), "{done:?}");
    let done = send(&upstream, PLAIN).await;
    assert!(matches!(done, HandOver::Accepted { .. }), "after a refused recipient: {done:?}");
    let taken = inbox.taken.lock().unwrap();
    assert_eq!(*taken, [PLAIN.to_vec(), dots.to_vec(), PLAIN.to_vec()]);
}

#[tokio::test]
async fn it_lets_us_in_over_tls_and_only_with_the_right_password() {
    // That server takes the provider of the process.
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost", VALID);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let cert_path = file("certificate.pem", certificate.pem());
    let key_path = file("key.pem", key.serialize_pem());
    let (address, inbox) = serve(SslConfig::SelfSigned { cert_path, key_path });
    for (password, accepted) in [("wrong", false), ("s3cret", true)] {
        let mut config = smtp(address);
        config.tls = UpstreamTls::StartTls(authority.client());
        config.credentials = Some(("relay".to_owned(), Secret::new(password)));
        let upstream = upstream(config);
        for _ in 0..2 {
            let done = send(&upstream, PLAIN).await;
            assert_eq!(matches!(done, HandOver::Accepted { .. }), accepted, "{done:?}");
        }
    }
    assert_eq!(*inbox.taken.lock().unwrap(), [PLAIN.to_vec(), PLAIN.to_vec()]);
}
