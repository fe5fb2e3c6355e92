//! The order of decision: the client's binding, a declared category, the operator's rules, the shipped recognition,
//! unknown. The first that decides wins; then the client's list and its `observe` say what is done.

use std::cell::OnceCell;
use std::sync::Arc;

use super::rule::Subject;
use super::verdict::{CLIENT_LIST, OBSERVE};
use super::{
    Action, Category, Client, DecidedBy, Evidence, Policy, SenderPolicy, Submission, Text, TextLimits,
    Verdict,
};
use crate::clock::Timestamp;
use crate::ident::{BusinessName, Class};
use crate::mail::{Address, ReversePath};

const UNKNOWN: &str = "unknown";
/// The longest category name that is repeated in a note, in octets.
const NOTE_MAX: usize = 64;

/// A submission and its verdict. Made by [`classify`] alone.
#[derive(Debug)]
pub struct Classified {
    submission: Submission,
    verdict: Verdict,
    text: OnceCell<Text>,
}

impl Classified {
    /// The submission.
    pub fn submission(&self) -> &Submission {
        &self.submission
    }

    /// The verdict.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The message's text, decoded at most once.
    pub fn text(&self) -> &Text {
        self.text.get_or_init(|| Text::of(&self.submission.message, &TextLimits::default()))
    }

    /// Submission, verdict, and the text where it was decoded, for the next stage.
    pub fn into_parts(self) -> (Submission, Verdict, Option<Text>) {
        (self.submission, self.verdict, self.text.into_inner())
    }
}

/// Decides what a message is and what is done with it. What it takes for "now" is `submission.accepted`.
pub fn classify(policy: &Policy, submission: Submission) -> Classified {
    let subject = Subject::new(&submission);
    let verdict = judge(policy, &subject);
    let text = subject.into_text();
    Classified { submission, verdict, text }
}

fn judge(policy: &Policy, subject: &Subject<'_>) -> Verdict {
    let Some(client) = policy.clients.get(&subject.submission.client) else {
        let note = note("policy.client", UNKNOWN, "the client is not in the configuration");
        return Decision::nothing(policy, vec![note]).into_verdict(None, None, None);
    };
    let decision = decide(policy, client, subject);
    let (action, overridden_by) = action(client, &decision.category, subject.submission.accepted);
    let business = business(policy, client, subject);
    let report_to = report_to(client, subject.submission);
    decision.into_verdict(business, report_to, overridden_by.map(|by| (action, by)))
}

/// The envelope sender, where the client may have failure reports sent there.
fn report_to(client: &Client, submission: &Submission) -> Option<Address> {
    let ReversePath::Address(sender) = &submission.envelope.reverse_path else { return None };
    client.reports_to.iter().any(|domain| domain == sender.domain()).then(|| sender.clone())
}

/// A category and how it was found.
struct Decision {
    category: Arc<Category>,
    decided_by: DecidedBy,
    rule: String,
    evidence: Vec<Evidence>,
}

impl Decision {
    fn nothing(policy: &Policy, evidence: Vec<Evidence>) -> Self {
        Self { category: unknown(policy), decided_by: DecidedBy::Nothing, rule: "none".to_owned(), evidence }
    }

