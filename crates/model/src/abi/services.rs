//! Layouts of the Services' maps: frontends, backends, affinity, and what sockets remember.

use bytemuck::{Pod, Zeroable};

use super::{AbiField, AbiStruct};

abi_structs! {
    /// Key of `sw_services`: where clients reach a Service. An all-zero address stands for every
    /// NodePort address of IPv6, an all-zero one that is mapped (`::ffff:0.0.0.0`) for those of IPv4.
    struct ServiceKey as "sw_service_key" {
        /// Address; IPv4 is mapped.
        address: [u8; 16] as "__u8[16]",
        /// Port, network byte order.
        port: u16 as "__be16",
        /// IP protocol.
        protocol: u8 as "__u8",
        /// Explicit padding, zero.
        pad: u8 as "__u8",
    }

    /// A frontend (map `sw_services`). Replaced whole: set ids are never used twice, so who finds
    /// the same id again after reading a backend knows that both belong together.
    struct Service as "sw_service" {
        /// Set of backends for clients on this node.
        inside_set: u32 as "__u32",
        /// Slots of that set; 0: see the flags.
        inside_count: u32 as "__u32",
        /// Set of backends for packets from elsewhere.
        outside_set: u32 as "__u32",
        /// Slots of that set; 0: see the flags.
        outside_count: u32 as "__u32",
        /// Number of the frontend, the same as long as it exists: key of source ranges and connections.
        id: u32 as "__u32",
        /// A client keeps its backend for that long after its last new connection; 0: no affinity.
        affinity_timeout_seconds: u32 as "__u32",
        /// `SW_SERVICE_*`; algorithm and kind have bits of their own.
        flags: u32 as "__u32",
        /// What clients are remembered under, the same for all places of a Service port in one
        /// family; 0: no affinity.
        affinity_id: u32 as "__u32",
    }

    /// Key of `sw_backends`.
    struct BackendKey as "sw_backend_key" {
        /// The set.
        set: u32 as "__u32",
        /// Position in it, from 0.
        slot: u32 as "__u32",
    }

    /// A backend (map `sw_backends`). By Walker's alias method: a random slot is taken, and its
    /// alias instead when a second random number is not below the threshold.
    struct Backend as "sw_backend" {
        /// Address; IPv4 is mapped.
        address: [u8; 16] as "__u8[16]",
        /// Port, network byte order.
        port: u16 as "__be16",
        /// `SW_BACKEND_*`.
        flags: u16 as "__u16",
        /// Random numbers below stay with this slot; all ones: each.
        alias_threshold: u32 as "__u32",
        /// Slot taken otherwise.
        alias: u32 as "__u32",
        /// Relative share.
        weight: u16 as "__u16",
        /// Explicit padding, zero.
        pad: u16 as "__u16",
    }

    /// Key of `sw_members`: whether a remembered backend still belongs to a set. Sets of UDP and of
    /// frontends with affinity have entries.
    struct MemberKey as "sw_member_key" {
        /// The set.
        set: u32 as "__u32",
        /// Port, network byte order.
        port: u16 as "__be16",
        /// Explicit padding, zero.
        pad: u16 as "__u16",
        /// Address; IPv4 is mapped.
        address: [u8; 16] as "__u8[16]",
    }

    /// Slots in the order in which hashes or turns meet them (map `sw_slot_tables`, key: set).
    struct SlotTable as "sw_slot_table" {
        /// How many of the slots below are filled; at least 1.
        entries: u16 as "__u16",
        /// Explicit padding, zero.
        pad: u16 as "__u16",
        /// Slots of the set.
        slots: [u16; 4094] as "__u16[4094]",
    }

    /// Key of `sw_affinity`.
    struct AffinityKey as "sw_affinity_key" {
        /// Address of the client; IPv4 is mapped. For sockets: eight bytes of ones, then the cookie
        /// of their network namespace.
        client: [u8; 16] as "__u8[16]",
        /// `sw_service.affinity_id`.
        affinity_id: u32 as "__u32",
        /// Explicit padding, zero.
        pad: u32 as "__u32",
    }

    /// The backend that a client had last (map `sw_affinity`).
    struct Affinity as "sw_affinity_entry" {
        /// Address; IPv4 is mapped.
        address: [u8; 16] as "__u8[16]",
        /// When the client last made a connection, `bpf_ktime_get_ns`.
        last_used_nanos: u64 as "__u64",
        /// Port, network byte order.
        port: u16 as "__be16",
        /// Explicit padding, zero.
        pad: [u8; 6] as "__u8[6]",
    }

    /// Key of the longest-prefix map `sw_source_ranges`: who may use a frontend.
    struct SourceRangeKey as "sw_source_range_key" {
        /// 32 bits of the number and then those of the prefix; IPv4 prefixes are mapped.
        prefix_length_bits: u32 as "__u32",
        /// Number of the frontend.
        service_id: u32 as "__u32",
        /// First address.
        address: [u8; 16] as "__u8[16]",
    }

    /// The node, as the Services' programs need it (map `sw_service_node`, one entry).
    struct ServiceNode as "sw_service_node_state" {
        /// Cookie of the node's own network namespace.
        host_netns_cookie: u64 as "__u64",
        /// What backends see of IPv4 instead of a client; mapped, or zero: none.
        ipv4: [u8; 16] as "__u8[16]",
        /// What backends see of IPv6 instead of a client; zero: none.
        ipv6: [u8; 16] as "__u8[16]",
        /// 1: NodePorts are served on loopback addresses too.
        node_port_on_loopback: u32 as "__u32",
        /// Explicit padding, zero.
        pad: u32 as "__u32",
    }

    /// Key of `sw_socket_flows` and `sw_socket_replies`: a socket and its peer.
    struct SocketPeer as "sw_socket_peer" {
        /// Cookie of the socket.
        cookie: u64 as "__u64",
        /// Address of the peer, as the application names it (flows) or as packets do (replies).
        address: [u8; 16] as "__u8[16]",
        /// Its port, network byte order.
        port: u16 as "__be16",
        /// Explicit padding, zero.
        pad: [u8; 6] as "__u8[6]",
    }

    /// The other name of a peer (maps `sw_socket_flows`, `sw_socket_replies`).
    struct SocketPeerName as "sw_socket_peer_name" {
        /// When it was last used, `bpf_ktime_get_ns`.
        last_used_nanos: u64 as "__u64",
        /// Address.
        address: [u8; 16] as "__u8[16]",
        /// Port, network byte order.
        port: u16 as "__be16",
        /// Explicit padding, zero.
        pad: [u8; 6] as "__u8[6]",
    }

    /// What a connected socket was translated from and to (map `sw_sockets`, key: socket cookie).
    struct ConnectedSocket as "sw_connected_socket" {
        /// Address the application connected to.
        frontend_address: [u8; 16] as "__u8[16]",
        /// Address it is connected to.
        backend_address: [u8; 16] as "__u8[16]",
        /// Port the application connected to, network byte order.
        frontend_port: u16 as "__be16",
        /// Port it is connected to, network byte order.
        backend_port: u16 as "__be16",
        /// Number of the frontend.
        service_id: u32 as "__u32",
        /// Protocol.
        protocol: u8 as "__u8",
        /// 1: counted in `sw_connections`.
        counted: u8 as "__u8",
        /// Explicit padding, zero.
        pad: [u8; 6] as "__u8[6]",
    }

    /// Key of `sw_connections`: connections of this node to a backend, for the least-connection
    /// algorithm.
    struct ConnectionsKey as "sw_connections_key" {
        /// Number of the frontend.
        service_id: u32 as "__u32",
        /// Port, network byte order.
        port: u16 as "__be16",
        /// Explicit padding, zero.
        pad: u16 as "__u16",
        /// Address; IPv4 is mapped.
        address: [u8; 16] as "__u8[16]",
    }

    /// Network namespaces with sockets that were connected to a backend by way of a frontend
    /// (map `sw_socket_namespaces`, key: `sw_connections_key`).
    struct SocketNamespaces as "sw_socket_namespaces_of" {
        /// Cookies; 0: none. When there are more than fit, the last is all ones.
        cookies: [u64; 4] as "__u64[4]",
        /// Protocol of the frontend.
        protocol: u32 as "__u32",
        /// Explicit padding, zero.
        pad: u32 as "__u32",
    }

    /// Constants written into the socket programs when they are loaded.
    struct SocketSettings as "sw_socket_settings" {
        /// 1: programs can choose the error that the application sees (Linux 5.18).
        can_set_error: u32 as "__u32",
        /// An unconnected UDP socket keeps its backend for that long without sending.
        udp_idle_seconds: u32 as "__u32",
    }
}

