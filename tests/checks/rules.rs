//! The operator's rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use authrelay::clock::Timestamp;
use authrelay::ident::{CategoryName, ClientName, MessageId};
use authrelay::mail::{Address, Envelope, Message, ReversePath};
use authrelay::policy::{
    Client, Condition, DecidedBy, Field, Origin, Policy, Rule, Submission, classify, shipped_categories,
};

use super::mail::RECOGNITION;

const CLIENT: &str = "portal";

/// A rule holds or it does not: with `not` before it the other way round, alike however often it is joined, and a plain
/// word as one would look for it by hand. A pattern that can't be used is refused when it is read.
pub fn rule_engine(octets: &[u8]) {
    let Some((&field, rest)) = octets.split_first() else { return };
    let (pattern, message) = rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    let pattern = String::from_utf8_lossy(pattern);
    let field = match field % 6 {
        0 => Field::Client,
        1 => Field::ReversePath,
        2 => Field::Recipient,
        3 => Field::Header("X-Kind".to_owned()),
        4 => Field::Subject,
        _ => Field::Body,
    };
    let by_hand = match &field {
        Field::Client => Some(CLIENT),
        Field::Recipient => Some("anna@example.org"),
        Field::ReversePath => Some("bounce@app.example"),
        Field::Header(_) | Field::Subject | Field::Body => None,
    };
    let Ok(one) = Condition::pattern(field, &pattern) else { return };
    let not = Condition::Not(Box::new(one.clone()));
    let holds = decides(one.clone(), message);
    assert_ne!(holds, decides(not.clone(), message));
    assert_eq!(holds, decides(Condition::All(vec![one.clone(), one.clone()]), message));
    assert!(decides(Condition::Any(vec![one.clone(), not.clone()]), message));
    assert!(!decides(Condition::All(vec![one, not]), message));
    let is_word = pattern.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'@');
    if let Some(value) = by_hand.filter(|_| is_word) {
        assert_eq!(holds, value.contains(&pattern.to_ascii_lowercase()), "{pattern:?}");
    }
}

/// Whether a rule with this condition decides the message.
fn decides(when: Condition, message: &[u8]) -> bool {
    let rule = Rule { name: "probe".to_owned(), category: CategoryName::new("marketing"), when };
    classify(&policy(rule), submission(message)).verdict().decided_by == DecidedBy::Rule
}

fn policy(rule: Rule) -> Policy {
    let client = Client {
        name: ClientName::new(CLIENT),
        businesses: vec!["acme".into()],
        categories: None,
        bound_to: None,
        may_declare: false,
        reports_to: Vec::new(),
        observe_until: None,
        burst: None,
        per_minute: None,
    };
    let categories =
        shipped_categories().into_iter().map(|category| (category.name.clone(), Arc::new(category)));
    Policy {
        categories: categories.collect(),
        clients: BTreeMap::from([(client.name.clone(), Arc::new(client))]),
        business_domains: BTreeMap::new(),
        rules: vec![rule],
        recognition: Arc::new(RECOGNITION.clone()),
        declared_header: "X-Authrelay-Category".to_owned(),
    }
}

fn submission(message: &[u8]) -> Submission {
    let address = |text: &str| Address::parse(text).unwrap();
    Submission {
        id: MessageId::generate(),
        accepted: Timestamp::from_millis(1_795_440_360_000),
        client: CLIENT.into(),
        origin: Origin { listener: "in".into(), peer: None, helo: "app".to_owned(), protocol: "ESMTP" },
        envelope: Envelope {
            reverse_path: ReversePath::Address(address("bounce@app.example")),
            recipients: vec![address("anna@example.org")],
        },
        message: Message::new(message.to_vec()),
    }
}
