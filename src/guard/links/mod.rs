//! The link guard: where a message leads, and whether that is the business's own.
//!
//! Every link is told apart: an *action* link lets somebody in or is what the message asks to be clicked; a foreign one
//! of these is what phishing is made of, and is refused. Other foreign links (help pages, social networks) are flagged.
//! Pure; trusts nothing in the message. Only names of hosts ever leave this module, never an address, and a label of a
//! host that may itself be a token is left out of it.

mod address;
mod alike;
mod token;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use url::Url;

use address::Place;

use crate::policy::{Body, Recognition, Target, TargetKind, Text, links_in_text};

/// How strict the link guard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkGuard {
    /// Foreign action links are refused, other foreign links are flagged.
    #[default]
    On,
    /// Every foreign link is refused.
    Strict,
    /// Links are not looked at.
    Off,
}

/// Where the mail of a business may lead. Domains are in lower case and ASCII; subdomains are included, but for a name
/// without a dot, which is that one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Domains {
    /// Its own.
    pub allowed: Vec<String>,
    /// Those of services that count clicks and send on.
    pub tracking: Vec<String>,
    /// Those that its pictures come from.
    pub images: Vec<String>,
}

impl Domains {
    /// Everything that any of `all` allows.
    pub fn union<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut union = Self::default();
        for Self { allowed, tracking, images } in all {
            union.allowed.extend_from_slice(allowed);
            union.tracking.extend_from_slice(tracking);
            union.images.extend_from_slice(images);
        }
        union
    }

    /// Whether a link to `host` is the business's own or one of a service it uses.
    pub(super) fn may_link(&self, host: &str) -> bool {
        is_within(&self.allowed, host) || is_within(&self.tracking, host)
    }
}

fn is_within(domains: &[String], host: &str) -> bool {
    domains.iter().any(|domain| {
        let above = host.strip_suffix(domain.as_str());
        above.is_some_and(|rest| {
            rest.is_empty() || rest.ends_with('.') && domain.contains('.') && !is_address(domain)
        })
    })
}

/// An IP address has no subdomains.
fn is_address(domain: &str) -> bool {
    domain.starts_with('[') || domain.parse::<std::net::Ipv4Addr>().is_ok()
}

/// What a link was taken for, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Taken {
    /// It runs something or opens a file.
    Script,
    /// A foreign link that pretends to be the business's own.
    Disguised,
    /// A foreign link that carries a token.
    Token,
    /// A foreign link that is the message's call to action.
    Action,
    /// Another foreign link.
    Foreign,
    /// A foreign place that one of the business's own links may send on to.
    Redirect,
    /// It opens an application on the device.
    App,
    /// Pictures and the like from elsewhere: not a link.
    ForeignImage,
    /// Pictures and the like from where they may come from.
    Image,
    /// A service that counts clicks.
    Tracking,
    /// The business's own.
    Own,
    /// There is nothing to compare it with.
    Unknown,
}

impl Taken {
    /// Whether it leads, or may lead, to somebody else.
    pub fn is_foreign(self) -> bool {
        match self {
            Self::Disguised | Self::Token | Self::Action | Self::Foreign | Self::Redirect => true,
            Self::Script
            | Self::App
            | Self::ForeignImage
            | Self::Image
            | Self::Tracking
            | Self::Own
            | Self::Unknown => false,
        }
    }
}

/// The links of a message to one host that were taken for one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The host, as it may be shown; of a link that leads to none, its scheme and a colon.
    pub host: String,
    /// What they were taken for.
    pub taken: Taken,
    /// How many there are.
    pub count: usize,
}

/// The links of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// All of them, worst first.
    pub links: Vec<Seen>,
    /// Whether there were domains to compare with.
    pub compared: bool,
}

impl Survey {
    /// The link for which the message is refused.
    pub fn objection(&self, guard: LinkGuard) -> Option<&Seen> {
        let refused = |taken: Taken| match taken {
            Taken::Script | Taken::Disguised | Taken::Token | Taken::Action => true,
            Taken::Foreign | Taken::Redirect => guard == LinkGuard::Strict,
            Taken::App
            | Taken::ForeignImage
            | Taken::Image
            | Taken::Tracking
            | Taken::Own
            | Taken::Unknown => false,
        };
        self.links.iter().find(|seen| guard != LinkGuard::Off && refused(seen.taken))
    }
}

