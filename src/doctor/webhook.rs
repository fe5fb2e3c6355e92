//! Endpoints of webhooks: can they be found, may we go there, do they answer, and can they be trusted. No request is made:
//! `authrelay webhook test` makes one.

use std::io;

use super::certificate::Certificate;
use super::{Area, Finding};
use crate::clock::{Clock, Timestamp};
use crate::outbound::TlsSeen;
use crate::webhook::{Endpoint, Obstacle, probe_endpoint};

/// Goes as far as the TLS handshake.
pub(super) async fn examine(endpoint: &Endpoint, clock: Clock) -> Vec<Finding> {
    let finding = match probe_endpoint(endpoint).await {
        Ok(seen) => reached(endpoint, seen.as_ref(), clock.now()),
        Err(obstacle) => unreached(endpoint, &obstacle, clock.now()),
    };
    vec![finding]
}

fn reached(endpoint: &Endpoint, seen: Option<&TlsSeen>, now: Timestamp) -> Finding {
    let (name, target) = (endpoint.name(), &endpoint.target);
    let Some(TlsSeen { version, certificates }) = seen else {
        return Finding::ok(Area::Webhook, name, format!("{target} connected, on this machine"))
            .advise(test(endpoint));
    };
    let (until, overdue) = super::certificate::until(certificates, now);
    let text = format!("{target} connected with {version}, {until}");
    if overdue {
        return Finding::warning(Area::Webhook, name, text)
            .advise("it should have been renewed: tell who runs it");
    }
    Finding::ok(Area::Webhook, name, text).advise(test(endpoint))
}

fn test(endpoint: &Endpoint) -> String {
    format!("whether it takes our signature: authrelay webhook test {}", endpoint.name())
}

fn unreached(endpoint: &Endpoint, obstacle: &Obstacle, now: Timestamp) -> Finding {
    let (name, target) = (endpoint.name(), &endpoint.target);
    let finding = |what: String| Finding::error(Area::Webhook, name, format!("{target} {what}"));
    match obstacle {
        Obstacle::Name(why) => finding(format!("can't be found: {}", super::clean(why)))
            .advise("see to the spelling of `url`, and to this machine's DNS (/etc/resolv.conf)"),
        Obstacle::Forbidden(forbidden) => finding(format!("is not asked: {forbidden}")).advise(format!(
            "if it is meant, write allow_networks with its network in [webhooks.{name}]; if not, somebody \
             changed what the name stands for"
        )),
        Obstacle::Connect(kind) => finding(format!("can't be reached: {}", what(*kind)))
            .advise("does it run there, and does a firewall let this machine out to it?"),
        Obstacle::Timeout => finding("does not answer".to_owned())
            .advise("a firewall between here and there is most likely; `timeout` says how long it may take"),
        Obstacle::Tls(error, shown) => match shown.first().and_then(Certificate::read) {
            Some(certificate) => {
                let (why, advice) = certificate.explain(endpoint.target.host(), now);
                finding(format!("is not trusted: {why}")).advise(advice)
            }
            None => finding(format!("failed to begin TLS: {}", super::clean(error)))
                .advise("is `url` right, and its port? what answers there does not speak TLS"),
        },
    }
}

fn what(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            "there is no way to it".to_owned()
        }
        other => other.to_string(),
    }
}
