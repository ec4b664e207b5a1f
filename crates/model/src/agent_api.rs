//! Messages on the agent's Unix socket `/run/seaway/agent.sock`.
//!
//! One request per connection: the client writes one JSON object and shuts down
//! its writing side; the agent answers with JSON objects, one per line
//! ([`Request::Monitor`] and [`Request::Follow`] stream, all others answer once). `seaway-cni` sends
//! the pod's network namespace as a file descriptor (`SCM_RIGHTS`) with the
//! first byte, so the agent needs no view of the runtime's mounts.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::feed::{FeedChange, Interest};
use crate::ids::{ContainerId, InterfaceName, MacAddress, NodeName, PodRef};
use crate::service::{Protocol, ServiceRef};

/// Where the agent listens.
pub const AGENT_SOCKET: &str = "/run/seaway/agent.sock";

/// Folder beside the socket in which `seaway-cni` leaves deletions that the
/// agent was not there to take: one file per attachment, ending in `.json`,
/// holding a [`Request::Delete`]. The agent carries them out when it starts,
/// after it listens on the socket.
pub const PENDING_DELETES_DIRECTORY: &str = "deletes";

/// What can be asked of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "camelCase")]
pub enum Request {
    /// CNI ADD: connect a sandbox.
    Add(Attachment),
    /// CNI DEL: disconnect a sandbox; succeeds when there is nothing.
    Delete(Attachment),
    /// CNI CHECK: does the kernel hold what ADD made?
    Check(CheckAttachment),
    /// CNI STATUS: could an ADD succeed now?
    Status,
    /// CNI GC: forget every attachment of this network but these.
    GarbageCollect {
        /// CNI network name.
        network: String,
        /// Attachments the runtime still knows; absent: it did not say, so only
        /// attachments whose sandbox is dead are forgotten.
        #[serde(default)]
        valid: Option<Vec<AttachmentKey>>,
    },
    /// Everything the agent knows of its own state, for `seaway status`.
    NodeStatus,
    /// Attachments of this node.
    Endpoints,
    /// Compare the kernel with the plan now, repair, report.
    Audit,
    /// Stream drop events as they happen.
    Monitor,
    /// Stream what the agent knows of Services, endpoints, pods, namespaces and nodes, and
    /// how it changes: see [`crate::feed`].
    Follow(Interest),
    /// What Services mean on this node.
    Services {
        /// What exactly.
        question: ServiceQuestion,
    },
}

/// A question about Services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "camelCase")]
pub enum ServiceQuestion {
    /// All of them, one line each.
    List,
    /// One: its frontends, and each endpoint with the reason why it serves or not.
    Show {
        /// Which.
        service: ServiceRef,
    },
    /// What becomes of a packet.
    Trace {
        /// Who sends it; none: this node or one of its pods.
        client: Option<IpAddr>,
        /// Where to.
        destination: IpAddr,
        /// Destination port.
        port: u16,
        /// Protocol.
        protocol: Protocol,
    },
}

/// Identity of an attachment: CNI's primary key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentKey {
    /// The sandbox.
    pub container_id: ContainerId,
    /// Interface name inside the sandbox.
    pub interface: InterfaceName,
}

/// One sandbox to connect or disconnect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Which.
    #[serde(flatten)]
    pub key: AttachmentKey,
    /// CNI network name.
    pub network: String,
    /// The pod, when the runtime said so (`K8S_POD_NAMESPACE`, `K8S_POD_NAME`).
    pub pod: Option<PodRef>,
    /// `K8S_POD_UID`.
    pub pod_uid: Option<String>,
    /// Addresses asked for (`ips` capability or `args`); empty: any.
    #[serde(default)]
    pub requested_addresses: Vec<IpAddr>,
    /// MAC asked for.
    #[serde(default)]
    pub requested_mac: Option<MacAddress>,
    /// A plugin after us shapes the pod's traffic in the host stack (`bandwidth` capability).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shaped: bool,
}

/// What CHECK compares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckAttachment {
    /// Which.
    pub attachment: Attachment,
    /// Addresses that the runtime remembers from ADD.
    pub expected_addresses: Vec<IpNet>,
}