/// Finds where a message leads, and what each link is to a business with these domains.
pub fn survey(text: &Text, domains: Option<&Domains>, recognition: &Recognition) -> Survey {
    let mut found =
        Found { domains, text, has_code: OnceCell::new(), counts: BTreeMap::new(), candidates: Vec::new() };
    let first = first_links(text);
    for (number, body) in text.bodies.iter().enumerate() {
        let bases: Vec<Url> = body.bases.iter().filter_map(|base| base_url(base)).collect();
        for (place, target) in body.targets.iter().enumerate() {
            found.take_from(target, &bases, first.contains(&(number, place)));
        }
    }
    for target in &text.attached_targets {
        found.take_from(target, &[], false);
    }
    found.decide_by_words(recognition);
    let seen = |((taken, host), count)| Seen { host, taken, count };
    Survey { links: found.counts.into_iter().map(seen).collect(), compared: domains.is_some() }
}

/// The host that an address in plain text leads to.
pub(super) fn host_in_text(address: &str) -> Option<String> {
    let target = Target { address: address.to_owned(), kind: TargetKind::Text, label: String::new() };
    match address::place(&target, None) {
        Place::Web(url) => Some(address::host(&url)),
        Place::Script(_) | Place::App(_) | Place::Unreadable | Place::Nowhere => None,
    }
}

fn base_url(base: &str) -> Option<Url> {
    let target = Target { address: base.to_owned(), kind: TargetKind::Link, label: String::new() };
    match address::place(&target, None) {
        Place::Web(url) => Some(*url),
        Place::Script(_) | Place::App(_) | Place::Unreadable | Place::Nowhere => None,
    }
}

/// The first link of each body, which is what a person takes for the message's own: in HTML the first that is one
/// there; in text the first that is written out; a bare name only where nothing else is.
fn first_links(text: &Text) -> BTreeSet<(usize, usize)> {
    let first: Vec<_> = text.bodies.iter().map(first_link).collect();
    let only_bare = !first.iter().flatten().any(|&(rank, _)| rank < 2);
    let numbered = first.into_iter().enumerate().filter_map(|(number, first)| Some((number, first?)));
    let counting = numbered.filter(|&(_, (rank, _))| rank < 2 || only_bare);
    counting.map(|(number, (_, place))| (number, place)).collect()
}

/// The first of the targets that are most of a link: its rank and its place. To know what an address means takes long, so
/// nobody asks for more of them than it takes.
fn first_link(body: &Body) -> Option<(u8, usize)> {
    let mut first: Option<(u8, usize)> = None;
    for (place, target) in body.targets.iter().enumerate() {
        let least = u8::from(target.kind == TargetKind::Text);
        if first.is_some_and(|(before, _)| before <= least) {
            continue;
        }
        if let Some(rank) = rank(target).filter(|&rank| first.is_none_or(|(before, _)| rank < before)) {
            first = Some((rank, place));
        }
    }
    first
}

/// How much of a link a target is; `None` where it is none on the web.
fn rank(target: &Target) -> Option<u8> {
    let leads = |target: &Target| matches!(address::place(target, None), Place::Web(_));
    match target.kind {
        TargetKind::Embedded => None,
        TargetKind::Text if !target.address.contains("://") => Some(2),
        TargetKind::Text => leads(target).then_some(1),
        TargetKind::Link | TargetKind::Button | TargetKind::Form | TargetKind::Refresh => {
            leads(target).then_some(0)
        }
    }
}

struct Found<'a> {
    domains: Option<&'a Domains>,
    text: &'a Text,
    /// What is asked is to type a code, so that a link is the call to action only where its words say so. Asked only where
    /// it matters.
    has_code: OnceCell<bool>,
    counts: BTreeMap<(Taken, String), usize>,
    /// Foreign links about which only the words on them can decide: host and words.
    candidates: Vec<(String, &'a str)>,
}

impl<'a> Found<'a> {
    /// Takes a target wherever it leads: a relative one from each of the bases.
    fn take_from(&mut self, target: &'a Target, bases: &[Url], is_first: bool) {
        self.take(target, bases.first(), is_first);
        if bases.len() > 1
            && matches!(Url::parse(&target.address), Err(url::ParseError::RelativeUrlWithoutBase))
        {
            for base in bases.iter().skip(1) {
                self.take(target, Some(base), is_first);
            }
        }
    }

