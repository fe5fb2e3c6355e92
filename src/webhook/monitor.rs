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
}

impl Monitor {
    pub(super) fn new(
        outbox: Arc<dyn Outbox>,
        config: CurrentConfig,
        clock: Clock,
        rests: Arc<Rests>,
        changed: Arc<Notify>,
    ) -> Self {
        Self { outbox, config, clock, rests, changed }
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
