//! Which upstreams a message may go to, in which order, and what is needed of the rewriting to write it for one.

use std::sync::Arc;

use bytes::Bytes;

use super::parcel::Carries;
use super::registry::Snapshot;
use super::upstream::Upstream;
use crate::ident::{SenderName, UpstreamName};
use crate::mail::{Address, Message, Need, ReversePath};
use crate::outcome::Reason;
use crate::queue::{Entry, Payload};
use crate::rewrite::Plan;

/// Writes messages for a sender. The wiring puts `rewrite` behind it, with the configuration of the moment.
pub trait Renderer: Send + Sync + 'static {
    /// The senders `plan` allows, the preferred first.
    fn senders(&self, plan: &Plan) -> Vec<SenderName>;

    /// The message as `sender` sends it. What stands in the way is our own fault, and may be mended.
    fn render(&self, message: &Message, plan: &Plan, sender: &SenderName) -> Result<Outgoing, Reason>;
}

/// A message written for one sender.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The envelope sender.
    pub reverse_path: ReversePath,
    /// Every byte that goes out.
    pub raw: Bytes,
    /// What that needs of an upstream.
    pub need: Need,
}

/// A written message and whom it is for: all an upstream is told.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// The message.
    pub outgoing: &'a Outgoing,
    /// The one recipient.
    pub recipient: &'a Address,
    /// The name of the file, where it ends in one: the same for every attempt at one message.
    pub file_name: &'a str,
}

/// One way out: an upstream, and for a mail the sender that it carries.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) sender: Option<SenderName>,
    pub(super) upstream: Arc<Upstream>,
}

/// The ways a message may take, the preferred first.
#[derive(Debug, Clone, Default)]
pub(super) struct Routes {
    /// The sender it should have.
    pub(super) preferred: Option<SenderName>,
    /// The ways.
    pub(super) ways: Vec<Route>,
}

/// What a row demands of its routes, beside its plan.
#[derive(Debug, Clone, Copy)]
pub(super) enum Allowed<'a> {
    /// Every upstream may be asked.
    Any,
    /// An attempt got no answer: only that upstream can tell a second copy from the first.
    Only(Option<&'a UpstreamName>),
}

impl<'a> Allowed<'a> {
    pub(super) fn for_entry(entry: &'a Entry) -> Self {
        if entry.in_doubt > 0 { Self::Only(entry.upstream.as_ref()) } else { Self::Any }
    }

    fn permits(self, upstream: &UpstreamName) -> bool {
        match self {
            Self::Any => true,
            Self::Only(name) => name == Some(upstream),
        }
    }
}

impl Routes {
    /// Every upstream that takes texts, in order.
    fn of_text(allowed: Allowed<'_>, snapshot: &Snapshot) -> Self {
        let takes = |upstream: &&Arc<Upstream>| {
            upstream.cargo() == Carries::Texts && allowed.permits(upstream.name())
        };
        let way = |upstream: &Arc<Upstream>| Route { sender: None, upstream: Arc::clone(upstream) };
        Self { preferred: None, ways: snapshot.upstreams().iter().filter(takes).map(way).collect() }
    }

    /// Every allowed sender in order, and for each every upstream in order that carries it.
    pub(super) fn of(senders: Vec<SenderName>, allowed: Allowed<'_>, snapshot: &Snapshot) -> Self {
        let mut ways = Vec::new();
        for sender in &senders {
            for upstream in snapshot.upstreams() {
                if allowed.permits(upstream.name()) && upstream.carries(sender) {
                    let sender = Some(sender.clone());
                    ways.push(Route { sender, upstream: Arc::clone(upstream) });
                }
            }
        }
        Self { preferred: senders.into_iter().next(), ways }
    }

    /// The same for a queued message.
    pub(super) fn for_message(entry: &Entry, payload: &Payload, snapshot: &Snapshot) -> Self {
        match payload {
            Payload::Mail { plan, .. } => {
                Self::of(snapshot.renderer.senders(plan), Allowed::for_entry(entry), snapshot)
            }
            Payload::Sms { .. } => Self::of_text(Allowed::for_entry(entry), snapshot),
        }
    }

