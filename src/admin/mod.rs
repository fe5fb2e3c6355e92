//! The control interface: HTTP and JSON on a unix socket, for the command line; and what listeners show of it to those who
//! run the daemon: metrics, health and the status page.
//!
//! Who may connect is the socket's file mode. Addresses are masked; the whole ones are shown only to the socket's owner
//! and root, who ask for them.

mod audit;
mod clients;
mod door;
mod keys;
mod log;
mod look;
mod operate;
mod page;
mod reload;
mod send_test;
mod view;
mod watch;
mod webhooks;

pub use crate::http::Problem;
pub use audit::{AuditPage, DecisionView, StepView};
pub use clients::{ClientView, ClientsView, StrangerView};
pub use door::{Callers, Door};
pub use keys::KeysView;
pub use log::{LogView, SetLog};
pub use look::parse_recipient;
pub use reload::{CertificateView, ReloadView, ReloadsView};
pub use send_test::{SendTest, SendTestCode, Sent};
pub use view::{
    Acted, BurstView, EventView, FlowView, ForeignHostView, ListView, MessageView, ObserveView, ReportsView,
    StatusView, TraceView, UpstreamView, WouldRefuseView,
};
pub use watch::{Check, HealthView, Watch};
pub use webhooks::{WebhookEnabled, WebhookTested, WebhookView, WebhooksView};

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path as UrlPath, Query as UrlQuery, State};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::ident::{BurstId, ClientName, EndpointName, MessageId};
use crate::metrics::CategoryFlow;
use crate::phone::Country;
use crate::queue::{Entry, Query, Queue, State as QueueState};
use look::Target;

/// What the router asks for things that are not in the queue.
#[async_trait]
pub trait Daemon: Send + Sync + 'static {
    /// The upstreams and how they do.
    fn upstreams(&self) -> Vec<UpstreamView>;

    /// The listeners, as `name address`.
    fn listeners(&self) -> Vec<String>;

    /// The name of this machine, as it is configured.
    fn hostname(&self) -> String;

    /// What happened in the last hour, by category.
    fn last_hour(&self) -> Vec<CategoryFlow>;

    /// The clients that are only observed.
    fn observed(&self) -> Vec<ObserveView>;

    /// What the SMS provider reported, where one was told where to.
    fn reports(&self) -> Option<ReportsView>;

    /// The foreign hosts that mail led to since the daemon began.
    fn foreign_hosts(&self) -> Vec<ForeignHostView>;

    /// The webhook endpoints and how they stand.
    async fn webhooks(&self) -> Result<Vec<WebhookView>, Problem>;

    /// Sends a test to a webhook endpoint.
    async fn test_webhook(&self, name: &EndpointName) -> Result<WebhookTested, Problem>;

    /// Lets a webhook endpoint be told again.
    async fn enable_webhook(&self, name: &EndpointName) -> Result<(), Problem>;
    /// What clients were seen to do.
    fn clients(&self) -> ClientsView;

    /// The country by which national phone numbers are read.
    fn default_country(&self) -> Option<Country>;

    /// What the guards object to in a message as it was stored; `None` where they let it out.
    fn objection(&self, row: &Entry, message: &Bytes) -> Option<String>;

    /// When the process began.
    fn started(&self) -> Timestamp;

    /// How much is logged.
    fn log(&self) -> LogView;

    /// Changes how much is logged. `Err` where a level can't be understood; then nothing is changed.
    fn set_log(&self, wanted: &SetLog) -> Result<(), Problem>;
    /// How the reloads went since then.
    fn reloads(&self) -> ReloadsView;

    /// The certificate files in use.
    fn certificates(&self) -> Vec<CertificateView>;

    /// The keys that the queue is sealed with.
    fn keys(&self) -> KeysView;

    /// Reads the configuration again. Returns when it is in force, or when it is clear that it won't be.
    async fn reload(&self) -> ReloadView;

    /// Sends a test message through the whole pipeline; gives the reply a client would have got. `Err` where it names
    /// something that is not configured.
    async fn send_test(&self, test: SendTest) -> Result<Sent, Problem>;

    /// Sends a random code to a phone, through the whole pipeline. `Err` where it names something that is not configured.
    async fn send_test_code(&self, test: SendTestCode) -> Result<Sent, Problem>;
}

/// What the router works on.
#[derive(Clone)]
pub struct Control {
    /// The queue.
    pub queue: Arc<Queue>,
    /// The rest of the daemon.
    pub daemon: Arc<dyn Daemon>,
    /// Metrics and health.
    pub watch: Arc<dyn Watch>,
    /// The clock.
    pub clock: Clock,
}

/// The most rows one answer holds.
const MOST_ROWS: usize = 1000;

