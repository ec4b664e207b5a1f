//! `lab test`: does everybody reach everybody the way they should?
//!
//! Two pods on each node answer ([`deploy`]); [`plan`] lists who must reach
//! whom, [`run`] tries it with sockets opened in the network namespaces of the
//! pods, the nodes and the outside, and [`judge`] says in a sentence what is
//! broken. Nothing of it goes through the API server, so a broken cluster can
//! be judged, too.

pub mod deploy;
pub mod judge;
pub mod plan;
mod probe;
pub mod report;
pub mod run;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cluster::api::ApiClient;
use crate::error::Result;
use crate::machine::Machine;

/// kube-proxy writes at most once a second; a busy machine gets longer.
const SERVICE_PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries of a new Service.
const SERVICE_INTERVAL: Duration = Duration::from_millis(50);

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Pod to pod on one node, TCP.
    SameNodeTcp,
    /// Pod to pod on one node, UDP.
    SameNodeUdp,
    /// Pod to pod on another node, TCP.
    CrossNodeTcp,
    /// Pod to pod on another node, UDP.
    CrossNodeUdp,
    /// Pod to pod on another node, much data both ways: packets as large as they may be.
    CrossNodeLarge,
    /// Node to pod, its own and others'.
    NodeToPod,
    /// Pod to node, its own and others.
    PodToNode,
    /// Pod to a Service address.
    ClusterIp,
    /// Pod asks the cluster DNS for a Service.
    Dns,
    /// From outside the cluster to a port of a node.
    NodePort,
    /// Pod to the outside, which must see the node's address.
    PodToOutside,
}

/// Where a check starts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// In a pod.
    Pod {
        /// Its node.
        node: String,
        /// Its name.
        pod: String,
    },
    /// On a node itself.
    Node {
        /// The node.
        node: String,
    },
    /// Behind the router.
    Outside,
}

/// What is asked, and what the answer must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The name of whoever answers, over TCP; one of these.
    TcpName(Vec<String>),
    /// The name of whoever answers, over UDP; one of these.
    UdpName(Vec<String>),
    /// This many octets sent and returned over TCP.
    Echo(usize),
    /// That somebody accepts a TCP connection.
    Accept,
    /// An address for this name; the target is a DNS server.
    DnsName(String, std::net::IpAddr),
    /// The address the listener outside sees; one of these.
    SeenAs(Vec<std::net::IpAddr>),
}

/// One thing that must work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is about.
    pub kind: Kind,
    /// Whether over IPv6.
    pub ipv6: bool,
    /// Where it starts.
    pub from: Place,
    /// Node it ends at, when it ends at one.
    pub to_node: Option<String>,
    /// What is tried.
    pub target: SocketAddr,
    /// What is asked there.
    pub question: Question,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The check.
    pub check: Check,
    /// Microseconds it took, or why it failed.
    pub result: std::result::Result<u64, String>,
}

// === impl Kind ===

impl Kind {
    /// Every kind, in the order of the table.
    pub const ALL: &'static [Self] = &[
        Self::SameNodeTcp,
        Self::SameNodeUdp,
        Self::CrossNodeTcp,
        Self::CrossNodeUdp,
        Self::CrossNodeLarge,
        Self::NodeToPod,
        Self::PodToNode,
        Self::ClusterIp,
        Self::Dns,
        Self::NodePort,
        Self::PodToOutside,
    ];

    /// Whether it goes through a Service.
    #[must_use]
    pub fn is_of_a_service(self) -> bool {
        matches!(self, Self::ClusterIp | Self::Dns | Self::NodePort)
    }

    /// For people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::SameNodeTcp => "pod to pod, same node, TCP",
            Self::SameNodeUdp => "pod to pod, same node, UDP",
            Self::CrossNodeTcp => "pod to pod, other node, TCP",
            Self::CrossNodeUdp => "pod to pod, other node, UDP",
            Self::CrossNodeLarge => "pod to pod, other node, large packets",
            Self::NodeToPod => "node to pod",
            Self::PodToNode => "pod to node",
            Self::ClusterIp => "pod to Service address",
            Self::Dns => "pod asks DNS for a Service",
            Self::NodePort => "outside to node port",
            Self::PodToOutside => "pod to outside, masqueraded",
        }
    }
}

// === impl Place ===

impl Place {
    /// The node, when there is one.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Pod { node, .. } | Self::Node { node } => Some(node),
            Self::Outside => None,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pod { node, pod } => write!(f, "pod {pod} on {node}"),
            Self::Node { node } => write!(f, "node {node}"),
            Self::Outside => f.write_str("outside"),
        }
    }
}

/// What the test found.
#[derive(Debug, Clone)]
pub struct TestReport {
    /// Every check and how it ended.
    pub outcomes: Vec<Outcome>,
    /// What is broken, a sentence each; empty: all is well.
    pub findings: Vec<String>,
}

/// Deploys what is needed and tests the lab.
///
/// # Errors
/// The test cannot be run at all; what it finds is no error.
pub fn test(machine: &Machine, api: &ApiClient) -> Result<TestReport> {
    let new = !deploy::is_deployed(api);
    let mut topology = deploy::deploy(machine, api)?;
    let outside = run::OutsideListener::open(machine)?;
    topology.outside = outside.addresses();
    let mut outcomes = run::run(machine, &topology, plan::checks(&topology))?;
    if new {
        retry_services(machine, &topology, &mut outcomes)?;
    }
    let has_pod = |node: &str| topology.pods.iter().any(|pod| pod.node == node);
    let surroundings = judge::Surroundings {
        racks: machine.nodes().iter().map(|node| (node.name().to_owned(), node.rack().to_owned())).collect(),
        without_pods: machine.nodes().iter().map(|node| node.name().to_owned()).filter(|node| !has_pod(node)).collect(),
    };
    let findings = judge::findings(&outcomes, &surroundings);
    drop(outside);
    Ok(TestReport { outcomes, findings })
}

/// Whoever serves Services hears of the test's own a moment after its pods are
/// Ready: that is no fault, so its checks are tried again for a while.
fn retry_services(machine: &Machine, topology: &plan::Topology, outcomes: &mut [Outcome]) -> Result<()> {
    let give_up = Instant::now() + SERVICE_PATIENCE;
    loop {
        let (indices, checks): (Vec<usize>, Vec<Check>) = outcomes
            .iter()
            .enumerate()
            .filter(|(_, outcome)| outcome.result.is_err() && outcome.check.kind.is_of_a_service())
            .map(|(index, outcome)| (index, outcome.check.clone()))
            .unzip();
        if checks.is_empty() || Instant::now() > give_up {
            return Ok(());
        }
        std::thread::sleep(SERVICE_INTERVAL);
        for (index, outcome) in indices.into_iter().zip(run::run(machine, topology, checks)?) {
            if let Some(known) = outcomes.get_mut(index) {
                *known = outcome;
            }
        }
    }
}