    fn into_verdict(
        self,
        business: Option<BusinessName>,
        report_to: Option<Address>,
        overridden: Option<(Action, &'static str)>,
    ) -> Verdict {
        Verdict {
            action: overridden.map_or(self.category.action, |(action, _)| action),
            overridden_by: overridden.map(|(_, by)| by),
            category: self.category,
            decided_by: self.decided_by,
            rule: self.rule,
            business,
            report_to,
            evidence: self.evidence,
        }
    }
}

fn decide(policy: &Policy, client: &Client, subject: &Subject<'_>) -> Decision {
    let mut notes = Vec::new();
    let found = if let Some(category) = bound(policy, client, &mut notes) {
        Some((category, DecidedBy::Binding, "client-binding".to_owned()))
    } else if let Some(category) = declared(policy, client, subject, &mut notes) {
        Some((category, DecidedBy::Declared, "declared".to_owned()))
    } else {
        first_rule(policy, subject, &mut notes).map(|(category, name)| (category, DecidedBy::Rule, name))
    };
    match found {
        Some((category, decided_by, rule)) => Decision { category, decided_by, rule, evidence: notes },
        None => recognized(policy, subject, notes),
    }
}

fn bound(policy: &Policy, client: &Client, notes: &mut Vec<Evidence>) -> Option<Arc<Category>> {
    let name = client.bound_to.as_ref()?;
    let category = policy.categories.get(name).cloned();
    if category.is_none() {
        notes.push(note(
            "policy.binding",
            name.as_str(),
            "the client is bound to a category that does not exist",
        ));
    }
    category
}

/// The declared category. A declaration that can't be followed is no reason to lose the message: the next step decides.
fn declared(
    policy: &Policy,
    client: &Client,
    subject: &Subject<'_>,
    notes: &mut Vec<Evidence>,
) -> Option<Arc<Category>> {
    if policy.declared_header.is_empty() {
        return None;
    }
    let values = subject.header(&policy.declared_header);
    let value = values.first()?.trim();
    let mut refused = |why| {
        notes.push(note("policy.declared", value, why));
        None
    };
    if !client.may_declare {
        return refused("the client may not declare categories");
    }
    if values.len() > 1 {
        return refused("more than one category is declared");
    }
    match policy.categories.get(value).or_else(|| policy.categories.get(value.to_lowercase().as_str())) {
        Some(category) => Some(Arc::clone(category)),
        None => refused("the declared category does not exist"),
    }
}

fn first_rule(
    policy: &Policy,
    subject: &Subject<'_>,
    notes: &mut Vec<Evidence>,
) -> Option<(Arc<Category>, String)> {
    let rule = policy.rules.iter().find(|rule| rule.when.holds(subject))?;
    let category = policy.categories.get(&rule.category).cloned();
    if category.is_none() {
        // The configuration is checked, so this is our own fault; the message is judged without rules.
        notes.push(note("policy.rule", rule.category.as_str(), "the rule's category does not exist"));
    }
    category.map(|category| (category, format!("rule:{}", rule.name)))
}

fn recognized(policy: &Policy, subject: &Subject<'_>, mut notes: Vec<Evidence>) -> Decision {
    let examination = policy.recognition.examine(subject.text());
    notes.extend(examination.evidence);
    let Some(recognized) = examination.recognized else {
        return Decision::nothing(policy, notes);
    };
    Decision {
        // A category that recognition knows and this installation does not is none that may pass.
        category: policy.categories.get(&recognized.category).cloned().unwrap_or_else(|| unknown(policy)),
        decided_by: DecidedBy::Recognition,
        rule: format!("recognition:{}", recognized.rule),
        evidence: notes,
    }
}

fn unknown(policy: &Policy) -> Arc<Category> {
    policy.categories.get(UNKNOWN).cloned().unwrap_or_else(|| {
        let life = std::time::Duration::from_hours(1);
        Arc::new(Category::new(UNKNOWN, Action::Refuse, SenderPolicy::NoReply, life, Class::Normal))
    })
}

/// What is done with the category for this client, and why that is not what the category says.
fn action(client: &Client, category: &Category, now: Timestamp) -> (Action, Option<&'static str>) {
    let may_send = client.categories.as_ref().is_none_or(|names| names.contains(&category.name));
    let enforced = if category.action != Action::Refuse && !may_send {
        (Action::Refuse, Some(CLIENT_LIST))
    } else {
        (category.action, None)
    };
    let observed = client.observe_until.is_some_and(|until| now < until);
    if observed && enforced.0 == Action::Refuse { (Action::Relay, Some(OBSERVE)) } else { enforced }
}

/// The business a message is sent for. With several to choose from, the one to which the domain of the header From, or
/// the nearest parent domain that belongs to anybody, belongs; never one that is not the client's own.
fn business(policy: &Policy, client: &Client, subject: &Subject<'_>) -> Option<BusinessName> {
    if let [only] = client.businesses.as_slice() {
        return Some(only.clone());
    }
    if client.businesses.is_empty() {
        return None;
    }
    let domain = subject.sender_domain()?;
    let mut candidate = domain.as_str();
    let owner = loop {
        if let Some(owner) = policy.business_domains.get(candidate) {
            break owner;
        }
        candidate = candidate.split_once('.')?.1;
    };
    client.businesses.contains(owner).then(|| owner.clone())
}

/// Whether `text` may be shown as the name of a category: what a message declares may be anything.
fn is_category_name(text: &str) -> bool {
    text.len() <= NOTE_MAX && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

fn note(name: &str, category: &str, why: &str) -> Evidence {
    Evidence {
        name: name.to_owned(),
        category: if is_category_name(category) { category.to_owned() } else { "?".to_owned() },
        place: "policy".to_owned(),
        matched: why.to_owned(),
        weight: 0.0,
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
