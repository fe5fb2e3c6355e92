//! All upstreams of the configuration of the moment. A pool and a breaker live on over a reload for as long as the
//! configuration of their upstream stays equal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::breaker::Gate;
use super::parcel::Carries;
use super::status::{BreakerStatus, UpstreamStatus};
use super::upstream::Upstream;
use super::{Config, UpstreamConfig};
use crate::clock::Clock;
use crate::ident::UpstreamName;
use crate::outcome::Reason;

/// The upstreams that run, and the configuration they were made from.
#[derive(Debug)]
pub(super) struct Registry {
    current: Mutex<Option<Arc<Snapshot>>>,
    changed: Arc<Notify>,
    clock: Clock,
}

/// One configuration with its upstreams.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) config: Arc<Config>,
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
    pub(super) fn new(clock: Clock) -> Self {
        Self { current: Mutex::default(), changed: Arc::default(), clock }
    }

    /// Is told whenever room was given back, or a breaker may have moved.
    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// The upstreams of `config`. Those whose configuration is as before go on as they are.
    pub(super) fn snapshot(&self, config: &Arc<Config>) -> Arc<Snapshot> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = &*current
            && Arc::ptr_eq(&snapshot.config, config)
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
                    replaced.close_all_idle();
                }
                Upstream::with_notify(
                    wanted.clone(),
                    config.hostname.clone(),
                    self.clock,
                    Arc::clone(&self.changed),
                )
            }
        };
        let upstreams = config.upstreams.iter().map(keep_or_make).collect();
        for gone in old.values() {
            gone.close_all_idle();
        }
        let snapshot = Arc::new(Snapshot { config: Arc::clone(config), upstreams });
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

    /// How every upstream stands.
    pub(super) fn status(&self) -> Vec<UpstreamStatus> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.iter().flat_map(|snapshot| &snapshot.upstreams).map(|upstream| upstream.status()).collect()
    }
}
