//! What is told to those who watch from outside: metrics, gathered from whoever counts, and health.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::Reloads;
use super::space::Room;
use crate::admin::{Check, Watch};
use crate::clock::{Clock, Timestamp};
use crate::deliver::{BreakerStatus, Monitor, UpstreamStatus};
use crate::event::{self, Event, Witness};
use crate::ident::Class;
use crate::mail::Recipient;
use crate::metrics::{Form, Lives, Messages, Page};
use crate::pulse::{Pulse, Vital};
use crate::queue::store::sqlite::Stats;
use crate::queue::{Queue, search_key};
use crate::secret::LookupKey;
use crate::snapshot::Current;
use crate::{smtp, webhook};

/// How long the queue's writer may take over a word. A request is given more (`http::Limits`).
const PATIENCE: Duration = Duration::from_secs(5);

/// Begins to count what happens to messages. To be called before the store is opened, which may have things to tell.
pub(super) fn begin(current: &Current, lookup: LookupKey) -> Arc<Messages> {
    let current = current.clone();
    let lives: Lives =
        Arc::new(move |name| current.get().config.policy.categories.get(name).map(|category| category.life));
    let messages = Arc::new(Messages::new(lives));
    event::be_seen_by(Arc::new(Counting { messages: Arc::clone(&messages), lookup }));
    messages
}

struct Counting {
    messages: Arc<Messages>,
    lookup: LookupKey,
}

impl Witness for Counting {
    fn saw(&self, event: &Event) {
        self.messages.count(event);
    }

    fn search_key(&self, recipient: &Recipient) -> String {
        search_key(&self.lookup, recipient)
    }
}

/// Everything that is watched.
pub(super) struct Watcher {
    pub(super) queue: Arc<Queue>,
    pub(super) messages: Arc<Messages>,
    pub(super) delivery: Monitor,
    pub(super) webhooks: webhook::Monitor,
    pub(super) server: smtp::Server,
    pub(super) store: watch::Receiver<Stats>,
    pub(super) pulses: Vec<Pulse>,
    pub(super) room: watch::Receiver<Room>,
    pub(super) reloads: Reloads,
    pub(super) clock: Clock,
    pub(super) started: Timestamp,
}

#[async_trait]
impl Watch for Watcher {
    async fn metrics(&self) -> Page {
        let mut page = Page::default();
        self.of_process(&mut page);
        self.messages.write(&mut page);
        self.of_queue(&mut page).await;
        self.of_upstreams(&mut page);
        self.webhooks.write(&mut page).await;
        self.server.stats().write(&mut page);
        self.of_configuration(&mut page);
        page
    }

    async fn health(&self) -> Vec<Check> {
        let asked = tokio::time::timeout(PATIENCE, self.queue.ping()).await;
        let (ok, detail) = match asked {
            Ok(Ok(())) => (true, "it answers".to_owned()),
            Ok(Err(error)) => (false, format!("{error}; start authrelay again, and look into its log")),
            Err(_) => (false, "it does not answer: is the disk very slow, or gone?".to_owned()),
        };
        let mut checks = vec![check("queue writer", ok, detail)];
        checks.extend(self.pulses.iter().map(|pulse| match pulse.vital() {
            Vital::Silent(_) if pulse.is_held() => {
                check(pulse.name(), true, "it waits for the disk".to_owned())
            }
            Vital::Well => check(pulse.name(), true, "it gets on".to_owned()),
            Vital::Silent(silent) => {
                check(pulse.name(), false, format!("no progress for {} s; see the log", silent.as_secs()))
            }
            Vital::Lost => check(pulse.name(), false, "a defect ended it; start authrelay again".to_owned()),
        }));
        checks
    }

    async fn readiness(&self) -> Vec<Check> {
        let room = self.room.borrow().clone();
        let poisoned = self.store.borrow().poisoned.then(|| "authrelay has to be started again".to_owned());
        let mut checks = vec![
            healthy("queue", poisoned.or(room.broken), "it can be written"),
            healthy("disk", room.low, "there is room"),
        ];
        checks.push(usable(&self.delivery.status().upstreams, self.clock.now()));
        checks
    }
}

impl Watcher {
    fn of_process(&self, page: &mut Page) {
        page.begin("authrelay_build_info", Form::Gauge, "The version that runs.");
        page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        let started =
            Duration::from_millis(u64::try_from(self.started.as_millis()).unwrap_or(0)).as_secs_f64();
        page.single("authrelay_start_time_seconds", Form::Gauge, "When it began (Unix time).", started);
    }

