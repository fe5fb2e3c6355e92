//! Twilio: the account, its login, the senders, and what its clock says of ours.

use super::{Area, Finding, machine};
use crate::clock::Clock;
use crate::deliver::{
    TwilioAccount, TwilioConfig, TwilioFrom, TwilioLogin, TwilioTrouble, UpstreamConfig, probe_twilio,
};

/// Asks for the account and for every sender. Nothing is sent.
pub(super) async fn examine(upstream: &UpstreamConfig, twilio: &TwilioConfig, clock: Clock) -> Vec<Finding> {
    let probe = probe_twilio(twilio).await;
    let mut findings = vec![match &probe.account {
        Ok(account) => known(upstream, account.as_ref()),
        Err(trouble) => failed(upstream, twilio, trouble),
    }];
    findings.extend(probe.senders.iter().map(|(from, found)| sender(upstream, from, found)));
    findings.extend(probe.date.map(|date| machine::clock_against(date, "Twilio", clock.now())));
    findings
}

fn known(upstream: &UpstreamConfig, account: Option<&TwilioAccount>) -> Finding {
    let Some(TwilioAccount { status, kind }) = account else {
        let text = "the API key is accepted; it may not look at the account itself";
        return Finding::ok(Area::Upstream, &upstream.name, text);
    };
    let (status, kind) = (super::clean(status), super::clean(kind));
    if status != "active" {
        return Finding::error(
            Area::Upstream,
            &upstream.name,
            format!("the account is {status}: nothing is sent"),
        )
        .advise("see to the account in Twilio's console (most often its balance)");
    }
    if kind == "Trial" {
        let text = "the account is active, and on trial: it sends to verified numbers only";
        return Finding::warning(Area::Upstream, &upstream.name, text)
            .advise("upgrade the account in Twilio's console");
    }
    Finding::ok(Area::Upstream, &upstream.name, "the account is active, the login is accepted")
}

fn failed(upstream: &UpstreamConfig, twilio: &TwilioConfig, trouble: &TwilioTrouble) -> Finding {
    let base = &twilio.base_url;
    let name = &upstream.name;
    let advice = match trouble {
        TwilioTrouble::Login(_) => match twilio.login {
            TwilioLogin::AuthToken(_) => format!(
                "see to account_sid and the auth token of [upstreams.{name}]: after a rotation the secondary token \
                 becomes the primary one"
            ),
            TwilioLogin::ApiKey(..) => format!(
                "see to account_sid, api_key_sid and the key's secret of [upstreams.{name}]: is the key of this \
                 account and region?"
            ),
        },
        TwilioTrouble::Lost(_) => "is there a way out to it over HTTPS, and is base_url right?".to_owned(),
        TwilioTrouble::Tls(_) => {
            "install the package ca-certificates; if a proxy breaks TLS open, name its authority as `ca_file`"
                .to_owned()
        }
        TwilioTrouble::Status(404) => "there is no such account there: see to account_sid".to_owned(),
        TwilioTrouble::Status(429) => "too many requests at this moment: try again".to_owned(),
        TwilioTrouble::Status(_) => "see Twilio's status page, and base_url".to_owned(),
        TwilioTrouble::Unreadable
        | TwilioTrouble::NoSuchSender
        | TwilioTrouble::NoSms
        | TwilioTrouble::NotListed => "is base_url right?".to_owned(),
    };
    Finding::error(Area::Upstream, name, super::clean(&format!("{base}: {trouble}"))).advise(advice)
}

fn sender(upstream: &UpstreamConfig, from: &TwilioFrom, found: &Result<(), TwilioTrouble>) -> Finding {
    let (what, key) = match from {
        TwilioFrom::From(number) => (format!("sender {number}"), "from"),
        TwilioFrom::MessagingService(sid) => (format!("messaging service {sid}"), "messaging_service_sid"),
    };
    let name = &upstream.name;
    let Err(trouble) = found else {
        return Finding::ok(Area::Upstream, name, format!("{what} is there"));
    };
    let text = format!("{what}: {trouble}");
    match trouble {
        TwilioTrouble::NoSuchSender => Finding::error(Area::Upstream, name, text)
            .advise(format!("`{key}` is one of the account's own: see Twilio's console")),
        TwilioTrouble::NoSms => {
            Finding::error(Area::Upstream, name, text).advise("use a number with the capability SMS")
        }
        TwilioTrouble::NotListed => Finding::note(Area::Upstream, name, text)
            .advise("names are allowed in some countries only, and must be registered in many"),
        TwilioTrouble::Login(_) => Finding::note(Area::Upstream, name, text)
            .advise("the API key may not look at it; sending needs no more than it may"),
        TwilioTrouble::Lost(_)
        | TwilioTrouble::Tls(_)
        | TwilioTrouble::Status(_)
        | TwilioTrouble::Unreadable => {
            Finding::warning(Area::Upstream, name, text).advise("it could not be asked for: try again")
        }
    }
}
