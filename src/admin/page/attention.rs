//! What somebody should look at: found in what is known of the daemon, the worst first, each with what to do. Pure.

use super::text::{count, span};
use crate::admin::{CertificateView, Check, FlowView, ReloadsView, StatusView, UpstreamView, WebhookView};
use crate::clock::Timestamp;

/// How long a code may wait before somebody should know.
const LONG_FOR_URGENT: u64 = 60;

/// How long other mail may.
const LONG_FOR_NORMAL: u64 = 3600;

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// How bad it is.
    pub(super) weight: Weight,
    /// What is the matter.
    pub(super) what: String,
    /// What to do; commands stand between backticks.
    pub(super) advice: String,
    /// Where more of it is seen.
    pub(super) more: Option<(&'static str, &'static str)>,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Mail does not go through, or not all of it.
    Trouble,
    /// It can wait until tomorrow.
    Note,
}

/// Everything that somebody should look at.
pub(super) fn items(
    status: &StatusView,
    checks: &[Check],
    webhooks: &[WebhookView],
    now: Timestamp,
) -> Vec<Item> {
    let mut items: Vec<Item> = checks.iter().filter(|check| !check.ok).map(of_check).collect();
    items.extend(status.upstreams.iter().filter_map(of_upstream));
    items.extend(of_queue(status, now));
    items.extend(of_hour(status));
    items.extend(of_reloads(&status.reloads));
    items.extend(status.certificates.iter().filter_map(of_certificate));
    items.extend(webhooks.iter().filter_map(of_webhook));
    items.extend(of_observed(status));
    items.sort_by_key(|item| item.weight);
    items
}

fn trouble(what: String, advice: impl Into<String>) -> Item {
    Item { weight: Weight::Trouble, what, advice: advice.into(), more: None }
}

fn note(what: String, advice: impl Into<String>) -> Item {
    Item { weight: Weight::Note, ..trouble(what, advice) }
}

fn of_check(check: &Check) -> Item {
    trouble(format!("{}: {}", check.name, check.detail), "See the log: `journalctl -u authrelay`")
}

fn of_upstream(upstream: &UpstreamView) -> Option<Item> {
    if upstream.state != "down" {
        return None;
    }
    let why = upstream.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    Some(trouble(
        format!("The provider {} is not asked for a while{why}", upstream.name),
        "Its mail waits, or goes to the next provider. It is asked again by itself; `authrelay check --live` looks at it now.",
    ))
}

fn of_queue(status: &StatusView, now: Timestamp) -> Vec<Item> {
    let mut items = Vec::new();
    let queue = &status.queue;
    let waits = |oldest: Option<Timestamp>| oldest.map(|oldest| now.since(oldest).as_secs());
    for (lane, oldest, long, what) in [
        (
            "queue?state=queued",
            queue.oldest_urgent,
            LONG_FOR_URGENT,
            "A code or link that somebody waits for",
        ),
        ("queue?state=queued", queue.oldest_normal, LONG_FOR_NORMAL, "A message"),
    ] {
        if let Some(seconds) = waits(oldest).filter(|seconds| *seconds > long) {
            let mut item = trouble(
                format!("{what} has not been handed over for {}", span(seconds)),
                "The providers below say why.",
            );
            item.more = Some((lane, "See what waits"));
            items.push(item);
        }
    }
    if queue.held > 0 {
        let bursts = status.bursts.iter().any(|burst| burst.held > 0);
        let mut item = note(
            format!("{} held for you", count(queue.held, "message is", "messages are")),
            if bursts {
                "Below is of which bursts they are, and the commands that let them go or end them."
            } else {
                "`authrelay queue release ID` lets one go, `authrelay queue remove ID` ends it."
            },
        );
        item.more = Some(("queue?state=held", "See what is held"));
        items.push(item);
    }
    items
}

fn of_hour(status: &StatusView) -> Option<Item> {
    let sum = |of: fn(&FlowView) -> u64| status.last_hour.iter().map(of).sum::<u64>();
    let (failed, handed_over) = (sum(|flow| flow.failed), sum(|flow| flow.handed_over));
    if failed == 0 {
        return None;
    }
    // Now and then an address is wrong or a mailbox full, which is nobody's fault here.
    let is_much = failed >= 3 && failed * 10 >= handed_over;
    let weight = if is_much { Weight::Trouble } else { Weight::Note };
    let what = format!("{} in the last hour", count(failed, "message failed", "messages failed"));
    let advice = "The provider refused them, or their life was over before one took them.".to_owned();
    let more = Some(("decisions?show=trouble", "See which, and why"));
    Some(Item { weight, what, advice, more })
}