/// The agent's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase")]
pub enum Answer {
    /// ADD succeeded.
    Added(AddedAttachment),
    /// The request was carried out; nothing to tell.
    Done,
    /// Answer to `NodeStatus`.
    NodeStatus(NodeStatus),
    /// Answer to `Endpoints`.
    Endpoints {
        /// Attachments of this node.
        endpoints: Vec<EndpointStatus>,
    },
    /// Answer to `Audit`: one line per difference found and repaired.
    Audited {
        /// What differed, and whose object it was.
        differences: Vec<String>,
    },
    /// One drop, in a `Monitor` stream.
    Dropped(DropEvent),
    /// In a `Monitor` stream: the reader was too slow, and this many drops are not shown.
    Missed {
        /// How many.
        drops: u64,
    },
    /// In a `Follow` stream: what changed, in order.
    Changes {
        /// The changes.
        changes: Vec<FeedChange>,
    },
    /// Answer to `Services`: a report of `seaway_services`, as JSON.
    Services {
        /// The report.
        report: serde_json::Value,
    },
    /// The request failed.
    Failed(Failure),
}

/// What ADD made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddedAttachment {
    /// Interface on the node.
    pub host_interface: InterfaceName,
    /// Its MAC.
    pub host_mac: MacAddress,
    /// MAC of the interface in the sandbox.
    pub mac: MacAddress,
    /// MTU in bytes of both.
    pub mtu_bytes: u32,
    /// Addresses, IPv4 first, each with its gateway.
    pub addresses: Vec<AddressAndGateway>,
}

/// A pod address and the gateway it uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressAndGateway {
    /// Always a /32 or /128.
    pub address: IpNet,
    /// Link-local gateway.
    pub gateway: IpAddr,
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{id}: {message}")]
pub struct Failure {
    /// Error id, `SW0203`.
    pub id: String,
    /// What happened to which object, and why.
    pub message: String,
    /// Likely reason and fix.
    pub fix: String,
    /// CNI error code: 1–7, 11 (try again), 50, 51, or ≥ 100.
    pub cni_code: u32,
}

/// The agent about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Name of the node.
    pub node: NodeName,
    /// Version of the program.
    pub version: String,
    /// `ebpf` or `nftables`, with the reason for the choice.
    pub backend: String,
    /// Why that backend.
    pub backend_reason: String,
    /// Generation of the snapshot last applied.
    pub applied_generation: u64,
    /// Attachments.
    pub endpoints: usize,
    /// Blocks held by this node with addresses in use and in all.
    pub blocks: Vec<BlockStatus>,
    /// Other nodes that the data path can reach.
    pub remote_nodes: usize,
    /// What became of XDP on the underlay device, for people; none: nothing asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp: Option<String>,
    /// MTU in bytes given to pods.
    pub pod_mtu_bytes: u32,
    /// What keeps new pods from this node; empty: ready.
    pub problems: Vec<String>,
    /// What is wrong otherwise: a peer without address, a port mapping that cannot be made, …
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A block and how full it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockStatus {
    /// Range.
    pub cidr: IpNet,
    /// Pool.
    pub pool: String,
    /// Addresses in use or cooling down.
    pub used: u64,
    /// Addresses in all.
    pub total: u64,
}

/// One attachment as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Which.
    #[serde(flatten)]
    pub key: AttachmentKey,
    /// The pod.
    pub pod: Option<PodRef>,
    /// Interface on the node.
    pub host_interface: InterfaceName,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// MAC of the interface in the sandbox.
    pub mac: MacAddress,
}

/// One dropped packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropEvent {
    /// Nanoseconds since the node booted.
    pub boot_time_nanos: u64,
    /// Label of the [`crate::DropReason`].
    pub reason: String,
    /// Source address.
    pub source: Option<IpAddr>,
    /// Destination address.
    pub destination: Option<IpAddr>,
    /// Source port; zero without ports.
    pub source_port: u16,
    /// Destination port; zero without ports.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Pod that sent it, when known.
    pub source_pod: Option<PodRef>,
    /// Pod it was for, when known.
    pub destination_pod: Option<PodRef>,
    /// The object that caused the drop: `pod shop/web-0`, `node worker-2`, …
    pub cause: String,
    /// Interface it was seen on.
    pub interface: Option<InterfaceName>,
}
