//! What every page has around it: the head, the way to the other pages, the search, the header fields that keep a browser
//! from doing anything but showing it.
//!
//! Invariants: nothing is loaded from anywhere, no script runs, nobody may frame it, no cache and no other site gets any of
//! it. Links are relative, so that it works behind a proxy that puts it under a path.

use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::text::harmless;
use crate::clock::Timestamp;
use crate::secret::Digest;

const STYLE: &str = include_str!("style.css");

/// Only the one style sheet that stands in the page is used; forms go nowhere but here.
static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
    let style = STANDARD.encode(Digest::sha256(STYLE.as_bytes()).as_bytes());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).ok()
});

/// The pages that are always in reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// How it all does.
    Overview,
    /// What was decided of late.
    Decisions,
    /// What waits or is held.
    Queue,
    /// What observation let pass.
    Observed,
    /// None of them.
    Elsewhere,
}

/// How deep a page lies, which is how its links begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Beside the overview.
    Top,
    /// One below.
    Below,
}

impl Depth {
    /// What stands before a link to a page at the top.
    pub(super) fn root(self) -> &'static str {
        match self {
            Self::Top => "",
            Self::Below => "../",
        }
    }
}

/// What is around a page.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) title: String,
    pub(super) place: Place,
    pub(super) depth: Depth,
    pub(super) hostname: String,
    pub(super) now: Timestamp,
    /// After how many seconds the browser is to load it again.
    pub(super) refresh: Option<u16>,
    /// What its address asks for beside that, such as `state=held`; one of our own words.
    pub(super) asked: Option<String>,
}

impl Frame {
    /// The answer with this page.
    pub(super) fn answer(&self, status: StatusCode, main: &Markup) -> Response {
        let page = harmless(self.document(main).into_string());
        let mut response = (status, page).into_response();
        let fields = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            (HeaderName::from_static("x-robots-tag"), "noindex"),
        ] {
            fields.insert(name, HeaderValue::from_static(value));
        }
        if let Some(policy) = POLICY.as_ref() {
            fields.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
        }
        response
    }

    fn document(&self, main: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    @if let Some(seconds) = self.refresh {
                        meta http-equiv="refresh" content=(seconds);
                    }
                    title { (self.title) " · authrelay on " (self.hostname) }
                    link rel="icon" href="data:,";
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    (self.head())
                    main #main tabindex="-1" { (main) }
                    (self.foot())
                }
            }
        }
    }

    fn head(&self) -> Markup {
        let root = self.depth.root();
        let link = |place: Place, target: &str, name: &str| {
            let current = (self.place == place).then_some("page");
            // An empty link would lead to this page itself.
            let target = if target.is_empty() && root.is_empty() { "./" } else { target };
            html! { li { a href={ (root) (target) } aria-current=[current] { (name) } } }
        };
        html! {
            header.top {
                div.inner {
                    p.brand { strong { "authrelay" } " on " bdi { (self.hostname) } }
                    nav aria-label="Pages" {
                        ul {
                            (link(Place::Overview, "", "Overview"))
                            (link(Place::Decisions, "decisions", "Decisions"))
                            (link(Place::Queue, "queue", "Queue"))
                            (link(Place::Observed, "observed", "Observed"))
                        }
                    }
                    form role="search" method="post" action={ (root) "search" } {
                        label for="q" { "Where is my mail?" }
                        div.field {
                            input #q name="q" type="text" required maxlength="400" autocomplete="off"
                                autocapitalize="off" spellcheck="false" aria-describedby="q-hint";
                            button type="submit" { "Find" }
                        }
                        p.hint #q-hint { "A mail address, a phone number, or the id that the application was given." }
                    }
                }
            }
        }
    }

    fn foot(&self) -> Markup {
        let now = self.now.to_rfc3339();
        let asked = self.asked.as_deref().unwrap_or_default();
        let and = if asked.is_empty() { "" } else { "&" };
        html! {
            footer {
                div.inner {
                    p {
                        "As of " time datetime=(now) { (now.replace('T', " ").trim_end_matches('Z')) } " UTC; all times are UTC. "
                        @if self.place != Place::Elsewhere {
                            @if self.refresh.is_some() {
                                "It loads itself anew. " a href={ "?" (asked) } { "Stop that" } "."
                            } @else {
                                a href={ "?" (asked) (and) "refresh=30" } { "Load it anew every 30 seconds" } "."
                            }
                        }
                    }
                    p { "This page only shows; it changes nothing. authrelay " (env!("CARGO_PKG_VERSION")) "." }
                }
            }
        }
    }
}