/// `Service::flags`: clients on this node are refused, for no endpoint exists.
pub const SERVICE_INSIDE_REJECT: u32 = 1 << 0;
/// `Service::flags`: clients on this node get no answer, for policy Local finds no endpoint.
pub const SERVICE_INSIDE_DROP: u32 = 1 << 1;
/// `Service::flags`: packets from elsewhere are refused.
pub const SERVICE_OUTSIDE_REJECT: u32 = 1 << 2;
/// `Service::flags`: packets from elsewhere get no answer.
pub const SERVICE_OUTSIDE_DROP: u32 = 1 << 3;
/// `Service::flags`: for clients on this node that are no pods of it, backends see the node's address.
pub const SERVICE_INSIDE_HIDE_CLIENT: u32 = 1 << 4;
/// `Service::flags`: backends see the node's address instead of a client's from elsewhere.
pub const SERVICE_OUTSIDE_HIDE_CLIENT: u32 = 1 << 5;
/// `Service::flags`: only sources in `sw_source_ranges` may come in.
pub const SERVICE_SOURCE_RANGES: u32 = 1 << 6;
/// `Service::flags`: backends of other nodes answer clients directly.
pub const SERVICE_DIRECT_RETURN: u32 = 1 << 7;
/// `Service::flags`: the sets have entries in `sw_members`.
pub const SERVICE_MEMBERS: u32 = 1 << 8;
/// `Service::flags`: where the algorithm's bits start.
pub const SERVICE_ALGORITHM_SHIFT: u32 = 12;
/// `Service::flags`: where the kind's bits start.
pub const SERVICE_KIND_SHIFT: u32 = 16;
/// Mask of algorithm and kind, after the shift.
pub const SERVICE_FIELD_MASK: u32 = 0xf;

