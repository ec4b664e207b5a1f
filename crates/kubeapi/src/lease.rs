//! Leader election on a `coordination.k8s.io/v1` Lease: of several replicas
//! one acts. [`Lease::acquire`] waits for the turn, [`Lease::hold`] keeps it
//! until it is lost, [`Lease::release`] hands it over at once.
//!
//! Other replicas' clocks are not trusted: a lease has run out when *we* have
//! seen no renewal for its duration (as client-go does).

mod decide;

use std::time::Duration;

use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use tokio::time::Instant;

use crate::cluster::request;
use crate::{Cluster, KubeApiError};
use decide::{Record, Sighting, Step};

/// How long things take in an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// Without a renewal for that long anybody may take over. Whole seconds.
    pub duration: Duration,
    /// The holder gives up when it could not renew for that long; less than `duration`.
    pub renew_deadline: Duration,
    /// Pause between two looks, and between two renewals.
    pub retry: Duration,
}

/// One replica's part in an election.
#[derive(Debug)]
pub struct Lease {
    api: Api<coordination::Lease>,
    name: String,
    identity: String,
    times: LeaseTimes,
    started: Instant,
    sighting: Option<Sighting>,
}

// === impl LeaseTimes ===

impl Default for LeaseTimes {
    /// The times of Kubernetes' own controllers.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

// === impl Lease ===

impl Lease {
    /// The part of the replica `identity` in the election called `namespace`/`name`.
    #[must_use]
    pub fn new(cluster: &Cluster, namespace: &str, name: &str, identity: &str, times: LeaseTimes) -> Self {
        Self {
            api: Api::namespaced(cluster.client.clone(), namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            times,
            started: Instant::now(),
            sighting: None,
        }
    }

    /// Waits until this replica leads. Cancel by dropping the future.
    pub async fn acquire(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(lease = self.name, %error, "cannot take part in the election"),
            }
            tokio::time::sleep(self.times.retry).await;
        }
    }

    /// Renews until the lease is lost; when this returns the replica must have stopped acting.
    pub async fn hold(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.times.retry).await;
            let left = (renewed + self.times.renew_deadline).saturating_duration_since(Instant::now());
            let begun = Instant::now();
            match tokio::time::timeout(left, self.attempt()).await {
                Ok(Ok(true)) => renewed = begun,
                Ok(Ok(false)) => {
                    tracing::warn!(lease = self.name, "another replica has taken the lease");
                    return;
                }
                Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "cannot renew the lease"),
                Err(_) => {}
            }
            if renewed.elapsed() >= self.times.renew_deadline {
                tracing::warn!(lease = self.name, "the lease could not be renewed in time");
                return;
            }
        }
    }

    /// Gives the lease up, so that another replica need not wait for it to run out.
    pub async fn release(&mut self) -> Result<(), KubeApiError> {
        let action = format!("release lease {}", self.name);
        let Some(mut lease) = request(action.as_str(), self.api.get_opt(&self.name)).await? else { return Ok(()) };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return Ok(());
        }
        spec.holder_identity = None;
        request(action, self.api.replace(&self.name, &PostParams::default(), &lease)).await?;
        Ok(())
    }

    /// One look and, if the lease is ours to have, one write. True: this replica leads.
    async fn attempt(&mut self) -> Result<bool, KubeApiError> {
        let action = format!("take part in the election on lease {}", self.name);
        let existing = request(action.as_str(), self.api.get_opt(&self.name)).await?;
        let now = self.started.elapsed();
        let record = existing.as_ref().map(record);
        let (step, sighting) = decide::decide(record.as_ref(), self.sighting.as_ref(), &self.identity, now);
        self.sighting = sighting;
        let transitions = record.as_ref().map_or(0, |record| record.transitions);
        let wanted = match step {
            Step::Wait => return Ok(false),
            Step::Create => self.lease(None, transitions, None),
            Step::TakeOver => self.lease(existing, transitions.saturating_add(1), None),
            Step::Renew => {
                let acquired = existing.as_ref().and_then(|lease| lease.spec.as_ref()?.acquire_time.clone());
                self.lease(existing, transitions, acquired)
            }
        };
        let written = match step {
            Step::Create => request(action, self.api.create(&PostParams::default(), &wanted)).await,
            _ => request(action, self.api.replace(&self.name, &PostParams::default(), &wanted)).await,
        };
        match written {
            Ok(_) => Ok(true),
            // Another replica was faster; the version in the object saw to it that only one wins.
            Err(KubeApiError::Refused { code: 409, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn lease(
        &self,
        existing: Option<coordination::Lease>,
        transitions: i32,
        acquired: Option<MicroTime>,
    ) -> coordination::Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = existing.unwrap_or_else(|| coordination::Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        lease.spec = Some(coordination::LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.times.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..coordination::LeaseSpec::default()
        });
        lease
    }
}

fn record(lease: &coordination::Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        duration: Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0)),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}
