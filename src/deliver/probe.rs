//! Asks upstreams whether they would take what we have, without sending anything: for an operator, outside of any queue.
//!
//! Over SMTP nothing is said beyond EHLO, STARTTLS, AUTH, MAIL, RSET and QUIT, so there is never a recipient and never a
//! message. Breakers, rates and pools are neither asked nor told.

use std::sync::Arc;

use mail_send::Error;
use rustls::pki_types::CertificateDer;

use super::connection::{Opened, QUIT_TIMEOUT, secure};
use super::reply::{HandOver, Step, judge, lost};
use super::{SmtpConfig, UpstreamTls};
use crate::mail::ReversePath;
use crate::outbound::{Onlooker, TlsSeen};
use crate::outcome::{Reason, ReasonClass};

/// What an SMTP upstream let us do.
#[derive(Debug)]
pub struct SmtpProbe {
    /// What its handshake showed, where there was one.
    pub tls: Option<TlsSeen>,
    /// Why nothing further was tried: the connection, TLS, or the login.
    pub obstacle: Option<Reason>,
    /// For each reverse-path, in their order, what MAIL was answered; `Err` where it was not taken. Empty where there
    /// was an obstacle.
    pub senders: Vec<Result<(), Reason>>,
}

/// Connects, encrypts, logs in, and asks for each of `senders` whether MAIL takes it. Nothing is sent.
pub async fn probe_smtp(config: &SmtpConfig, hostname: &str, senders: &[ReversePath]) -> SmtpProbe {
    let mut probe = SmtpProbe { tls: None, obstacle: None, senders: Vec::new() };
    let opened = match open(config, hostname, &mut probe.tls).await {
        Ok(opened) => opened,
        Err(hand_over) => {
            probe.obstacle = hand_over.reason().cloned();
            return probe;
        }
    };
    let mut open_one = Some(opened);
    for sender in senders {
        let mut opened = match open_one.take() {
            Some(opened) => opened,
            // What was refused may have closed the connection; the next sender is not to suffer for it.
            None => match open(config, hostname, &mut probe.tls).await {
                Ok(opened) => opened,
                Err(hand_over) => {
                    probe.senders.push(hand_over.reason().cloned().map_or(Ok(()), Err));
                    continue;
                }
            },
        };
        let answered = mail(&mut opened, sender).await;
        open_one = reset(&mut opened).await.then_some(opened);
        probe.senders.push(answered);
    }
    if let Some(mut opened) = open_one {
        opened.client.timeout = QUIT_TIMEOUT;
        // Whatever it says to this, the connection ends here.
        let _ = opened.client.cmd(b"QUIT\r\n").await;
    }
    probe
}

/// The certificates an upstream shows, for whoever wants to know why they are not trusted. The handshake is always broken
/// off: nothing is ever sent over it.
pub async fn certificates_shown(config: &SmtpConfig, hostname: &str) -> Vec<CertificateDer<'static>> {
    let onlooker = Arc::new(Onlooker::default());
    let Some(tls) = onlooker.client() else { return Vec::new() };
    let tls = match &config.tls {
        UpstreamTls::StartTls(_) => UpstreamTls::StartTls(tls),
        UpstreamTls::Implicit(_) => UpstreamTls::Implicit(tls),
        UpstreamTls::Plain | UpstreamTls::ByDialler(_) => return Vec::new(),
    };
    let config = SmtpConfig { tls, credentials: None, ..config.clone() };
    // It fails, by design; what was shown until then is what is asked for.
    let _ = tokio::time::timeout(config.timeouts.connect, secure(&config, hostname)).await;
    onlooker.shown()
}

async fn open(config: &SmtpConfig, hostname: &str, tls: &mut Option<TlsSeen>) -> Result<Opened, HandOver> {
    let opening = async {
        let mut opened = secure(config, hostname).await?;
        tls.clone_from(&opened.tls);
        opened.log_in(config).await?;
        opened.client.timeout = config.timeouts.command;
        Ok(opened)
    };
    let opened = tokio::time::timeout(config.timeouts.connect, opening).await;
    opened.unwrap_or_else(|_| Err(lost(Step::Greeting, &Error::Timeout)))
}

async fn mail(opened: &mut Opened, sender: &ReversePath) -> Result<(), Reason> {
    let address = sender.as_str();
    if !address.is_ascii() && !opened.offers_smtp_utf8() {
        let text = "the address needs SMTPUTF8, which is not offered";
        return Err(Reason::new(ReasonClass::Capability, text));
    }
    let parameters = if address.is_ascii() { "" } else { " SMTPUTF8" };
    let command = format!("MAIL FROM:<{address}>{parameters}\r\n");
    match opened.client.cmd(command.as_bytes()).await {
        Ok(reply) if (200..300).contains(&reply.code) => Ok(()),
        Ok(reply) => judge(Step::Mail, &reply).reason().cloned().map_or(Ok(()), Err),
        Err(error) => lost(Step::Mail, &error).reason().cloned().map_or(Ok(()), Err),
    }
}

/// Forgets the transaction. `false`: the connection is of no further use.
async fn reset(opened: &mut Opened) -> bool {
    matches!(opened.client.cmd(b"RSET\r\n").await, Ok(reply) if (200..300).contains(&reply.code))
}
