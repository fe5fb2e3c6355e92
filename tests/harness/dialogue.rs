//! A bare SMTP client: sends what a test says, byte for byte, and reads replies.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::pki::Identity;
use super::{PATIENCE, install_tls};

/// One SMTP connection.
pub struct Dialogue {
    stream: Stream,
    unread: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// Between the two.
    Changing,
}

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    /// The lines without the code.
    pub lines: Vec<String>,
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    Answered(Reply),
    /// The connection was closed before the whole message was sent.
    ClosedBeforeDot,
    /// The whole message was sent, and no answer came.
    ClosedAfterDot,
}

impl Reply {
    /// All lines in one.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// The id of an accepted or refused message: the last word.
    pub fn id(&self) -> String {
        let text = self.text();
        let last = text.split_whitespace().last().unwrap_or_default();
        last.trim_end_matches(')').to_owned()
    }

    /// Asserts the code, and gives the reply.
    #[track_caller]
    pub fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text())
    }
}

impl Dialogue {
    /// Connects and reads the greeting.
    pub fn connect(address: SocketAddr) -> Self {
        let mut dialogue = Self::connect_silent(address);
        dialogue.reply().expect(220);
        dialogue
    }

    /// Connects, reads the greeting, says EHLO.
    pub fn hello(address: SocketAddr) -> Self {
        let mut dialogue = Self::connect(address);
        dialogue.command("EHLO client.test").expect(250);
        dialogue
    }

    /// The same, where the relay may be gone.
    pub fn try_hello(address: SocketAddr) -> Option<Self> {
        let mut dialogue = Self::over(TcpStream::connect(address).ok()?);
        dialogue.try_reply().filter(|reply| reply.code == 220)?;
        dialogue.try_write(b"EHLO client.test\r\n").ok()?;
        dialogue.try_reply().filter(|reply| reply.code == 250)?;
        Some(dialogue)
    }

    /// Connects over STARTTLS; the relay's certificate has to be `certificate` or signed by it.
    pub fn encrypted(address: SocketAddr, certificate: &Path) -> Self {
        let mut dialogue = Self::hello(address);
        dialogue.starttls(certificate);
        dialogue.command("EHLO client.test").expect(250);
        dialogue
    }

    /// Connects from `source`, an address of this machine, reads the greeting, says EHLO.
    pub fn hello_from(source: IpAddr, address: SocketAddr) -> Self {
        let mut dialogue = Self::over(connect_from(source, address));
        dialogue.reply().expect(220);
        dialogue.command("EHLO client.test").expect(250);
        dialogue
    }

    /// Connects over STARTTLS and shows a certificate. `None`: the relay closed the connection for it.
    pub fn identified(address: SocketAddr, certificate: &Path, identity: &Identity) -> Option<Self> {
        let mut dialogue = Self::hello(address);
        dialogue.command("STARTTLS").expect(220);
        dialogue.handshake_as(certificate, Some(identity));
        // In TLS 1.3 the client is done before the server has judged its certificate.
        dialogue.try_write(b"EHLO client.test\r\n").ok()?;
        dialogue.try_reply().map(|reply| reply.expect(250))?;
        Some(dialogue)
    }

