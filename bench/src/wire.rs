//! A buffered connection, in the clear or under TLS, as the generator and the sink both use it.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A TCP connection or a TLS stream over one.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection and what was read of it ahead.
pub struct Wire {
    stream: Box<dyn Stream>,
    input: Vec<u8>,
    /// How much of `input` is used up.
    used: usize,
}

const CHUNK: usize = 16 << 10;

impl Wire {
    /// Over a TCP connection.
    pub fn new(stream: TcpStream) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream: Box::new(stream), input: Vec::new(), used: 0 })
    }

    /// The same connection, under TLS as its server.
    pub async fn accept_tls(self, config: Arc<rustls::ServerConfig>) -> anyhow::Result<Self> {
        let stream = tokio_rustls::TlsAcceptor::from(config).accept(self.stream).await?;
        Ok(Self { stream: Box::new(stream), input: Vec::new(), used: 0 })
    }

    /// The same connection, under TLS as its client.
    pub async fn connect_tls(self, config: Arc<rustls::ClientConfig>) -> anyhow::Result<Self> {
        let name = rustls::pki_types::ServerName::try_from("localhost")?;
        let stream = tokio_rustls::TlsConnector::from(config).connect(name, self.stream).await?;
        Ok(Self { stream: Box::new(stream), input: Vec::new(), used: 0 })
    }

    /// Writes all of it.
    pub async fn write(&mut self, octets: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(octets).await?;
        Ok(self.stream.flush().await?)
    }

    /// What was read and not taken yet.
    pub fn pending(&self) -> &[u8] {
        &self.input[self.used..]
    }

    /// Takes octets off the front.
    pub fn take(&mut self, octets: usize) {
        self.used += octets;
        if self.used == self.input.len() {
            self.input.clear();
            self.used = 0;
        }
    }

    /// Reads more. False at the end of the connection.
    pub async fn fill(&mut self) -> anyhow::Result<bool> {
        self.input.reserve(CHUNK);
        Ok(self.stream.read_buf(&mut self.input).await? > 0)
    }

    /// Waits until `end` stands in what was read, and returns how many octets go up to its end.
    pub async fn until(&mut self, end: &[u8]) -> anyhow::Result<Option<usize>> {
        let mut seen = 0;
        loop {
            let pending = self.pending();
            if let Some(at) = find(&pending[seen..], end) {
                return Ok(Some(seen + at + end.len()));
            }
            seen = pending.len().saturating_sub(end.len() - 1);
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Reads a reply, which must begin with one of these digits; returns its last line.
    pub async fn expect(&mut self, class: u8) -> anyhow::Result<String> {
        loop {
            let line = self.until(b"\r\n").await?.context("the connection was closed")?;
            let text = String::from_utf8_lossy(&self.pending()[..line]).trim_end().to_owned();
            self.take(line);
            if text.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            if text.as_bytes().first() != Some(&class) {
                bail!("unexpected reply: {text}");
            }
            return Ok(text);
        }
    }
}

fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut at = 0;
    while let Some(next) = within[at..].iter().position(|&byte| byte == first) {
        at += next;
        if within[at..].starts_with(what) {
            return Some(at);
        }
        at += 1;
    }
    None
}