fn of_reloads(reloads: &ReloadsView) -> Vec<Item> {
    let mut items = Vec::new();
    if let Some(why) = &reloads.refused {
        items.push(trouble(
            format!("The configuration on disk was refused, and an older one is in force: {why}"),
            "`authrelay check` shows where it is wrong; `authrelay reload` puts it in force.",
        ));
    }
    if let Some(why) = &reloads.not_picked_up {
        items.push(trouble(
            format!("A new certificate can't be used, and the old one stays in use: {why}"),
            "See what puts it there; it is picked up by itself once it is right.",
        ));
    }
    items
}

fn of_certificate(file: &CertificateView) -> Option<Item> {
    let warning = file.warning.as_deref()?;
    Some(note(
        format!("The certificate {} {warning}", file.path),
        "See that what renews it still runs; a new one is picked up by itself.",
    ))
}

fn of_webhook(webhook: &WebhookView) -> Option<Item> {
    let (name, why) = (&webhook.name, webhook.last_error.as_deref().unwrap_or("it gave no reason"));
    match webhook.state.as_str() {
        "disabled" => Some(trouble(
            format!("The webhook {name} said that it is gone, and is told nothing any more"),
            format!("Once it is there again: `authrelay webhook enable {name}`"),
        )),
        "resting" => Some(note(
            format!("The webhook {name} does not take what it is told: {why}"),
            format!("It is tried again by itself; `authrelay webhook test {name}` tries now."),
        )),
        _ => None,
    }
}

fn of_observed(status: &StatusView) -> Vec<Item> {
    let item = |client: &str| {
        let mut item = note(
            format!("The client {client} is only observed: its mail is relayed whatever it is"),
            "Before its time is over, see what would have been refused.",
        );
        item.more = Some(("observed", "See what would have been refused"));
        item
    };
    status.observed.iter().map(|observed| item(&observed.client)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::admin::ObserveView;
    use crate::queue::Depth;

    /// A daemon that has nothing to say.
    pub(in crate::admin::page) fn quiet() -> StatusView {
        serde_json::from_value(serde_json::json!({
            "version": "0", "hostname": "relay.example", "started": "2026-11-23T12:00:00Z", "uptime_seconds": 60,
            "queue": { "urgent": 0, "normal": 0, "held": 0, "suppressed": 0, "oldest": null },
            "oldest_seconds": null, "upstreams": [], "listeners": [], "observed": [], "reports": null,
        }))
        .unwrap()
    }

    pub(in crate::admin::page) fn noon() -> Timestamp {
        Timestamp::parse("2026-11-23T12:00:00Z").unwrap()
    }

    #[test]
    fn nothing_is_said_where_nothing_is_the_matter() {
        let ok = Check { name: "disk".to_owned(), ok: true, detail: "there is room".to_owned() };
        assert_eq!(items(&quiet(), &[ok], &[], noon()), []);
    }

    #[test]
    fn a_wrong_address_now_and_then_is_no_trouble() {
        let weight = |failed: u64, handed_over: u64| {
            let flow = serde_json::json!([{
                "category": "signin", "received": 0, "handed_over": handed_over, "refused": 0, "suppressed": 0,
                "held": 0, "deferred": 0, "failed": failed, "half_within_ms": null, "all_within_ms": null,
            }]);
            let status = StatusView { last_hour: serde_json::from_value(flow).unwrap(), ..quiet() };
            items(&status, &[], &[], noon()).first().map(|item| item.weight)
        };
        assert_eq!(weight(0, 5), None);
        assert_eq!((weight(1, 0), weight(3, 100)), (Some(Weight::Note), Some(Weight::Note)));
        assert_eq!((weight(3, 0), weight(10, 100)), (Some(Weight::Trouble), Some(Weight::Trouble)));
    }

    #[test]
    fn trouble_comes_before_notes() {
        let mut status = quiet();
        status.observed = vec![ObserveView {
            client: "crm".to_owned(),
            until: "2026-12-01T00:00:00Z".to_owned(),
            would_refuse: Vec::new(),
        }];
        status.queue = Depth {
            held: 2,
            oldest_urgent: Some(noon().minus(std::time::Duration::from_secs(61))),
            oldest_normal: Some(noon().minus(std::time::Duration::from_secs(61))),
            ..Depth::default()
        };
        status.reloads.refused = Some("line 3".to_owned());
        let items = items(&status, &[], &[], noon());
        let told: Vec<(Weight, &str)> = items.iter().map(|item| (item.weight, item.what.as_str())).collect();
        assert_eq!(
            told,
            [
                (
                    Weight::Trouble,
                    "A code or link that somebody waits for has not been handed over for 1 min 1 s"
                ),
                (
                    Weight::Trouble,
                    "The configuration on disk was refused, and an older one is in force: line 3"
                ),
                (Weight::Note, "2 messages are held for you"),
                (Weight::Note, "The client crm is only observed: its mail is relayed whatever it is"),
            ]
        );
    }
}
