//! What the pipeline starts with: one message, from a client we know, as it was handed to us.

use std::net::IpAddr;

use crate::clock::Timestamp;
use crate::ident::{ClientName, ListenerName, MessageId};
use crate::mail::{Envelope, Message};

/// How a message came in.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The listener it came through.
    pub listener: ListenerName,
    /// The client's address, where there is one (a unix socket has none).
    pub peer: Option<IpAddr>,
    /// What the client called itself in EHLO or HELO. Untrusted text, cleaned to printable ASCII.
    pub helo: String,
    /// The protocol name for the Received field (RFC 3848): `SMTP`, `ESMTP`, `ESMTPS`, `ESMTPA`, `ESMTPSA`.
    pub protocol: &'static str,
}

/// One message from a known client, not yet judged.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The id the client will be told.
    pub id: MessageId,
    /// When its last byte came in.
    pub accepted: Timestamp,
    /// Who sent it.
    pub client: ClientName,
    /// How it came in.
    pub origin: Origin,
    /// Sender and recipients as said in SMTP.
    pub envelope: Envelope,
    /// The message.
    pub message: Message,
}

impl Submission {
    /// The application's own name for the message: its Message-ID, where it has one.
    pub fn application_id(&self) -> Option<String> {
        let value = self.message.values("Message-ID").next()?;
        let text: String = String::from_utf8_lossy(value).trim().chars().take(200).collect();
        (!text.is_empty()).then_some(text)
    }
}
