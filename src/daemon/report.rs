//! Failure reports by mail: to the address that the configuration names, or to the envelope sender where its client may
//! have that.
//!
//! A report goes the same way as any other message, as a client of our own that is bound to a category of our own, so
//! there is nothing about it that other mail does not have. There is never a report about a report. Reports are a
//! courtesy, made from memory: the durable word on a message is its event.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::bounce::{self, End, Failure};
use crate::clock::Clock;
use crate::config::Config;
use crate::event::{Event, Kind};
use crate::ident::{ClientName, ListenerName, MessageId};
use crate::mail::Recipient;
use crate::pipeline::Pipeline;
use crate::policy::{Origin, Submission};
use crate::queue::Queue;
use crate::snapshot::{Current, REPORT_CLIENT};

/// Reports every message that ended without having been handed over, until `stop`.
pub(super) async fn run(
    queue: Arc<Queue>,
    pipeline: Pipeline,
    current: Current,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut events = queue.events();
    while let Some(next) = stop.run_until_cancelled(events.recv()).await {
        match next {
            Ok(event) => {
                if let Some(submission) = report(&event, &current.get().config, clock) {
                    let reply = pipeline.accept(&current.get().pipeline, submission).await;
                    tracing::debug!(?reply, "failure report");
                }
            }
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "failure reports were left out"),
            Err(RecvError::Closed) => return,
        }
    }
}

fn report(event: &Event, config: &Config, clock: Clock) -> Option<Submission> {
    let end = match event.kind {
        Kind::Failed => End::Failed,
        Kind::Expired => End::Expired,
        Kind::Unknown => End::Unknown,
        Kind::Received
        | Kind::Refused
        | Kind::Suppressed
        | Kind::Held
        | Kind::Released
        | Kind::Deferred
        | Kind::HandedOver
        | Kind::Superseded
        | Kind::Removed
        | Kind::Delivered
        | Kind::BurstHeld => return None,
    };
    let about = &event.subject;
    let to = config.queue.bounces.as_ref().or(about.report_to.as_ref())?;
    let Recipient::Mail(recipient) = &about.recipient else { return None };
    if about.client.as_str() == REPORT_CLIENT {
        return None;
    }
    let id = MessageId::generate();
    let failure = Failure {
        submission: about.submission,
        client: &about.client,
        recipient,
        accepted: about.accepted,
        ended: event.at,
        end,
        reason: event.reason.as_ref(),
    };
    let (envelope, message) = bounce::report(id, &failure, &config.hostname, to);
    Some(Submission {
        id,
        accepted: clock.now(),
        client: ClientName::new(REPORT_CLIENT),
        origin: Origin {
            listener: ListenerName::new("internal"),
            peer: None,
            helo: "localhost".to_owned(),
            protocol: "SMTP",
        },
        envelope,
        message,
    })
}
