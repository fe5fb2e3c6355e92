//! Peers that want to use the relay up: each attack runs beside a normal client, which must be served all the while, and
//! the most memory that the process ever held is compared with what it held before.
//!
//! `cargo test --test attack -- --ignored --nocapture` runs the same at full size (10,000 connections and more need
//! `ulimit -n 24000`) and prints the numbers that docs/hostile-peers.md tells.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::config::{LISTENER, NO_REPLY, client, upstream};
use crate::harness::dialogue::{Dialogue, dotted};
use crate::harness::mail::{message, password_reset};
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::Upstream;
use crate::harness::{now, skipped};

const FROM: &str = "shop@legacy.example";
const MEBIBYTE: u64 = 1 << 20;

/// What any of these attacks may add to the resident memory: the budget of messages in memory, and as much again for the
/// copies of those that are being looked at.
const GROWTH: u64 = 128 * MEBIBYTE;

/// How long a normal client may have to wait for the answer to its message. The machine may be busy with other tests, and
/// this is a debug build.
const SERVED: Duration = Duration::from_secs(10);

struct Scene {
    relay: Relay,
    // Ends when it is dropped.
    _provider: Upstream,
}

impl Scene {
    fn start() -> Self {
        let provider = Upstream::accepting();
        // A rule that would never end in an engine that tries all ways.
        let rules = "[[rules]]\nname = \"bomb\"\ncategory = \"marketing\"\nsubject = '(x+x+)+y'\nbody = '(x+x+)+y'\n\
                     [[rules]]\nname = \"reset\"\ncategory = \"password-reset\"\nsubject = 'Reset your password'\n";
        let quiet = "[http.http]\naddress = \"127.0.0.1:0\"\nserves = [\"admin\"]\n";
        let limits = "[limits]\nconnections_per_address = 20000\nconnections = 20000\n";
        let table = upstream("provider", provider.address(), "");
        let config = format!("{LISTENER}{quiet}{}{rules}{NO_REPLY}{table}{limits}", client("app", ""));
        Self { relay: Home::new().start_at_level(&config, "info"), _provider: provider }
    }

    /// Memory in octets, as the kernel tells it under this name.
    fn memory(&self, name: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.relay.process())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        let number = line.trim_start_matches(':').trim().strip_suffix(" kB").expect("kB");
        number.parse::<u64>().expect("a number") * 1024
    }

    /// One message of a normal client; how long it took from connecting to the answer.
    fn serve(&self) -> Duration {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let begun = now();
        // Another one each time: so many for one person would be an attack of its own.
        let to = format!("anna{}@customer.example", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.relay.hello().send(FROM, &[&to], &password_reset(&to)).expect(250);
        begun.elapsed()
    }

    /// Runs an attack beside a normal client, and holds both to their bounds.
    #[track_caller]
    fn withstands(&self, what: &str, attack: impl FnOnce() + Send) {
        self.serve();
        let before = self.memory("VmRSS");
        // The peak is counted anew from here.
        std::fs::write(format!("/proc/{}/clear_refs", self.relay.process()), "5").expect("our own child");
        let over = AtomicBool::new(false);
        let mut waits = Vec::new();
        std::thread::scope(|scope| {
            let attacker = scope.spawn(|| {
                attack();
                over.store(true, Ordering::Release);
            });
            while !over.load(Ordering::Acquire) && !attacker.is_finished() {
                waits.push(self.serve());
            }
            attacker.join().expect("an attack that was made");
        });
        waits.push(self.serve());
        let grown = self.memory("VmHWM").saturating_sub(before);
        let worst = waits.iter().max().expect("one at least");
        println!(
            "{what}: {} MiB before, at most {} MiB more; {} normal messages, the slowest in {} ms",
            before / MEBIBYTE,
            grown / MEBIBYTE,
            waits.len(),
            worst.as_millis()
        );
        assert!(grown < GROWTH, "{what}: {} MiB more", grown / MEBIBYTE);
        assert!(*worst < SERVED, "{what}: {worst:?}");
    }

    fn smtp(&self) -> SocketAddr {
        self.relay.address()
    }
}

