//! What is shipped for Prometheus and Grafana: it asks for what there is, in a form that Prometheus understands, and each alert
//! fires when it has to and not otherwise.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::monitoring::{checked_by_promtool, config, metrics};
use crate::harness::hook::Hook;
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::Upstream;

fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib");
    std::fs::read_to_string(folder.join(name)).expect("a file in contrib")
}

/// Every expression of the dashboard, as Grafana hands it to Prometheus.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("grafana-dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let filled = |target: &Value| {
        let text = target["expr"].as_str().expect("an expression");
        text.replace("$__rate_interval", "5m").replace("$__range", "6h").replace("$instance", ".+")
    };
    targets.map(filled).collect()
}

/// Every name of a metric of ours in a text.
fn names(text: &str) -> Vec<String> {
    let after = text.match_indices("authrelay_").map(|(at, _)| &text[at..]);
    after.map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()).collect()
}

#[test]
fn the_dashboard_the_alerts_and_their_documentation_name_metrics_that_there_are() {
    let provider = Upstream::accepting();
    let hook = Hook::start();
    let relay = Relay::start(&config(provider.address(), "", &hook.config("crm", "")));
    let page = metrics(&relay);
    let documentation = include_str!("../../docs/monitoring.md");
    for (what, text) in [
        ("the dashboard", expressions().join("\n")),
        ("the alerts", read("prometheus-alerts.yml")),
        ("the tests of the alerts", read("prometheus-alerts.test.yml")),
        ("the documentation", documentation.to_owned()),
    ] {
        assert!(names(&text).len() > 15, "{what}");
        for metric in names(&text) {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| metric.strip_suffix(suffix));
            let is_there = |name: &str| page.contains(&format!("# TYPE {name} "));
            assert!(is_there(&metric) || family.is_some_and(is_there), "{what} names {metric}, in\n{page}");
        }
    }
    for metric in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(documentation.contains(metric), "docs/monitoring.md does not tell of {metric}");
    }
}

/// Grafana was not there to try the dashboard: Prometheus itself has to understand each expression.
#[test]
fn prometheus_understands_every_expression_of_the_dashboard() {
    let expressions = expressions();
    assert!(expressions.len() > 20, "{expressions:?}");
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, expression) in expressions.iter().enumerate() {
        let expression = Value::from(expression.as_str());
        writeln!(rules, "      - {{record: 'panel:{number}', expr: {expression}}}").expect("a string");
    }
    let home = Home::new();
    let file = home.write("dashboard.yml", rules);
    checked_by_promtool(&["check", "rules", file.to_str().expect("UTF-8")], "");
}

#[test]
fn every_alert_fires_when_it_has_to_and_not_otherwise() {
    let (alerts, tests) = (read("prometheus-alerts.yml"), read("prometheus-alerts.test.yml"));
    let mut shown: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for name in tests.lines().filter_map(|line| line.strip_prefix("  - name: ")) {
        let (alert, how) = name.split_once(' ').expect("an alert and how it does");
        let (fires, rests) = shown.entry(alert).or_default();
        *(if how == "fires" { fires } else { rests }) = true;
    }
    let named: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(named.len() > 15, "{named:?}");
    let documentation = include_str!("../../docs/monitoring.md");
    for alert in named {
        assert_eq!(shown.get(alert), Some(&(true, true)), "{alert} is to be shown firing and not firing");
        assert!(documentation.contains(&format!("`{alert}`")), "docs/monitoring.md does not tell of {alert}");
    }
    let home = Home::new();
    home.write("prometheus-alerts.yml", alerts);
    let file = home.write("prometheus-alerts.test.yml", tests);
    let rules = home.file("prometheus-alerts.yml");
    checked_by_promtool(&["check", "rules", rules.to_str().expect("UTF-8")], "");
    checked_by_promtool(&["test", "rules", file.to_str().expect("UTF-8")], "");
}
