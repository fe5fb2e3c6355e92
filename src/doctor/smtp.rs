//! SMTP upstreams: can it be reached, who is it, does it know us, and does it take each sender.

use std::net::IpAddr;
use std::sync::Arc;

use super::certificate::Certificate;
use super::{Area, Finding};
use crate::clock::{Clock, Timestamp};
use crate::deliver::{SmtpConfig, SmtpProbe, UpstreamConfig, UpstreamTls, certificates_shown, probe_smtp};
use crate::mail::ReversePath;
use crate::outbound::TlsSeen;
use crate::outcome::{Reason, ReasonClass};
use crate::rewrite::Sender;

/// Connects, logs in, and asks for every sender. Nothing is sent.
pub(super) async fn examine(
    upstream: &UpstreamConfig,
    smtp: &SmtpConfig,
    hostname: &str,
    senders: &[&Arc<Sender>],
    clock: Clock,
) -> Vec<Finding> {
    if let Some(finding) = unresolved(upstream, smtp).await {
        return vec![finding];
    }
    let mut paths: Vec<ReversePath> =
        senders.iter().map(|sender| ReversePath::Address(sender.return_path.clone())).collect();
    let keeps_null = senders.iter().any(|sender| !sender.replace_null_reverse_path);
    if keeps_null {
        paths.push(ReversePath::Null);
    }
    let probe = probe_smtp(smtp, hostname, &paths).await;
    if let Some(reason) = &probe.obstacle {
        return vec![obstacle(upstream, smtp, hostname, reason, clock.now()).await];
    }
    let mut findings = vec![connected(upstream, smtp, &probe, clock.now())];
    let answers = senders.iter().zip(&probe.senders);
    findings.extend(answers.map(|(sender, answer)| taken(upstream, sender, answer)));
    if keeps_null && let Some(Err(reason)) = probe.senders.last() {
        findings.push(null_refused(upstream, reason));
    }
    findings
}

async fn unresolved(upstream: &UpstreamConfig, smtp: &SmtpConfig) -> Option<Finding> {
    let looking = tokio::net::lookup_host((smtp.host.as_str(), smtp.port));
    let why = match tokio::time::timeout(smtp.timeouts.connect, looking).await {
        Ok(Ok(mut addresses)) => addresses.next().is_none().then(|| "it has no address".to_owned()),
        Ok(Err(error)) => Some(super::clean(&error.to_string())),
        Err(_) => Some("no answer in time".to_owned()),
    };
    let why = why?;
    let finding =
        Finding::error(Area::Upstream, &upstream.name, format!("{} can't be found: {why}", smtp.host));
    Some(finding.advise("see to the spelling of `host`, and to this machine's DNS (/etc/resolv.conf)"))
}

/// It works up to the login.
fn connected(upstream: &UpstreamConfig, smtp: &SmtpConfig, probe: &SmtpProbe, now: Timestamp) -> Finding {
    let place = format!("{}:{}", smtp.host, smtp.port);
    let login = if smtp.credentials.is_some() { "logged in" } else { "no login is configured" };
    let Some(TlsSeen { version, certificates }) = &probe.tls else {
        let text = format!("{place} connected in plain text, {login}");
        let is_here = smtp.host == "localhost"
            || smtp.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        return if is_here {
            Finding::ok(Area::Upstream, &upstream.name, text)
        } else {
            Finding::warning(Area::Upstream, &upstream.name, text)
                .advise("codes and links cross the network readable: set tls = \"starttls\"")
        };
    };
    let (until, overdue) = super::certificate::until(certificates, now);
    let text = format!("{place} connected with {version}, {until}, {login}");
    if overdue {
        return Finding::warning(Area::Upstream, &upstream.name, text)
            .advise("it should have been renewed: tell who runs it");
    }
    Finding::ok(Area::Upstream, &upstream.name, text)
}

async fn obstacle(
    upstream: &UpstreamConfig,
    smtp: &SmtpConfig,
    hostname: &str,
    reason: &Reason,
    now: Timestamp,
) -> Finding {
    let place = format!("{}:{}", smtp.host, smtp.port);
    let finding =
        |what: &str| Finding::error(Area::Upstream, &upstream.name, format!("{place} {what}: {reason}"));
    match reason.class {
        ReasonClass::Tls => {
            let shown = certificates_shown(smtp, hostname).await;
            match shown.first().and_then(Certificate::read) {
                Some(certificate) => {
                    let (why, advice) = certificate.explain(&smtp.host, now);
                    Finding::error(Area::Upstream, &upstream.name, format!("{place} is not trusted: {why}"))
                        .advise(advice)
                }
                None => finding("failed to begin TLS").advise(no_tls(&smtp.tls)),
            }
        }
        ReasonClass::Auth => finding("connected, but does not let us log in").advise(format!(
            "see to `user` and the password of [upstreams.{}]; some providers want a password for SMTP alone, \
             or have SMTP switched off for the account",
            upstream.name
        )),
        ReasonClass::Connect => finding("can't be reached").advise(
            "is `port` right, does the server run, and does a firewall let this machine out to it? \
             Many networks block port 25: use 587 or 465",
        ),
        ReasonClass::Timeout => finding("does not answer").advise(
            "a firewall between here and there is most likely; with the wrong `tls` for the port both sides wait too",
        ),
        ReasonClass::Reply
        | ReasonClass::Capability
        | ReasonClass::NoRoute
        | ReasonClass::Sender
        | ReasonClass::Local
        | ReasonClass::Expired
        | ReasonClass::Superseded
        | ReasonClass::Operator
        | ReasonClass::Policy => {
            finding("connected, but does not serve us").advise("these are its own words; ask who runs it")
        }
    }
}

fn no_tls(tls: &UpstreamTls) -> &'static str {
    match tls {
        UpstreamTls::StartTls(_) => {
            "does this port speak STARTTLS? On port 465 TLS begins with the first byte: tls = \"implicit\""
        }
        UpstreamTls::Implicit(_) => {
            "does TLS begin with the first byte on this port? On 587 and 25 it does not: tls = \"starttls\""
        }
        UpstreamTls::Plain | UpstreamTls::ByDialler(_) => "ask who runs it",
    }
}

fn taken(upstream: &UpstreamConfig, sender: &Sender, answer: &Result<(), Reason>) -> Finding {
    let (name, address) = (&sender.name, sender.return_path.masked());
    match answer {
        Ok(()) => {
            Finding::ok(Area::Upstream, &upstream.name, format!("takes mail of sender {name} ({address})"))
        }
        Err(reason) if reason.class == ReasonClass::Capability => {
            let text = format!("can't take mail of sender {name} ({address}): {reason}");
            Finding::error(Area::Upstream, &upstream.name, text)
                .advise(format!("give [senders.{name}] a return_path in ASCII"))
        }
        Err(reason) => {
            let text = format!("refuses mail of sender {name} ({address}): {reason}");
            Finding::error(Area::Upstream, &upstream.name, text).advise(format!(
                "verify this address or its domain at the provider, or leave the sender out of `senders` in \
                 [upstreams.{}]",
                upstream.name
            ))
        }
    }
}

fn null_refused(upstream: &UpstreamConfig, reason: &Reason) -> Finding {
    let text = format!("refuses mail with the empty envelope sender <>: {reason}");
    Finding::warning(Area::Upstream, &upstream.name, text)
        .advise("where an application sends with <>, set null_reverse_path = \"replace\" for the sender")
}