    /// The upstreams in the order in which they are asked. Messages with equal paths wait for the same things.
    pub(super) fn path(&self) -> Vec<UpstreamName> {
        let mut path: Vec<UpstreamName> = self.ways.iter().map(|way| way.upstream.name().clone()).collect();
        path.dedup();
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::deliver::herald::Herald;
    use crate::deliver::registry::Registry;
    use crate::deliver::tests::bench::TestRenderer;
    use crate::deliver::{BreakerConfig, Config, InForce, UpstreamConfig, UpstreamKind};

    fn taken_of(config: &Arc<Config>) -> Arc<Snapshot> {
        let config = Arc::clone(config);
        let source = move || InForce { config: Arc::clone(&config), renderer: TestRenderer::of(&config) };
        Registry::new(Arc::new(source), Clock::System, Herald::default()).snapshot()
    }

    fn snapshot(upstreams: &[(&str, Option<&[&str]>)]) -> Arc<Snapshot> {
        let upstreams = upstreams
            .iter()
            .map(|(name, carries)| UpstreamConfig {
                name: UpstreamName::new(name),
                kind: UpstreamKind::Maildir { path: "nowhere".into() },
                carries: carries.map(|names| names.iter().map(SenderName::new).collect()),
                max_connections: 1,
                messages_per_minute: None,
                breaker: BreakerConfig::default(),
            })
            .collect();
        let config = Config { hostname: "relay.example".into(), upstreams, workers: 1 };
        taken_of(&Arc::new(config))
    }

    fn ways(senders: &[&str], allowed: Allowed<'_>, snapshot: &Snapshot) -> Vec<String> {
        let senders = senders.iter().map(SenderName::new).collect();
        let routes = Routes::of(senders, allowed, snapshot);
        let way = |way: &Route| format!("{}@{}", way.sender.as_ref().unwrap(), way.upstream.name());
        routes.ways.iter().map(way).collect()
    }

    #[test]
    fn mail_and_texts_have_upstreams_of_their_own() {
        let upstream = |name: &str, kind| UpstreamConfig {
            name: UpstreamName::new(name),
            kind,
            carries: None,
            max_connections: 1,
            messages_per_minute: None,
            breaker: BreakerConfig::default(),
        };
        let upstreams = vec![
            upstream("first-box", UpstreamKind::Outbox { path: "nowhere".into() }),
            upstream("folder", UpstreamKind::Maildir { path: "nowhere".into() }),
            upstream("second-box", UpstreamKind::Outbox { path: "nowhere".into() }),
        ];
        let config = Arc::new(Config { hostname: "relay.example".into(), upstreams, workers: 1 });
        let snapshot = taken_of(&config);
        assert_eq!(ways(&["no-reply"], Allowed::Any, &snapshot), ["no-reply@folder"]);
        let texts = |allowed| Routes::of_text(allowed, &snapshot).path();
        assert_eq!(texts(Allowed::Any), ["first-box", "second-box"].map(UpstreamName::new));
        let second = UpstreamName::new("second-box");
        assert_eq!(texts(Allowed::Only(Some(&second))), [UpstreamName::new("second-box")]);
        assert!(texts(Allowed::Only(Some(&UpstreamName::new("folder")))).is_empty());
        let names =
            |all: Vec<&UpstreamConfig>| all.iter().map(|one| one.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(config.text_carriers().collect()), ["first-box", "second-box"]);
        assert_eq!(names(config.carriers(&"no-reply".into()).collect()), ["folder"]);
    }

    #[test]
    fn custom_comes_before_no_reply_and_only_where_it_is_carried() {
        let snapshot = snapshot(&[
            ("one", Some(&["no-reply"])),
            ("acme", Some(&["acme"])),
            ("two", Some(&["no-reply"])),
            ("all", None),
        ]);
        assert_eq!(
            ways(&["acme", "no-reply"], Allowed::Any, &snapshot),
            ["acme@acme", "acme@all", "no-reply@one", "no-reply@two", "no-reply@all"]
        );
        assert_eq!(
            ways(&["no-reply"], Allowed::Any, &snapshot),
            ["no-reply@one", "no-reply@two", "no-reply@all"]
        );
    }

    #[test]
    fn after_an_attempt_without_an_answer_only_the_same_upstream_is_asked() {
        let snapshot = snapshot(&[("one", None), ("two", None)]);
        let two = UpstreamName::new("two");
        assert_eq!(ways(&["no-reply"], Allowed::Only(Some(&two)), &snapshot), ["no-reply@two"]);
        let gone = UpstreamName::new("gone");
        assert!(ways(&["no-reply"], Allowed::Only(Some(&gone)), &snapshot).is_empty());
        assert!(ways(&["no-reply"], Allowed::Only(None), &snapshot).is_empty());
    }

    #[test]
    fn no_upstream_for_a_sender_is_no_route() {
        let snapshot = snapshot(&[("acme", Some(&["acme"]))]);
        assert!(ways(&["no-reply"], Allowed::Any, &snapshot).is_empty());
    }
}
