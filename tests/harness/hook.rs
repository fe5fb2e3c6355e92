//! An endpoint of webhooks: writes down what it is sent, answers as it is told, and checks signatures by itself.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::pki::Identity;
use super::{PATIENCE, Watched};

/// Two secrets.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub const OLD_SECRET: &str = "whsec_b2xkLXNlY3JldC1vZi1hLXRlc3Qtb2xkLXNlY3JldA==";

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    fields: Vec<(String, String)>,
    pub raw: Vec<u8>,
}

impl Request {
    /// A field's value.
    #[track_caller]
    pub fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or_else(|| panic!("no {name} in {self:?}"), |(_, value)| value)
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.field("webhook-id")
    }

    /// The body as JSON.
    pub fn body(&self) -> Value {
        serde_json::from_slice(&self.raw).expect("JSON")
    }

    /// The type.
    pub fn kind(&self) -> String {
        self.body()["type"].as_str().expect("a type").to_owned()
    }

    /// The message it is about.
    pub fn message(&self) -> String {
        self.body()["data"]["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether one of its signatures is that of `secret`.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
        let head = format!("{}.{}.", self.id(), self.field("webhook-timestamp"));
        let signed = [head.as_bytes(), &self.raw].concat();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed);
        let wanted = format!("v1,{}", STANDARD.encode(tag.as_ref()));
        self.field("webhook-signature").split(' ').any(|signature| signature == wanted)
    }
}

/// The HMAC that stands for a recipient.
pub fn recipient_hash(secret: &str, recipient: &str) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
    let tag =
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), format!("recipient:{recipient}").as_bytes());
    tag.as_ref().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Request>,
    /// The answers to come, status and further header lines; afterwards it is `otherwise`.
    script: VecDeque<(u16, String)>,
    otherwise: u16,
}

/// The endpoint.
#[derive(Debug)]
pub struct Hook {
    address: SocketAddr,
    seen: Arc<Watched<Seen>>,
}

impl Hook {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::answering(204)
    }

    /// One that answers so.
    pub fn answering(status: u16) -> Self {
        Self::listening(status, None)
    }

    fn listening(status: u16, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Watched::new(Seen { otherwise: status, ..Seen::default() }));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, tls) = (Arc::clone(&shared), tls.clone());
                std::thread::spawn(move || match tls {
                    Some(tls) => {
                        let session = rustls::ServerConnection::new(tls).expect("a TLS session");
                        serve(rustls::StreamOwned::new(session, stream), &seen);
                    }
                    None => serve(stream, &seen),
                });
            }
        });
        Self { address, seen }
    }

    /// One that takes everything, over TLS.
    pub fn secure(identity: &Identity) -> Self {
        super::install_tls();
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![identity.der()], identity.key_der());
        Self::listening(204, Some(Arc::new(config.expect("a certificate and its key"))))
    }

    /// From now on it answers so.
    pub fn answer(&self, status: u16) {
        self.seen.change(|seen| seen.otherwise = status);
    }

    /// The next answer, with further header lines.
    pub fn next(&self, status: u16, more: &str) {
        self.seen.change(|seen| seen.script.push_back((status, more.to_owned())));
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// A `[webhooks.NAME]` for it, with [`SECRET`]. `more` are further settings.
    pub fn config(&self, name: &str, more: &str) -> String {
        format!("[webhooks.{name}]\nurl = \"{}\"\nsecret = \"{SECRET}\"\n{more}\n", self.url())
    }

    /// What came so far.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.get().requests.clone()
    }

    /// Waits until `pick` finds in what came what it looks for.
    #[track_caller]
    pub fn wait<R>(&self, what: &str, mut pick: impl FnMut(&[Request]) -> Option<R>) -> R {
        let found = self.seen.wait(PATIENCE, |seen| pick(&seen.requests));
        found.unwrap_or_else(|| panic!("waited in vain for {what} in {:?}", self.requests()))
    }

    /// Waits until so many requests came, and gives them.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Request> {
        let enough = |requests: &[Request]| (requests.len() >= count).then(|| requests.to_vec());
        self.wait(&format!("{count} requests"), enough)
    }

    /// Waits for the request of this type about this message.
    #[track_caller]
    pub fn wait_told(&self, kind: &str, message: &str) -> Request {
        let told = |request: &&Request| request.kind() == kind && request.message() == message;
        self.wait(&format!("{kind} of {message}"), |requests| requests.iter().find(told).cloned())
    }
}

fn serve(stream: impl Read + Write, seen: &Watched<Seen>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let (status, more) = seen.change(|seen| {
            seen.requests.push(request);
            let otherwise = seen.otherwise;
            seen.script.pop_front().unwrap_or((otherwise, String::new()))
        });
        let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n{more}\r\n");
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<impl Read>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut fields = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut raw = vec![0; length?.1.parse().ok()?];
    reader.read_exact(&mut raw).ok()?;
    Some(Request { path, fields, raw })
}
