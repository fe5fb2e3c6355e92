use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::testing::submission;
use super::super::{Condition, Field, Recognition, Rule, shipped_categories};
use super::*;

const RESET: &str = "From: Shop <app@mail.shop.example>\nSubject: Reset your password\n\n\
                     You asked us to reset your password. Open this link:\nhttps://shop.example/r?token=8f14e45fceea167a\n";
const NEWS: &str = "From: app@shop.example\nSubject: Our newsletter: 50% off everything\n\nShop now: https://shop.example/sale\n";

fn client() -> Client {
    Client {
        burst: None,
        per_minute: None,
        name: "crm".into(),
        businesses: vec!["shop".into()],
        categories: None,
        bound_to: None,
        may_declare: false,
        reports_to: Vec::new(),
        observe_until: None,
    }
}

fn policy(client: Client) -> Policy {
    let categories = shipped_categories().into_iter();
    Policy {
        categories: categories.map(|category| (category.name.clone(), Arc::new(category))).collect(),
        clients: BTreeMap::from([(client.name.clone(), Arc::new(client))]),
        business_domains: BTreeMap::from([
            ("shop.example".to_owned(), "shop".into()),
            ("bank.example".to_owned(), "bank".into()),
            ("eu.bank.example".to_owned(), "eu-bank".into()),
        ]),
        rules: Vec::new(),
        recognition: recognition(),
        declared_header: "X-Authrelay-Category".to_owned(),
    }
}

fn verdict(policy: &Policy, raw: &str) -> Verdict {
    classify(policy, submission(raw)).into_parts().1
}

fn summary(verdict: &Verdict) -> (&str, Action, &str, Option<&'static str>) {
    (verdict.category.name.as_str(), verdict.action, &verdict.rule, verdict.overridden_by)
}

fn rule(name: &str, category: &str, field: Field, pattern: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        category: category.into(),
        when: Condition::pattern(field, pattern).unwrap(),
    }
}

#[test]
fn the_first_step_that_decides_wins() {
    let mut policy = policy(client());
    let declared = format!("X-Authrelay-Category:  Invitation \n{RESET}");
    let recognized = verdict(&policy, RESET);
    assert_eq!(recognized.decided_by, DecidedBy::Recognition);
    assert_eq!(recognized.category.name.as_str(), "password-reset");
    assert!(recognized.rule.starts_with("recognition:en.password-reset."), "{}", recognized.rule);
    assert!(!recognized.evidence.is_empty());

    policy.rules = vec![
        rule("never", "mfa", Field::Subject, "no such subject"),
        rule("resets", "signin", Field::Subject, "^reset"),
        rule("late", "mfa", Field::Subject, "reset"),
    ];
    assert_eq!(summary(&verdict(&policy, RESET)), ("signin", Action::Relay, "rule:resets", None));
    // Not yet believed.
    assert_eq!(summary(&verdict(&policy, &declared)), ("signin", Action::Relay, "rule:resets", None));

    policy.clients = BTreeMap::from([("crm".into(), Arc::new(Client { may_declare: true, ..client() }))]);
    assert_eq!(summary(&verdict(&policy, &declared)), ("invitation", Action::Relay, "declared", None));

    let bound = Client { may_declare: true, bound_to: Some("invitation-bulk".into()), ..client() };
    policy.clients = BTreeMap::from([("crm".into(), Arc::new(bound))]);
    let expected = ("invitation-bulk", Action::Suppress, "client-binding", None);
    assert_eq!(summary(&verdict(&policy, &declared)), expected);
}

#[test]
fn a_declaration_that_makes_no_sense_is_noted_and_passed_over() {
    let policy = policy(Client { may_declare: true, ..client() });
    for headers in
        ["X-Authrelay-Category: no-such\n", "X-Authrelay-Category: mfa\nX-Authrelay-Category: signin\n"]
    {
        let verdict = verdict(&policy, &format!("{headers}{RESET}"));
        assert_eq!(verdict.decided_by, DecidedBy::Recognition, "{headers}");
        assert!(verdict.evidence.iter().any(|evidence| evidence.name == "policy.declared"), "{headers}");
    }
}

#[test]
fn what_nothing_knows_is_unknown_and_refused() {
    let mut policy = policy(client());
    let plain = "From: a@shop.example\nSubject: Lunch\n\nSee you at noon.\n";
    assert_eq!(summary(&verdict(&policy, plain)), ("unknown", Action::Refuse, "none", None));
    policy.clients.clear();
    let verdict = verdict(&policy, RESET);
    assert_eq!(summary(&verdict), ("unknown", Action::Refuse, "none", None));
    assert_eq!(verdict.evidence[0].name, "policy.client");
}