/// The control interface's routes.
pub fn router(control: Control) -> Router {
    let watched = watch::router(Arc::clone(&control.watch));
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/clients", get(clients::handle))
        .route("/v1/queue", get(list))
        .route("/v1/queue/{id}", get(show))
        .route("/v1/queue/{id}/{operation}", post(operate::operate))
        .route("/v1/bursts/{id}/{operation}", post(operate::operate_burst))
        .route("/v1/trace", get(trace))
        .route("/v1/log", get(log::show).post(log::set))
        .route("/v1/audit", get(audit::audit))
        .route("/v1/webhooks", get(webhooks::list))
        .route("/v1/webhooks/{name}/test", post(webhooks::test))
        .route("/v1/webhooks/{name}/enable", post(webhooks::enable))
        .route("/v1/reload", post(reload::handle))
        .route("/v1/send-test", post(send_test::handle))
        .route("/v1/send-test/sms", post(send_test::handle_code))
        .method_not_allowed_fallback(async || Problem::no_method())
        .fallback(async || Problem::no_route())
        .with_state(control)
        .merge(watched)
}

/// What is found at a listener for those who run it: metrics, health and the status page. All of it is read-only.
pub fn listener_router(control: Control, door: &Door) -> Router {
    let watched = watch::router(Arc::clone(&control.watch));
    door.before(watched.merge(page::router(control, door)))
}

/// Serves the router on a unix socket until `shutdown`.
pub async fn serve(listener: UnixListener, path: PathBuf, control: Control, shutdown: CancellationToken) {
    let owner = std::fs::metadata(&path).map(|socket| socket.uid()).ok();
    let app = router(control).layer(axum::Extension(SocketOwner(owner)));
    let service = app.into_make_service_with_connect_info::<Caller>();
    let served = axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the control socket failed");
    }
    remove_socket(&path);
}

fn remove_socket(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(%error, "the control socket could not be removed");
    }
}

/// Who is at the other end of the socket.
#[derive(Debug, Clone, Copy)]
struct Caller {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|cred| cred.uid()) }
    }
}

#[derive(Debug, Clone, Copy)]
struct SocketOwner(Option<u32>);

/// Whether the caller may see whole addresses: the socket's owner, and root.
struct MaySeeAll(bool);

impl<S: Send + Sync> FromRequestParts<S> for MaySeeAll {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        let caller = parts.extensions.get::<ConnectInfo<Caller>>().and_then(|info| info.0.uid);
        let owner = parts.extensions.get::<SocketOwner>().and_then(|owner| owner.0);
        Ok(Self(caller.is_some_and(|uid| uid == 0 || Some(uid) == owner)))
    }
}

async fn status(State(control): State<Control>) -> Result<Json<StatusView>, Problem> {
    look::status(&control).await.map(Json)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    state: Option<QueueState>,
    client: Option<ClientName>,
    burst: Option<BurstId>,
    to: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    full: bool,
}

async fn list(
    State(control): State<Control>,
    whole: MaySeeAll,
    query: Result<UrlQuery<ListQuery>, QueryRejection>,
) -> Result<Json<ListView>, Problem> {
    let UrlQuery(query) = query?;
    let limit = query.limit.unwrap_or(100).clamp(1, MOST_ROWS);
    let to = query.to.map(|to| parse_recipient(&to, control.daemon.default_country())).transpose()?;
    let recipient_key = to.map(|recipient| control.queue.recipient_key(&recipient));
    let wanted = Query {
        state: query.state,
        client: query.client,
        recipient_key,
        burst: query.burst,
        limit,
        id: None,
    };
    let shown = may_show(query.full, &whole)?;
    look::list(&control.queue, wanted, shown).await.map(Json)
}

fn may_show(full: bool, whole: &MaySeeAll) -> Result<bool, Problem> {
    match (full, whole.0) {
        (true, false) => {
            Err(Problem::forbidden("whole addresses are shown to the socket's owner and root only"))
        }
        (full, _) => Ok(full),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowQuery {
    #[serde(default)]
    full: bool,
}

async fn show(
    State(control): State<Control>,
    whole: MaySeeAll,
    UrlPath(id): UrlPath<String>,
    query: Result<UrlQuery<ShowQuery>, QueryRejection>,
) -> Result<Json<TraceView>, Problem> {
    let UrlQuery(query) = query?;
    let shown = may_show(query.full, &whole)?;
    look::traced(&control.queue, Target::Id(parse_id(&id)?), shown).await.map(Json)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceQuery {
    q: String,
    #[serde(default)]
    full: bool,
}

async fn trace(
    State(control): State<Control>,
    whole: MaySeeAll,
    query: Result<UrlQuery<TraceQuery>, QueryRejection>,
) -> Result<Json<TraceView>, Problem> {
    let UrlQuery(query) = query?;
    let shown = may_show(query.full, &whole)?;
    let target = Target::parse(&query.q, control.daemon.default_country())?;
    look::traced(&control.queue, target, shown).await.map(Json)
}

fn parse_id(text: &str) -> Result<MessageId, Problem> {
    text.parse().map_err(|_| Problem::invalid("this is not a message id"))
}
