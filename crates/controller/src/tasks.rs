//! The tasks of the controller.
//!
//! ```text
//! watch task ──snapshot──▶ leader loop ──▶ API (pools, blocks, events)
//!                            ▲   every 10 s, and on changes at most once a second
//! lease ──hold/lose──────────┘
//! admin task: /healthz /readyz /metrics
//! ```
//! Losing the lease drops the leader loop at its next await; every write is
//! guarded by the object's identity, so one that is under way does no harm.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use prometheus_client::registry::Registry;
use seaway_kubeapi::{
    ApiAddress, Cluster, Connection, Events, KubeApiError, Lease, LeaseTimes, PodScope, PoolLife, Pools, Severity,
    SnapshotWatch, Subject, WatchHealth, connect, watch,
};
use seaway_model::Diagnose;
use seaway_runtime::config::ControllerConfig;
use seaway_runtime::shutdown::CancellationToken;
use seaway_runtime::{Introspect, admin};
use tokio::time::Instant;

use crate::ControllerError;
use crate::decide::{Action, Memory, View};
use crate::metrics::ControllerMetrics;

/// The lease, in the namespace the controller runs in.
const LEASE: &str = "seaway-controller";
/// How often the recorded use is read again when nothing else changes.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// At least this long between two looks: a rollout changes blocks many times a second.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Gives all pools up, so that deleting them waits for nobody: the last step before a controller is removed for
/// good. How many there were.
///
/// # Errors
/// When the configuration gives no way to the API, or the API refuses.
pub async fn give_pools_up(config: &ControllerConfig) -> Result<usize, ControllerError> {
    Ok(Pools::new(&connection_of(config).await?).give_all_up().await?)
}

/// Runs until `stop` is cancelled.
///
/// # Errors
/// When the configuration gives no way to the API, or the admin port is taken.
pub async fn run(config: ControllerConfig, stop: CancellationToken) -> Result<(), ControllerError> {
    let cluster = connection_of(&config).await?;
    let metrics = ControllerMetrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let watch = watch(&cluster, PodScope::None);
    let status = Arc::new(Status {
        leads: AtomicBool::new(false),
        snapshots: watch.snapshots.clone(),
        health: watch.health.clone(),
    });
    let introspect: Arc<dyn Introspect> = Arc::clone(&status) as Arc<dyn Introspect>;
    let admin = admin::bind(config.admin, introspect, Arc::new(registry)).await?;
    let controller = Controller { cluster, config, metrics, status };
    tokio::select! {
        served = admin.serve(stop.clone()) => served?,
        () = controller.elections(watch, stop) => {}
    }
    Ok(())
}

async fn connection_of(config: &ControllerConfig) -> Result<Cluster, KubeApiError> {
    let server = config.api.server.clone();
    let connection = Connection {
        kubeconfig: config.api.kubeconfig.clone(),
        server: server.map(|server| ApiAddress { host: server.host, port: server.port }),
    };
    connect(&connection).await
}

pub(crate) struct Controller {
    pub(crate) cluster: Cluster,
    pub(crate) config: ControllerConfig,
    metrics: ControllerMetrics,
    status: Arc<Status>,
}

/// What the admin server shows.
struct Status {
    leads: AtomicBool,
    snapshots: tokio::sync::watch::Receiver<Arc<seaway_model::Snapshot>>,
    health: tokio::sync::watch::Receiver<Arc<WatchHealth>>,
}

// === impl Controller ===

impl Controller {
    async fn elections(&self, mut watch: SnapshotWatch, stop: CancellationToken) {
        let namespace = self.cluster.own_namespace().to_owned();
        let mut lease = Lease::new(&self.cluster, &namespace, LEASE, &self.config.identity, LeaseTimes::default());
        while run_until(&stop, lease.acquire()).await.is_some() {
            tracing::info!(identity = self.config.identity, "leading");
            self.set_leading(true);
            let term = async {
                tokio::select! {
                    () = lease.hold() => {}
                    () = self.lead(&mut watch) => {}
                    () = self.watch_over_services(self.status.snapshots.clone()) => {}
                    () = self.judge_dns_configs() => {}
                }
            };
            let stopped = run_until(&stop, term).await.is_none();
            self.set_leading(false);
            if stopped {
                if let Err(error) = lease.release().await {
                    tracing::warn!(%error, "the lease was not released; another replica takes over when it runs out");
                }
                return;
            }
        }
    }

