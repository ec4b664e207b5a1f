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

use seaway_datapath::kernel::bpf::{FastPathConfig, HookChoice, ServicePackets, XdpChoice};
use seaway_datapath::support::ChosenBackend;
use seaway_datapath::{BackendChoice, Datapath, Options};
use seaway_kubeapi::{
    ApiAddress, Connection, PodScope, connect, watch, watch_dns_configs, watch_service_ranges, watch_services,
};
use seaway_model::Diagnose;
use seaway_routing::plan::NetworkOptions;
use seaway_runtime::config::{AgentConfig, Backend, IpamSource, PodLinkHook, Services, Xdp};
use seaway_runtime::{Metrics, admin};
use tokio_util::sync::CancellationToken;

use crate::AgentError;
use crate::core::{Core, Parts};
use crate::decide::Settings;
use crate::io::cluster::{Pens, follow};
use crate::io::demand::follow_demand;
use crate::io::dns_configs::follow_dns_configs;
use crate::io::host::{KernelHost, ephemeral_ports};
use crate::io::services::{follow_service_ranges, follow_services, tell_service_notices};
use crate::services::ServiceParts;

/// Runs the agent until `shutdown` is cancelled. The data path stays as it is then.
///
/// # Errors
/// A step of the start failed. Later trouble is reported by `/readyz`,
/// `seaway status` and CNI STATUS, and is tried again.
pub async fn run(config: AgentConfig, shutdown: CancellationToken) -> Result<(), AgentError> {
    let (datapath, chosen) = open_datapath(&config)?;
    tracing::info!(node = %config.node, backend = %chosen.backend, reason = chosen.reason, "starting");
    let services = match &config.services {
        Some(services) => Some(service_parts(&config, services.clone(), &chosen)?),
        None => {
            // What an earlier configuration left would stand in the way of whoever serves them now.
            if let Err(errors) = seaway_datapath::kernel::services::remove_services(&datapath_options(&config)) {
                tracing::warn!("Services are served by somebody else, but not all of ours is gone: {errors}");
            }
            None
        }
    };
    let parts = Parts {
        services,
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
    let events = pens.events();
    let tasks = [
        tokio::spawn(pens.clone().work(wishes.work, handle.clone())),
        tokio::spawn(pens.record(wishes.records)),
        tokio::spawn(follow(watch(&cluster, PodScope::OfNode(config.node.clone())), handle.clone())),
        tokio::spawn(follow_services(watch_services(&cluster), handle.clone())),
        tokio::spawn(follow_dns_configs(watch_dns_configs(&cluster), handle.clone())),
        tokio::spawn(follow_service_ranges(
            watch_service_ranges(&cluster, config.service_cidrs.clone()),
            handle.clone(),
        )),
        tokio::spawn(follow_demand(cluster.clone(), handle.clone())),
    ];
    let notices = handle.service_notices();
    let notices =
        notices.map(|notices| tokio::spawn(tell_service_notices(notices, events, config.node.clone(), handle)));
    shutdown.cancelled().await;
    for task in tasks.iter().chain(&notices) {
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
    seaway_datapath::kernel::open(choice, datapath_options(config)).map_err(|error| AgentError::start(&error))
}

pub(crate) fn datapath_options(config: &AgentConfig) -> Options {
    let hook = match config.pod_link_hook {
        PodLinkHook::Auto => HookChoice::Best,
        PodLinkHook::Tcx => HookChoice::Tcx,
        PodLinkHook::Clsact => HookChoice::Clsact,
    };
    let mut fast_path = FastPathConfig { tunnel_port: config.vxlan.port, hook, ..FastPathConfig::default() };
    if let Some(services) = &config.services {
        fast_path.service_tables.frontends = services.max_frontends;
        fast_path.service_tables.backends = services.max_backends;
        let xdp = match services.xdp {
            Xdp::Auto => XdpChoice::Auto,
            Xdp::Always => XdpChoice::Always,
            Xdp::Off => XdpChoice::Off,
        };
        let max_connections = services.max_connections;
        fast_path.services = Some(ServicePackets { max_connections, xdp, ..ServicePackets::default() });
    }
    Options {
        pin_dir: config.paths.bpf.clone(),
        proc_sys: config.paths.proc_sys.clone(),
        cgroup_root: config.paths.cgroup.clone(),
        fast_path,
        ..Options::default()
    }
}

/// Opens the data path of Services; changes nothing yet.
fn service_parts(
    config: &AgentConfig,
    configuration: Services,
    chosen: &ChosenBackend,
) -> Result<ServiceParts, AgentError> {
    let options = datapath_options(config);
    let datapath = seaway_datapath::kernel::services::open_services(chosen.backend, &options)
        .map_err(|error| AgentError::start(&error))?;
    let host_addresses = || {
        seaway_datapath::kernel::host_addresses().unwrap_or_else(|error| {
            tracing::warn!(id = %error.id(), fix = error.fix(), "no NodePorts on ranges for now: {error}");
            Vec::new()
        })
    };
    Ok(ServiceParts {
        datapath,
        configuration,
        host_addresses: Box::new(host_addresses),
        audit_interval: config.audit_interval,
        ephemeral_ports: ephemeral_ports(&config.paths.proc_sys),
    })
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
