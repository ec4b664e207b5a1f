//! The choices a lab offers, each written the same in `lab.yaml` and on the
//! command line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Address families of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Families {
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// Both, IPv4 first.
    Dual,
}

/// Who connects the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NetworkChoice {
    /// Seaway, installed by its own manifests.
    Seaway,
    /// flannel with VXLAN, for comparison.
    Flannel,
    /// The reference `bridge` and `host-local` plugins with routes on the hosts.
    Bridge,
    /// Nobody: nodes stay NotReady until something is installed.
    None,
}

/// Who makes Services work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ServicesChoice {
    /// Seaway's agents.
    Seaway,
    /// kube-proxy in the given mode.
    KubeProxy(ProxyMode),
    /// Nobody.
    None,
}

/// How kube-proxy programs the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyMode {
    /// The nftables mode.
    Nftables,
    /// The iptables mode.
    Iptables,
}

/// Who answers DNS questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DnsChoice {
    /// Seaway's server on every node; its agents must be there.
    Seaway,
    /// CoreDNS as a Deployment.
    Coredns,
    /// Nobody.
    None,
}

/// Which data path Seaway's agents use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum BackendChoice {
    /// The best the kernel has.
    #[default]
    Auto,
    /// BPF programs.
    Ebpf,
    /// Kernel routing with nftables.
    Nftables,
}

/// How Seaway carries packets of pods between nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EncapsulationChoice {
    /// In VXLAN.
    #[default]
    Vxlan,
    /// As they are: between racks only the router's own routes would help.
    None,
    /// As they are within a rack, in VXLAN between racks.
    CrossSubnet,
}

/// Where Seaway's pod addresses come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum IpamChoice {
    /// `IPPool` objects.
    #[default]
    Pools,
    /// `Node.spec.podCIDRs`.
    NodePodCidrs,
}

/// A word that is none of a choice's values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is none of {expected}")]
pub struct UnknownChoice {
    given: String,
    expected: &'static str,
}

macro_rules! choice_words {
    ($name:ident, $expected:literal, { $($word:literal $(| $alias:literal)* => $value:expr),+ $(,)? }) => {
        impl FromStr for $name {
            type Err = UnknownChoice;

            fn from_str(text: &str) -> Result<Self, UnknownChoice> {
                match text {
                    $($word $(| $alias)* => Ok($value),)+
                    _ => Err(UnknownChoice { given: text.to_owned(), expected: $expected }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(if *self == $value { return f.write_str($word); })+
                Ok(())
            }
        }

        impl TryFrom<String> for $name {
            type Error = UnknownChoice;

            fn try_from(text: String) -> Result<Self, UnknownChoice> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

choice_words!(Families, "ipv4, ipv6, dual", {
    "ipv4" => Self::Ipv4,
    "ipv6" => Self::Ipv6,
    "dual" => Self::Dual,
});

choice_words!(NetworkChoice, "seaway, flannel, bridge, none", {
    "seaway" => Self::Seaway,
    "flannel" => Self::Flannel,
    "bridge" => Self::Bridge,
    "none" => Self::None,
});

choice_words!(ServicesChoice, "seaway, kube-proxy, kube-proxy:nftables, kube-proxy:iptables, none", {
    "seaway" => Self::Seaway,
    "kube-proxy:nftables" | "kube-proxy" => Self::KubeProxy(ProxyMode::Nftables),
    "kube-proxy:iptables" => Self::KubeProxy(ProxyMode::Iptables),
    "none" => Self::None,
});

choice_words!(DnsChoice, "seaway, coredns, none", {
    "seaway" => Self::Seaway,
    "coredns" => Self::Coredns,
    "none" => Self::None,
});

choice_words!(BackendChoice, "auto, ebpf, nftables", {
    "auto" => Self::Auto,
    "ebpf" => Self::Ebpf,
    "nftables" => Self::Nftables,
});

choice_words!(EncapsulationChoice, "vxlan, none, crossSubnet", {
    "vxlan" => Self::Vxlan,
    "none" => Self::None,
    "crossSubnet" => Self::CrossSubnet,
});

choice_words!(IpamChoice, "pools, nodePodCIDRs", {
    "pools" => Self::Pools,
    "nodePodCIDRs" => Self::NodePodCidrs,
});

// === impl UnknownChoice ===

impl UnknownChoice {
    /// `given` is none of `expected`, words with commas between.
    pub(crate) fn new(given: &str, expected: &'static str) -> Self {
        Self { given: given.to_owned(), expected }
    }
}

// === impl ServicesChoice ===

impl ServicesChoice {
    /// Whether Seaway serves Services.
    #[must_use]
    pub fn is_seaway(self) -> bool {
        self == Self::Seaway
    }
}

// === impl Families ===

impl Families {
    /// Whether IPv4 is used.
    #[must_use]
    pub fn ipv4(self) -> bool {
        self != Self::Ipv6
    }

    /// Whether IPv6 is used.
    #[must_use]
    pub fn ipv6(self) -> bool {
        self != Self::Ipv4
    }
}
