//! The steps of a decision in the order in which they were asked, and what each said. For `explain`.

use serde::Serialize;

use crate::policy::{Client, DecidedBy, Policy, Submission, Verdict};

/// One step.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) step: &'static str,
    pub(super) said: String,
}

/// The steps that led to `verdict`. The first four decide on the category; the first that does is the last one asked.
pub(super) fn of(policy: &Policy, submission: &Submission, verdict: &Verdict) -> Vec<Step> {
    let client = policy.clients.get(&submission.client).map(AsRef::as_ref);
    let category = &verdict.category.name;
    let decider = match verdict.decided_by {
        DecidedBy::Binding => 0,
        DecidedBy::Declared => 1,
        DecidedBy::Rule => 2,
        DecidedBy::Recognition => 3,
        DecidedBy::Nothing => 4,
    };
    let passed = [
        "the client is bound to none".to_owned(),
        declared(policy, submission),
        format!("none of {} matches", policy.rules.len()),
        format!("nothing it is sure of, so {category}"),
    ];
    let names = ["client binding", "declared category", "rules", "recognition"];
    let mut steps: Vec<Step> = names
        .into_iter()
        .zip(passed)
        .enumerate()
        .map(|(index, (step, passed))| {
            let said = match index.cmp(&decider) {
                std::cmp::Ordering::Less => passed,
                std::cmp::Ordering::Equal => format!("{category} ({})", verdict.rule),
                std::cmp::Ordering::Greater => "not asked".to_owned(),
            };
            Step { step, said }
        })
        .collect();
    steps.push(Step { step: "client's list", said: list(client, verdict) });
    steps.push(Step { step: "observation", said: observation(client, submission, verdict) });
    steps
}

fn declared(policy: &Policy, submission: &Submission) -> String {
    let header = &policy.declared_header;
    match submission.message.values(header).next() {
        Some(_) => format!("{header} is there, and is not followed"),
        None => format!("there is no {header}"),
    }
}

fn list(client: Option<&Client>, verdict: &Verdict) -> String {
    let category = &verdict.category.name;
    match client.and_then(|client| client.categories.as_ref()) {
        Some(list) if list.contains(category) => format!("{category} is in it"),
        Some(_) => format!("{category} is not in it"),
        None => "the client has none, it may send all".to_owned(),
    }
}

fn observation(client: Option<&Client>, submission: &Submission, verdict: &Verdict) -> String {
    let until = client.and_then(|client| client.observe_until).filter(|until| *until > submission.accepted);
    match until {
        Some(until) if verdict.is_observed() => {
            format!("relayed only because of it, until {}", until.to_rfc3339())
        }
        Some(_) => "changes nothing here".to_owned(),
        None => "off".to_owned(),
    }
}
