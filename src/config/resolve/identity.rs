//! Senders and businesses.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Context, NO_REPLY, or};
use crate::config::BusinessUrl;
use crate::config::raw::{RawBusiness, RawDkim, RawSender, Section};
use crate::config::reader::At;
use crate::config::words::quote;
use crate::ident::{BusinessName, SenderName};
use crate::rewrite::{Business, DkimKey, Sender};

/// Senders and businesses, as the stages want them.
pub(super) struct Identities {
    pub(super) senders: BTreeMap<SenderName, Arc<Sender>>,
    pub(super) businesses: BTreeMap<BusinessName, Business>,
    pub(super) domains: BTreeMap<String, BusinessName>,
    pub(super) urls: BTreeMap<BusinessName, BusinessUrl>,
}

/// Resolves both sections.
pub(super) fn resolve(
    cx: &Context<'_>,
    senders: &Section<RawSender>,
    businesses: &Section<RawBusiness>,
) -> Identities {
    let mut found = Identities {
        senders: BTreeMap::new(),
        businesses: BTreeMap::new(),
        domains: BTreeMap::new(),
        urls: BTreeMap::new(),
    };
    for (name, raw) in &senders.entries {
        if let Some(sender) = sender(cx, &name.value, raw) {
            found.senders.insert(sender.name.clone(), Arc::new(sender));
        }
    }
    let names: Vec<&str> = senders.names().collect();
    for (name, raw) in &businesses.entries {
        business(cx, name, raw, &names, &mut found);
    }
    found
}

/// Which sender is no-reply.
pub(super) fn no_reply(
    cx: &Context<'_>,
    named: Option<&At<String>>,
    senders: &Section<RawSender>,
) -> Option<SenderName> {
    let wanted = named.map_or(NO_REPLY, |at| at.value.as_str());
    if senders.names().any(|name| name == wanted) {
        return Some(SenderName::new(wanted));
    }
    match named {
        Some(at) => {
            let message = format!("there is no sender {}", quote(wanted));
            cx.report.unknown(&at.span, message, wanted, senders.names());
        }
        None => cx
            .report
            .error(
                &senders.span,
                "there is no sender `no-reply`, under whose name mail goes out that has no other",
            )
            .help("add [senders.no-reply], or name the one to use at the top: no_reply = \"NAME\""),
    }
    None
}

fn sender(cx: &Context<'_>, name: &str, raw: &RawSender) -> Option<Sender> {
    let Some(from) = &raw.from else {
        // Its keys are looked at all the same.
        raw.dkim.iter().for_each(|raw| drop(dkim(cx, raw, None)));
        return None;
    };
    let return_path = raw.return_path.as_ref();
    let literal =
        [(&from.span, &from.value.address)].into_iter().chain(return_path.map(|at| (&at.span, &at.value)));
    for (span, _) in literal.filter(|(_, address)| address.domain().starts_with('[')) {
        cx.report
            .error(span, "a sender's address needs a domain, not the address of a machine")
            .help("write it like \"no-reply@acme.example\"");
    }
    let domain = from.value.address.domain();
    Some(Sender {
        name: SenderName::new(name),
        from: from.value.clone(),
        return_path: return_path.map_or_else(|| from.value.address.clone(), |at| at.value.clone()),
        replace_null_reverse_path: or(raw.null_reverse_path.as_ref(), false),
        dkim: raw.dkim.iter().filter_map(|raw| dkim(cx, raw, Some(domain))).collect(),
    })
}

/// One key. What is wrong with its file is told whatever else is wrong, so a name that is wrong is read as another.
fn dkim(cx: &Context<'_>, raw: &RawDkim, from_domain: Option<&str>) -> Option<DkimKey> {
    if let Some(domain) = &raw.domain
        && let Some(from_domain) = from_domain
        && !within(from_domain, &domain.value)
        && !within(&domain.value, from_domain)
    {
        let message = format!(
            "{} is not the domain of `from`: receivers will not count the signature",
            quote(&domain.value)
        );
        cx.report.warning(&domain.span, message).help(format!("sign for {}", quote(from_domain)));
    }
    let path = raw.key_file.as_ref()?;
    let file = cx.read_secret(path)?;
    let domain = raw.domain.as_ref().map(|at| at.value.as_str()).or(from_domain).unwrap_or("localhost");
    let selector = raw.selector.as_ref().map_or("missing", |at| at.value.as_str());
    let pem = String::from_utf8_lossy(&file.bytes);
    match DkimKey::from_pem(domain, selector, &pem) {
        Ok(key) => Some(key),
        Err(problem) => {
            let message = format!("the DKIM key in {} can't be used: {problem}", file.path.display());
            cx.report.error(&path.span, message).help("`authrelay keygen` makes one");
            None
        }
    }
}

/// Whether `domain` is `parent` or lies below it.
fn within(domain: &str, parent: &str) -> bool {
    domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn business(
    cx: &Context<'_>,
    name: &At<String>,
    raw: &RawBusiness,
    senders: &[&str],
    found: &mut Identities,
) {
    let key = BusinessName::new(&name.value);
    let sender = raw.sender.as_ref();
    if let Some(at) = sender.filter(|at| !senders.contains(&at.value.as_str())) {
        let message = format!("there is no sender {}", quote(&at.value));
        cx.report.unknown(&at.span, message, &at.value, senders.iter().copied());
    }
    let domains = domains(raw);
    for domain in &domains {
        if let Some(other) = found.domains.insert(domain.value.clone(), key.clone()) {
            let message =
                format!("{} belongs to business {} already", quote(&domain.value), quote(other.as_str()));
            cx.report
                .error(&domain.span, message)
                .help("a domain belongs to one business; remove one of the two");
        }
    }
    if let Some(url) = &raw.url {
        let (url, host) = url.value.clone();
        found.urls.insert(key.clone(), BusinessUrl { url, host });
    }
    let business = Business {
        sender: sender.map(|at| SenderName::new(&at.value)),
        domains: domains.into_iter().map(|domain| domain.value).collect(),
        reply_to: raw.reply_to.as_ref().map(|at| at.value.clone()),
    };
    found.businesses.insert(key, business);
}

/// The mail domains: as listed, else the web address's.
pub(super) fn domains(raw: &RawBusiness) -> Vec<At<String>> {
    let of_url = || {
        let host = |at: &At<(String, String)>| At {
            value: at.value.1.strip_prefix("www.").unwrap_or(&at.value.1).to_owned(),
            span: at.span.clone(),
        };
        raw.url.iter().map(host).collect()
    };
    raw.domains.as_ref().map_or_else(of_url, |domains| domains.value.clone())
}
