//! Layouts shared with the kernel programs: map keys, values, event records.
//!
//! `cargo xtask codegen` writes `bpf/include/seaway_abi.h` from [`STRUCTS`], and
//! `cargo xtask tidy` fails when the header is stale. Fields are ordered so that
//! no implicit padding exists; `bytemuck::Pod` proves it.
#![allow(unsafe_code, reason = "bytemuck's derives write `unsafe impl Pod`; the derive checks the layout")]

use bytemuck::{Pod, Zeroable};

macro_rules! abi_structs {
    ($($(#[doc = $doc:literal])+ struct $name:ident as $c_name:literal {
        $($(#[doc = $field_doc:literal])+ $field:ident : $ty:ty as $c_ty:literal,)*
    })*) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Pod, Zeroable)]
            #[repr(C)]
            pub struct $name { $($(#[doc = $field_doc])+ pub $field: $ty,)* }
        )*

        /// The structs of this module, for the header generator.
        pub const STRUCTS: &[AbiStruct] = &[$(AbiStruct {
            c_name: $c_name,
            doc: concat!($($doc),+),
            size_bytes: size_of::<$name>(),
            fields: &[$(AbiField { name: stringify!($field), c_type: $c_ty, doc: concat!($($field_doc),+) },)*],
        },)*];
    };
}

// After the macro, which they use.
pub mod conntrack;
pub mod services;

/// Description of a shared struct.
#[derive(Debug, Clone, Copy)]
pub struct AbiStruct {
    /// Name in C.
    pub c_name: &'static str,
    /// Comment.
    pub doc: &'static str,
    /// Size in bytes, asserted by the header.
    pub size_bytes: usize,
    /// Fields in order.
    pub fields: &'static [AbiField],
}

/// Description of a field. `c_type` may end in `[N]`.
#[derive(Debug, Clone, Copy)]
pub struct AbiField {
    /// Name.
    pub name: &'static str,
    /// Type in C.
    pub c_type: &'static str,
    /// Comment.
    pub doc: &'static str,
}

abi_structs! {
    /// An address of either family; IPv4 is mapped (`::ffff:a.b.c.d`), network byte order.
    struct Address as "sw_address" {
        /// The 16 bytes.
        bytes: [u8; 16] as "__u8[16]",
    }

    /// A local pod, found by its address (map `sw_endpoints`).
    struct Endpoint as "sw_endpoint" {
        /// Index of the host-side interface; 0: the host stack delivers (the node's own address
        /// inside a block, or a pod behind shaping).
        interface_index: u32 as "__u32",
        /// Number of the endpoint, key of its counters; 0: the node itself.
        id: u32 as "__u32",
        /// MAC inside the pod.
        pod_mac: [u8; 6] as "__u8[6]",
        /// MAC of the host side.
        host_mac: [u8; 6] as "__u8[6]",
    }

    /// What a pod link may send, found by interface index (map `sw_links`).
    struct Link as "sw_link" {
        /// Number of the endpoint.
        endpoint_id: u32 as "__u32",
        /// MAC inside the pod.
        pod_mac: [u8; 6] as "__u8[6]",
        /// `SW_LINK_*`.
        flags: u16 as "__u16",
        /// IPv4 address, network byte order; zero: none.
        ipv4: [u8; 4] as "__be32",
        /// IPv6 address; zero: none.
        ipv6: [u8; 16] as "__u8[16]",
    }

    /// Key of the longest-prefix map `sw_routes`; IPv4 prefixes are mapped, so their length is 96 more.
    struct RouteKey as "sw_route_key" {
        /// Prefix length in bits, 0–128.
        prefix_length_bits: u32 as "__u32",
        /// First address.
        address: [u8; 16] as "__u8[16]",
    }

    /// How to reach a prefix (map `sw_routes`).
    struct Route as "sw_route" {
        /// One of `SW_ROUTE_*`.
        kind: u32 as "__u32",
        /// Interface to send on: the VXLAN device or the underlay device; 0: let the host decide.
        interface_index: u32 as "__u32",
        /// Largest inner packet in bytes that fits; larger ones take the host stack, which answers with ICMP.
        mtu_bytes: u32 as "__u32",
        /// MAC of the remote VXLAN device.
        tunnel_mac: [u8; 6] as "__u8[6]",
        /// Explicit padding, zero.
        pad: [u8; 2] as "__u8[2]",
    }

    /// A flow that the host stack knows and that must keep passing it (map `sw_stack_flows`). Both
    /// directions have one key: the end with the smaller (address, port) comes first.
    struct FlowKey as "sw_flow_key" {
        /// Address of the first end.
        first: [u8; 16] as "__u8[16]",
        /// Address of the second end.
        second: [u8; 16] as "__u8[16]",
        /// Port of the first end, network byte order; the identifier of ICMP echo on both ends.
        first_port: u16 as "__be16",
        /// Port of the second end, network byte order.
        second_port: u16 as "__be16",
        /// IP protocol.
        protocol: u32 as "__u32",
    }

    /// Record on the ring buffer `sw_events`.
    struct Event as "sw_event" {
        /// `bpf_ktime_get_boot_ns`.
        boot_time_nanos: u64 as "__u64",
        /// Source address.
        source: [u8; 16] as "__u8[16]",
        /// Destination address.
        destination: [u8; 16] as "__u8[16]",
        /// Interface the packet was seen on.
        interface_index: u32 as "__u32",
        /// Endpoint whose link or address caused the event; 0: none.
        endpoint_id: u32 as "__u32",
        /// Source port, network byte order.
        source_port: u16 as "__be16",
        /// Destination port, network byte order.
        destination_port: u16 as "__be16",
        /// Drop reason code.
        reason: u16 as "__u16",
        /// IP protocol.
        protocol: u8 as "__u8",
        /// 4, 6, or 0 when the addresses are not set.
        family: u8 as "__u8",
        /// Length of the packet in bytes.
        length_bytes: u32 as "__u32",
        /// Explicit padding, zero.
        pad: u32 as "__u32",
    }

    /// Packets and bytes (per-CPU map `sw_drop_counters`, indexed by reason, and part of others).
    struct Counter as "sw_counter" {
        /// Packets.
        packets: u64 as "__u64",
        /// Bytes.
        bytes: u64 as "__u64",
    }

    /// What an endpoint sent and received, by the path it took (per-CPU map `sw_endpoint_counters`).
    struct EndpointCounters as "sw_endpoint_traffic" {
        /// Sent by the pod and forwarded by the fast path.
        sent_fast: Counter as "struct sw_counter",
        /// Sent by the pod and handed to the host stack.
        sent_stack: Counter as "struct sw_counter",
        /// Delivered to the pod by the fast path.
        received_fast: Counter as "struct sw_counter",
        /// Delivered to the pod by the host stack.
        received_stack: Counter as "struct sw_counter",
    }

    /// Token bucket that bounds the events of one CPU (per-CPU map `sw_event_budget`).
    struct EventBudget as "sw_event_budget_state" {
        /// When tokens were last added, `bpf_ktime_get_boot_ns`.
        refilled_at_nanos: u64 as "__u64",
        /// Events that may be sent now.
        tokens: u64 as "__u64",
        /// Events not sent because no token was left.
        suppressed: u64 as "__u64",
        /// Events not sent because the ring buffer was full.
        lost: u64 as "__u64",
    }

    /// This node's VXLAN device (map `sw_tunnel`, one entry).
    struct Tunnel as "sw_tunnel_device" {
        /// MAC of the device: source of the frames that the fast path sends through it.
        mac: [u8; 6] as "__u8[6]",
        /// Explicit padding, zero.
        pad: [u8; 2] as "__u8[2]",
    }

    /// Constants written into the programs when they are loaded.
    struct Settings as "sw_settings" {
        /// 1: flows known to the host stack keep passing it; 0: nothing on this node translates addresses.
        remember_stack_flows: u32 as "__u32",
        /// Tokens a CPU's event budget gains in a second.
        events_per_second: u32 as "__u32",
        /// Most tokens a CPU's event budget holds.
        event_burst: u32 as "__u32",
        /// 1: packets of Services are translated; 0: they are others' concern.
        services: u32 as "__u32",
        /// UDP port of the tunnel between nodes, network byte order.
        tunnel_port: u16 as "__be16",
        /// First port of this node's addresses that translated connections may take.
        first_service_port: u16 as "__u16",
        /// How many of them there are; at least 1.
        service_ports: u32 as "__u32",
    }
}

/// `Route::kind`: in VXLAN.
pub const ROUTE_TUNNEL: u32 = 1;
/// `Route::kind`: to a neighbor on the underlay, through the host's neighbor table.
pub const ROUTE_DIRECT: u32 = 2;
/// `Route::kind`: a block of this node; an address in it without an endpoint is an unknown pod.
pub const ROUTE_LOCAL_BLOCK: u32 = 3;

/// `Link::flags`: what the pod sends takes the host stack, after the checks of its sender: someone
/// shapes or filters it there (the bandwidth plugin). For what the pod receives, leave
/// `Endpoint::interface_index` at 0.
pub const LINK_STACK_ONLY: u16 = 1;

/// Constants for the header, in order.
pub const CONSTANTS: &[(&str, u32)] = &[
    ("SW_ROUTE_TUNNEL", ROUTE_TUNNEL),
    ("SW_ROUTE_DIRECT", ROUTE_DIRECT),
    ("SW_ROUTE_LOCAL_BLOCK", ROUTE_LOCAL_BLOCK),
    ("SW_LINK_STACK_ONLY", LINK_STACK_ONLY as u32),
];

/// Every struct of every module, for the header generator.
pub fn all_structs() -> impl Iterator<Item = &'static AbiStruct> {
    STRUCTS.iter().chain(services::STRUCTS).chain(conntrack::STRUCTS)
}

/// Every constant of every module, for the header generator.
pub fn all_constants() -> impl Iterator<Item = &'static (&'static str, u32)> {
    CONSTANTS.iter().chain(services::CONSTANTS).chain(conntrack::CONSTANTS)
}

/// An address as the maps hold it: IPv4 mapped into IPv6.
#[must_use]
pub fn map_address(address: std::net::IpAddr) -> [u8; 16] {
    match address {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that [`map_address`] made.
#[must_use]
pub fn unmap_address(bytes: [u8; 16]) -> std::net::IpAddr {
    std::net::Ipv6Addr::from(bytes).to_canonical()
}
