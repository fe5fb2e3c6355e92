//! An operator's hand on messages and bursts: `queue retry|hold|release|remove`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path as UrlPath, State};

use super::{Acted, Control, MOST_ROWS, Problem, parse_id};
use crate::ident::BurstId;
use crate::queue::{Effect, Entry, Operation, Query, State as QueueState};

pub(super) async fn operate(
    State(control): State<Control>,
    path: Result<UrlPath<(String, Operation)>, PathRejection>,
) -> Result<Json<Acted>, Problem> {
    let UrlPath((id, operation)) = path?;
    let id = parse_id(&id)?;
    let rows = control.queue.find(Query { id: Some(id), limit: MOST_ROWS, ..Query::default() }).await?;
    if rows.is_empty() {
        return Err(Problem::not_found("there is no message with this id"));
    }
    if let Some(why) = objection(&control, operation, &rows).await? {
        return Err(Problem::conflict(&format!("{why}; `--force` releases it all the same, on record")));
    }
    let mut acted = Acted { done: 0, not_allowed: Vec::new() };
    let mut refused = Vec::new();
    for row in rows {
        match control.queue.operate(row.id, operation).await? {
            Effect::NotAllowed(state) => {
                acted.not_allowed.push(state.as_str().to_owned());
                refused.push(state);
            }
            Effect::NotFound | Effect::LostLease => acted.not_allowed.push("gone".to_owned()),
            Effect::Done
            | Effect::Rows(_)
            | Effect::Duplicate(_)
            | Effect::OverLimit(_)
            | Effect::Repeated(_)
            | Effect::Held(_)
            | Effect::Mismatch
            | Effect::Stale
            | Effect::Waiting(_) => {
                acted.done += 1;
            }
        }
    }
    if acted.done == 0 {
        return Err(Problem::conflict(&refusals(operation, &refused)));
    }
    Ok(Json(acted))
}

/// Why messages are not to be released. What was suppressed was answered without a look at it, so it is looked at now; what
/// is held was looked at when it came. What is forced is looked at too, so that the log says what went out.
async fn objection(
    control: &Control,
    operation: Operation,
    rows: &[Entry],
) -> Result<Option<String>, Problem> {
    let wanted = match operation {
        Operation::Release | Operation::Force => QueueState::Suppressed,
        Operation::Retry | Operation::Hold | Operation::Remove => return Ok(None),
    };
    // Rows found by one id are of one submission, and say the same.
    let Some(row) = rows.iter().find(|row| row.state == wanted) else { return Ok(None) };
    let Some(message) = control.queue.message(row.id).await? else { return Ok(None) };
    let Some(why) = control.daemon.objection(row, &message) else { return Ok(None) };
    if operation == Operation::Force {
        tracing::warn!(id = %row.submission, client = %row.client, why, "released in spite of the guards");
        return Ok(None);
    }
    Ok(Some(why))
}

pub(super) async fn operate_burst(
    State(control): State<Control>,
    path: Result<UrlPath<(String, Operation)>, PathRejection>,
) -> Result<Json<Acted>, Problem> {
    let UrlPath((id, operation)) = path?;
    let burst = BurstId::new(id.trim());
    match control.queue.operate_burst(&burst, operation).await? {
        Effect::Rows(0) => Err(Problem::conflict("this burst holds nothing any more")),
        Effect::Rows(done) => Ok(Json(Acted { done, not_allowed: Vec::new() })),
        Effect::NotFound => {
            Err(Problem::not_found("there is no burst with this name; `authrelay status` lists them"))
        }
        Effect::NotAllowed(state) => Err(Problem::conflict(&refusals(operation, &[state]))),
        Effect::Done
        | Effect::Held(_)
        | Effect::Duplicate(_)
        | Effect::OverLimit(_)
        | Effect::Repeated(_)
        | Effect::Mismatch
        | Effect::Stale
        | Effect::LostLease
        | Effect::Waiting(_) => Err(Problem::conflict("the burst could not be changed")),
    }
}

/// Why an operation was done to none of the messages, and what can be done instead.
fn refusals(operation: Operation, states: &[QueueState]) -> String {
    let mut told: Vec<String> = Vec::new();
    for state in states {
        let line = format!("a message that is {} {}", state.as_str(), instead(operation, *state));
        if !told.contains(&line) {
            told.push(line);
        }
    }
    if told.is_empty() { "the message is gone".to_owned() } else { told.join("; ") }
}

fn instead(operation: Operation, state: QueueState) -> String {
    let done = match operation {
        Operation::Retry => "retried",
        Operation::Hold => "held",
        Operation::Release | Operation::Force => "released",
        Operation::Remove => "removed",
    };
    let works = match (state, operation) {
        (QueueState::Queued, _) => "it waits for its next attempt: `retry`, `hold` or `remove` it",
        (QueueState::Attempting, _) => "an attempt is under way: try again when it has ended",
        (QueueState::Held | QueueState::Suppressed, Operation::Release | Operation::Force) => {
            "its life is over or nothing is left of it to send: `remove` it"
        }
        (QueueState::Held | QueueState::Suppressed, _) => "`release` lets it go, `remove` ends it",
        (QueueState::AwaitingReport, _) => "the provider has it, or may have it: `remove` ends it",
        (
            QueueState::Delivered
            | QueueState::HandedOver
            | QueueState::Failed
            | QueueState::Expired
            | QueueState::Superseded
            | QueueState::Removed
            | QueueState::Unknown,
            _,
        ) => "it has ended, and nothing can be done to it any more; the application has to send it anew",
    };
    format!("can't be {done}: {works}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_operation_names_what_works_instead() {
        let told = |operation, state| refusals(operation, &[state, state]);
        assert_eq!(
            told(Operation::Retry, QueueState::Held),
            "a message that is held can't be retried: `release` lets it go, `remove` ends it"
        );
        let released = told(Operation::Release, QueueState::Suppressed);
        assert!(released.ends_with("`remove` it"), "{released}");
        for state in QueueState::ALL.into_iter().filter(|state| state.is_final()) {
            assert!(told(Operation::Remove, state).contains("it has ended"));
        }
    }
}