    /// Connects and reads nothing.
    pub fn connect_silent(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the relay accepts connections"))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a read time-out");
        stream.set_nodelay(true).expect("no delay");
        Self { stream: Stream::Plain(stream), unread: Vec::new() }
    }

    /// Asks for TLS and begins it.
    pub fn starttls(&mut self, certificate: &Path) {
        self.command("STARTTLS").expect(220);
        assert!(self.unread.is_empty(), "something stands behind the reply to STARTTLS");
        self.handshake(certificate);
    }

    /// Begins TLS. The certificate has to be one of `localhost`.
    pub fn handshake(&mut self, certificate: &Path) {
        self.handshake_as(certificate, None);
    }

    /// The same, with a certificate of the client's own to show.
    pub fn handshake_as(&mut self, certificate: &Path, identity: Option<&Identity>) {
        install_tls();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).expect("a certificate")).expect("a root");
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(own) => config.with_client_auth_cert(vec![own.der()], own.key_der()).expect("a pair"),
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a TLS client");
        match std::mem::replace(&mut self.stream, Stream::Changing) {
            Stream::Plain(stream) => {
                let mut tls = StreamOwned::new(connection, stream);
                while tls.conn.is_handshaking() {
                    tls.conn.complete_io(&mut tls.sock).expect("a TLS handshake");
                }
                self.stream = Stream::Tls(Box::new(tls));
            }
            Stream::Tls(_) | Stream::Changing => panic!("this connection has TLS already"),
        }
    }

    /// Sends one line and reads its reply.
    pub fn command(&mut self, line: &str) -> Reply {
        self.write(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Sends bytes as they are, in one write.
    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).expect("the relay reads what is sent");
    }

    /// The same, where the relay may have closed the connection.
    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Stream::Changing => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        match &mut self.stream {
            Stream::Plain(stream) => stream.shutdown(Shutdown::Write).expect("a half-closed connection"),
            Stream::Tls(_) | Stream::Changing => panic!("only a plain connection is half-closed"),
        }
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> Reply {
        self.try_reply().expect("a reply before the connection is closed")
    }

    /// Reads one reply; `None` when the connection was closed instead.
    pub fn try_reply(&mut self) -> Option<Reply> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            let (code, rest) = line.split_at_checked(3).expect("a reply line begins with a code");
            let (separator, text) = rest.split_at_checked(1).unwrap_or((" ", ""));
            lines.push(text.to_owned());
            if separator == " " {
                return Some(Reply { code: code.parse().expect("a code of digits"), lines });
            }
        }
    }

    /// Reads replies until the connection is closed.
    pub fn replies_to_the_end(&mut self) -> Vec<Reply> {
        std::iter::from_fn(|| self.try_reply()).collect()
    }

    /// AUTH PLAIN.
    pub fn auth_plain(&mut self, user: &str, password: &str) -> Reply {
        let response = STANDARD.encode(format!("\0{user}\0{password}"));
        self.command(&format!("AUTH PLAIN {response}"))
    }

    /// AUTH LOGIN.
    pub fn auth_login(&mut self, user: &str, password: &str) -> Reply {
        let reply = self.command("AUTH LOGIN");
        if reply.code != 334 {
            return reply;
        }
        self.command(&STANDARD.encode(user)).expect(334);
        self.command(&STANDARD.encode(password))
    }

    /// One whole transaction: the first reply that is not the usual one, else the one after the final dot.
    pub fn send(&mut self, from: &str, to: &[&str], message: &[u8]) -> Reply {
        match self.try_send(from, to, message) {
            Sent::Answered(reply) => reply,
            end @ (Sent::ClosedBeforeDot | Sent::ClosedAfterDot) => panic!("the relay hung up: {end:?}"),
        }
    }

    /// The same, where the relay may close the connection.
    pub fn try_send(&mut self, from: &str, to: &[&str], message: &[u8]) -> Sent {
        let mut commands = vec![(format!("MAIL FROM:<{from}>"), 250)];
        commands.extend(to.iter().map(|recipient| (format!("RCPT TO:<{recipient}>"), 250)));
        commands.push(("DATA".to_owned(), 354));
        for (command, usual) in commands {
            // A write that fails shows in the reply that does not come.
            let _ = self.try_write(format!("{command}\r\n").as_bytes());
            match self.try_reply() {
                None => return Sent::ClosedBeforeDot,
                Some(reply) if reply.code != usual => return Sent::Answered(reply),
                Some(_) => {}
            }
        }
        if self.try_write(&dotted(message)).is_err() {
            return Sent::ClosedBeforeDot;
        }
        self.try_reply().map_or(Sent::ClosedAfterDot, Sent::Answered)
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut piece = [0; 4096];
            let read = match &mut self.stream {
                Stream::Plain(stream) => stream.read(&mut piece),
                Stream::Tls(stream) => stream.read(&mut piece),
                Stream::Changing => Err(ErrorKind::NotConnected.into()),
            };
            match read {
                Ok(0) => return None,
                Ok(count) => self.unread.extend_from_slice(&piece[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
                        return None;
                    }
                    // A TLS alert.
                    ErrorKind::InvalidData => return None,
                    _ => panic!("no reply came: {error}"),
                },
            }
        }
    }
}

/// A connection from an address of this machine.
fn connect_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(source, 0)).expect("an address of this machine");
        let stream = socket.connect(address).await.expect("the relay accepts connections");
        stream.into_std().expect("a socket")
    });
    stream.set_nonblocking(false).expect("a socket that blocks");
    stream
}

/// A message as it goes over the wire: dots stuffed, the end written.
pub fn dotted(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 5);
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    if !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}
