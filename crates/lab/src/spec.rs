//! What lab is wanted: `lab.yaml`, or flags. [`LabSpec::validate`] is run
//! before anything is made; the page `docs/reference/lab-yaml.md` describes
//! each field.

mod choice;
mod error;
mod validate;

use std::collections::BTreeMap;
use std::path::Path;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use choice::{
    BackendChoice, DnsChoice, EncapsulationChoice, Families, IpamChoice, NetworkChoice, ProxyMode, ServicesChoice,
    UnknownChoice,
};
pub use error::SpecError;
pub use validate::check_name;

/// One lab as asked for. Field names in the file are camelCase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LabSpec {
    /// Name of the lab; several may run side by side.
    pub name: String,
    /// Number of nodes, named `n1`, `n2`, ….
    pub nodes: u32,
    /// Number of racks, named `r1`, `r2`, …: subnets joined by a router.
    pub racks: u32,
    /// MTU of every link of the underlay.
    pub link_mtu_bytes: u32,
    /// Address families of the underlay, the pods and the Services.
    pub families: Families,
    /// Ranges the racks' subnets are cut from.
    pub underlay: UnderlayRanges,
    /// Labels of nodes beside the zone, which is the rack, by node name.
    pub node_labels: BTreeMap<String, BTreeMap<String, String>>,
    /// Ranges pods get addresses from; empty means the defaults of `families`.
    pub pod_cidrs: Vec<IpNet>,
    /// Ranges Services get addresses from; empty means the defaults of `families`.
    pub service_cidrs: Vec<IpNet>,
    /// Who connects the pods.
    pub network: NetworkChoice,
    /// How Seaway connects them, when it does.
    pub seaway: SeawayChoices,
    /// Who makes Services work: `seaway` where Seaway is the network, else kube-proxy, unless said.
    pub services: ServicesChoice,
    /// Who answers DNS questions.
    pub dns: DnsChoice,
}

/// What a user of Seaway would write into its configuration and pools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SeawayChoices {
    /// Data path of all nodes.
    pub backend: BackendChoice,
    /// Data path of single nodes, by node name.
    pub node_backends: BTreeMap<String, BackendChoice>,
    /// How packets travel between nodes.
    pub encapsulation: EncapsulationChoice,
    /// Where addresses come from.
    pub ipam: IpamChoice,
}

/// Ranges of the nodes' own addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UnderlayRanges {
    /// Rack R has the R-th /24 of it.
    pub ipv4: Ipv4Net,
    /// Rack R has the R-th /64 of it.
    pub ipv6: Ipv6Net,
}

// === impl LabSpec ===

impl Default for LabSpec {
    fn default() -> Self {
        Self {
            name: "default".into(),
            nodes: 3,
            racks: 1,
            link_mtu_bytes: 1500,
            families: Families::Dual,
            underlay: UnderlayRanges::default(),
            node_labels: BTreeMap::new(),
            pod_cidrs: Vec::new(),
            service_cidrs: Vec::new(),
            network: NetworkChoice::Seaway,
            seaway: SeawayChoices::default(),
            services: ServicesChoice::Seaway,
            dns: DnsChoice::Seaway,
        }
    }
}

impl LabSpec {
    /// Reads and validates a `lab.yaml`.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| SpecError::Unreadable { path: path.to_owned(), source })?;
        let spec = Self::parse(&text).map_err(|reason| SpecError::Syntax { path: path.to_owned(), reason })?;
        spec.validate()?;
        Ok(spec)
    }

    /// Parses the text of a `lab.yaml` without validating it; the error says
    /// where the text is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    /// Chooses what goes with the network where the default does not: Seaway serves Services and DNS
    /// where its agents are; elsewhere kube-proxy and CoreDNS do.
    #[must_use]
    pub fn settled(&self) -> Self {
        let mut settled = self.clone();
        if self.network != NetworkChoice::Seaway && self.services.is_seaway() {
            settled.services = ServicesChoice::KubeProxy(ProxyMode::Nftables);
        }
        if self.network != NetworkChoice::Seaway && self.dns == DnsChoice::Seaway {
            settled.dns = DnsChoice::Coredns;
        }
        settled
    }

    /// The pod ranges in force: those given, or the families' defaults.
    #[must_use]
    pub fn pod_ranges(&self) -> Vec<IpNet> {
        self.given_or_default(&self.pod_cidrs, Ipv4Net::new_assert([10, 244, 0, 0].into(), 16), "fd00:244::/48")
    }

    /// The Service ranges in force: those given, or the families' defaults.
    #[must_use]
    pub fn service_ranges(&self) -> Vec<IpNet> {
        self.given_or_default(&self.service_cidrs, Ipv4Net::new_assert([10, 96, 0, 0].into(), 16), "fd00:96::/112")
    }

    /// The cluster DNS addresses: the tenth of each Service range, as kubeadm
    /// chooses.
    #[must_use]
    pub fn dns_addresses(&self) -> Vec<std::net::IpAddr> {
        self.service_ranges().iter().map(|range| nth_address(range, 10)).collect()
    }

    /// The ranges of the underlay that are used.
    #[must_use]
    pub fn underlay_ranges(&self) -> Vec<IpNet> {
        let mut ranges = Vec::new();
        if self.families.ipv4() {
            ranges.push(IpNet::V4(self.underlay.ipv4));
        }
        if self.families.ipv6() {
            ranges.push(IpNet::V6(self.underlay.ipv6));
        }
        ranges
    }

    fn given_or_default(&self, given: &[IpNet], ipv4: Ipv4Net, ipv6: &str) -> Vec<IpNet> {
        if !given.is_empty() {
            return given.to_vec();
        }
        let mut ranges = Vec::new();
        if self.families.ipv4() {
            ranges.push(IpNet::V4(ipv4));
        }
        if self.families.ipv6() {
            ranges.extend(ipv6.parse::<IpNet>().ok());
        }
        ranges
    }
}

// === impl UnderlayRanges ===

impl Default for UnderlayRanges {
    fn default() -> Self {
        Self {
            ipv4: Ipv4Net::new_assert([172, 31, 0, 0].into(), 16),
            ipv6: Ipv6Net::new_assert([0xfd00, 0x172, 0x31, 0, 0, 0, 0, 0].into(), 48),
        }
    }
}

/// The address `offset` places after the network address of `range`.
#[must_use]
pub fn nth_address(range: &IpNet, offset: u32) -> std::net::IpAddr {
    match range {
        IpNet::V4(net) => std::net::Ipv4Addr::from(u32::from(net.network()).wrapping_add(offset)).into(),
        IpNet::V6(net) => std::net::Ipv6Addr::from(u128::from(net.network()).wrapping_add(u128::from(offset))).into(),
    }
}

#[cfg(test)]
mod tests;
