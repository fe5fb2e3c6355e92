//! What the tests of this module share.

use crate::clock::Timestamp;
use crate::ident::MessageId;
use crate::mail::{Address, Envelope, Message, ReversePath};

use super::{Origin, Submission};

/// A submission of the client `crm` to Anna; line feeds in `raw` become CR LF.
pub(super) fn submission(raw: &str) -> Submission {
    let address = |text: &str| Address::parse(text).unwrap();
    Submission {
        id: MessageId::generate(),
        accepted: Timestamp::from_millis(1_795_440_360_000),
        client: "crm".into(),
        origin: Origin { listener: "in".into(), peer: None, helo: "app".to_owned(), protocol: "ESMTP" },
        envelope: Envelope {
            reverse_path: ReversePath::Address(address("bounce@app.example")),
            recipients: vec![address("anna@example.org")],
        },
        message: Message::new(raw.replace('\n', "\r\n").into_bytes()),
    }
}
