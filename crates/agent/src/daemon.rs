//! The daemon: a core joined to a cluster.
//!
//! ```text
//!  API server ──watch──▶ follow ──snapshot──▶ ┌───────────────┐
//!                                             │ owner (thread)│──▶ kernel
//!  runtime ─▶ seaway-cni ─▶ socket ─question─▶│ State::decide │◀── drop events
//!                              ▲              └───┬───────┬───┘
//!                              └──answer──────────┘       ├─wishes─▶ work ───▶ API server
//!                              ▲                          └─records▶ record ─▶ API server
//!  monitor clients ◀─drops─────┘
//! ```
//!
//! Depths: inbox 1024 (senders wait), wishes 256 (refused when full and decided
//! again), records one map (newest wins), drops 4096 per reader (older ones are
//! missed, and counted). SIGTERM ends the tasks; the kernel goes on by itself.

use std::sync::Arc;

use seaway_datapath::support::ChosenBackend;
use seaway_datapath::{BackendChoice, Datapath};
use seaway_kubeapi::{ApiAddress, Connection, PodScope, connect, watch};
use seaway_routing::plan::NetworkOptions;
use seaway_runtime::config::{AgentConfig, Backend, IpamSource};
use seaway_runtime::{Metrics, admin};
use tokio_util::sync::CancellationToken;

use crate::AgentError;
use crate::core::{Core, Parts};
use crate::decide::Settings;
use crate::io::cluster::{Pens, follow};
use crate::io::host::KernelHost;

/// Runs the agent until `shutdown` is cancelled. The data path stays as it is then.
///
/// # Errors
/// A step of the start failed. Later trouble is reported by `/readyz`,
/// `seaway status` and CNI STATUS, and is tried again.
pub async fn run(config: AgentConfig, shutdown: CancellationToken) -> Result<(), AgentError> {
    let (datapath, chosen) = open_datapath(&config)?;
    tracing::info!(node = %config.node, backend = %chosen.backend, reason = chosen.reason, "starting");
    let parts = Parts {
        settings: settings(&config, &chosen),
        datapath,
        host: Box::new(KernelHost { paths: config.paths.clone(), cni: config.cni.clone() }),
        run_directory: config.paths.run.clone(),
        audit_interval: config.audit_interval,
        registry: prometheus_client::registry::Registry::default(),
    };
    let (mut core, wishes) = Core::start(parts, shutdown.clone()).await?;
    let metrics: Metrics = Arc::new(core.take_registry());
    let admin = admin::bind(config.admin, Arc::new(core.vitals()), metrics).await.map_err(|e| AgentError::start(&e))?;
    let admin = tokio::spawn(admin.serve(shutdown.clone()));

    let cluster = connect(&connection(&config)).await.map_err(|error| AgentError::start(&error))?;
    let pens = Pens::new(&cluster, &config.node);
    let handle = core.handle();
    let tasks = [
        tokio::spawn(pens.clone().work(wishes.work, handle.clone())),
        tokio::spawn(pens.record(wishes.records)),
        tokio::spawn(follow(watch(&cluster, PodScope::OfNode(config.node.clone())), handle)),
    ];
    shutdown.cancelled().await;
    for task in &tasks {
        task.abort();
    }
    core.stop().await;
    match admin.await {
        Ok(Err(error)) => Err(AgentError::start(&error)),
        _ => Ok(()),
    }
}

/// Opens this node's data path; changes nothing yet.
pub(crate) fn open_datapath(config: &AgentConfig) -> Result<(Box<dyn Datapath>, ChosenBackend), AgentError> {
    let choice = match config.backend {
        Backend::Auto => BackendChoice::Auto,
        Backend::Ebpf => BackendChoice::Ebpf,
        Backend::Nftables => BackendChoice::Nftables,
    };
    let options = seaway_datapath::kernel::Options {
        pin_dir: config.paths.bpf.clone(),
        proc_sys: config.paths.proc_sys.clone(),
        ..seaway_datapath::kernel::Options::default()
    };
    seaway_datapath::kernel::open(choice, options).map_err(|error| AgentError::start(&error))
}

fn settings(config: &AgentConfig, chosen: &ChosenBackend) -> Settings {
    Settings {
        node: config.node.clone(),
        options: NetworkOptions {
            vxlan_port: config.vxlan.port,
            vxlan_id: config.vxlan.id,
            non_masquerade: config.non_masquerade.clone(),
            mtu_bytes: config.mtu_bytes,
            service_cidrs: config.service_cidrs.clone(),
        },
        node_pod_cidrs: (config.ipam.source == IpamSource::NodePodCidrs).then_some(config.ipam.node_pod_cidrs),
        cooldown: config.ipam.cooldown,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        backend: chosen.backend.to_string(),
        backend_reason: chosen.reason.clone(),
    }
}

fn connection(config: &AgentConfig) -> Connection {
    Connection {
        kubeconfig: config.api.kubeconfig.clone(),
        server: config.api.server.as_ref().map(|server| ApiAddress { host: server.host.clone(), port: server.port }),
    }
}
