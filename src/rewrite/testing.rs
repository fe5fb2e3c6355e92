//! What the tests of this stage start from.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Business, Config, Sender};
use crate::clock::Timestamp;
use crate::ident::{BusinessName, MessageId, SenderName};
use crate::mail::{Address, Envelope, Mailbox, Message, ReversePath};
use crate::policy::{Origin, Submission};

/// A configuration with a no-reply sender and one business with a sender of its own.
pub(crate) fn config() -> Config {
    let no_reply = sender("no-reply", "No Reply <no-reply@relay.example>", "bounces@relay.example");
    let acme = sender("acme", "\"Acme, Inc.\" <hello@acme.example>", "bounces@acme.example");
    let business = Business {
        sender: Some(acme.name.clone()),
        domains: vec!["acme.example".to_owned()],
        reply_to: None,
    };
    Config {
        hostname: "relay.example".to_owned(),
        no_reply: no_reply.name.clone(),
        senders: BTreeMap::from([no_reply, acme].map(|sender| (sender.name.clone(), Arc::new(sender)))),
        businesses: BTreeMap::from([(BusinessName::new("acme"), business)]),
        declared_header: "X-Authrelay-Category".to_owned(),
        received_names_client: false,
    }
}

fn sender(name: &str, from: &str, return_path: &str) -> Sender {
    Sender {
        name: SenderName::new(name),
        from: Mailbox::parse(from).unwrap(),
        return_path: Address::parse(return_path).unwrap(),
        replace_null_reverse_path: false,
        dkim: Vec::new(),
    }
}

/// A submission of `raw` from an application.
pub(crate) fn submission(raw: &[u8]) -> Submission {
    Submission {
        id: MessageId::generate(),
        accepted: Timestamp::from_millis(1_795_440_360_000),
        client: "app".into(),
        origin: Origin {
            listener: "main".into(),
            peer: "192.0.2.9".parse().ok(),
            helo: "app.example".to_owned(),
            protocol: "ESMTPSA",
        },
        envelope: Envelope {
            reverse_path: ReversePath::Address(Address::parse("app@app.example").unwrap()),
            recipients: vec![Address::parse("anna@example.com").unwrap()],
        },
        message: Message::new(raw.to_vec()),
    }
}
