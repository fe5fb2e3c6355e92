//! What is in force for texts.

use std::collections::BTreeSet;

use super::{Text, quoted};
use crate::config::Config;
use crate::config::value::texts::show_limit;
use crate::deliver::{TwilioConfig, TwilioFrom, TwilioLogin};
use crate::guard::sms::Limit;
use crate::http::{Bind, Interface, ListenerConfig};
use crate::ident::ClientName;
use crate::mail::PhoneNumber;
use crate::phone::Country;

/// `[http.NAME]`
pub(super) fn http(text: &mut Text, listeners: &[ListenerConfig]) {
    if listeners.is_empty() {
        text.header("http", "");
        text.line("# no HTTP listener");
    }
    for listener in listeners {
        text.header("http", listener.name.as_str());
        match &listener.bind {
            Bind::Tcp(address) => text.text("address", &address.to_string()),
            Bind::Systemd => text.text("address", "systemd"),
            Bind::Unix(path, mode) => {
                text.path("socket", path);
                text.text("socket_mode", &format!("{mode:04o}"));
            }
        }
        text.text("tls", if listener.tls { "on" } else { "off" });
        let name = |interface: &Interface| match interface {
            Interface::Otp => "otp",
            Interface::Callback => "callback",
            Interface::Admin => "admin",
        };
        text.list("serves", listener.serves.iter().map(name));
        if listener.password.is_some() {
            text.line("# password_sha256: set");
        }
        if let Some(client_ca) = &listener.client_ca {
            text.path("client_ca", client_ca);
        }
    }
}

/// Whether a client may send codes by mail.
pub(super) fn client(text: &mut Text, config: &Config, name: &ClientName) {
    let by_mail = config.otp.by_mail.as_ref();
    text.value("sms_by_mail", by_mail.is_some_and(|by_mail| by_mail.clients.contains_key(name)));
}

/// `[otp]`
pub(super) fn otp(text: &mut Text, config: &Config) {
    let (otp, guard) = (&config.otp, &config.sms_guard);
    text.header("otp", "");
    text.value("primary", otp.primary);
    text.value("secondary", otp.secondary);
    text.value("code_shortest", otp.code.shortest);
    text.value("code_longest", otp.code.longest);
    text.value("code_letters", otp.code.letters);
    match &otp.default_country {
        Some(country) => text.text("default_country", country.as_str()),
        None => text.line("# default_country: none; numbers have their country"),
    }
    text.value("origin_bound", otp.origin_bound);
    match &otp.by_mail {
        Some(by_mail) => text.text("mail_domain", &by_mail.domain),
        None => text.line("# mail_domain: none; no client may send codes by mail"),
    }
    countries(text, "countries", &guard.countries);
    if !guard.costs_money {
        text.line("# countries count only where an upstream is Twilio");
    }
    let mut test_numbers: Vec<&str> = guard.test_numbers.iter().map(PhoneNumber::as_str).collect();
    test_numbers.sort_unstable();
    text.list("test_numbers", test_numbers);
    limits(text, "per_number", &guard.per_number);
    limits(text, "per_prefix", &guard.per_prefix);
    limits(text, "per_client", &guard.per_client);
    limits(text, "per_business", &guard.per_business);
    limits(text, "in_all", &guard.in_all);
    text.value("client_rate", guard.smoothing.client_per_second);
    text.value("client_burst", guard.smoothing.client_burst);
    text.duration("number_pause", guard.smoothing.number_pause);
    countries(text, "conversion_countries", &guard.conversion.countries);
    text.value("conversion_least", guard.conversion.least_percent);
}

fn countries(text: &mut Text, key: &str, countries: &BTreeSet<Country>) {
    text.list(key, countries);
}

fn limits(text: &mut Text, key: &str, limits: &[Limit]) {
    text.list(key, limits.iter().map(show_limit));
}

/// The keys of `kind = "twilio"`.
pub(super) fn twilio(text: &mut Text, twilio: &TwilioConfig) {
    text.text("kind", "twilio");
    text.text("account_sid", &twilio.account_sid);
    if let TwilioLogin::ApiKey(sid, _) = &twilio.login {
        text.text("api_key_sid", sid);
        text.line("# api_key_secret: set");
    }
    text.line(if twilio.auth_token.is_some() { "# auth_token: set" } else { "# auth_token: none" });
    match &twilio.from {
        TwilioFrom::From(from) => text.text("from", from),
        TwilioFrom::MessagingService(sid) => text.text("messaging_service_sid", sid),
    }
    for (prefix, from) in &twilio.from_by_prefix {
        let (TwilioFrom::From(from) | TwilioFrom::MessagingService(from)) = from;
        text.text(&format!("from_by_prefix.{}", quoted(prefix)), from);
    }
    text.text("base_url", &twilio.base_url);
    match &twilio.public_url {
        Some(url) => text.text("public_url", url),
        None => text.line("# public_url: none; Twilio is asked what became of a text"),
    }
    match twilio.risk_check {
        Some(check) => text.value("risk_check", check),
        None => text.line("# risk_check: as set in the account"),
    }
    text.value("discard_content", twilio.discard_content);
    text.value("obfuscate_address", twilio.obfuscate_address);
    text.value("feedback", twilio.feedback);
    text.duration("timeouts.connect", twilio.connect);
    text.duration("timeouts.answer", twilio.answer);
}
