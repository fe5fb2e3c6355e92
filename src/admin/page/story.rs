//! What became of a message, told so that somebody who has never seen it knows where it is, why, and what to do.

use maud::{Markup, html};

use super::table::{badge, foreign};
use super::text::{count, millis, moment, with_code};
use super::words::{Meaning, of_category, of_event, of_rule, of_state, parse};
use crate::admin::{EventView, MessageView, Problem, TraceView};
use crate::clock::Timestamp;
use crate::event::Kind;
use crate::queue::State;

/// The most recipients of one submission that are told of.
const MOST: usize = 50;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A message.
    Message,
    /// Everything for a recipient.
    Recipient,
}

/// One message and what happened to it; refusals have no message.
struct Story<'a> {
    message: Option<&'a MessageView>,
    events: Vec<&'a EventView>,
}

/// The page of what is known.
pub(super) fn page(trace: &TraceView, asked: Asked, now: Timestamp) -> Markup {
    let stories = stories(trace);
    let masked = stories.iter().find_map(Story::to);
    html! {
        @match asked {
            Asked::Message => h1 { "The story of a message" },
            Asked::Recipient => h1 { "Messages for " (foreign(masked.unwrap_or("this recipient"))) },
        }
        @if stories.len() > 1 {
            p.lead {
                (count(stories.len() as u64, "message", "messages")) ", newest first."
                @if stories.len() > MOST { " The first " (MOST) " are here; all of them: " code { "authrelay trace ID" } "." }
            }
        }
        @for story in stories.iter().take(MOST) { (story.show(now)) }
        @if let Some(key) = &trace.to_key {
            p.hint { "In the log this recipient is " code { "to_key=" (key) } ": " code { "journalctl -u authrelay TO_KEY=" (key) } }
        }
    }
}

/// The page where there is nothing to tell.
pub(super) fn nothing(asked: Asked) -> Markup {
    html! {
        h1 { "Nothing is known of this " @match asked { Asked::Message => "id", Asked::Recipient => "recipient" } }
        p.lead { "That has one of these reasons:" }
        ul {
            li {
                "The application did not get as far as a complete message: it could not connect, was not known, or its login "
                "failed. The log says so: " code { "journalctl -u authrelay --since -1h | grep -e 'login failed' -e refused" }
            }
            li { "It sent the message elsewhere: look at the server name in the application's mail settings." }
            li {
                "It ended so long ago that it is forgotten (" code { "history" } " in " code { "[queue]" }
                "). What was decided of it may be in the audit trail still: " code { "authrelay audit export" }
            }
            @match asked {
                Asked::Message => li { "The id is mistyped, or is not ours. Ours has 36 characters, and begins like 019a." },
                Asked::Recipient => li { "The address was written differently in the message: look at what the application has stored." },
            }
        }
    }
}

/// The page of a search that could not be made, or an answer that could not be given.
pub(super) fn problem(problem: &Problem) -> Markup {
    html! {
        @if problem.status >= 500 {
            h1 { "This can't be told now" }
            p.lead { (foreign(&problem.detail)) "." }
            p { "Load the page again. If that does not help, the log says more: " code { "journalctl -u authrelay" } }
        } @else {
            h1 { "This can't be searched for" }
            p.lead { "What was typed: " (foreign(&problem.detail)) "." }
            p {
                "A mail address looks like " code { "anna@example.com" } ", a phone number like " code { "+12025550100" }
                ", and an id like " code { "019a9e4c-5d6e-7f80-9a1b-2c3d4e5f6071" } ". The application got the id with its "
                code { "250" } " or " code { "202" } ", and may have logged it."
            }
        }
    }
}

/// Messages with their events, newest first.
fn stories(trace: &TraceView) -> Vec<Story<'_>> {
    let of = |id: &str| trace.events.iter().filter(|event| event.message == id).collect::<Vec<_>>();
    let mut stories: Vec<Story<'_>> = trace
        .messages
        .iter()
        .map(|message| Story { message: Some(message), events: of(&message.id) })
        .collect();
    let listed = |event: &&EventView| trace.messages.iter().any(|message| message.id == event.message);
    let loose = trace.events.iter().filter(|event| !listed(event));
    stories.extend(loose.map(|event| Story { message: None, events: vec![event] }));
    stories.sort_by(|one, other| other.began().cmp(one.began()));
    stories
}

