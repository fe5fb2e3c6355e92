//! The audit trail at the control interface, page by page. Recipients are told by their keys alone.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as UrlQuery, State};
use serde::{Deserialize, Serialize};

use super::{Control, Problem, parse_recipient};
use crate::clock::Timestamp;
use crate::event::Kind;
use crate::queue::{Decision, DecisionPlace, DecisionQuery, Shelf, Step};
use crate::secret::Digest;

/// `GET /v1/audit`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditPage {
    /// In the order in which they were made.
    pub decisions: Vec<DecisionView>,
    /// What to ask for as `after` to get the next page; `None`: there is none.
    pub next: Option<String>,
}

impl AuditPage {
    /// How many decisions are looked at for a page.
    pub const SIZE: usize = 500;

    /// The page of what was found; of the recipient with the key `to` alone, where one is named.
    pub fn of(found: Vec<(DecisionPlace, Option<Decision>)>, to: Option<Digest>) -> Self {
        let next = found.last().filter(|_| found.len() == Self::SIZE).map(|(last, _)| shown(*last));
        let decisions = found.into_iter().filter_map(|(_, decision)| decision);
        let wanted = decisions.filter(|decision| to.is_none_or(|key| decision.recipient_key == key));
        Self { decisions: wanted.map(DecisionView::of).collect(), next }
    }
}

/// What was decided of one message to one recipient, and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DecisionView {
    /// When it was decided.
    pub at: String,
    /// The message.
    pub id: String,
    /// The id the client was given.
    pub submission: String,
    /// Who handed it in.
    pub client: String,
    /// On whose behalf.
    pub business: Option<String>,
    /// What it is.
    pub category: String,
    /// What decided that.
    pub rule: String,
    /// `relay`, `suppress`, `hold` or `refuse`.
    pub decision: String,
    /// The key of its recipient, in hexadecimal digits.
    pub recipient_key: String,
    /// How it ended; `None`: it has not yet.
    pub end: Option<String>,
    /// When.
    pub ended: Option<String>,
    /// What happened to it, in order.
    pub steps: Vec<StepView>,
}

/// One thing that happened to a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepView {
    /// When.
    pub at: String,
    /// What.
    pub what: String,
    /// How many attempts were made by then.
    pub attempts: u32,
    /// Why, as a kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Its reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    since: Option<i64>,
    until: Option<i64>,
    to: Option<String>,
    after: Option<String>,
}

pub(super) async fn audit(
    State(control): State<Control>,
    query: Result<UrlQuery<AuditQuery>, QueryRejection>,
) -> Result<Json<AuditPage>, Problem> {
    let UrlQuery(query) = query?;
    let country = control.daemon.default_country();
    let to = query.to.map(|to| parse_recipient(&to, country)).transpose()?;
    let to = to.map(|recipient| control.queue.recipient_key(&recipient));
    let after = query.after.map(|after| place(&after).ok_or_else(not_a_place)).transpose()?;
    let asked = DecisionQuery {
        since: Timestamp::from_millis(query.since.unwrap_or(i64::MIN)),
        until: Timestamp::from_millis(query.until.unwrap_or(i64::MAX)),
        after,
        limit: AuditPage::SIZE,
    };
    let found = control.queue.decisions(asked).await?;
    Ok(Json(AuditPage::of(found, to)))
}

impl DecisionView {
    fn of(decision: Decision) -> Self {
        let end = decision.steps.last().filter(|step| is_end(step.kind));
        Self {
            at: decision.at.to_rfc3339(),
            id: decision.id.to_string(),
            submission: decision.submission.to_string(),
            client: decision.client.to_string(),
            business: decision.business.as_ref().map(ToString::to_string),
            category: decision.category.to_string(),
            decision: decision.steps.first().map_or("", |step| decided(step.kind)).to_owned(),
            recipient_key: decision.recipient_key.to_hex(),
            end: end.map(|step| step.kind.as_str().to_owned()),
            ended: end.map(|step| step.at.to_rfc3339()),
            steps: decision.steps.iter().map(StepView::of).collect(),
            rule: decision.rule,
        }
    }
}

impl StepView {
    fn of(step: &Step) -> Self {
        Self {
            at: step.at.to_rfc3339(),
            what: step.kind.as_str().to_owned(),
            attempts: step.attempts,
            class: step.reason.as_ref().map(|reason| reason.class.as_str().to_owned()),
            reason: step.reason.as_ref().map(ToString::to_string),
            upstream: step.upstream.as_ref().map(ToString::to_string),
            reference: step.reference.clone(),
        }
    }
}

/// What the first thing that happened to a message says was decided.
fn decided(kind: Kind) -> &'static str {
    match kind {
        Kind::Refused => "refuse",
        Kind::Suppressed => "suppress",
        Kind::Held => "hold",
        Kind::Received
        | Kind::Released
        | Kind::Deferred
        | Kind::HandedOver
        | Kind::Failed
        | Kind::Expired
        | Kind::Superseded
        | Kind::Removed
        | Kind::Unknown
        | Kind::Delivered
        | Kind::BurstHeld => "relay",
    }
}

fn is_end(kind: Kind) -> bool {
    match kind {
        Kind::Received | Kind::Held | Kind::Released | Kind::Deferred | Kind::BurstHeld => false,
        Kind::Refused
        | Kind::Suppressed
        | Kind::HandedOver
        | Kind::Failed
        | Kind::Expired
        | Kind::Superseded
        | Kind::Removed
        | Kind::Unknown
        | Kind::Delivered => true,
    }
}

fn shown(place: DecisionPlace) -> String {
    let shelf = match place.shelf {
        Shelf::Archive => 'a',
        Shelf::Record => 'r',
    };
    format!("{}.{shelf}.{}", place.at.as_millis(), place.number)
}

fn place(text: &str) -> Option<DecisionPlace> {
    let mut parts = text.split('.');
    let at = Timestamp::from_millis(parts.next()?.parse().ok()?);
    let shelf = match parts.next()? {
        "a" => Shelf::Archive,
        "r" => Shelf::Record,
        _ => return None,
    };
    let number = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some(DecisionPlace { at, shelf, number })
}

fn not_a_place() -> Problem {
    Problem::invalid("`after` is not what a page named as its next")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_shown_and_nothing_else_is() {
        for shelf in [Shelf::Archive, Shelf::Record] {
            let there = DecisionPlace { at: Timestamp::from_millis(1_800_000_000_000), shelf, number: 7 };
            assert_eq!(place(&shown(there)), Some(there));
        }
        for text in ["", "1.a", "1.b.2", "1.a.2.3", "x.a.1"] {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
