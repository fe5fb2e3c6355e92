//! What the tests of the delivery share.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of it, and may fail in it")]

pub mod certificates;
pub mod scripted_upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use authrelay::clock::Clock;
use authrelay::deliver::{
    BreakerConfig, HandOver, Letter, Outgoing, SmtpConfig, Timeouts, Upstream, UpstreamConfig, UpstreamKind,
    UpstreamTls,
};
use authrelay::ident::UpstreamName;
use authrelay::mail::{Address, Message, ReversePath};

pub const PLAIN: &[u8] = b"From: a@example.com\r\nSubject: x\r\n\r\nhello\r\n";

pub fn smtp(address: SocketAddr) -> SmtpConfig {
    SmtpConfig {
        host: "localhost".to_owned(),
        port: address.port(),
        tls: UpstreamTls::Plain,
        credentials: None,
        timeouts: Timeouts {
            connect: Duration::from_secs(10),
            command: Duration::from_secs(10),
            data: Duration::from_secs(10),
        },
        idle: Duration::from_mins(1),
        messages_per_connection: 100,
    }
}

pub fn upstream(config: SmtpConfig) -> Arc<Upstream> {
    let config = UpstreamConfig {
        name: UpstreamName::new("scripted"),
        kind: UpstreamKind::Smtp(config),
        carries: None,
        max_connections: 8,
        messages_per_minute: None,
        breaker: BreakerConfig::default(),
    };
    Upstream::new(config, "relay.example".to_owned(), Clock::System)
}

pub fn outgoing(raw: &[u8], from: &str) -> Outgoing {
    let message = Message::new(raw.to_vec());
    Outgoing {
        reverse_path: ReversePath::Address(Address::parse(from).unwrap()),
        raw: message.raw().clone(),
        need: message.need(),
    }
}

pub async fn send_to(upstream: &Upstream, raw: &[u8], to: &str) -> HandOver {
    let outgoing = outgoing(raw, "sender@example.com");
    let recipient = Address::parse(to).unwrap();
    upstream.hand_over(Letter { outgoing: &outgoing, recipient: &recipient, file_name: "id" }).await
}

pub async fn send(upstream: &Upstream, raw: &[u8]) -> HandOver {
    send_to(upstream, raw, "anna@example.com").await
}