#[test]
fn a_client_sends_only_what_is_on_its_list() {
    let listed = |names: &[&str]| {
        let categories = Some(names.iter().map(|name| (*name).into()).collect());
        policy(Client { categories, ..client() })
    };
    assert_eq!(verdict(&listed(&["signin", "password-reset"]), RESET).action, Action::Relay);
    let refused = verdict(&listed(&["signin"]), RESET);
    assert_eq!((refused.action, refused.overridden_by), (Action::Refuse, Some("client-list")));
    // What the category itself refuses is not blamed on the list.
    let news = verdict(&listed(&["signin"]), NEWS);
    assert_eq!(
        (news.category.name.as_str(), news.action, news.overridden_by),
        ("marketing", Action::Refuse, None)
    );
}

#[test]
fn observe_relays_what_would_be_refused_until_its_end() {
    let accepted = submission(RESET).accepted;
    let observed = |until| Client { observe_until: Some(until), categories: Some(vec![]), ..client() };
    let open = policy(observed(accepted.plus(Duration::from_millis(1))));
    for raw in [RESET, NEWS] {
        let verdict = verdict(&open, raw);
        assert_eq!((verdict.action, verdict.overridden_by), (Action::Relay, Some("observe")));
        assert!(verdict.is_observed());
        assert_eq!(verdict.sender_policy(), SenderPolicy::NoReply);
        assert_eq!(verdict.class(), Class::Normal);
        assert_eq!(verdict.life(), Duration::from_hours(1));
        assert_eq!(verdict.max_recipients(), Category::default_max_recipients(Class::Normal));
        assert_eq!(verdict.retry().as_ref(), Category::default_retry(Class::Normal));
    }
    let over = verdict(&policy(observed(accepted)), RESET);
    assert_eq!((over.action, over.overridden_by), (Action::Refuse, Some("client-list")));

    // What passes anyway is not touched by it.
    let passing = Client { categories: None, ..observed(accepted.plus(Duration::from_secs(1))) };
    let own = verdict(&policy(passing), RESET);
    assert_eq!((own.overridden_by, own.class()), (None, Class::Urgent));
    assert_eq!(own.sender_policy(), SenderPolicy::CustomElseNoReply);
}

#[test]
fn a_business_is_found_among_the_clients_own() {
    let of = |businesses: &[&str], from: &str| {
        let businesses = businesses.iter().map(|name| (*name).into()).collect();
        let policy = policy(Client { businesses, ..client() });
        verdict(&policy, &format!("{from}Subject: x\n\nx\n")).business.map(|name| name.to_string())
    };
    let bank = "From: =?utf-8?q?B=C3=A4nk?= <App@Mail.BANK.example>\n";
    assert_eq!(of(&["shop"], bank).as_deref(), Some("shop"));
    assert_eq!(of(&["shop", "bank"], bank).as_deref(), Some("bank"));
    assert_eq!(of(&["shop", "other"], bank), None);
    assert_eq!(of(&["shop", "bank"], "From: a@notbank.example\n"), None);
    assert_eq!(of(&["shop", "bank"], ""), None);
    assert_eq!(of(&[], bank), None);
    // The nearest owner counts: a part of the bank that belongs to another business is not the bank's.
    assert_eq!(of(&["shop", "bank"], "From: a@eu.bank.example\n"), None);
    assert_eq!(of(&["eu-bank", "bank"], "From: a@x.eu.bank.example\n").as_deref(), Some("eu-bank"));
}

#[test]
fn debug_output_shows_nothing_of_the_message() {
    let verdict = verdict(&policy(client()), RESET);
    assert!(!format!("{verdict:?}").contains("reset your password"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_get_a_verdict(raw in prop::collection::vec(any::<u8>(), 0..800)) {
        let policy = policy(client());
        let mut submission = submission("");
        submission.message = crate::mail::Message::new(raw);
        classify(&policy, submission);
    }

    #[test]
    fn anything_like_a_message_gets_a_verdict(
        raw in "(From: |Subject: |Content-Type: (multipart/mixed; boundary=b|text/html|message/rfc822)|\
                Content-Transfer-Encoding: (base64|quoted-printable)|\r\n|\r\n--b|\r\n\r\n|=|<a href=|=\\?utf-8\\?[qb]\\?|\
                \\?=|password|\\PC| ){0,40}"
    ) {
        let policy = policy(client());
        let mut submission = submission("");
        submission.message = crate::mail::Message::new(raw.into_bytes());
        classify(&policy, submission);
    }
}

/// Compiled once: it takes longer than all cases together.
fn recognition() -> Arc<Recognition> {
    static SHIPPED: std::sync::LazyLock<Arc<Recognition>> =
        std::sync::LazyLock::new(|| Arc::new(Recognition::shipped().unwrap()));
    Arc::clone(&SHIPPED)
}
