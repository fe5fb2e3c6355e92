//! The SMTP session, spoken to in memory with the clock paused.

use std::time::Duration;

use authrelay::mail::Address;
use authrelay::smtp::BareLf;
use tokio::io::{AsyncWriteExt as _, DuplexStream};

use super::support::{Setup, Taken, Talk};

/// What the clerk behind the session takes for an order to hang or to fail.
const ORDERS: [&[u8]; 3] = [b"hang", b"panic", b"unwanted"];

/// One line, one reply, and the session stays in step; what was let in as a recipient is an address.
pub fn command_line(octets: &[u8]) {
    let Some((state, line)) = octets.split_first() else { return };
    if orders(line) {
        return;
    }
    let line: Vec<u8> = line.iter().copied().filter(|byte| *byte != b'\n').take(4096).collect();
    paused(async {
        let setup = Setup::new();
        let mut talk = setup.greeted().await;
        if state & 1 == 1 {
            talk.say("MAIL FROM:<app@shop.example>", "250 2.1.0").await;
        }
        if state & 2 == 2 {
            // Refused where MAIL was not said.
            talk.send("RCPT TO:<anna@mail.example>\r\n").await;
            assert_ne!(talk.reply().await, None);
        }
        talk.send([&line[..], b"\r\n"].concat()).await;
        in_step(&mut talk).await;
        for to in setup.desk.recipients.lock().unwrap().iter() {
            assert!(Address::parse(to).is_ok(), "{to:?}");
            assert!(!to.chars().any(char::is_control), "{to:?}");
        }
    });
}

/// The reply to a line, what it leads to, and then NOOP's, where the connection was not closed.
async fn in_step(talk: &mut Talk<DuplexStream>) {
    loop {
        let reply = talk.reply().await.expect("a reply");
        match reply.get(..3).expect("a code") {
            "221" | "421" | "521" => return talk.over().await,
            "334" => talk.send("*\r\n").await,
            "354" => talk.send(".\r\n").await,
            code => {
                assert!(("200".."600").contains(&code), "{reply}");
                break;
            }
        }
    }
    talk.say("NOOP", "250 ").await;
}

/// However the commands come and however they are cut, every reply is well formed, the session comes to its end, what
/// is taken in was ended by a dot, and all is as it is when they come whole.
pub fn session_dialogue(octets: &[u8]) {
    let Some((cut, octets)) = octets.split_first() else { return };
    if orders(octets) {
        return;
    }
    let (replies, taken) = dialogue(octets, usize::from(*cut) + 1);
    let ends = octets.windows(3).filter(|window| window == b".\r\n").count();
    assert!(taken.len() <= ends, "{} messages of {ends} ends", taken.len());
    let bare_feed =
        octets.first() == Some(&b'\n') || octets.windows(2).any(|w| w[1] == b'\n' && w[0] != b'\r');
    let hello = octets.windows(2).any(|window| window == [0x16, 0x03]);
    // Behind these nothing is looked at that came at the same time, so there it matters how it was cut.
    if !bare_feed && !hello {
        let whole = dialogue(octets, octets.len().max(1));
        assert_eq!(replies, whole.0);
        assert_eq!(shown(&taken), shown(&whole.1));
    }
}

fn shown(taken: &[Taken]) -> Vec<(&str, &[String], &[u8])> {
    taken.iter().map(|taken| (&*taken.from, &*taken.to, &*taken.text)).collect()
}

fn dialogue(octets: &[u8], cut: usize) -> (Vec<String>, Vec<Taken>) {
    paused(async {
        let setup = Setup::new();
        let mut talk = setup.greeted().await;
        for piece in octets.chunks(cut) {
            // It may have hung up.
            let _ = talk.stream.write_all(piece).await;
            talk.settle().await;
        }
        let _ = talk.stream.shutdown().await;
        let mut replies = Vec::new();
        while let Some(reply) = talk.reply().await {
            assert!(matches!(reply.as_bytes()[0], b'2'..=b'5'), "{reply}");
            assert!(!reply.contains("internal error"), "a defect: {reply}");
            replies.push(reply);
        }
        (replies, setup.desk.taken())
    })
}

