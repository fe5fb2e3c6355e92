//! How it all does, on one page: what needs somebody, then the numbers behind it.

use maud::{Markup, html};

use super::attention::{Item, Weight};
use super::lists;
use super::table::{Table, alarming, badge, foreign, number};
use super::text::{count, millis, moment, span, with_code};
use super::words::{Tone, of_category};
use crate::admin::{BurstView, CertificateView, EventView, FlowView, StatusView, UpstreamView};
use crate::clock::Timestamp;

/// What the overview shows.
pub(super) struct Overview<'a> {
    pub(super) status: &'a StatusView,
    pub(super) attention: &'a [Item],
    /// The latest decisions, newest first.
    pub(super) decisions: &'a [EventView],
    pub(super) now: Timestamp,
}

impl Overview<'_> {
    /// One line on how it does, for the title.
    pub(super) fn headline(&self) -> String {
        let troubles = self.attention.iter().filter(|item| item.weight == Weight::Trouble).count();
        match (troubles, self.attention.len()) {
            (0, 0) => "All is well".to_owned(),
            (0, notes) => format!("Mail goes through; {} to note", count(notes as u64, "thing", "things")),
            (troubles, _) => format!("{} attention", count(troubles as u64, "thing needs", "things need")),
        }
    }

    pub(super) fn show(&self) -> Markup {
        html! {
            h1 { (self.headline()) }
            (self.attention())
            (self.flow())
            (self.queue())
            (self.upstreams())
            (self.bursts())
            (self.decisions())
            (self.configuration())
        }
    }

    fn attention(&self) -> Markup {
        html! {
            @if self.attention.is_empty() {
                p.lead { "Mail is taken and handed over, and nothing waits for you." }
            } @else {
                ul.attention {
                    @for item in self.attention {
                        @let (tone, word) = match item.weight {
                            Weight::Trouble => (Tone::Bad, "Look at this"),
                            Weight::Note => (Tone::Waiting, "Note"),
                        };
                        li class=(tone.class()) {
                            p { (badge(word, tone)) " " strong { (foreign(&item.what)) } }
                            p {
                                (with_code(&item.advice))
                                @if let Some((target, name)) = item.more { " " a href=(target) { (name) } "." }
                            }
                        }
                    }
                }
            }
        }
    }

    fn flow(&self) -> Markup {
        let row = |flow: &FlowView| {
            let took = |took: Option<u64>| html! { @if let Some(took) = took { (millis(took)) } @else { span.quiet { "–" } } };
            vec![
                html! {
                    (foreign(&flow.category))
                    @if let Some(what) = of_category(&flow.category) { span.explained { (what) } }
                },
                number(flow.received),
                number(flow.handed_over),
                took(flow.half_within_ms),
                took(flow.all_within_ms.or(flow.half_within_ms)),
                number(flow.refused),
                number(flow.suppressed),
                number(flow.held),
                alarming(flow.failed),
            ]
        };
        let table = Table {
            caption: "Messages by category, one for each recipient",
            columns: &[
                "Category",
                "Accepted",
                "Handed over",
                "Half within",
                "All within",
                "Refused",
                "Suppressed",
                "Held",
                "Failed",
            ],
            rows: self.status.last_hour.iter().map(row).collect(),
        };
        let is_young = self.status.uptime_seconds < 3600;
        html! {
            section aria-labelledby="flow" {
                h2 #flow { "The last hour" }
                @if table.rows.is_empty() {
                    p.empty {
                        "No message has come "
                        @if is_young { "since authrelay began, " (span(self.status.uptime_seconds)) " ago. " }
                        @else { "in the last hour. " }
                        "To see whether the way is open: " code { "authrelay send-test you@example.com" } "."
                    }
                } @else {
                    (table.show())
                    p.hint {
                        @if is_young { "authrelay began " (span(self.status.uptime_seconds)) " ago; it counts since then. " }
                        "Half within, all within: how long after their acceptance the provider had them. "
                        "Refused: the application was told that it may not send this. Suppressed: accepted, and by policy not "
                        "sent. Held: kept for an operator. Failed: nobody will get it any more."
                    }
                }
            }
        }
    }

    fn queue(&self) -> Markup {
        let queue = &self.status.queue;
        let age = |oldest: Option<Timestamp>| {
            html! {
                @if let Some(oldest) = oldest { (span(self.now.since(oldest).as_secs())) } @else { span.quiet { "–" } }
            }
        };
        let explained = |name: &str, what: &str| html! { (name) span.explained { (what) } };
        let link = |count: u64, target: &str| {
            html! {
                @if count == 0 { span.quiet { "0" } } @else { a href=(target) { (count) } }
            }
        };
        let none = || html! { span.quiet { "–" } };
        let table = Table {
            caption: "Messages that are stored and not handed over yet",
            columns: &["What", "Messages", "The oldest waits for"],
            rows: vec![
                vec![
                    explained("Urgent", "somebody waits in front of a screen"),
                    link(queue.urgent, "queue?state=queued"),
                    age(queue.oldest_urgent),
                ],
                vec![
                    explained("Normal", "it may take minutes"),
                    link(queue.normal, "queue?state=queued"),
                    age(queue.oldest_normal),
                ],
                vec![explained("Held", "an operator decides"), link(queue.held, "queue?state=held"), none()],
                vec![
                    explained("Suppressed", "not sent by policy; can still be released"),
                    link(queue.suppressed, "queue?state=suppressed"),
                    none(),
                ],
            ],
        };
        html! {
            section aria-labelledby="waiting" { h2 #waiting { "The queue" } (table.show()) }
        }
    }

    fn upstreams(&self) -> Markup {
        let table = Table {
            caption: "Where mail and texts are handed over, in the order in which they are tried",
            columns: &["Provider", "State", "Since", "Connections", "Under way"],
            rows: self.status.upstreams.iter().map(|upstream| self.upstream(upstream)).collect(),
        };
        html! {
            section aria-labelledby="providers" {
                h2 #providers { "Providers" }
                @if table.rows.is_empty() {
                    p.empty { "There is none, so nothing can be handed over. Add " code { "[upstreams.NAME]" } " to the configuration." }
                } @else { (table.show()) }
            }
        }
    }

    fn upstream(&self, upstream: &UpstreamView) -> Vec<Markup> {
        let (word, tone) = match upstream.state.as_str() {
            "up" => ("In use", Tone::Good),
            "probing" => ("Being tried", Tone::Waiting),
            _ => ("Not asked", Tone::Bad),
        };
        vec![
            html! { (foreign(&upstream.name)) span.explained { (upstream.kind) " " (foreign(&upstream.target)) } },
            html! {
                (badge(word, tone))
                @if let Some(at) = &upstream.retry_at { " asked again " (moment(at, self.now)) }
                @if let Some(reason) = &upstream.reason { span.explained { (foreign(reason)) } }
            },
            moment(&upstream.since, self.now),
            // Folders and web interfaces have none of ours.
            html! { @if upstream.kind == "smtp" { (upstream.connections) } @else { span.quiet { "–" } } },
            number(upstream.in_flight as u64),
        ]
    }

    fn bursts(&self) -> Markup {
        let row = |burst: &BurstView| {
            vec![
                html! { code { (burst.id) } },
                html! { (foreign(&burst.category)) " from " (foreign(&burst.client)) },
                html! { (burst.held) " of " (burst.messages) },
                moment(&burst.began, self.now),
                html! {
                    @if burst.goes_on { (badge("Goes on", Tone::Waiting)) } @else { "over since " (moment(&burst.last, self.now)) }
                },
                html! {
                    code { "authrelay queue release --burst " (burst.id) }
                    " or "
                    code { "authrelay queue remove --burst " (burst.id) }
                },
            ]
        };
        let table = Table {
            caption: "Many equal messages to many people at once",
            columns: &["Burst", "What", "Still held", "Began", "Now", "To let it go, or to end it"],
            rows: self.status.bursts.iter().map(row).collect(),
        };
        html! {
            @if !table.rows.is_empty() {
                section aria-labelledby="bursts" { h2 #bursts { "Held bursts" } (table.show()) }
            }
        }
    }

    fn decisions(&self) -> Markup {
        html! {
            section aria-labelledby="latest" {
                h2 #latest { "The latest decisions" }
                @if self.decisions.is_empty() {
                    p.empty { "Nothing was decided yet: no message has come." }
                } @else {
                    (lists::decisions("The latest decisions on messages, newest first", &lists::runs(self.decisions), self.now))
                    p { a href="decisions" { "More decisions" } }
                }
            }
        }
    }

    fn configuration(&self) -> Markup {
        let reloads = &self.status.reloads;
        let row = |file: &CertificateView| {
            vec![
                html! { code { (file.path) } },
                html! { @if let Some(end) = &file.expires { (moment(end, self.now)) } @else { "unknown" } },
                html! {
                    @if file.warning.is_some() { (badge("Renew it", Tone::Bad)) } @else { (badge("Good", Tone::Good)) }
                },
            ]
        };
        let table = Table {
            caption: "Certificates in use",
            columns: &["File", "Ends", "State"],
            rows: self.status.certificates.iter().map(row).collect(),
        };
        html! {
            section aria-labelledby="configuration" {
                h2 #configuration { "Configuration and certificates" }
                p {
                    "The configuration is in force since " (moment(&reloads.in_force_since, self.now)) ". "
                    @if let Some(last) = &reloads.last {
                        "The last reload was made " (moment(last, self.now))
                        @if reloads.refused.is_some() { ", and refused." } @else { ", and went well." }
                    } @else {
                        "It was not reloaded since authrelay began " (moment(&self.status.started, self.now)) "."
                    }
                }
                @if table.rows.is_empty() {
                    p.empty { "No listener speaks TLS, so no certificate is in use." }
                } @else { (table.show()) }
                details {
                    summary { "Listeners" }
                    ul.plain { @for listener in &self.status.listeners { li { code { (listener) } } } }
                }
            }
        }
    }
}
