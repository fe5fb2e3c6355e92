//! The hand-over to an upstream that says anything at all.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use authrelay::clock::Clock;
use authrelay::deliver::{
    BreakerConfig, HandOver, Letter, Outgoing, SmtpConfig, Timeouts, Upstream, UpstreamConfig, UpstreamKind,
    UpstreamTls,
};
use authrelay::ident::UpstreamName;
use authrelay::mail::{Address, Message, ReversePath};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

const MESSAGE: &[u8] = b"From: a@example.com\r\nSubject: x\r\n\r\n.hello\r\n";

/// A message counts as handed over where all of it arrived and the answer to its final dot says so, and nowhere else; it is
/// given up as refused only by an answer that refuses; and where the dot arrived and no answer came, that is in doubt, so
/// that nobody gets it twice. What is kept of the answers can be shown.
pub fn upstream_answers(octets: &[u8]) {
    let replies: Vec<Vec<u8>> = octets.split(|byte| *byte == b'\n').take(12).map(reply).collect();
    let is_tidy = replies.iter().all(|reply| is_tidy(reply));
    // An answer that is never finished is waited for: not for long here.
    let patience = if is_tidy { Duration::from_secs(10) } else { Duration::from_millis(100) };
    let refusing = replies.iter().any(|reply| reply.starts_with(b"5"));
    let (done, seen) = hand_over(replies, patience);
    let accepted = matches!(done, HandOver::Accepted { .. });
    let answer = seen.answer.as_deref().unwrap_or_default();
    assert!(!accepted || (seen.whole && answer.starts_with(b"2")), "{done:?}");
    if is_tidy && seen.whole {
        assert_eq!(accepted, answer.starts_with(b"2"), "{done:?}");
    }
    if seen.whole && seen.answer.is_none() {
        assert!(matches!(done, HandOver::InDoubt(_)), "{done:?}");
    }
    assert!(refusing || !matches!(done, HandOver::Refused(_) | HandOver::SenderRefused(_)), "{done:?}");
    if let Some(reason) = done.reason() {
        assert!(!reason.text.chars().any(char::is_control), "{:?}", reason.text);
    }
}

/// One reply: as it stands, or where it holds `|`, its first three octets before each of several lines.
fn reply(unit: &[u8]) -> Vec<u8> {
    let unit: Vec<u8> = unit.iter().copied().filter(|byte| *byte != b'\r').collect();
    let (code, rest) = unit.split_at(unit.len().min(3));
    let lines: Vec<&[u8]> = rest.split(|byte| *byte == b'|').collect();
    if lines.len() == 1 {
        return [&unit[..], b"\r\n"].concat();
    }
    let last = lines.len() - 1;
    let mark = |at: usize| if at == last { b" " } else { b"-" };
    lines.iter().enumerate().flat_map(|(at, line)| [code, mark(at), line, b"\r\n"].concat()).collect()
}

fn is_tidy(reply: &[u8]) -> bool {
    let text = &reply[..reply.len() - 2];
    text.len() >= 4
        && (b'2'..=b'5').contains(&text[0])
        && text[1..3].iter().all(u8::is_ascii_digit)
        && (text[3] == b' ' || text.contains(&b'\n') && text[3] == b'-')
        && text.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b' '..=b'~'))
}

/// What the upstream saw of the message, written down before it answers.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// Every octet of it, and the final dot.
    whole: bool,
    /// What was said to that dot; nothing where the connection was closed.
    answer: Option<Vec<u8>>,
}

fn hand_over(replies: Vec<Vec<u8>>, patience: Duration) -> (HandOver, Seen) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let done = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = upstream(listener.local_addr().unwrap().port(), patience);
        tokio::spawn(play(listener, replies, Arc::clone(&seen)));
        let message = Message::new(MESSAGE);
        let outgoing = Outgoing {
            reverse_path: ReversePath::Address(Address::parse("sender@example.com").unwrap()),
            raw: message.raw().clone(),
            need: message.need(),
        };
        let recipient = Address::parse("anna@example.com").unwrap();
        upstream.hand_over(Letter { outgoing: &outgoing, recipient: &recipient, file_name: "id" }).await
    });
    let seen = seen.lock().unwrap().clone();
    (done, seen)
}

fn upstream(port: u16, patience: Duration) -> Arc<Upstream> {
    let smtp = SmtpConfig {
        host: "127.0.0.1".to_owned(),
        port,
        tls: UpstreamTls::Plain,
        credentials: None,
        timeouts: Timeouts { connect: patience, command: patience, data: patience },
        idle: Duration::from_mins(1),
        messages_per_connection: 100,
    };
    let config = UpstreamConfig {
        name: UpstreamName::new("hostile"),
        kind: UpstreamKind::Smtp(smtp),
        carries: None,
        max_connections: 1,
        messages_per_minute: None,
        breaker: BreakerConfig::default(),
    };
    Upstream::new(config, "relay.example".to_owned(), Clock::System)
}

/// Says one reply to each command and to each message, until there are no more; then hangs up, for good.
async fn play(listener: TcpListener, replies: Vec<Vec<u8>>, seen: Arc<Mutex<Seen>>) {
    let Ok((stream, _)) = listener.accept().await else { return };
    drop(listener);
    let mut stream = BufReader::new(stream);
    let mut replies = replies.into_iter();
    let mut message: Option<Vec<u8>> = None;
    let mut line = b"greeting".to_vec();
    loop {
        if let Some(text) = message.as_mut()
            && line != b".\r\n"
        {
            text.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        } else {
            let answer = replies.next();
            if message.take().is_some_and(|text| text == MESSAGE) {
                *seen.lock().unwrap() = Seen { whole: true, answer: answer.clone() };
            }
            let Some(answer) = answer else { return };
            if line == b"DATA\r\n" && answer.starts_with(b"354") {
                message = Some(Vec::new());
            }
            if stream.get_mut().write_all(&answer).await.is_err() {
                return;
            }
        }
        line.clear();
        if !matches!(stream.read_until(b'\n', &mut line).await, Ok(1..)) {
            return;
        }
    }
}