/// Algorithm: at random, by weight.
pub const ALGORITHM_RANDOM: u32 = 0;
/// Algorithm: by a hash of the flow, through `sw_slot_tables`.
pub const ALGORITHM_MAGLEV: u32 = 1;
/// Algorithm: by a hash of the client's address, through `sw_slot_tables`.
pub const ALGORITHM_SOURCE_HASH: u32 = 2;
/// Algorithm: one after the other, through `sw_slot_tables` when weights differ.
pub const ALGORITHM_ROUND_ROBIN: u32 = 3;
/// Algorithm: the one with fewest connections of this node, by weight.
pub const ALGORITHM_LEAST_CONNECTION: u32 = 4;

/// Kind: `spec.clusterIPs`.
pub const KIND_CLUSTER_IP: u32 = 0;
/// Kind: `spec.externalIPs`.
pub const KIND_EXTERNAL_IP: u32 = 1;
/// Kind: load balancer address.
pub const KIND_LOAD_BALANCER: u32 = 2;
/// Kind: `spec.ports[].nodePort`.
pub const KIND_NODE_PORT: u32 = 3;

/// `Backend::flags`: runs on this node.
pub const BACKEND_LOCAL: u32 = 1;

/// Constants for the header, in order.
pub const CONSTANTS: &[(&str, u32)] = &[
    ("SW_SERVICE_INSIDE_REJECT", SERVICE_INSIDE_REJECT),
    ("SW_SERVICE_INSIDE_DROP", SERVICE_INSIDE_DROP),
    ("SW_SERVICE_OUTSIDE_REJECT", SERVICE_OUTSIDE_REJECT),
    ("SW_SERVICE_OUTSIDE_DROP", SERVICE_OUTSIDE_DROP),
    ("SW_SERVICE_INSIDE_HIDE_CLIENT", SERVICE_INSIDE_HIDE_CLIENT),
    ("SW_SERVICE_OUTSIDE_HIDE_CLIENT", SERVICE_OUTSIDE_HIDE_CLIENT),
    ("SW_SERVICE_SOURCE_RANGES", SERVICE_SOURCE_RANGES),
    ("SW_SERVICE_DIRECT_RETURN", SERVICE_DIRECT_RETURN),
    ("SW_SERVICE_MEMBERS", SERVICE_MEMBERS),
    ("SW_SERVICE_ALGORITHM_SHIFT", SERVICE_ALGORITHM_SHIFT),
    ("SW_SERVICE_KIND_SHIFT", SERVICE_KIND_SHIFT),
    ("SW_SERVICE_FIELD_MASK", SERVICE_FIELD_MASK),
    ("SW_ALGORITHM_RANDOM", ALGORITHM_RANDOM),
    ("SW_ALGORITHM_MAGLEV", ALGORITHM_MAGLEV),
    ("SW_ALGORITHM_SOURCE_HASH", ALGORITHM_SOURCE_HASH),
    ("SW_ALGORITHM_ROUND_ROBIN", ALGORITHM_ROUND_ROBIN),
    ("SW_ALGORITHM_LEAST_CONNECTION", ALGORITHM_LEAST_CONNECTION),
    ("SW_KIND_CLUSTER_IP", KIND_CLUSTER_IP),
    ("SW_KIND_EXTERNAL_IP", KIND_EXTERNAL_IP),
    ("SW_KIND_LOAD_BALANCER", KIND_LOAD_BALANCER),
    ("SW_KIND_NODE_PORT", KIND_NODE_PORT),
    ("SW_BACKEND_LOCAL", BACKEND_LOCAL),
];
