//! Layouts of connection tracking: translated connections of Services, one entry for each direction.

use bytemuck::{Pod, Zeroable};

use super::{AbiField, AbiStruct};

abi_structs! {
    /// Key of `sw_conntrack`: a packet's ends, as they are before it is translated.
    struct ConntrackKey as "sw_conntrack_key" {
        /// Source address; IPv4 is mapped.
        source: [u8; 16] as "__u8[16]",
        /// Destination address; IPv4 is mapped.
        destination: [u8; 16] as "__u8[16]",
        /// Source port, network byte order.
        source_port: u16 as "__be16",
        /// Destination port, network byte order.
        destination_port: u16 as "__be16",
        /// IP protocol.
        protocol: u32 as "__u32",
    }

    /// What becomes of such packets (map `sw_conntrack`). The other direction's key is this entry's
    /// ends, swapped; flags are the same in both but for `SW_CONNTRACK_FORWARD`.
    struct ConntrackEntry as "sw_conntrack_entry" {
        /// When a packet of either direction was seen, a second ago at most, `bpf_ktime_get_ns`.
        last_seen_nanos: u64 as "__u64",
        /// Source address after translation.
        source: [u8; 16] as "__u8[16]",
        /// Destination address after translation.
        destination: [u8; 16] as "__u8[16]",
        /// Source port after translation, network byte order.
        source_port: u16 as "__be16",
        /// Destination port after translation, network byte order.
        destination_port: u16 as "__be16",
        /// Number of the frontend.
        service_id: u32 as "__u32",
        /// `SW_CONNTRACK_*`.
        flags: u32 as "__u32",
        /// Explicit padding, zero.
        pad: u32 as "__u32",
    }

    /// A device whose driver runs the XDP program (map `sw_xdp_devices`, by index).
    struct XdpDevice as "sw_xdp_device" {
        /// Its MAC address.
        mac: [u8; 6] as "__u8[6]",
        /// Explicit padding, zero.
        pad: [u8; 2] as "__u8[2]",
    }

    /// Key of `sw_fragments`: the fragments of one packet.
    struct FragmentKey as "sw_fragment_key" {
        /// Source address; IPv4 is mapped.
        source: [u8; 16] as "__u8[16]",
        /// Destination address; IPv4 is mapped.
        destination: [u8; 16] as "__u8[16]",
        /// Identification, network byte order.
        identification: u32 as "__be32",
        /// IP protocol.
        protocol: u32 as "__u32",
    }

    /// What only the first fragment of a packet tells (map `sw_fragments`).
    struct FragmentPorts as "sw_fragment_ports" {
        /// Source port, network byte order.
        source_port: u16 as "__be16",
        /// Destination port, network byte order.
        destination_port: u16 as "__be16",
    }
}

/// `ConntrackEntry::flags`: the direction from the client to the Service.
pub const CONNTRACK_FORWARD: u32 = 1 << 0;
/// `ConntrackEntry::flags`: the backend has answered.
pub const CONNTRACK_REPLIED: u32 = 1 << 1;
/// `ConntrackEntry::flags`: the client sends nothing more (TCP FIN).
pub const CONNTRACK_CLIENT_DONE: u32 = 1 << 2;
/// `ConntrackEntry::flags`: the backend sends nothing more (TCP FIN).
pub const CONNTRACK_BACKEND_DONE: u32 = 1 << 3;
/// `ConntrackEntry::flags`: one end broke the connection off (TCP RST, SCTP ABORT or
/// SHUTDOWN COMPLETE).
pub const CONNTRACK_RESET: u32 = 1 << 4;
/// `ConntrackEntry::flags`: packets go on to the backend's node as they are; there is no
/// other direction.
pub const CONNTRACK_DIRECT_RETURN: u32 = 1 << 5;
/// `ConntrackEntry::flags`: counted in `sw_connections`.
pub const CONNTRACK_COUNTED: u32 = 1 << 6;
/// `ConntrackEntry::flags`: a pod of this node takes part whose peer is a pod.
pub const CONNTRACK_BETWEEN_PODS: u32 = 1 << 7;

/// Entries of `sw_translated_pods`, indexed by the endpoint's number modulo this.
pub const TRANSLATED_POD_SLOTS: u32 = 4096;

/// Constants for the header, in order.
pub const CONSTANTS: &[(&str, u32)] = &[
    ("SW_CONNTRACK_FORWARD", CONNTRACK_FORWARD),
    ("SW_CONNTRACK_REPLIED", CONNTRACK_REPLIED),
    ("SW_CONNTRACK_CLIENT_DONE", CONNTRACK_CLIENT_DONE),
    ("SW_CONNTRACK_BACKEND_DONE", CONNTRACK_BACKEND_DONE),
    ("SW_CONNTRACK_RESET", CONNTRACK_RESET),
    ("SW_CONNTRACK_DIRECT_RETURN", CONNTRACK_DIRECT_RETURN),
    ("SW_CONNTRACK_COUNTED", CONNTRACK_COUNTED),
    ("SW_CONNTRACK_BETWEEN_PODS", CONNTRACK_BETWEEN_PODS),
    ("SW_TRANSLATED_POD_SLOTS", TRANSLATED_POD_SLOTS),
];
