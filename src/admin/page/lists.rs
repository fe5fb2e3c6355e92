//! Lists: of decisions, of what is in the queue, of what observation let pass.

use maud::{Markup, html};

use super::table::{Table, badge, foreign};
use super::text::{count, moment, with_code};
use super::words::{Meaning, Tone, of_category, of_event, of_rule, of_state, parse};
use crate::admin::{EventView, MessageView, ObserveView, WouldRefuseView};
use crate::clock::Timestamp;
use crate::event::Kind;
use crate::queue::State;

/// How many decisions the overview shows.
const GLANCE: usize = 12;

/// Which decisions are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Which {
    /// All of them.
    #[default]
    All,
    /// What did not go through.
    Trouble,
}

impl Which {
    /// Whether an event is one of them: what was decided at first, or how it ended badly.
    pub(super) fn takes(self, event: &EventView) -> bool {
        let Some(kind) = parse::<Kind>(&event.event) else { return false };
        match kind {
            Kind::Refused
            | Kind::Suppressed
            | Kind::Held
            | Kind::BurstHeld
            | Kind::Failed
            | Kind::Expired
            | Kind::Unknown => true,
            Kind::Received => self == Self::All,
            Kind::Released
            | Kind::Deferred
            | Kind::HandedOver
            | Kind::Superseded
            | Kind::Removed
            | Kind::Delivered => false,
        }
    }
}

/// A decision, and how many more like it followed each other: a burst would hide everything else.
pub(super) struct Run<'a> {
    event: &'a EventView,
    more: u64,
}

/// Every decision by itself.
pub(super) fn singly(events: &[EventView]) -> Vec<Run<'_>> {
    events.iter().map(|event| Run { event, more: 0 }).collect()
}

/// Decisions of one kind that follow each other as one.
pub(super) fn runs(events: &[EventView]) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    for event in events {
        match runs.last_mut().filter(|last| is_like(last.event, event)) {
            Some(last) => last.more += 1,
            None => runs.push(Run { event, more: 0 }),
        }
    }
    runs.truncate(GLANCE);
    runs
}

fn is_like(one: &EventView, other: &EventView) -> bool {
    let kind = |event: &EventView| {
        (
            event.event.clone(),
            event.category.clone(),
            event.client.clone(),
            event.rule.clone(),
            event.reason.clone(),
        )
    };
    kind(one) == kind(other)
}

/// A table of decisions.
pub(super) fn decisions(caption: &str, runs: &[Run<'_>], now: Timestamp) -> Markup {
    let row = |Run { event, more }: &Run<'_>| {
        let meaning = parse::<Kind>(&event.event).map(of_event);
        vec![
            moment(&event.at, now),
            html! {
                a href={ "message/" (event.submission) } {
                    @match meaning {
                        Some(Meaning { word, tone, .. }) => (badge(word, tone)),
                        None => (foreign(&event.event)),
                    }
                }
            },
            foreign(&event.category),
            html! { (foreign(&event.to)) @if *more > 0 { span.explained { "and " (count(*more, "more", "more")) } } },
            foreign(&event.client),
            html! {
                (foreign(&of_rule(&event.rule)))
                @if let Some(reason) = &event.reason { span.explained { (foreign(reason)) } }
            },
        ]
    };
    let columns = &["When", "Decision", "Category", "For", "Client", "Decided by"];
    Table { caption, columns, rows: runs.iter().map(row).collect() }.show()
}

/// The page of decisions.
pub(super) fn decisions_page(which: Which, events: &[EventView], now: Timestamp) -> Markup {
    let choice = |of: Which, target: &str, name: &str| {
        let current = (of == which).then_some("page");
        html! { li { a href=(target) aria-current=[current] { (name) } } }
    };
    html! {
        h1 { "Decisions" }
        p.lead { "What was decided of the latest messages, and by what. Follow a decision to see the whole story of its message." }
        nav.choices aria-label="Which decisions" {
            ul {
                (choice(Which::All, "decisions", "All"))
                (choice(Which::Trouble, "decisions?show=trouble", "Only what did not go through"))
            }
        }
        @if events.is_empty() {
            p.empty {
                @match which {
                    Which::All => "No message has come yet, or what came is forgotten.",
                    Which::Trouble => "Nothing of late: every message that came was relayed, or is on its way.",
                }
            }
        } @else {
            section { (decisions("The latest, newest first", &singly(events), now)) }
        }
        p.hint {
            "Only the latest are here. All that are kept: " code { "authrelay audit export --since -24h" }
            ". If a decision is wrong, " code { "authrelay explain FILE.eml" } " says why it was made, and prints the lines that mend it."
        }
    }
}

