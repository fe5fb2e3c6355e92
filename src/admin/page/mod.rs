//! The status page: what `authrelay status`, `queue` and `trace` say, for a browser. It only shows; nothing can be changed
//! through it.
//!
//! What it shows comes from the same functions as what the command line prints ([`super::look`]), with masked addresses. An
//! address that is searched for comes in the body of a form, is hashed, and is found again by that hash: no log of a proxy
//! and no history of a browser gets to hold it. Nothing here reads more than a bounded number of rows.

mod attention;
mod frame;
mod lists;
mod overview;
mod story;
mod table;
mod text;
mod words;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path as UrlPath, Query as UrlQuery, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use maud::{Markup, html};
use serde::Deserialize;

use super::look::{self, Target};
use super::{Control, Door, Problem};
use crate::queue::{Query, State as QueueState};
use crate::secret::Digest;
use frame::{Depth, Frame, Place};
use lists::Which;
use overview::Overview;
use story::Asked;

/// How many of the latest events are looked through for the decisions of the overview.
const GLANCE: u32 = 500;

/// The same for the page of decisions, and how many it shows.
const LOOK: (u32, usize) = (2000, 200);

/// How many messages of the queue are shown.
const ROWS: usize = 200;

/// How often a page may load itself anew, in seconds.
const REFRESH: std::ops::RangeInclusive<u16> = 5..=3600;

/// The page's routes.
pub(super) fn router(control: Control, door: &Door) -> Router {
    let guard = Guard { door: door.clone(), control: control.clone() };
    Router::new()
        .route("/", get(overview))
        .route("/decisions", get(decisions))
        .route("/queue", get(queue))
        .route("/observed", get(observed))
        .route("/search", get(no_search).post(search))
        .route("/message/{id}", get(message))
        .route("/recipient/{key}", get(recipient))
        .with_state(control)
        .route_layer(middleware::from_fn_with_state(guard, known_name))
}

#[derive(Clone)]
struct Guard {
    door: Door,
    control: Control,
}

/// Answers only under names that a page from elsewhere can't take.
async fn known_name(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if guard.door.knows_name(request.headers()) {
        return next.run(request).await;
    }
    let main = html! {
        h1 { "Not under this name" }
        p.lead { "Without a password, the status page answers only under an address such as 127.0.0.1, localhost or " (guard.door.hostname) "." }
        p {
            "So no page from elsewhere can read it through your browser. To reach it under another name, give this listener a "
            code { "password_sha256" } " or a " code { "client_ca" } ", or let the proxy in front of it ask for 127.0.0.1."
        }
    };
    let frame = frame(&guard.control, "Not under this name", Place::Elsewhere, Depth::Top);
    frame.answer(StatusCode::MISDIRECTED_REQUEST, &main)
}

/// What an address asks for behind its question mark.
#[derive(Debug, Default, Deserialize)]
struct Wishes {
    refresh: Option<u16>,
    #[serde(default)]
    show: Which,
    state: Option<QueueState>,
}

impl Wishes {
    fn refresh(&self) -> Option<u16> {
        self.refresh.map(|seconds| seconds.clamp(*REFRESH.start(), *REFRESH.end()))
    }
}

type Asks = Result<UrlQuery<Wishes>, QueryRejection>;

async fn overview(State(control): State<Control>, asks: Asks) -> Response {
    let wishes = wishes(asks);
    let (status, latest, health, readiness, webhooks) = tokio::join!(
        look::status(&control),
        look::latest(&control.queue, GLANCE),
        control.watch.health(),
        control.watch.readiness(),
        control.daemon.webhooks(),
    );
    let (status, latest) = match (status, latest) {
        (Ok(status), Ok(latest)) => (status, latest),
        (Err(problem), _) | (_, Err(problem)) => return failed(&control, &problem, Depth::Top),
    };
    let now = control.clock.now();
    let checks = [health, readiness].concat();
    let attention = attention::items(&status, &checks, &webhooks.unwrap_or_default(), now);
    let decisions: Vec<_> = latest.into_iter().filter(|event| Which::All.takes(event)).collect();
    let overview = Overview { status: &status, attention: &attention, decisions: &decisions, now };
    let frame = Frame {
        refresh: wishes.refresh(),
        ..frame(&control, &overview.headline(), Place::Overview, Depth::Top)
    };
    frame.answer(StatusCode::OK, &overview.show())
}

