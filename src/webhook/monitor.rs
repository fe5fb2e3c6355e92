//! How the endpoints stand, for operators, and what they may do: send a test, enable one again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::dispatch::CurrentConfig;
use super::lane::enable;
use super::post::{Answer, Poster};
use super::{Endpoint, body};
use crate::clock::{Clock, Timestamp};
use crate::ident::{EndpointName, MessageId};
use crate::metrics::{Counter, Family, Form, Page};
use crate::queue::{EndpointState, Outbox, StoreError};

/// Until when endpoints rest, as the dispatcher last saw it, and which of them were told not to.
#[derive(Debug, Default)]
pub(super) struct Rests(Mutex<HashMap<EndpointName, Rest>>);

#[derive(Debug, Default)]
struct Rest {
    until: Option<Timestamp>,
    is_over: bool,
}

impl Rests {
    pub(super) fn set(&self, endpoint: &EndpointName, until: Option<Timestamp>) {
        self.with(endpoint, |rest| rest.until = until);
    }

    /// Whether an operator ended its rest, since this was last asked.
    pub(super) fn take_over(&self, endpoint: &EndpointName) -> bool {
        self.with(endpoint, |rest| std::mem::take(&mut rest.is_over))
    }

    fn end(&self, endpoint: &EndpointName) {
        self.with(endpoint, |rest| *rest = Rest { until: None, is_over: true });
    }

    fn get(&self, endpoint: &EndpointName) -> Option<Timestamp> {
        self.with(endpoint, |rest| rest.until)
    }

    fn with<T>(&self, endpoint: &EndpointName, work: impl FnOnce(&mut Rest) -> T) -> T {
        let mut rests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(rests.entry(endpoint.clone()).or_default())
    }
}

/// What came of requests, by endpoint and outcome. The names of endpoints are those of the configuration.
pub(super) type Attempts = Arc<Family<Counter>>;

/// Whether an endpoint is told of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Active,
    /// It failed, and is tried again then.
    Resting(Timestamp),
    /// It said that it is gone.
    Disabled(Timestamp),
}

/// How an endpoint stands.
#[derive(Debug)]
pub struct EndpointStatus {
    /// As configured.
    pub endpoint: Arc<Endpoint>,
    /// Whether it is told of anything.
    pub standing: Standing,
    /// What the store knows of it; `None` where there was never anything to tell.
    pub state: Option<EndpointState>,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// Whether the endpoint took it.
    pub taken: bool,
    /// What it said, or what went wrong.
    pub detail: String,
    /// How long that took.
    pub took: Duration,
}

/// Shows how the endpoints stand, for as long as somebody looks. Cheap to clone.
#[derive(Clone)]
pub struct Monitor {
    outbox: Arc<dyn Outbox>,
    config: CurrentConfig,
    clock: Clock,
    rests: Arc<Rests>,
    changed: Arc<Notify>,
    attempts: Attempts,
}

impl Monitor {
    pub(super) fn new(
        outbox: Arc<dyn Outbox>,
        config: CurrentConfig,
        clock: Clock,
        rests: Arc<Rests>,
        changed: Arc<Notify>,
        attempts: Attempts,
    ) -> Self {
        Self { outbox, config, clock, rests, changed, attempts }
    }

    /// To be called after a reload, so that what waits follows it at once.
    pub fn config_changed(&self) {
        self.changed.notify_one();
    }

    /// The endpoints, in the order of the configuration.
    pub async fn status(&self) -> Result<Vec<EndpointStatus>, StoreError> {
        let mut states = self.outbox.endpoints().await?;
        let now = self.clock.now();
        let config = (self.config)();
        let one = |endpoint: &Arc<Endpoint>| {
            let found = states.iter().position(|state| state.name == *endpoint.name());
            let state = found.map(|index| states.swap_remove(index));
            let disabled = state.as_ref().and_then(|state| state.disabled);
            let resting = self.rests.get(endpoint.name()).filter(|until| *until > now);
            let standing = match (disabled, resting) {
                (Some((at, _)), _) => Standing::Disabled(at),
                (None, Some(until)) => Standing::Resting(until),
                (None, None) => Standing::Active,
            };
            EndpointStatus { endpoint: Arc::clone(endpoint), standing, state }
        };
        Ok(config.endpoints.iter().map(one).collect())
    }