    fn set_leading(&self, leads: bool) {
        self.status.leads.store(leads, Ordering::Relaxed);
        self.metrics.set_leader(leads);
        self.metrics.show_pools(&BTreeMap::new());
    }

    /// Looks and acts; never ends by itself.
    async fn lead(&self, watch: &mut SnapshotWatch) {
        let pools = Pools::new(&self.cluster);
        let events = Events::new(&self.cluster, "seaway-controller", &self.config.identity);
        let started = Instant::now();
        let mut memory = Memory::default();
        watch.ready().await;
        loop {
            let snapshot = Arc::clone(&watch.snapshots.borrow_and_update());
            match look(&pools).await {
                Ok((recorded_use, lives)) => {
                    let actions = memory.decide(&View {
                        snapshot: &snapshot,
                        recorded_use: &recorded_use,
                        lives: &lives,
                        service_cidrs: &self.config.service_cidrs,
                        default_pools: &self.config.default_pools,
                        now: started.elapsed(),
                    });
                    self.metrics.show_pools(memory.usages());
                    for action in actions {
                        self.act(&pools, &events, &mut memory, action).await;
                    }
                }
                Err(error) => report("cannot look at pools and blocks", &error),
            }
            tokio::time::sleep(LOOK_PAUSE).await;
            // Either is a reason for the next look: a change, or time.
            let _ = tokio::time::timeout(LOOK_EVERY, watch.snapshots.changed()).await;
        }
    }

    async fn act(&self, pools: &Pools, events: &Events, memory: &mut Memory, action: Action) {
        match action {
            Action::CreatePool(pool) => match pools.create(&pool).await {
                Ok(created) => tracing::info!(pool = pool.name, created, "default pool"),
                Err(error) => report("cannot create a default pool", &error),
            },
            Action::KeepPool(pool) => {
                if let Err(error) = pools.keep(&pool).await {
                    report("cannot mark a pool as one to be kept while pods use it", &error);
                }
            }
            Action::LetPoolGo(pool) => match pools.let_go(&pool).await {
                Ok(gone) => tracing::info!(pool, gone, "deleted pool without blocks"),
                Err(error) => report("cannot let a deleted pool go", &error),
            },
            Action::DeleteBlock { node, block } => match pools.delete_block_of(&node, &block).await {
                Ok(deleted) => tracing::info!(%node, %block, deleted, "block of a node that is gone"),
                Err(error) => report("cannot delete a block of a node that is gone", &error),
            },
            Action::WriteUsage { pool, usage } => {
                if let Err(error) = pools.write_usage(&pool, &usage).await {
                    memory.forget_status(&pool);
                    report("cannot write how full a pool is", &error);
                }
            }
            Action::Warn { pool, reason, note } => {
                tracing::warn!(pool, reason, "{note}");
                if let Err(error) = events.emit(&Subject::Pool(pool.clone()), Severity::Warning, reason, &note).await {
                    memory.forget_warning(&pool);
                    report("cannot write an event", &error);
                }
            }
        }
    }
}

/// What no watch shows: addresses in use of every block, and how far pools are on their way out.
async fn look(pools: &Pools) -> Result<(BTreeMap<IpNet, u64>, BTreeMap<String, PoolLife>), KubeApiError> {
    Ok((pools.recorded_use().await?, pools.lives().await?))
}

// === impl Status ===

impl Introspect for Status {
    fn problems(&self) -> Vec<String> {
        if self.snapshots.borrow().generation > 0 {
            return Vec::new();
        }
        let failing = &self.health.borrow().failing;
        let mut problems = vec!["the cluster's objects were not listed yet".to_owned()];
        problems.extend(failing.iter().map(|(kind, reason)| format!("watch of {kind}: {reason}")));
        problems
    }

    fn state(&self) -> serde_json::Value {
        let health = self.health.borrow();
        let invalid: Vec<String> = health.invalid.iter().map(ToString::to_string).collect();
        serde_json::json!({
            "leads": self.leads.load(Ordering::Relaxed),
            "generation": self.snapshots.borrow().generation,
            "failingWatches": health.failing,
            "invalidObjects": invalid,
        })
    }
}

pub(crate) fn report(what: &str, error: &KubeApiError) {
    tracing::warn!(id = %error.id(), %error, "{what}");
}

/// `None` when `stop` came first.
async fn run_until<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = stop.cancelled() => None,
        done = work => Some(done),
    }
}
