//! Codes that come as mail: which clients may send them, and to which domain. Nobody may who is not named.

use std::collections::BTreeMap;

use super::Context;
use crate::config::raw::{RawClient, RawOtp, Section};
use crate::config::reader::At;
use crate::config::words::quote;
use crate::ident::ClientName;
use crate::otp::{ByMail, Config};
use crate::sms::Factor;

/// Who may, where anybody may.
pub(super) fn resolve(cx: &Context<'_>, raw: &RawOtp, clients: &Section<RawClient>) -> Option<ByMail> {
    let named = clients.entries.iter().filter_map(|(name, client)| Some((name, client, asked(client)?)));
    let clients: BTreeMap<ClientName, Factor> = named
        .filter_map(|(name, client, at)| {
            let factor = factor_of(client);
            if factor.is_none() {
                let message = format!(
                    "`sms_by_mail` is for clients whose mail is all codes, and client {} is not bound to such a category",
                    quote(&name.value)
                );
                cx.report.error(&at.span, message).help("set category = \"signin\" or category = \"mfa\"");
            }
            Some((ClientName::new(&name.value), factor?))
        })
        .collect();
    if clients.is_empty() {
        if let Some(domain) = raw.mail_domain.as_ref().filter(|at| !cx.report.has_error_in(&at.span)) {
            cx.report
                .warning(&domain.span, "`mail_domain` has no effect: no client may send codes by mail")
                .help("set sms_by_mail = true in [clients.NAME]");
        }
        return None;
    }
    let domain = raw.mail_domain.as_ref().map(|at| at.value.clone());
    let domain = domain.unwrap_or_else(|| format!("sms.{}", cx.hostname.to_ascii_lowercase()));
    Some(ByMail { domain, clients })
}

/// Warns of a client that may, and whose factor is switched off. That is no error: it is how texts are stopped.
pub(super) fn check_factors(cx: &Context<'_>, clients: &Section<RawClient>, config: &Config) {
    for (name, client) in &clients.entries {
        let (Some(at), Some(factor)) = (asked(client), factor_of(client)) else { continue };
        if !config.takes(factor) {
            let (client, factor) = (quote(&name.value), factor.as_str());
            let message =
                format!("client {client} sends codes for the {factor} factor, which are switched off");
            cx.report.warning(&at.span, message).help(format!("set {factor} = true in [otp]"));
        }
    }
}

/// Warns where their codes, which are never told to be used, count as codes that were not.
pub(super) fn check_conversion(cx: &Context<'_>, raw: &RawOtp, config: &Config) {
    let closed = raw.limits.conversion_countries.as_ref().filter(|list| !list.value.is_empty());
    if let (Some(list), Some(_)) = (closed, &config.by_mail) {
        cx.report
            .warning(
                &list.span,
                "codes that come by mail are never told to be used, and would close these countries",
            )
            .help("leave out the countries that they go to");
    }
}

/// Where it is said that a client may.
pub(super) fn asked(client: &RawClient) -> Option<&At<bool>> {
    client.sms_by_mail.as_ref().filter(|at| at.value)
}

fn factor_of(client: &RawClient) -> Option<Factor> {
    let bound = client.category.as_ref()?.value.as_str();
    [Factor::Primary, Factor::Secondary].into_iter().find(|factor| factor.category() == bound)
}
