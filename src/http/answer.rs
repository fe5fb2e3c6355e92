//! One request: its body is read whole before the router sees it, all within a time limit, and a defect in a handler
//! costs that request only.
//!
//! A handler may be dropped where it is when its time is over; nothing else drops it, not a peer that goes away.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{HeaderValue, Request, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::time::{Instant, timeout_at};

use crate::defect;

use super::{Kind, Problem};

/// The largest body that any interface takes; each may take less.
const LARGEST_BODY: u64 = 16 * 1024;

/// How much of a body that is too large is still read. A peer that is cut off while it writes may never see why.
const MOST_DISCARDED: u64 = 1024 * 1024;

/// Answers a request within `limit`. No answer is kept by a cache.
pub(super) async fn answer(router: Router, request: Request<Incoming>, limit: Duration) -> Response {
    kept_by_nobody(answered(router, request, limit).await)
}

fn kept_by_nobody(mut response: Response) -> Response {
    let fields = response.headers_mut();
    fields.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn answered(router: Router, request: Request<Incoming>, limit: Duration) -> Response {
    let deadline = Instant::now() + limit;
    let request = match timeout_at(deadline, received(request)).await {
        Ok(Ok(request)) => request,
        Ok(Err(problem)) => return and_close(problem),
        Err(_) => return and_close(Problem::of(Kind::RequestTimeout, "the body did not come in time")),
    };
    let routed = TowerToHyperService::new(router).call(request);
    match timeout_at(deadline, defect::survive(routed)).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(_)) => {
            tracing::error!("a request ended by a defect");
            Problem::of(Kind::InternalError, "an internal error").into_response()
        }
        Err(_) => {
            let problem = Problem::of(Kind::Overloaded, "the answer took too long; try again");
            problem.retry_after(Duration::from_secs(1)).into_response()
        }
    }
}

/// What a connection is told for which there is no place.
pub(super) fn no_place() -> Response {
    let problem = Problem::of(Kind::Overloaded, "too many connections; try again");
    kept_by_nobody(and_close(problem.retry_after(Duration::from_secs(1))))
}

/// The router's answer never fails.
pub(super) type Answer = Result<Response, Infallible>;

/// What is left of the request on the connection is not read any more.
fn and_close(problem: Problem) -> Response {
    problem.with_field(header::CONNECTION, HeaderValue::from_static("close")).into_response()
}

async fn received(request: Request<Incoming>) -> Result<Request<Body>, Problem> {
    let (head, mut body) = request.into_parts();
    if body.size_hint().lower() > MOST_DISCARDED {
        return Err(too_large());
    }
    let mut kept = Vec::new();
    let mut seen: u64 = 0;
    while let Some(data) = next_data(&mut body).await? {
        seen = seen.saturating_add(data.len() as u64);
        if seen > MOST_DISCARDED {
            return Err(too_large());
        }
        if seen <= LARGEST_BODY {
            kept.extend_from_slice(&data);
        }
    }
    if seen > LARGEST_BODY {
        return Err(too_large());
    }
    Ok(Request::from_parts(head, Body::from(kept)))
}

/// The next bytes of the body; trailers are passed over.
async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, Problem> {
    let mut body = std::pin::Pin::new(body);
    loop {
        match std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(_)) => {
                return Err(Problem::of(Kind::InvalidRequest, "the body is broken off or wrongly framed"));
            }
        }
    }
}

fn too_large() -> Problem {
    Problem::of(Kind::ContentTooLarge, "the body is larger than anything that is taken here")
}