async fn decisions(State(control): State<Control>, asks: Asks) -> Response {
    let wishes = wishes(asks);
    let latest = match look::latest(&control.queue, LOOK.0).await {
        Ok(latest) => latest,
        Err(problem) => return failed(&control, &problem, Depth::Top),
    };
    let which = wishes.show;
    let events: Vec<_> = latest.into_iter().filter(|event| which.takes(event)).take(LOOK.1).collect();
    let asked = match which {
        Which::All => None,
        Which::Trouble => Some("show=trouble".to_owned()),
    };
    let frame = Frame {
        refresh: wishes.refresh(),
        asked,
        ..frame(&control, "Decisions", Place::Decisions, Depth::Top)
    };
    frame.answer(StatusCode::OK, &lists::decisions_page(which, &events, frame.now))
}

async fn queue(State(control): State<Control>, asks: Asks) -> Response {
    let wishes = wishes(asks);
    // States in which messages end are many: those are found by their recipient or id.
    let state = wishes.state.filter(|state| !state.is_final()).unwrap_or(QueueState::Queued);
    let wanted = Query { state: Some(state), limit: ROWS, ..Query::default() };
    let found = match look::list(&control.queue, wanted, false).await {
        Ok(found) => found,
        Err(problem) => return failed(&control, &problem, Depth::Top),
    };
    let asked = Some(format!("state={}", state.as_str()));
    let frame =
        Frame { refresh: wishes.refresh(), asked, ..frame(&control, "Queue", Place::Queue, Depth::Top) };
    frame.answer(StatusCode::OK, &lists::queue_page(state, &found.messages, ROWS, frame.now))
}

async fn observed(State(control): State<Control>, asks: Asks) -> Response {
    let wishes = wishes(asks);
    let frame = Frame {
        refresh: wishes.refresh(),
        ..frame(&control, "Observed clients", Place::Observed, Depth::Top)
    };
    frame.answer(StatusCode::OK, &lists::observed_page(&control.daemon.observed(), frame.now))
}

/// The search is a form, so there is nothing to see at its own address.
async fn no_search() -> Response {
    see("./")
}

/// Leads to what is looked for. What was typed is in no address: a recipient goes on as its hash.
async fn search(State(control): State<Control>, body: Bytes) -> Response {
    let typed = form_urlencoded::parse(&body).find(|(name, _)| name == "q");
    let typed = typed.map(|(_, value)| value.trim().to_owned()).unwrap_or_default();
    let target = Target::parse(&typed, control.daemon.default_country());
    match target {
        Ok(Target::Id(id)) => see(&format!("message/{id}")),
        Ok(Target::Recipient(recipient)) => {
            see(&format!("recipient/{}", control.queue.recipient_key(&recipient).to_hex()))
        }
        Ok(Target::Key(key)) => see(&format!("recipient/{}", key.to_hex())),
        Err(problem) => failed(&control, &problem, Depth::Top),
    }
}

async fn message(State(control): State<Control>, UrlPath(id): UrlPath<String>) -> Response {
    match super::parse_id(&id) {
        Ok(id) => told(&control, Target::Id(id), Asked::Message).await,
        Err(problem) => failed(&control, &problem, Depth::Below),
    }
}

async fn recipient(State(control): State<Control>, UrlPath(key): UrlPath<String>) -> Response {
    match Digest::from_hex(&key) {
        Some(key) => told(&control, Target::Key(key), Asked::Recipient).await,
        None => failed(&control, &Problem::invalid("this is not the key of a recipient"), Depth::Below),
    }
}

async fn told(control: &Control, target: Target, asked: Asked) -> Response {
    let title = match asked {
        Asked::Message => "A message",
        Asked::Recipient => "Messages for a recipient",
    };
    let frame = frame(control, title, Place::Elsewhere, Depth::Below);
    match look::traced(&control.queue, target, false).await {
        Ok(trace) => frame.answer(StatusCode::OK, &story::page(&trace, asked, frame.now)),
        Err(problem) if problem.status == StatusCode::NOT_FOUND.as_u16() => {
            frame.answer(StatusCode::NOT_FOUND, &story::nothing(asked))
        }
        Err(problem) => failed(control, &problem, Depth::Below),
    }
}

fn failed(control: &Control, problem: &Problem, depth: Depth) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let main: Markup = story::problem(problem);
    frame(control, "This can't be shown", Place::Elsewhere, depth).answer(status, &main)
}

/// What can't be understood is as if it had not been asked for.
fn wishes(asks: Asks) -> Wishes {
    asks.map(|UrlQuery(wishes)| wishes).unwrap_or_default()
}

fn frame(control: &Control, title: &str, place: Place, depth: Depth) -> Frame {
    Frame {
        title: title.to_owned(),
        place,
        depth,
        hostname: control.daemon.hostname(),
        now: control.clock.now(),
        refresh: None,
        asked: None,
    }
}

/// Leads on to another page, relative to this one.
fn see(place: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}
