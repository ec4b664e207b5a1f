//! Watches that run only while a follower of the feed asks for what they tell.

use std::sync::Arc;
use std::time::Duration;

use seaway_kubeapi::{Cluster, NameKinds, NameWatch, PodWatch, WatchHealth, watch_names, watch_pods};
use seaway_model::feed::Interest;
use seaway_model::{NameChange, PodChange};
use tokio::sync::watch;
use tokio::time::Instant;

use super::cluster::watch_failures;
use crate::core::Handle;
use crate::decide::Input;

/// A watch ends when nobody asked for that long: a follower that restarts finds everything there.
const UNWANTED_GRACE: Duration = Duration::from_secs(120);

/// What runs now.
#[derive(Default)]
struct Running {
    pods: Option<PodWatch>,
    names: Option<(NameKinds, NameWatch)>,
}

/// Something a watch said.
enum Said {
    Pods(Vec<PodChange>),
    Names(Vec<NameChange>),
    Health,
}

/// Starts and ends the watches as followers come and go, and passes on what they tell.
pub(crate) async fn follow_demand(cluster: Cluster, agent: Handle) {
    let mut demand = agent.demand();
    let mut running = Running::default();
    let mut look_again: Option<Instant> = None;
    loop {
        let wanted = *demand.borrow_and_update();
        running.start(&cluster, wanted, &agent);
        if running.has_more_than(wanted) {
            look_again.get_or_insert_with(|| Instant::now() + UNWANTED_GRACE);
        } else {
            look_again = None;
        }
        tokio::select! {
            changed = demand.changed() => if changed.is_err() { return },
            () = at(look_again) => {
                look_again = None;
                running.end_but(agent.forget_unwanted(), &cluster, &agent);
                tell_health(&running, &agent).await;
            }
            said = running.next() => match said {
                Said::Pods(changes) => agent.pod_changes(changes),
                Said::Names(changes) => agent.name_changes(changes),
                Said::Health => tell_health(&running, &agent).await,
            },
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn tell_health(running: &Running, agent: &Handle) {
    let health = [running.pods.as_ref().map(|watch| &watch.health), running.names.as_ref().map(|(_, w)| &w.health)];
    let failures = health.into_iter().flatten().flat_map(|health: &watch::Receiver<Arc<WatchHealth>>| {
        let health = Arc::clone(&health.borrow());
        watch_failures(&health)
    });
    agent.outcome(Input::NameWatch(failures.collect())).await;
}

// === impl Running ===

impl Running {
    fn start(&mut self, cluster: &Cluster, wanted: Interest, agent: &Handle) {
        if wanted.all_pods && self.pods.is_none() {
            tracing::info!("watching all pods: a follower asks for them");
            self.pods = Some(watch_pods(cluster));
        }
        let kinds = self.names.as_ref().map_or_else(NameKinds::default, |(kinds, _)| *kinds);
        let both = NameKinds { imports: kinds.imports || wanted.imports, gateways: kinds.gateways || wanted.gateways };
        if both != kinds {
            self.watch_names(cluster, both, agent);
        }
    }

    fn watch_names(&mut self, cluster: &Cluster, kinds: NameKinds, agent: &Handle) {
        tracing::info!(kinds.imports, kinds.gateways, "watching for kinds that a follower asks for");
        agent.begin_names(Interest { all_pods: false, imports: kinds.imports, gateways: kinds.gateways });
        self.names = Some((kinds, watch_names(cluster, kinds)));
    }

    fn has_more_than(&self, wanted: Interest) -> bool {
        let kinds = self.names.as_ref().map_or_else(NameKinds::default, |(kinds, _)| *kinds);
        (self.pods.is_some() && !wanted.all_pods)
            || (kinds.imports && !wanted.imports)
            || (kinds.gateways && !wanted.gateways)
    }

    fn end_but(&mut self, wanted: Interest, cluster: &Cluster, agent: &Handle) {
        if !wanted.all_pods {
            self.pods = None;
        }
        let kinds = NameKinds { imports: wanted.imports, gateways: wanted.gateways };
        match &self.names {
            Some((running, _)) if *running != kinds && kinds != NameKinds::default() => {
                self.watch_names(cluster, kinds, agent);
            }
            Some(_) if kinds == NameKinds::default() => self.names = None,
            _ => {}
        }
    }

    /// What one of them says next; never, when none runs.
    async fn next(&mut self) -> Said {
        let pods = async {
            match &mut self.pods {
                Some(PodWatch { changes, health, .. }) => tokio::select! {
                    Some(changes) = changes.recv() => Said::Pods(changes),
                    Ok(()) = health.changed() => Said::Health,
                    else => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        let names = async {
            match &mut self.names {
                Some((_, NameWatch { changes, health, .. })) => tokio::select! {
                    Some(changes) = changes.recv() => Said::Names(changes),
                    Ok(()) = health.changed() => Said::Health,
                    else => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            said = pods => said,
            said = names => said,
        }
    }
}