    async fn of_queue(&self, page: &mut Page) {
        let now = self.clock.now();
        let depth = self.queue.depth().await;
        if let Ok(depth) = &depth {
            let age =
                |oldest: Option<Timestamp>| oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64());
            page.begin(
                "authrelay_queue_messages",
                Form::Gauge,
                "Messages that wait or are being handed over.",
            );
            page.sample(&[("lane", "urgent")], depth.urgent);
            page.sample(&[("lane", "normal")], depth.normal);
            page.begin(
                "authrelay_queue_oldest_seconds",
                Form::Gauge,
                "Age of the oldest message that waits.",
            );
            page.sample(&[("lane", "urgent")], age(depth.oldest_urgent));
            page.sample(&[("lane", "normal")], age(depth.oldest_normal));
            page.single("authrelay_queue_held", Form::Gauge, "Messages held for an operator.", depth.held);
            let help = "Suppressed messages that can still be released.";
            page.single("authrelay_queue_suppressed", Form::Gauge, help, depth.suppressed);
        }
        let stats = *self.store.borrow();
        let writable = depth.is_ok() && !stats.poisoned && self.room.borrow().broken.is_none();
        page.single(
            "authrelay_queue_writable",
            Form::Gauge,
            "Whether the queue can be written.",
            u8::from(writable),
        );
        page.single("authrelay_queue_commits_total", Form::Counter, "Transactions committed.", stats.commits);
        let room = self.room.borrow().clone();
        if let Some(free) = room.free {
            page.single("authrelay_disk_free_bytes", Form::Gauge, "Free room for the queue.", free);
        }
        if let Some(inodes) = room.inodes {
            page.single("authrelay_disk_free_inodes", Form::Gauge, "How many more files fit.", inodes);
        }
        let low = u8::from(room.low.is_some());
        page.single("authrelay_disk_low", Form::Gauge, "Whether new mail is put off for want of room.", low);
    }

    fn of_configuration(&self, page: &mut Page) {
        let status = self.reloads.status();
        page.begin("authrelay_config_reloads_total", Form::Counter, "Reloads by what came of them.");
        page.sample(&[("result", "ok")], status.succeeded);
        page.sample(&[("result", "refused")], status.failed);
        let refused = status.last.is_some_and(|last| last.error.is_some());
        let help = "Whether the last reload was refused, so that an older configuration is in force.";
        page.single("authrelay_config_last_reload_refused", Form::Gauge, help, u8::from(refused));
        page.begin("authrelay_certificate_expires_seconds", Form::Gauge, "When it ends (Unix time).");
        for certificate in self.reloads.certificates() {
            if let Some(expires) = certificate.expires {
                let path = certificate.path.display().to_string();
                page.sample(&[("file", &path)], expires.as_millis() / 1000);
            }
        }
    }

    fn of_upstreams(&self, page: &mut Page) {
        let upstreams = self.delivery.upstreams();
        page.begin("authrelay_upstream_attempts_total", Form::Counter, "Attempts by what came of them.");
        for upstream in &upstreams {
            for (result, count) in upstream.tally().results() {
                page.sample(&[("upstream", upstream.name().as_str()), ("result", result)], count);
            }
        }
        page.begin("authrelay_upstream_seconds", Form::Histogram, "How long attempts at an upstream took.");
        for upstream in &upstreams {
            page.histogram(&[("upstream", upstream.name().as_str())], upstream.tally().took());
        }
        let status: Vec<UpstreamStatus> = upstreams.iter().map(|upstream| upstream.status()).collect();
        let help = "Whether its breaker is closed (1), it is being tried (0.5), or it is not asked (0).";
        gauge(page, "authrelay_upstream_up", help, &status, |status| match status.breaker {
            BreakerStatus::Closed => 1.0,
            BreakerStatus::Probing => 0.5,
            BreakerStatus::Open { .. } => 0.0,
        });
        let help = "Connections that are open, in use or not.";
        gauge(page, "authrelay_upstream_connections", help, &status, |status| status.connections);
        let help = "Deliveries under way at an upstream.";
        gauge(page, "authrelay_upstream_in_flight", help, &status, |status| status.in_flight);
        page.begin("authrelay_attempts_under_way", Form::Gauge, "Attempts under way, by lane.");
        page.sample(&[("lane", "urgent")], self.delivery.attempts(Class::Urgent));
        page.sample(&[("lane", "normal")], self.delivery.attempts(Class::Normal));
    }
}

fn gauge<T: std::fmt::Display>(
    page: &mut Page,
    name: &'static str,
    help: &str,
    upstreams: &[UpstreamStatus],
    value: impl Fn(&UpstreamStatus) -> T,
) {
    page.begin(name, Form::Gauge, help);
    for status in upstreams {
        page.sample(&[("upstream", status.name.as_str())], value(status));
    }
}

fn check(name: &str, ok: bool, detail: String) -> Check {
    Check { name: name.to_owned(), ok, detail }
}

fn healthy(name: &str, trouble: Option<String>, well: &str) -> Check {
    check(name, trouble.is_none(), trouble.unwrap_or_else(|| well.to_owned()))
}

/// At least one upstream takes something, or is due to be tried: one that is only asked when there is mail for it must not
/// keep the mail away that would find out.
fn usable(upstreams: &[UpstreamStatus], now: Timestamp) -> Check {
    let is_usable = |status: &UpstreamStatus| match status.breaker {
        BreakerStatus::Closed | BreakerStatus::Probing => true,
        BreakerStatus::Open { until } => until <= now,
    };
    let usable = upstreams.iter().filter(|status| is_usable(status)).count();
    let trouble = (usable == 0).then(|| match upstreams.first() {
        None => "there is none".to_owned(),
        Some(first) => {
            let why = first.last_failure.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("none of {} can be reached; {}{why}", upstreams.len(), first.name)
        }
    });
    healthy("upstreams", trouble, &format!("{usable} of {} can be asked", upstreams.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::UpstreamName;

    fn upstream(name: &str, breaker: BreakerStatus) -> UpstreamStatus {
        let since = Timestamp::from_millis(0);
        let name = UpstreamName::new(name);
        UpstreamStatus { name, breaker, since, last_failure: None, connections: 0, in_flight: 0 }
    }

    #[test]
    fn one_upstream_that_may_be_asked_is_enough() {
        let now = Timestamp::from_millis(1000);
        let later = BreakerStatus::Open { until: Timestamp::from_millis(2000) };
        let due = BreakerStatus::Open { until: now };
        assert!(!usable(&[], now).ok);
        assert!(!usable(&[upstream("a", later), upstream("b", later)], now).ok);
        for other in [due, BreakerStatus::Closed, BreakerStatus::Probing] {
            assert!(usable(&[upstream("a", later), upstream("b", other)], now).ok);
        }
    }
}