impl<'a> Story<'a> {
    fn began(&self) -> &'a str {
        let event = || self.events.first().map(|event| event.at.as_str());
        self.message.map(|message| message.accepted.as_str()).or_else(event).unwrap_or_default()
    }

    fn to(&self) -> Option<&'a str> {
        let event = || self.events.first().map(|event| event.to.as_str());
        self.message.map(|message| message.to.as_str()).or_else(event)
    }

    fn meaning(&self) -> Option<Meaning> {
        match self.message {
            Some(message) => parse::<State>(&message.state).map(of_state),
            None => self.events.last().and_then(|event| parse::<Kind>(&event.event)).map(of_event),
        }
    }

    fn show(&self, now: Timestamp) -> Markup {
        html! {
            article.story {
                @if let Some(meaning) = self.meaning() {
                    h2 { (badge(meaning.word, meaning.tone)) " " (meaning.sentence) }
                    @if let Some(reason) = self.reason() {
                        p.because { strong { "Because: " } (foreign(reason)) }
                    }
                    @if !meaning.advice.is_empty() {
                        p.advice { strong { "What to do: " } (with_code(&self.named(meaning.advice))) }
                    }
                }
                (self.facts(now))
                (self.timeline(now))
            }
        }
    }

    fn reason(&self) -> Option<&'a str> {
        match self.message {
            Some(message) => message.reason.as_deref(),
            None => self.events.last().and_then(|event| event.reason.as_deref()),
        }
    }

    /// The advice with this message's id and client in the place of the words for them.
    fn named(&self, advice: &str) -> String {
        let event = self.events.first();
        let id =
            self.message.map(|message| message.id.as_str()).or(event.map(|event| event.message.as_str()));
        let client =
            self.message.map(|message| message.client.as_str()).or(event.map(|event| event.client.as_str()));
        // In commands these stand at the end, and are words of their own nowhere else.
        let filled = advice.replace(" ID`", &format!(" {}`", id.unwrap_or("ID")));
        filled.replace(" NAME`", &format!(" {}`", client.unwrap_or("NAME")))
    }

    fn facts(&self, now: Timestamp) -> Markup {
        match (self.message, self.events.first()) {
            (Some(message), _) => facts_of_message(message, now),
            (None, Some(event)) => html! {
                dl {
                    (fact("For", &foreign(&event.to)))
                    (fact("Category", &category(&event.category)))
                    (fact("Decided by", &foreign(&of_rule(&event.rule))))
                    (fact("Client", &foreign(&event.client)))
                    (fact("When", &moment(&event.at, now)))
                    (fact("Id", &html! { code { (event.submission) } }))
                }
            },
            (None, None) => html! {},
        }
    }

    fn timeline(&self, now: Timestamp) -> Markup {
        html! {
            @if !self.events.is_empty() {
                h3 { "What happened" }
                ol.timeline { @for event in &self.events { (happened(event, now)) } }
            }
        }
    }
}

fn facts_of_message(message: &MessageView, now: Timestamp) -> Markup {
    let attempts = html! {
        (message.attempts)
        @if message.in_doubt > 0 {
            "; " (message.in_doubt) " of them got no answer: it may have arrived"
        }
    };
    html! {
        dl {
            (fact("For", &foreign(&message.to)))
            (fact("Category", &category(&message.category)))
            (fact("Decided by", &foreign(&of_rule(&message.rule))))
            (fact("Client", &foreign(&message.client)))
            @if let Some(business) = &message.business { (fact("Business", &foreign(business))) }
            (fact("Accepted", &moment(&message.accepted, now)))
            (fact("Of use until", &moment(&message.expires, now)))
            @if let Some(next) = &message.next_attempt { (fact("Next attempt", &moment(next, now))) }
            (fact("Attempts", &attempts))
            @if let Some(upstream) = &message.upstream { (fact("Provider", &foreign(upstream))) }
            @if let Some(reference) = &message.reference {
                (fact("Reference at the provider", &html! { code { (foreign(reference)) } }))
            }
            (fact("Id", &html! { code { (message.id) } }))
            @if message.submission != message.id {
                (fact("Id that the application got", &html! { code { (message.submission) } }))
            }
        }
    }
}

fn fact(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn category(name: &str) -> Markup {
    html! { (foreign(name)) @if let Some(what) = of_category(name) { span.explained { (what) } } }
}

fn happened(event: &EventView, now: Timestamp) -> Markup {
    let meaning = parse::<Kind>(&event.event).map(of_event);
    let class = meaning.map_or("plain", |meaning| meaning.tone.class());
    html! {
        li class=(class) {
            p.when {
                (moment(&event.at, now))
                @if event.after_ms > 0 { span.quiet { ", " (millis(event.after_ms)) " after its acceptance" } }
            }
            p {
                @match meaning {
                    Some(meaning) => { strong { (meaning.word) } ". " (meaning.sentence) }
                    None => strong { (foreign(&event.event)) }
                }
            }
            @if event.upstream.is_some() || event.reason.is_some() || event.reference.is_some() {
                p.detail {
                    @if let Some(upstream) = &event.upstream { "At " strong { (foreign(upstream)) } ": " }
                    @if let Some(reason) = &event.reason { (foreign(reason)) " " }
                    @if let Some(reference) = &event.reference { code { (foreign(reference)) } }
                }
            }
        }
    }
}