/// Connects and writes until all is written, or the peer has had enough. Reads nothing.
fn pour(address: SocketAddr, head: &[u8], piece: &[u8], times: usize) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a time-out");
    if stream.write_all(head).is_err() {
        return;
    }
    for _ in 0..times {
        if stream.write_all(piece).is_err() {
            return;
        }
    }
    drain(&mut stream);
}

/// Reads what the peer still has to say, for a moment.
fn drain(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a time-out");
    let mut scratch = [0; 4096];
    loop {
        match stream.read(&mut scratch) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Hands in a message whatever it is answered, from several connections at once.
fn hand_in(address: SocketAddr, raw: &[u8], connections: usize) {
    std::thread::scope(|scope| {
        for number in 0..connections {
            scope.spawn(move || {
                let to = format!("user{number}@customer.example");
                let mut dialogue = Dialogue::hello(address);
                let _ = dialogue.try_send(FROM, &[&to], raw);
            });
        }
    });
}

/// A peer that says so much and then no more, and holds its connection.
fn hold(address: SocketAddr, said: &[u8], count: usize) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.write_all(said).expect("the first words are read");
        stream
    };
    (0..count).map(open).collect()
}

/// The attacks, each of them so many times the size that every run of the tests has.
fn attacks(scene: &Scene, size: usize) {
    let (smtp, http) = (scene.smtp(), scene.relay.http());
    let transaction =
        format!("EHLO slow.test\r\nMAIL FROM:<{FROM}>\r\nRCPT TO:<anna@customer.example>\r\nDATA\r\n");

    scene.withstands("slow peers, on SMTP and HTTP", || {
        let slow = [transaction.as_bytes(), b"Subject: x\r\n\r\nand then"].concat();
        let mut all = hold(smtp, b"EHL", 100 * size);
        all.extend(hold(smtp, &slow, 100 * size));
        all.extend(hold(http, b"GET / HTTP/1.1\r\nHost: x\r\nA: ", 50 * size));
        // By the byte, round and round.
        for byte in [b'a', b'b', b'c'] {
            for stream in &mut all {
                // It may have been sent away by now.
                let _ = stream.write_all(&[byte]);
            }
        }
    });
    scene.withstands("a line without an end", || pour(smtp, b"EHLO ", &vec![b'x'; 1 << 16], 320 * size));
    scene.withstands("a header without an end", || {
        pour(smtp, transaction.as_bytes(), &b"X-A: bbbbbbbbbbbbbbbbbbbbbbbb\r\n".repeat(2000), 320 * size);
    });
    scene.withstands("a line of a message without an end", || {
        pour(smtp, transaction.as_bytes(), &vec![b'x'; 1 << 16], 320 * size);
    });
    scene.withstands("commands that nobody reads the answers of", || {
        pour(smtp, b"EHLO flood.test\r\n", &b"NOOP\r\n".repeat(10_000), 50 * size);
    });
    scene.withstands("recipients without an end", || {
        let mut wire = format!("EHLO many.test\r\nMAIL FROM:<{FROM}>\r\n").into_bytes();
        for number in 0..10_000 * size {
            wire.extend_from_slice(format!("RCPT TO:<user{number}@customer.example>\r\n").as_bytes());
        }
        pour(smtp, &[], &wire, 1);
    });
    for (what, raw) in hostile_messages() {
        scene.withstands(what, || hand_in(smtp, &raw, 4 * size));
    }
}