/// The page of the queue.
pub(super) fn queue_page(state: State, messages: &[MessageView], most: usize, now: Timestamp) -> Markup {
    let meaning = of_state(state);
    let choice = |of: State, target: &str, name: &str| {
        let current = (of == state).then_some("page");
        html! { li { a href=(target) aria-current=[current] { (name) } } }
    };
    let row = |message: &MessageView| {
        vec![
            html! { a href={ "message/" (message.submission) } { (moment(&message.accepted, now)) } },
            html! { (foreign(&message.category)) span.explained { (message.class) } },
            foreign(&message.to),
            foreign(&message.client),
            html! {
                @if let Some(next) = &message.next_attempt { (moment(next, now)) } @else { span.quiet { "–" } }
            },
            moment(&message.expires, now),
            html! {
                (count(message.attempts.into(), "attempt", "attempts"))
                @if let Some(reason) = &message.reason { span.explained { (foreign(reason)) } }
            },
        ]
    };
    let table = Table {
        caption: meaning.word,
        columns: &["Accepted", "Category", "For", "Client", "Next attempt", "Of use until", "So far"],
        rows: messages.iter().map(row).collect(),
    };
    html! {
        h1 { "The queue" }
        nav.choices aria-label="Which messages" {
            ul {
                (choice(State::Queued, "queue?state=queued", "Waiting"))
                (choice(State::Attempting, "queue?state=attempting", "Being handed over"))
                (choice(State::Held, "queue?state=held", "Held"))
                (choice(State::Suppressed, "queue?state=suppressed", "Suppressed"))
                (choice(State::AwaitingReport, "queue?state=awaiting-report", "Report awaited"))
            }
        }
        p.lead { (meaning.sentence) }
        @if messages.is_empty() {
            p.empty { "There is none now." }
        } @else {
            section { (table.show()) }
            @if messages.len() == most {
                p.hint { "The newest " (most) ". All of them: " code { "authrelay queue list --state " (state.as_str()) } "." }
            }
            p.hint { (with_code(meaning.advice)) }
        }
    }
}

/// The page of what passed only because its client is observed.
pub(super) fn observed_page(observed: &[ObserveView], now: Timestamp) -> Markup {
    html! {
        h1 { "Observed clients" }
        p.lead {
            "A client with " code { "observe_until" } " is only observed: its mail is relayed whatever it is, and here is what "
            "would have been refused. So a new application can be brought in without losing mail."
        }
        @if observed.is_empty() {
            p.empty {
                "No client is observed now: every decision is enforced. To observe one for a while, set "
                code { "observe_until = 2027-01-15" } " in its " code { "[clients.NAME]" } "."
            }
        }
        @for client in observed { (observed_client(client, now)) }
    }
}

fn observed_client(client: &ObserveView, now: Timestamp) -> Markup {
    let row = |would: &WouldRefuseView| {
        vec![
            html! {
                (foreign(&would.category))
                @if let Some(what) = of_category(&would.category) { span.explained { (what) } }
            },
            foreign(&of_rule(&would.rule)),
            html! { (would.messages) },
            html! { a href={ "message/" (would.example) } { (moment(&would.last, now)) } },
        ]
    };
    let table = Table {
        caption: "What would have been refused, since authrelay began",
        columns: &["Category", "Decided by", "Messages", "The latest"],
        rows: client.would_refuse.iter().map(row).collect(),
    };
    html! {
        section {
            h2 { "Client " (foreign(&client.client)) }
            p { (badge("Observed", Tone::Waiting)) " until " (moment(&client.until, now)) }
            @if table.rows.is_empty() {
                p.empty { "Nothing that it sent since authrelay began would have been refused. If that stays so, take " code { "observe_until" } " out." }
            } @else {
                (table.show())
                p.hint {
                    "What should pass needs a rule: " code { "authrelay explain FILE.eml --client " (client.client) }
                    " prints its lines. What should not will be refused once the time is over."
                }
            }
        }
    }
}
