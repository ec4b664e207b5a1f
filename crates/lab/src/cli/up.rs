//! `seaway lab up`: from flags and `lab.yaml` to a lab.

use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;

use super::cluster;
use crate::cluster::progress::Progress;
use crate::cluster::up::{UpOptions, up};
use crate::error::Result;
use crate::spec::{
    BackendChoice, DnsChoice, EncapsulationChoice, Families, IpamChoice, LabSpec, NetworkChoice, ServicesChoice,
};

/// Flags win over the file.
#[derive(Debug, Args)]
pub(super) struct UpArgs {
    /// Specification of the lab, `lab.yaml`.
    #[arg(long, short)]
    file: Option<PathBuf>,
    /// Number of nodes.
    #[arg(long)]
    nodes: Option<u32>,
    /// Number of racks.
    #[arg(long)]
    racks: Option<u32>,
    /// MTU of the underlay's links.
    #[arg(long, value_name = "BYTES")]
    link_mtu: Option<u32>,
    /// Address families: ipv4, ipv6 or dual.
    #[arg(long)]
    families: Option<Families>,
    /// Ranges of pods, one per family.
    #[arg(long, value_name = "RANGE", value_delimiter = ',')]
    pod_cidr: Vec<IpNet>,
    /// Ranges of Services, one per family.
    #[arg(long, value_name = "RANGE", value_delimiter = ',')]
    service_cidr: Vec<IpNet>,
    /// Who connects the pods: seaway, flannel, bridge or none.
    #[arg(long)]
    network: Option<NetworkChoice>,
    /// Data path of Seaway: auto, ebpf or nftables.
    #[arg(long)]
    backend: Option<BackendChoice>,
    /// How Seaway carries packets between nodes: vxlan, none or crossSubnet.
    #[arg(long)]
    encapsulation: Option<EncapsulationChoice>,
    /// Where Seaway's pod addresses come from: pools or nodePodCIDRs.
    #[arg(long)]
    ipam: Option<IpamChoice>,
    /// Who makes Services work: seaway (with --network seaway), kube-proxy, kube-proxy:nftables, kube-proxy:iptables or none.
    #[arg(long)]
    services: Option<ServicesChoice>,
    /// Who answers DNS questions: seaway (with --network seaway), coredns or none.
    #[arg(long)]
    dns: Option<DnsChoice>,
    /// Folder with Kubernetes release binaries, 1.34 to 1.36; built from source otherwise.
    #[arg(long, value_name = "DIR", env = "SEAWAY_KUBERNETES_BIN")]
    kubernetes_bin: Option<PathBuf>,
    /// Leave everything as it is when a step fails.
    #[arg(long)]
    keep_on_failure: bool,
    /// Show what the time was spent on.
    #[arg(long)]
    timings: bool,
}

// === impl UpArgs ===

impl UpArgs {
    /// Makes the lab and shows it.
    pub(super) fn run(&self, name: &str) -> Result<()> {
        let spec = self.spec(name)?;
        let options =
            UpOptions { spec, release_directory: self.kubernetes_bin.clone(), keep_on_failure: self.keep_on_failure };
        let progress = Progress::start();
        let lab = up(&options, &progress)?;
        cluster::after_up(&lab, &progress, self.timings);
        Ok(())
    }

    /// What is asked for: the file, then the flags, then judged as a whole.
    fn spec(&self, name: &str) -> Result<LabSpec> {
        let mut spec = match &self.file {
            Some(path) => LabSpec::read(path)?,
            None => LabSpec::default(),
        };
        // The name's flag has a default of its own.
        if self.file.is_none() || name != LabSpec::default().name {
            spec.name = name.to_owned();
        }
        take(&mut spec.nodes, self.nodes);
        take(&mut spec.racks, self.racks);
        take(&mut spec.link_mtu_bytes, self.link_mtu);
        take(&mut spec.families, self.families);
        take(&mut spec.network, self.network);
        take(&mut spec.seaway.backend, self.backend);
        take(&mut spec.seaway.encapsulation, self.encapsulation);
        take(&mut spec.seaway.ipam, self.ipam);
        take(&mut spec.services, self.services);
        take(&mut spec.dns, self.dns);
        if !self.pod_cidr.is_empty() {
            spec.pod_cidrs.clone_from(&self.pod_cidr);
        }
        if !self.service_cidr.is_empty() {
            spec.service_cidrs.clone_from(&self.service_cidr);
        }
        spec.validate()?;
        Ok(spec)
    }
}

fn take<T: Copy>(field: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *field = value;
    }
}
