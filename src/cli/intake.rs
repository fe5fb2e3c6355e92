//! A message as it would come in over SMTP: the server's own session is led over a pipe in memory, so that its limits and
//! its replies are the ones that an application would meet.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};
use tokio_util::sync::CancellationToken;

use crate::ident::ListenerName;
use crate::mail::{Address, ReversePath};
use crate::outcome::{Detail, Reply};
use crate::secret::Secret;
use crate::smtp::{
    self, BareLf, Handler, ListenAt, ListenerConfig, ListenerTls, Peer, Server, Service, SessionFacts,
};

/// What the pipe holds; the server reads while we write.
const PIPE: usize = 64 << 10;

/// The message as the server hands it on, or the reply with which it refuses it.
pub(super) async fn take(config: &smtp::Config, raw: &[u8]) -> anyhow::Result<Result<Bytes, String>> {
    let taken = Taken::default();
    let server = Server::new(config.clone(), Arc::new(taken.clone()), Arc::new(|| None));
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let (peer, listener) = (Peer { listener: ListenerName::new("explain"), address: None }, listener());
    let session = smtp::serve(theirs, peer, Arc::new(listener), server, CancellationToken::new());
    let talk = async {
        let mut client = BufReader::new(ours);
        let mut reply = read(&mut client).await?;
        for command in ["EHLO localhost", "MAIL FROM:<>", "RCPT TO:<recipient@example.com>", "DATA"] {
            client.write_all(format!("{command}\r\n").as_bytes()).await?;
            reply = read(&mut client).await?;
        }
        if reply.starts_with("354") {
            // A message that is cut off is answered before its end: the answer is what counts.
            let _ = client.write_all(&wire(raw)).await;
            reply = read(&mut client).await?;
        }
        anyhow::Ok(reply)
    };
    let (reply, ()) = tokio::join!(talk, session);
    let message = taken.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    let reply = reply.context("the message could not be read as SMTP would")?;
    Ok(message.ok_or(reply))
}

fn listener() -> ListenerConfig {
    ListenerConfig {
        name: ListenerName::new("explain"),
        at: ListenAt::Address(SocketAddr::from(([127, 0, 0, 1], 0))),
        tls: ListenerTls::Off,
        plaintext_auth: Vec::new(),
        bare_lf: Some(BareLf::Normalize),
        smtputf8: true,
    }
}

/// One reply, all its lines, without the last line end.
async fn read(client: &mut BufReader<DuplexStream>) -> anyhow::Result<String> {
    let mut reply = String::new();
    loop {
        let start = reply.len();
        if client.read_line(&mut reply).await? == 0 {
            anyhow::bail!("the session ended");
        }
        if reply.as_bytes().get(start + 3) != Some(&b'-') {
            return Ok(reply.trim_end().replace("\r\n", "\n"));
        }
    }
}

/// The message as a client sends it: lines that end in CR LF, dots doubled, and the final dot. Files usually end their
/// lines in LF.
fn wire(raw: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(raw.len() + raw.len() / 32 + 5);
    let mut last = b'\n';
    for &byte in raw {
        if byte == b'\n' && last != b'\r' {
            wire.push(b'\r');
        }
        if byte == b'.' && last == b'\n' {
            wire.push(b'.');
        }
        wire.push(byte);
        last = byte;
    }
    if last != b'\n' {
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

/// Takes everything, and keeps the message.
#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Option<Bytes>>>);

impl Service for Taken {
    fn connect(&self, _: &Peer) -> Result<Box<dyn Handler>, Reply> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Handler for Taken {
    async fn auth(&mut self, _: &str, _: Secret) -> Result<(), Reply> {
        Ok(())
    }

    async fn mail(&mut self, _: &SessionFacts, _: &ReversePath) -> Result<(), Reply> {
        Ok(())
    }

    async fn rcpt(&mut self, _: &Address) -> Result<(), Reply> {
        Ok(())
    }

    async fn data(&mut self, _: Vec<Address>, message: Bytes) -> Reply {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
        Reply::new(250, Detail(0, 0), "Ok")
    }

    fn reset(&mut self) {}

    fn is_known_client(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::Limits;

    #[tokio::test(start_paused = true)]
    async fn a_message_comes_in_whole_or_is_refused_as_smtp_refuses_it() {
        let limits = Limits { message_size: 4096, header_size: 1024, line_length: 1000, ..Limits::default() };
        let config = smtp::Config { hostname: "relay.example".to_owned(), limits };
        let head = "Subject: x\n\n";
        for (raw, expected) in [
            (format!("{head}.\n..a\nend"), Ok("Subject: x\r\n\r\n.\r\n..a\r\nend\r\n")),
            (format!("{head}{}", "line\n".repeat(1000)), Err("552 5.3.4 the message is larger than 4096")),
            (format!("{}\n", "A: b\n".repeat(300)), Err("552 5.3.4 the header is larger than 1024")),
            (format!("{head}{}\n", "x".repeat(1001)), Err("554 5.6.0 a line is longer than 1000")),
            (format!("{head}a\rb\n"), Err("521 5.5.2 bare <CR>")),
        ] {
            let taken = take(&config, raw.as_bytes()).await.unwrap();
            match (taken, expected) {
                (Ok(message), Ok(expected)) => assert_eq!(message, expected.as_bytes()),
                (Err(reply), Err(expected)) => assert!(reply.starts_with(expected), "{reply}"),
                (taken, expected) => panic!("{taken:?} instead of {expected:?}"),
            }
        }
    }
}