    /// Writes the numbers of the configured endpoints.
    pub async fn write(&self, page: &mut Page) {
        let help = "Requests to endpoints of webhooks, by what came of them.";
        page.counters("authrelay_webhook_attempts_total", help, &self.attempts);
        // A store that can't be read is told by other numbers.
        let Ok(endpoints) = self.status().await else { return };
        let now = self.clock.now();
        let states = |value: fn(&EndpointState) -> u64| {
            let of = move |one: &EndpointStatus| one.state.as_ref().map_or(0, value);
            endpoints.iter().map(move |one| (one.endpoint.name().as_str(), of(one)))
        };
        let mut each = |name, form, help: &str, values: &mut dyn Iterator<Item = (&str, u64)>| {
            page.begin(name, form, help);
            values.for_each(|(endpoint, value)| page.sample(&[("endpoint", endpoint)], value));
        };
        let help = "Notices that endpoints have taken, since they were first told of something.";
        each("authrelay_webhook_delivered_total", Form::Counter, help, &mut states(|state| state.delivered));
        let help = "Notices that endpoints will never be told: no room, too old, or tried in vain.";
        each("authrelay_webhook_dropped_total", Form::Counter, help, &mut states(|state| state.dropped));
        let help = "Notices that wait for their endpoint.";
        each("authrelay_webhook_waiting", Form::Gauge, help, &mut states(|state| state.waiting));
        let oldest = |one: &EndpointStatus| one.state.as_ref().and_then(|state| state.oldest);
        let age = |one: &EndpointStatus| oldest(one).map_or(0, |oldest| now.since(oldest).as_secs());
        let mut ages = endpoints.iter().map(|one| (one.endpoint.name().as_str(), age(one)));
        each("authrelay_webhook_oldest_seconds", Form::Gauge, "Age of the oldest of them.", &mut ages);
        let is_disabled = |one: &EndpointStatus| matches!(one.standing, Standing::Disabled(_));
        let mut disabled =
            endpoints.iter().map(|one| (one.endpoint.name().as_str(), u64::from(is_disabled(one))));
        let help = "Whether it said that it is gone (HTTP 410), so that nothing is sent there.";
        each("authrelay_webhook_disabled", Form::Gauge, help, &mut disabled);
    }

    /// Sends a test to an endpoint, whether or not it is told of anything else; `None` where there is no such endpoint. What
    /// it answers changes nothing.
    pub async fn test(&self, name: &EndpointName) -> Option<Tested> {
        let endpoint = Arc::clone((self.config)().endpoint(name)?);
        let now = self.clock.now();
        let body = body::test(now, &endpoint).unwrap_or_default();
        let begun = Instant::now();
        let (taken, detail) = match Poster::new(endpoint).post(MessageId::generate(), now, body).await {
            Answer::Taken(status) => (true, format!("HTTP {status}")),
            Answer::Gone => (false, "HTTP 410".to_owned()),
            Answer::Failed { error, .. } => (false, error),
        };
        Some(Tested { taken, detail, took: begun.elapsed() })
    }

    /// Lets an endpoint be told again that said that it is gone, and what waits for another try at once; `false` where there is
    /// no such endpoint.
    pub async fn enable(&self, name: &EndpointName) -> Result<bool, StoreError> {
        if (self.config)().endpoint(name).is_none() {
            return Ok(false);
        }
        self.rests.end(name);
        enable(&*self.outbox, name, self.clock.now()).await.map(|()| true)
    }
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Monitor")
    }
}
