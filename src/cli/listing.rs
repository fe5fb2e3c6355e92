//! How messages, their history and the daemon's state are printed.

use std::process::ExitCode;

use super::{plural, print_json};
use crate::admin::{
    BurstView, EventView, FlowView, MessageView, ReportsView, StatusView, TraceView, UpstreamView,
};

/// How a reason ends when the upstream was lost behind the end of the message.
const AFTER_ALL_WAS_SENT: &str = "(at the final dot)";

pub(super) fn print_table(messages: &[MessageView]) {
    if messages.is_empty() {
        say!("no messages");
        return;
    }
    say!("{:36}  {:15}  {:20}  {:12}  {:28}  accepted", "id", "state", "category", "client", "to");
    for message in messages {
        let MessageView { id, state, category, client, to, accepted, .. } = message;
        say!("{id:36}  {state:15}  {category:20}  {client:12}  {to:28}  {accepted}");
        if let Some(reason) = &message.reason {
            say!("{:36}  {reason}", "");
        }
    }
}

pub(super) fn print_trace(trace: &TraceView, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        print_json(trace)?;
        return Ok(ExitCode::SUCCESS);
    }
    if trace.messages.is_empty() && trace.events.is_empty() {
        say!("nothing is known of this id or recipient");
        return Ok(ExitCode::FAILURE);
    }
    for message in &trace.messages {
        print_message(message);
        for event in trace.events.iter().filter(|event| event.message == message.id) {
            print_event(event);
        }
        say!("");
    }
    let listed = |event: &&EventView| trace.messages.iter().any(|message| message.id == event.message);
    for event in trace.events.iter().filter(|event| !listed(event)) {
        say!("{}  {} to {} from {}", event.submission, event.category, event.to, event.client);
        print_event(event);
        say!("");
    }
    if let Some(key) = &trace.to_key {
        say!("in the log this recipient is to_key={key} (journalctl TO_KEY={key})");
    }
    Ok(ExitCode::SUCCESS)
}

fn print_message(message: &MessageView) {
    let MessageView { id, state, category, rule, client, to, accepted, expires, .. } = message;
    say!("{id}  {}", state.to_uppercase());
    say!("  {category} ({rule}) to {to} from client {client}");
    say!("  accepted {accepted}, of use until {expires}, attempts {}", message.attempts);
    if message.in_doubt > 0 {
        say!(
            "  in doubt: {} got no answer, it may have arrived",
            plural(message.in_doubt as usize, "attempt")
        );
    }
    if let Some(next) = &message.next_attempt {
        say!("  next attempt {next}");
    }
    if let Some(reason) = &message.reason {
        say!("  because {reason}");
    }
    if let (Some(upstream), Some(reference)) = (&message.upstream, &message.reference) {
        say!("  at {upstream} it is: {reference}");
    }
    if let Some(application_id) = &message.application_id {
        say!("  the application calls it {application_id}");
    }
}

fn print_event(event: &EventView) {
    let reason = event.reason.as_deref().map(|text| match event.class.as_deref() {
        // A reply and what we decided ourselves say what they are; of the network, it says which part.
        Some(class @ ("connect" | "tls" | "auth" | "timeout")) => format!("{class}: {text}"),
        Some(_) | None => text.to_owned(),
    });
    let detail = [event.upstream.as_deref(), reason.as_deref(), event.reference.as_deref()];
    let detail: Vec<&str> = detail.into_iter().flatten().collect();
    say!("    {}  +{:>7} ms  {:12} {}", event.at, event.after_ms, event.event, detail.join("  "));
    if event.reason.as_deref().is_some_and(|reason| reason.ends_with(AFTER_ALL_WAS_SENT)) {
        say!("        no answer after everything was sent: it may have arrived");
    }
}

pub(super) fn print_status(status: &StatusView) {
    say!("authrelay {}, up {} s, since {}", status.version, status.uptime_seconds, status.started);
    for trouble in &status.troubles {
        say!("NOT READY: {trouble}");
    }
    let queue = &status.queue;
    say!(
        "queue: {} urgent, {} normal, {} held, {} suppressed",
        queue.urgent,
        queue.normal,
        queue.held,
        queue.suppressed
    );
    if let Some(seconds) = status.oldest_seconds {
        say!("oldest waiting: {seconds} s");
    }
    for FlowView { category, received, handed_over, refused, suppressed, held, failed, .. } in
        &status.last_hour
    {
        say!(
            "last hour, {category}: {received} accepted, {handed_over} handed over, {refused} refused, \
             {suppressed} suppressed, {held} held, {failed} failed"
        );
    }
    for burst in &status.bursts {
        let BurstView { id, client, category, began, last, messages, held, .. } = burst;
        let now = if burst.goes_on { "goes on" } else { "is over" };
        say!(
            "burst {id}: {held} of {messages} {category} from client {client} held, {began} to {last}, {now}"
        );
        say!("  `queue list --burst {id}`, then `queue release --burst {id}` or `queue remove --burst {id}`");
    }
    for listener in &status.listeners {
        say!("listener {listener}");
    }
    print_upstreams(&status.upstreams);
    if let Some(ReportsView { applied, stale, unknown, forged }) = &status.reports {
        say!("status callbacks: {applied} applied, {stale} stale, {unknown} unknown, {forged} forged");
    }
    super::reload::print_status(&status.reloads, &status.certificates);
    status.keys.lines().iter().for_each(|line| say!("{line}"));
    super::links::print_foreign(&status.foreign_hosts);
    for observed in &status.observed {
        say!(
            "WARNING: client {} is only observed until {}: its mail is relayed whatever it is",
            observed.client,
            observed.until
        );
    }
}

fn print_upstreams(upstreams: &[UpstreamView]) {
    for upstream in upstreams {
        say!(
            "upstream {} ({} {}): {}, {} in flight",
            upstream.name,
            upstream.kind,
            upstream.target,
            upstream.state,
            upstream.in_flight
        );
        if let Some(reason) = &upstream.reason {
            say!("  because {reason}");
        }
        if let Some(at) = &upstream.retry_at {
            say!("  asked again {at}");
        }
    }
    if upstreams.iter().any(|upstream| upstream.state == "down") {
        say!("`authrelay check --live` tries the upstreams now, and says what to do");
    }
}
