//! All upstreams of the configuration of the moment, and what writes for them. A pool and a breaker live on over a reload
//! for as long as the configuration of their upstream stays equal.
//!
//! Upstreams and renderer are of one configuration: an attempt takes both from one [`Snapshot`], so a reload in the middle
//! of it never pairs an upstream with a sender that it may not carry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::breaker::Gate;
use super::dispatch::{CurrentConfig, InForce};
use super::herald::Herald;
use super::parcel::Carries;
use super::route::Renderer;
use super::status::{BreakerStatus, UpstreamStatus};
use super::upstream::Upstream;
use super::{Config, UpstreamConfig};
use crate::clock::Clock;
use crate::ident::UpstreamName;
use crate::outcome::Reason;

/// The upstreams that run, and the configuration they were made from.
pub(super) struct Registry {
    source: CurrentConfig,
    current: Mutex<Option<Arc<Snapshot>>>,
    changed: Arc<Notify>,
    herald: Herald,
    clock: Clock,
}

/// One configuration with its upstreams.
pub(super) struct Snapshot {
    pub(super) config: Arc<Config>,
    pub(super) renderer: Arc<dyn Renderer>,
    upstreams: Vec<Arc<Upstream>>,
}

/// Whether any upstream would take something now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    /// At least one is closed.
    Flowing,
    /// None is closed; at least one waits for a probe.
    ProbeWanted,
    /// None before this.
    Blocked(Instant),
}

impl Snapshot {
    pub(super) fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// How the upstreams stand, taken together. Without any upstream mail flows: to where it is said that there is none.
    pub(super) fn readiness(&self) -> Readiness {
        let mut earliest: Option<Instant> = None;
        let mut probe = false;
        for upstream in &self.upstreams {
            match upstream.look() {
                Gate::Pass => return Readiness::Flowing,
                Gate::Probe => probe = true,
                Gate::NotBefore(until) => earliest = Some(earliest.map_or(until, |at| at.min(until))),
            }
        }
        match earliest {
            _ if probe => Readiness::ProbeWanted,
            Some(until) => Readiness::Blocked(until),
            None => Readiness::Flowing,
        }
    }

    /// Closes connections nobody has used for long. Returns when there will be more.
    pub(super) fn close_idle(&self, now: Instant) -> Option<Instant> {
        self.upstreams.iter().filter_map(|upstream| upstream.close_idle(now)).min()
    }

    /// Closes every connection nobody uses.
    pub(super) fn close_all_idle(&self) {
        self.upstreams.iter().for_each(|upstream| upstream.close_all_idle());
    }
}

impl Registry {
    /// The upstreams of what `source` says, now and later. How they do is told to `herald`.
    pub(super) fn new(source: CurrentConfig, clock: Clock, herald: Herald) -> Self {
        Self { source, current: Mutex::default(), changed: Arc::default(), herald, clock }
    }

    /// Is told whenever room was given back, or a breaker may have moved.
    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// The upstreams of the configuration of the moment. Those whose configuration is as before go on as they are.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked for under the lock: what is in force can't be older than what was made of it before.
        let InForce { config, renderer } = (self.source)();
        if let Some(snapshot) = &*current
            && Arc::ptr_eq(&snapshot.config, &config)
        {
            return Arc::clone(snapshot);
        }
        let mut old: HashMap<UpstreamName, Arc<Upstream>> = current
            .iter()
            .flat_map(|snapshot| &snapshot.upstreams)
            .map(|upstream| (upstream.name().clone(), Arc::clone(upstream)))
            .collect();
        let keep_or_make = |wanted: &UpstreamConfig| match old.remove(&wanted.name) {
            Some(kept) if kept.is_as(wanted, &config.hostname) => kept,
            replaced => {
                if let Some(replaced) = replaced {
                    replaced.retire();
                }
                Upstream::with_notify(
                    wanted.clone(),
                    config.hostname.clone(),
                    self.clock,
                    Arc::clone(&self.changed),
                    self.herald.clone(),
                )
            }
        };
        let upstreams = config.upstreams.iter().map(keep_or_make).collect();
        for gone in old.values() {
            gone.retire();
        }
        let snapshot = Arc::new(Snapshot { config, renderer, upstreams });
        *current = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// What the first upstream of this kind that is not asked at the moment failed with.
    pub(super) fn trouble(&self, cargo: Carries) -> Option<Reason> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let upstreams = current.iter().flat_map(|snapshot| &snapshot.upstreams);
        let of_this_kind = upstreams.filter(|upstream| upstream.cargo() == cargo);
        let shut = |status: &UpstreamStatus| status.breaker != BreakerStatus::Closed;
        let status = of_this_kind.map(|upstream| upstream.status()).find(shut)?;
        status.last_failure.map(|reason| reason.at(&status.name))
    }

    /// The upstream of this name.
    pub(super) fn upstream(&self, name: &UpstreamName) -> Option<Arc<Upstream>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let mut upstreams = current.iter().flat_map(|snapshot| &snapshot.upstreams);
        upstreams.find(|upstream| upstream.name() == name).map(Arc::clone)
    }

    /// Every upstream.
    pub(super) fn upstreams(&self) -> Vec<Arc<Upstream>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.iter().flat_map(|snapshot| &snapshot.upstreams).map(Arc::clone).collect()
    }

    /// How every upstream stands.
    pub(super) fn status(&self) -> Vec<UpstreamStatus> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.iter().flat_map(|snapshot| &snapshot.upstreams).map(|upstream| upstream.status()).collect()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registry")
    }
}
