//! An upstream that nobody here wrote: mailin-embedded, with STARTTLS and AUTH where a test wants them.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use mailin_embedded::response::{AUTH_OK, INVALID_CREDENTIALS, OK};
use mailin_embedded::{AuthMechanism, Handler, Response, Server, SslConfig};

use super::mail::Mail;
use super::pki::Pki;
use super::{PATIENCE, Watched, install_tls};

/// As many connections as it holds at once: it has a thread for each.
const CONNECTIONS: u32 = 16;

/// A running server. It runs until the test process ends: it knows no other end.
#[derive(Debug)]
pub struct Independent {
    address: SocketAddr,
    taken: Arc<Watched<Vec<Mail>>>,
}

impl Independent {
    /// One that takes everything from everybody, without TLS.
    pub fn open() -> Self {
        Self::start(SslConfig::None, None)
    }

    /// One that offers STARTTLS, and AUTH over it with these credentials.
    pub fn guarded(pki: &Pki, user: &str, password: &str) -> Self {
        let path = |path: &std::path::Path| path.to_str().expect("a UTF-8 path").to_owned();
        let tls = SslConfig::SelfSigned { cert_path: path(&pki.certificate), key_path: path(&pki.key) };
        Self::start(tls, Some((user.to_owned(), password.to_owned())))
    }

    fn start(tls: SslConfig, login: Option<(String, String)>) -> Self {
        install_tls();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the upstream");
        let address = listener.local_addr().expect("its address");
        let taken: Arc<Watched<Vec<Mail>>> = Arc::default();
        let guarded = login.is_some();
        let mut server = Server::new(Desk { taken: Arc::clone(&taken), login, current: None });
        server.with_name("independent.test").with_tcp_listener(listener).with_num_threads(CONNECTIONS);
        server.with_ssl(tls).expect("a certificate");
        if guarded {
            server.with_auth(AuthMechanism::Plain);
        }
        std::thread::spawn(move || {
            // Its only end is that of the process; an error before shows as messages that do not arrive.
            let _ = server.serve();
        });
        Self { address, taken }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has taken so far.
    pub fn taken(&self) -> Vec<Mail> {
        self.taken.get().clone()
    }

    /// Waits until it has taken `count` messages, and gives them.
    #[track_caller]
    pub fn wait_taken(&self, count: usize) -> Vec<Mail> {
        let taken = self.taken.wait(PATIENCE, |taken| (taken.len() >= count).then(|| taken.clone()));
        taken.unwrap_or_else(|| panic!("the upstream took {} of {count} messages", self.taken().len()))
    }
}

#[derive(Clone)]
struct Desk {
    taken: Arc<Watched<Vec<Mail>>>,
    login: Option<(String, String)>,
    current: Option<Mail>,
}

impl Handler for Desk {
    fn mail(&mut self, _: IpAddr, _: &str, from: &str) -> Response {
        let mail = Mail { reverse_path: from.to_owned(), recipients: Vec::new(), raw: Vec::new() };
        self.current = Some(mail);
        OK
    }

    fn rcpt(&mut self, to: &str) -> Response {
        if let Some(mail) = &mut self.current {
            mail.recipients.push(to.to_owned());
        }
        OK
    }

    fn data(&mut self, line: &[u8]) -> std::io::Result<()> {
        if let Some(mail) = &mut self.current {
            mail.raw.extend_from_slice(line);
        }
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        if let Some(mail) = self.current.take() {
            self.taken.change(|taken| taken.push(mail));
        }
        OK
    }

    fn auth_plain(&mut self, _: &str, user: &str, password: &str) -> Response {
        let known = self.login.as_ref().is_some_and(|(name, secret)| name == user && secret == password);
        if known { AUTH_OK } else { INVALID_CREDENTIALS }
    }
}