    fn take(&mut self, target: &'a Target, base: Option<&Url>, is_first: bool) {
        let embedded = target.kind == TargetKind::Embedded;
        match address::place(target, base) {
            Place::Web(url) if embedded => self.embedded(&url),
            Place::Web(url) => self.web(target, &url, is_first),
            Place::Script(_) | Place::App(_) | Place::Unreadable if embedded => {}
            Place::Script(scheme) => self.count(Taken::Script, format!("{scheme}:")),
            Place::App(scheme) => self.count(Taken::App, format!("{scheme}:")),
            // What no browser follows is written for a program that makes something else of it.
            Place::Unreadable => match self.domains {
                Some(_) => self.count(Taken::Disguised, "(unreadable)".to_owned()),
                None => self.count(Taken::Unknown, "(unreadable)".to_owned()),
            },
            Place::Nowhere => {}
        }
    }

    fn embedded(&mut self, url: &Url) {
        let host = address::host(url);
        let taken = match self.domains {
            None => Taken::Unknown,
            Some(domains) if domains.may_link(&host) || is_within(&domains.images, &host) => Taken::Image,
            Some(_) => Taken::ForeignImage,
        };
        self.count(taken, shown(&host));
    }

    fn web(&mut self, target: &'a Target, url: &Url, is_first: bool) {
        let host = address::host(url);
        let Some(domains) = self.domains else { return self.count(Taken::Unknown, shown(&host)) };
        if domains.may_link(&host) {
            let own = is_within(&domains.allowed, &host);
            self.count(if own { Taken::Own } else { Taken::Tracking }, shown(&host));
            for inner in
                address::nested(url).iter().map(address::host).filter(|inner| !domains.may_link(inner))
            {
                self.count(Taken::Redirect, shown(&inner));
            }
            return;
        }
        let taken = if is_disguised(target, url, &host, domains) {
            Taken::Disguised
        } else if token::has_token(url) {
            Taken::Token
        } else if is_first && !self.has_code.get_or_init(|| self.text.has_code()) || target.kind.is_acted_on()
        {
            Taken::Action
        } else {
            // Words beside a link in plain text speak of all sorts of things, but beside the first of what it is for.
            if !target.label.is_empty() && (is_first || target.kind != TargetKind::Text) {
                return self.candidates.push((shown(&host), &target.label));
            }
            Taken::Foreign
        };
        self.count(taken, shown(&host));
    }

    /// Links whose words call to act are action links after all.
    fn decide_by_words(&mut self, recognition: &Recognition) {
        let labels: Vec<&str> = self.candidates.iter().map(|(_, label)| *label).collect();
        let calls = recognition.calls_to_act(&labels);
        for ((host, _), calls) in std::mem::take(&mut self.candidates).into_iter().zip(calls) {
            self.count(if calls { Taken::Action } else { Taken::Foreign }, host);
        }
    }

    fn count(&mut self, taken: Taken, host: String) {
        *self.counts.entry((taken, host)).or_default() += 1;
    }
}

/// Whether a foreign link pretends to be one of the business's: by a user name, which readers take for the host, by a host
/// that looks like the business's, or by words on it that name the business's.
fn is_disguised(target: &Target, url: &Url, host: &str, domains: &Domains) -> bool {
    let mut names_own = false;
    if target.kind != TargetKind::Text {
        links_in_text(&target.label, &mut |address| {
            names_own |= host_in_text(address).is_some_and(|host| is_within(&domains.allowed, &host));
        });
    }
    let own = domains.allowed.iter().map(String::as_str).filter(|domain| domain.contains('.'));
    !url.username().is_empty() || url.password().is_some() || names_own || alike::looks_like(host, own)
}

/// The longest label of a host that is shown.
const LABEL_MAX: usize = 32;

/// A host as it may be told: labels that may be tokens are left out.
pub(super) fn shown(host: &str) -> String {
    if host.starts_with('[') {
        return host.to_owned();
    }
    let label = |label| if is_secret(label) { "*" } else { label };
    let labels: Vec<&str> = host.split('.').map(label).collect();
    // The end of a name says whose it is.
    labels[labels.len().saturating_sub(6)..].join(".")
}

fn is_secret(label: &str) -> bool {
    !label.starts_with("xn--") && (label.len() > LABEL_MAX || token::is_token(label)) || label.len() > 63
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