/// A message is framed as RFC 5321 sections 4.1.1.4 and 4.5.2 say, in both ways of taking a bare line feed, however it
/// is cut: the same text, the same end to the octet, the same refusals as by [`plainly`].
pub fn data_framing(octets: &[u8]) {
    let Some((&how, octets)) = octets.split_first() else { return };
    if orders(octets) || octets.len() > 4096 {
        return;
    }
    let bare_lf = if how & 1 == 0 { BareLf::Refuse } else { BareLf::Normalize };
    let cut = usize::from(how >> 1) % 13 + 1;
    paused(async {
        let mut setup = Setup::new();
        setup.listener.bare_lf = Some(bare_lf);
        let mut talk = setup.greeted().await;
        talk.open_message().await;
        match plainly(octets, bare_lf) {
            Framed::Whole { text, octets: used } => {
                let wire = [&octets[..used], b"NOOP\r\n"].concat();
                in_pieces(&mut talk, &wire, cut).await;
                let disguised = lines(&text).any(ends_for_others);
                talk.expect(if disguised { "554 5.6.0" } else { "250 2.0.0 taken" }).await;
                talk.expect("250 ").await;
                let taken: Vec<_> =
                    setup.desk.taken().iter().map(|taken| taken.text.escape_ascii().to_string()).collect();
                let expected = (!disguised).then(|| text.escape_ascii().to_string());
                assert_eq!(taken, Vec::from_iter(expected));
            }
            Framed::Refused => {
                in_pieces(&mut talk, octets, cut).await;
                talk.expect("521 5.5.2").await;
                talk.over().await;
                assert!(setup.desk.taken().is_empty());
            }
            Framed::Unfinished => {
                in_pieces(&mut talk, octets, cut).await;
                drop(talk);
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert!(setup.desk.taken().is_empty());
            }
        }
    });
}

async fn in_pieces(talk: &mut Talk<DuplexStream>, octets: &[u8], cut: usize) {
    for piece in octets.chunks(cut) {
        let _ = talk.stream.write_all(piece).await;
        tokio::task::yield_now().await;
    }
    talk.settle().await;
}

/// What is in the octets that follow a 354.
enum Framed {
    /// A message, and how many octets it took.
    Whole { text: Vec<u8>, octets: usize },
    /// Something that must not be in a message comes before its end.
    Refused,
    /// Neither.
    Unfinished,
}

/// The rules in plain words: take line after line; a line of a dot alone ends the message, if the line before it and
/// it end in CR LF; else a dot in front is taken off.
fn plainly(octets: &[u8], bare_lf: BareLf) -> Framed {
    let (mut text, mut at, mut behind_true_end) = (Vec::new(), 0, true);
    loop {
        let rest = &octets[at..];
        let Some(length) = rest.iter().position(|byte| b"\r\n".contains(byte)) else {
            return Framed::Unfinished;
        };
        let line = &rest[..length];
        let (end, is_true) = match (rest[length], rest.get(length + 1)) {
            (b'\r', None) => return Framed::Unfinished,
            (b'\r', Some(b'\n')) => (2, true),
            (b'\r', Some(_)) => return Framed::Refused,
            (_, _) if bare_lf == BareLf::Refuse => return Framed::Refused,
            (_, _) => (1, false),
        };
        at += length + end;
        if line == b"." && behind_true_end && is_true {
            return Framed::Whole { text, octets: at };
        }
        text.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        text.extend_from_slice(b"\r\n");
        behind_true_end = is_true;
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Whether a server that leaves NULs out reads this line as a dot alone, although no dot in front of it shows that.
fn ends_for_others(line: &[u8]) -> bool {
    let without: Vec<u8> = line.iter().copied().filter(|byte| *byte != 0).collect();
    line.starts_with(b"\0") && without == b"."
}

fn orders(octets: &[u8]) -> bool {
    ORDERS.iter().any(|order| octets.windows(order.len()).any(|window| window == *order))
}

fn paused<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(future)
}
