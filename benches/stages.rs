//! How long single stages take: framing, rendering, signing, settling. Medians of many rounds, one core. What recognition
//! takes is in `recognition`, what the store does in `store`.
//! Run it with `cargo bench --bench stages`.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

#[path = "../tests/rewrite_support/mod.rs"]
mod rewrite_support;

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use authrelay::clock::{Clock, Timestamp};
use authrelay::ident::{CategoryName, Class, MessageId};
use authrelay::mail::{Address, Message, Recipient, ReversePath};
use authrelay::outcome::{Detail, Outcome, Reply};
use authrelay::queue::{Entry, State, settle};
use authrelay::rewrite::{DkimKey, KeyKind, generate_key};
use authrelay::secret::Secret;
use authrelay::smtp::{
    BareLf, Config, Handler, Limits, ListenAt, ListenerConfig, ListenerTls, Peer, Server, Service,
    SessionFacts, TlsSource, serve,
};
use bytes::Bytes;
use rewrite_support::{config, rendered};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Rounds at least, and for at least this long.
const ROUNDS: usize = 200;
const TIME: Duration = Duration::from_millis(500);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{:45} {:>12}", "", "median");
    for size in [500, 8 << 10, 64 << 10, 1 << 20] {
        framing(&runtime, size);
    }
    let key = |kind| {
        let key = generate_key(kind, "acme.example", "s").unwrap();
        DkimKey::from_pem("acme.example", "s", key.pem.reveal()).unwrap()
    };
    for size in [500, 8 << 10, 64 << 10] {
        let message = Message::new(mail(size));
        let render = |what: &str, keys: Vec<DkimKey>| {
            let config = config(keys);
            let name = format!("render {what}, {size} octets");
            report(&name, || drop(black_box(rendered(&message, &config).unwrap())));
        };
        render("unsigned", Vec::new());
        render("with Ed25519", vec![key(KeyKind::Ed25519)]);
        render("with RSA-2048", vec![key(KeyKind::Rsa2048)]);
        render("with both", vec![key(KeyKind::Ed25519), key(KeyKind::Rsa2048)]);
    }
    schedule();
}

/// A whole transaction through a session in memory, from MAIL to the reply to the final dot.
fn framing(runtime: &tokio::runtime::Runtime, size: usize) {
    let (mut ours, theirs) = tokio::io::duplex(256 << 10);
    runtime.block_on(async {
        tokio::spawn(session(theirs));
        reply(&mut ours).await;
        ours.write_all(b"EHLO bench.example\r\n").await.unwrap();
        reply(&mut ours).await;
    });
    let wire = b"MAIL FROM:<app@app.example>\r\nRCPT TO:<anna@example.com>\r\nDATA\r\n";
    let text = [mail(size), b"\r\n.\r\n".to_vec()].concat();
    report(&format!("SMTP transaction, {size} octets"), || {
        runtime.block_on(async {
            ours.write_all(wire).await.unwrap();
            reply(&mut ours).await;
            ours.write_all(&text).await.unwrap();
            reply(&mut ours).await;
        });
    });
}

async fn session(stream: DuplexStream) {
    let listener = ListenerConfig {
        name: "bench".into(),
        at: ListenAt::Address(SocketAddr::from(([127, 0, 0, 1], 0))),
        tls: ListenerTls::Off,
        plaintext_auth: Vec::new(),
        bare_lf: Some(BareLf::Normalize),
        smtputf8: false,
    };
    let limits = Limits { messages_per_connection: u32::MAX, ..Limits::default() };
    let source: TlsSource = Arc::new(|| None);
    let config = Config { hostname: "relay.example".to_owned(), limits };
    let server = Server::new(config, Arc::new(Desk), source);
    let peer = Peer { listener: "bench".into(), address: Some("127.0.0.1".parse().unwrap()) };
    serve(stream, peer, Arc::new(listener), server, CancellationToken::new()).await;
}

/// Takes everything.
struct Desk;

impl Service for Desk {
    fn connect(&self, _peer: &Peer) -> Result<Box<dyn Handler>, Reply> {
        Ok(Box::new(Self))
    }
}

#[async_trait]
impl Handler for Desk {
    async fn auth(&mut self, _user: &str, _password: Secret) -> Result<(), Reply> {
        Ok(())
    }

    async fn mail(&mut self, _facts: &SessionFacts, _from: &ReversePath) -> Result<(), Reply> {
        Ok(())
    }

    async fn rcpt(&mut self, _to: &Address) -> Result<(), Reply> {
        Ok(())
    }

    async fn data(&mut self, _to: Vec<Address>, text: Bytes) -> Reply {
        black_box(text);
        Reply::new(250, Detail(0, 0), "taken")
    }

    fn reset(&mut self) {}

    fn is_known_client(&self) -> bool {
        true
    }
}

/// Reads up to the end of what comes in one piece.
async fn reply(stream: &mut DuplexStream) {
    let mut buffer = [0; 4096];
    let count = stream.read(&mut buffer).await.unwrap();
    assert!(buffer[..count].starts_with(b"2"), "{}", String::from_utf8_lossy(&buffer[..count]));
}

fn schedule() {
    let now = Clock::System.now();
    let entry = entry(now);
    let retry = [1, 2, 5, 10, 15].map(Duration::from_secs);
    let outcome = Outcome::HandedOver { reference: "2.0.0 Ok: queued as 4XyzAbc".to_owned(), remark: None };
    report("settle an outcome", || {
        drop(black_box(settle(black_box(&entry), &outcome, now, &retry, 0.5, None)));
    });
}

fn entry(at: Timestamp) -> Entry {
    let id = MessageId::generate();
    Entry {
        id,
        submission: id,
        client: "bench".into(),
        business: None,
        category: CategoryName::new("signin"),
        rule: "signin/code".to_owned(),
        class: Class::Urgent,
        recipient: Recipient::Mail(Address::parse("anna@example.com").unwrap()),
        application_id: None,
        report_to: None,
        accepted: at,
        expires: at.plus(Duration::from_mins(10)),
        next_attempt: at,
        attempts: 0,
        in_doubt: 0,
        state: State::Attempting,
        reason: None,
        upstream: None,
        reference: None,
    }
}

fn mail(size: usize) -> Vec<u8> {
    let line = "Use this code to sign in to Kestrel: 482913. It is valid for ten minutes.\r\n";
    let head = "From: Kestrel <app@app.example>\r\nTo: Anna <anna@example.com>\r\nSubject: Your sign-in code\r\n\
                Date: Mon, 23 Nov 2026 13:26:00 +0000\r\nMessage-ID: <1@app.example>\r\nMIME-Version: 1.0\r\n\
                Content-Type: text/plain; charset=utf-8\r\n\r\n";
    let body = line.repeat(size.saturating_sub(head.len()) / line.len() + 1);
    format!("{head}{}", body.trim_end()).into_bytes()
}

fn report(name: &str, mut work: impl FnMut()) {
    let begun = Instant::now();
    let mut taken = Vec::new();
    while taken.len() < ROUNDS || begun.elapsed() < TIME {
        let start = Instant::now();
        work();
        taken.push(start.elapsed());
    }
    taken.sort();
    println!("{name:45} {:>12?}", taken[taken.len() / 2]);
}
