//! Installing what connects pods, serves Services and answers DNS.

use super::{CLUSTER_DOMAIN, STEP_TIMEOUT, Up, died};
use crate::cluster::api::{ApiClient, NODE, Scope};
use crate::cluster::files::{self, CONFIGURATION_DIRECTORY, write_private};
use crate::error::Result;
use crate::machine::{Node, ProgramSpec};
use crate::patience::patience;
use crate::peers::{coredns, kube_proxy};
use crate::spec::{DnsChoice, ProxyMode, ServicesChoice};

/// Where CoreDNS is worth a second replica: from the second node on.
const DNS_REPLICAS: u32 = 2;

impl Up<'_> {
    /// Brings images to all nodes and starts their container runtime.
    pub(super) fn prepare_nodes(&self) -> Result<()> {
        let template = self.progress.step("images unpacked", || self.unpack_images())?;
        self.progress.step("containerd started on all nodes", || {
            self.on_all_nodes(|node| {
                template.prepare_node_root(&node.path("/var/lib/containerd"))?;
                self.start_containerd(node)
            })
        })
    }

    /// Installs network, Services and DNS in a cluster whose API server answers.
    pub(super) fn install(&self, api: &ApiClient) -> Result<()> {
        std::thread::scope(|scope| {
            let services = scope.spawn(|| self.install_services(api));
            let dns = scope.spawn(|| self.install_dns(api));
            let network = self.progress.step("network installed", || self.install_network(api));
            for part in [services, dns] {
                part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            network
        })
    }

    fn install_dns(&self, api: &ApiClient) -> Result<()> {
        match self.spec.dns {
            DnsChoice::None => Ok(()),
            DnsChoice::Seaway => self.progress.step("Seaway's DNS deployed", || self.install_seaway_dns(api)),
            DnsChoice::Coredns => self.progress.step("CoreDNS deployed", || {
                let replicas = DNS_REPLICAS.min(self.spec.nodes);
                Ok(api.apply("CoreDNS", &coredns::manifests(CLUSTER_DOMAIN, &self.settings.dns_addresses, replicas))?)
            }),
        }
    }

    fn install_services(&self, api: &ApiClient) -> Result<()> {
        let ServicesChoice::KubeProxy(mode) = self.spec.services else { return Ok(()) };
        self.progress.step("kube-proxy started on all nodes", || {
            self.wait_for_registration(api)?;
            self.on_all_nodes(|node| self.start_kube_proxy(node, mode))
        })
    }

    /// kube-proxy looks its node up once and then waits for seconds.
    fn wait_for_registration(&self, api: &ApiClient) -> Result<()> {
        let count = self.machine.nodes().len();
        let mut failed = || died(self.machine.nodes());
        Ok(api.watch_until("the nodes are", NODE, Scope::default(), patience(STEP_TIMEOUT), &mut failed, |nodes| {
            if nodes.len() == count { Ok(()) } else { Err(format!("{} of {count} are registered", nodes.len())) }
        })?)
    }

    fn start_kube_proxy(&self, node: &Node, mode: ProxyMode) -> Result<()> {
        let configuration = std::path::Path::new(CONFIGURATION_DIRECTORY).join("kube-proxy.json");
        let kubeconfig = files::kubeconfig_of("kube-proxy");
        let text = kube_proxy::configuration(node.name(), mode, &self.settings.pod_cidrs, &kubeconfig);
        write_private(&node.path(&configuration), &text)?;
        node.start(ProgramSpec {
            name: "kube-proxy".to_owned(),
            argv: kube_proxy::argv(self.programs.path("kube-proxy")?, &configuration),
            restart: true,
            ..ProgramSpec::default()
        })?;
        Ok(())
    }
}
