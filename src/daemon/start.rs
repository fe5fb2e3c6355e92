//! How each part is made from the others, for the start of the daemon.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handed::{HandedOver, Ready};
use super::{DaemonError, http, writer};
use crate::client::Gate;
use crate::clock::Clock;
use crate::conduct::{self, Conduct};
use crate::deliver::Delivery;
use crate::ident::ListenerName;
use crate::pipeline::Pipeline;
use crate::queue::{Outbox, Queue};
use crate::reception::{Codes, Reception, Reports};
use crate::smtp;
use crate::snapshot::Current;
use crate::webhook::Webhooks;

/// How many passwords that people chose are checked at once.
const PASSWORD_CHECKS: usize = 4;

/// What takes codes, and what takes the provider's reports of them.
pub(super) fn texts(
    current: &Current,
    pipeline: &Pipeline,
    queue: &Arc<Queue>,
    delivery: &Delivery,
    clock: Clock,
) -> (Arc<Codes>, Arc<Reports>) {
    let (current, queue, providers) = (|| current.clone(), || Arc::clone(queue), delivery.monitor());
    (
        Arc::new(Codes::new(current(), pipeline.clone(), queue(), providers, clock)),
        Arc::new(Reports::new(current(), queue(), clock)),
    )
}

pub(super) fn reception(
    current: &Current,
    pipeline: &Pipeline,
    queue: &Arc<Queue>,
    conduct: &Arc<Conduct>,
    clock: Clock,
) -> Result<Arc<Reception>, DaemonError> {
    let gate = Arc::new(Gate::new(PASSWORD_CHECKS)?);
    let (queue, conduct) = (Arc::clone(queue), Arc::clone(conduct));
    Ok(Arc::new(Reception::new(current.clone(), pipeline.clone(), queue, gate, conduct, clock)))
}

pub(super) fn delivery(
    queue: &Arc<Queue>,
    current: &Current,
    clock: Clock,
    stop: CancellationToken,
) -> Delivery {
    let (in_force, retry) = (current.clone(), current.clone());
    Delivery::start(
        Arc::clone(queue),
        Arc::new(move || writer::in_force(in_force.get())),
        Arc::new(move |category, class| retry.get().pipeline.policy.retry_clock(category, class)),
        clock,
        stop,
    )
}

pub(super) fn webhooks(
    outbox: Arc<dyn Outbox>,
    current: &Current,
    clock: Clock,
    stop: CancellationToken,
) -> Webhooks {
    let config = current.clone();
    Webhooks::start(outbox, Arc::new(move || Arc::clone(&config.get().config.webhooks)), clock, stop)
}

pub(super) async fn smtp_listeners(
    configs: &[smtp::ListenerConfig],
    handed: &mut HandedOver,
    server: &smtp::Server,
    sessions: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Vec<(ListenerName, SocketAddr)>, DaemonError> {
    let mut listeners = Vec::new();
    for config in configs {
        for (socket, address) in listen(config, handed).await? {
            tracing::info!(listener = %config.name, %address, "listening");
            listeners.push((config.name.clone(), address));
            sessions.spawn(smtp::run(socket, config.clone(), server.clone(), stop.clone()));
        }
    }
    Ok(listeners)
}

/// Binds the HTTP listeners; connections wait until they are served.
pub(super) async fn http_listeners(
    configs: &[crate::http::ListenerConfig],
    handed: &mut HandedOver,
) -> Result<Vec<http::Bound>, DaemonError> {
    let mut listeners = Vec::new();
    for config in configs {
        listeners.extend(http::bind(config.clone(), handed).await?);
    }
    Ok(listeners)
}

/// The sockets of a listener with their addresses.
async fn listen(
    config: &smtp::ListenerConfig,
    handed: &mut HandedOver,
) -> Result<Vec<(TcpListener, SocketAddr)>, DaemonError> {
    let address = match config.at {
        smtp::ListenAt::Address(address) => address,
        smtp::ListenAt::Systemd => return handed_over(config, handed),
    };
    let failed = |error| DaemonError::Listen { name: config.name.clone(), address, error };
    let socket = TcpListener::bind(address).await.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok(vec![(socket, address)])
}

fn handed_over(
    config: &smtp::ListenerConfig,
    handed: &mut HandedOver,
) -> Result<Vec<(TcpListener, SocketAddr)>, DaemonError> {
    let socket = |ready| match ready {
        Ready::Tcp(socket, address) => {
            if address.port() == 465 && config.tls != smtp::ListenerTls::Implicit {
                tracing::warn!(
                    "clients expect TLS from the first byte on port 465: set tls = \"implicit\" in [listeners.{}]",
                    config.name
                );
            }
            Ok((socket, address))
        }
        Ready::Unix(_) => {
            let error = std::io::Error::other("it is a unix socket, and SMTP needs one of TCP");
            Err(DaemonError::HandedOver { name: config.name.clone(), error })
        }
    };
    handed.give(&config.name)?.into_iter().map(socket).collect()
}

/// What clients were seen to do before the last stop.
pub(super) fn remembered(current: &Current) -> Conduct {
    let config = &current.get().config;
    let record = conduct::load(&config.conduct_file());
    Conduct::from_record(record, |client| config.policy.clients.contains_key(client))
}