/// Messages near the largest size, each of them hard on somebody who reads it.
fn hostile_messages() -> Vec<(&'static str, Vec<u8>)> {
    const ROOM: usize = 1_000_000;
    let head = "From: a@legacy.example\r\nSubject: Reset your password\r\nMIME-Version: 1.0\r\n";
    let with = |kind: &str, body: &str| format!("{head}Content-Type: {kind}\r\n\r\n{body}\r\n").into_bytes();
    let lines = |unit: &str, width: usize| {
        let line = unit.repeat(width / unit.len()) + "\r\n";
        line.repeat(ROOM / line.len())
    };
    let level = |level: usize| {
        let boundary = format!("b{level}");
        ["Content-Type: multipart/mixed; boundary=", &boundary, "\r\n\r\n--", &boundary, "\r\n"].concat()
    };
    let deep: String = (0..8000).map(level).collect();
    let nested = format!("{head}{deep}Content-Type: text/plain\r\n\r\nx\r\n").into_bytes();
    vec![
        ("100,000 parts", with("multipart/mixed; boundary=b", &"--b\r\n\r\n\r\n".repeat(100_000))),
        ("parts within parts", nested),
        ("tags within tags", with("text/html", &lines("<div>", 900))),
        ("style sheets", with("text/html", &lines("<style>a{b:c}</style><p class=a style=\"d:e\">", 900))),
        ("entities", with("text/html", &lines("&NotEqualTilde;&#x1F469;&#8205;", 900))),
        ("links", with("text/plain", &lines("https://acme.example/a?token=abcdef0123456789 ", 900))),
        ("a regular expression's worst case", with("text/plain", &lines("x", 60_000))),
        ("characters that normalise to many", with("text/plain; charset=utf-8", &lines("\u{fdfa}", 900))),
        ("base64 within bounds", {
            let head = format!("{head}Content-Transfer-Encoding: base64\r\nContent-Type: text/html\r\n\r\n");
            (head + &lines("PGEgaHJlZj0i", 72)).into_bytes()
        }),
        ("encoded words", {
            let word = "=?utf-8?Q?=41=42=43=44=45=46=47=48?=\r\n ";
            let subject = format!("Subject: {}x", word.repeat(3000));
            message(&["From: a@legacy.example", &subject, "", "https://acme.example/reset?token=t"])
        }),
    ]
}

#[test]
fn a_normal_client_is_served_beside_every_attack_and_memory_stays_bounded() {
    attacks(&Scene::start(), 1);
}

#[test]
#[ignore = "minutes, and thousands of connections: run by hand"]
fn the_same_at_full_size() {
    let scene = Scene::start();
    scene.withstands("10,000 idle connections", || {
        let mut idle = Vec::with_capacity(10_000);
        while idle.len() < 10_000 {
            match TcpStream::connect(scene.smtp()) {
                Ok(stream) => idle.push(stream),
                Err(error) => {
                    return skipped(&format!("10,000 idle connections: {} and {error}", idle.len()));
                }
            }
        }
        // All of them are greeted before any goes away.
        for stream in &mut idle {
            stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a time-out");
            let mut greeting = [0; 4];
            stream.read_exact(&mut greeting).expect("a greeting");
            assert_eq!(&greeting, b"220 ");
        }
    });
    attacks(&scene, 10);
}

/// What an operator writes is bounded too, and is told what is wrong with it.
#[test]
fn a_rule_that_would_need_too_much_is_refused_when_the_file_is_read() {
    let home = Home::new();
    for bomb in ["((a{1,1000}){1,1000}){1,1000}", "(?:(?:(?:x{500}){500}){500})"] {
        let rule = format!("[[rules]]\nname = \"bomb\"\ncategory = \"marketing\"\nsubject = '{bomb}'\n");
        home.configure(&format!("{LISTENER}{NO_REPLY}{rule}[upstreams.mail]\nkind = \"maildir\"\n"), "info");
        let begun = now();
        let ran = home.cli(&["check"]);
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        assert_eq!(ran.status.code(), Some(78), "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("subject"), "{}", ran.stderr);
    }
}

/// A flood in one segment, answered in order, while another client is served: no peer takes another's turn.
#[test]
fn a_pipelined_flood_of_messages_is_answered_in_order() {
    const MESSAGES: usize = 200;
    let scene = Scene::start();
    let mut wire = b"EHLO flood.test\r\n".to_vec();
    for number in 0..MESSAGES {
        let to = format!("user{number}@customer.example");
        wire.extend_from_slice(format!("MAIL FROM:<{FROM}>\r\nRCPT TO:<{to}>\r\nDATA\r\n").as_bytes());
        wire.extend_from_slice(&dotted(&password_reset(&to)));
    }
    wire.extend_from_slice(b"QUIT\r\n");
    scene.withstands("a pipelined flood of messages", || {
        let mut dialogue = Dialogue::connect(scene.smtp());
        dialogue.write(&wire);
        let replies = dialogue.replies_to_the_end();
        assert_eq!(replies.iter().filter(|reply| reply.text().contains("queued as")).count(), MESSAGES);
    });
}
