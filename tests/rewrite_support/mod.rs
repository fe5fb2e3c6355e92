//! What the tests of rewriting share: a configuration with two senders, and a plan that adds everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use authrelay::ident::{BusinessName, SenderName};
use authrelay::mail::{Address, HeaderFields, Mailbox, Message, ReversePath};
use authrelay::policy::SenderPolicy;
use authrelay::rewrite::{Business, Config, DkimKey, Plan, RenderError, Rendered, Sender, render};

/// A configuration with a no-reply sender, and a business whose own sender signs with `keys`.
pub fn config(keys: Vec<DkimKey>) -> Config {
    let sender = |name: &str, from: &str, return_path: &str, dkim: Vec<DkimKey>| Sender {
        name: SenderName::new(name),
        from: Mailbox::parse(from).unwrap(),
        return_path: Address::parse(return_path).unwrap(),
        replace_null_reverse_path: false,
        dkim,
    };
    let no_reply = sender("no-reply", "no-reply@relay.example", "bounces@relay.example", Vec::new());
    let acme = sender("acme", "\"Zoë, from Acme\" <hello@acme.example>", "bounces@acme.example", keys);
    let business =
        Business { sender: Some("acme".into()), domains: vec!["acme.example".to_owned()], reply_to: None };
    Config {
        hostname: "relay.example".to_owned(),
        no_reply: no_reply.name.clone(),
        senders: BTreeMap::from([no_reply, acme].map(|sender| (sender.name.clone(), Arc::new(sender)))),
        businesses: BTreeMap::from([(BusinessName::new("acme"), business)]),
        declared_header: "X-Authrelay-Category".to_owned(),
        received_names_client: false,
    }
}

/// A plan for `message` as it is made at acceptance.
pub fn plan_of(message: &Message) -> Plan {
    let lacks = |name: &str| message.values(name).next().is_none();
    Plan {
        category: "signin".into(),
        business: Some("acme".into()),
        sender: SenderPolicy::CustomElseNoReply,
        reverse_path: ReversePath::Address(Address::parse("app@app.example").unwrap()),
        received: "from app.example by relay.example with ESMTPSA id 1;\r\n\tMon, 23 Nov 2026 13:26:00 +0000"
            .to_owned(),
        date: lacks("Date").then(|| "Mon, 23 Nov 2026 13:26:00 +0000".to_owned()),
        message_id: lacks("Message-ID").then(|| "<1@relay.example>".to_owned()),
        auto_submitted: lacks("Auto-Submitted"),
    }
}

/// `message` as the business's own sender sends it.
pub fn rendered(message: &Message, config: &Config) -> Result<Rendered, RenderError> {
    let plan = plan_of(message);
    let senders = config.senders_for(&plan);
    render(message, &plan, senders[0], config)
}

/// The fields of a header block as (name in lower case, whole field).
#[allow(dead_code, reason = "not every test that shares this module looks at fields")]
pub fn fields(raw: &[u8]) -> Vec<(String, Vec<u8>)> {
    HeaderFields::scan(raw)
        .fields()
        .iter()
        .map(|field| {
            let name = String::from_utf8_lossy(&raw[field.name.clone()]).to_ascii_lowercase();
            (name, raw[field.whole.clone()].to_vec())
        })
        .collect()
}
