//! Kernel objects as plain values.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{MacAddress, abi};

use crate::support::Backend;

/// Name of the VXLAN device.
pub const TUNNEL_DEVICE: &str = "sw_vxlan";

/// What the kernel holds.
pub type Objects = BTreeMap<Key, Value>;

/// What the kernel should hold.
pub type WantedObjects = BTreeMap<Key, Wanted>;

/// A wanted value and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The value.
    pub value: Value,
    /// The cluster object that asks for it.
    pub cause: String,
}

/// Identity of a kernel object. The order is the order in which objects can be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A file below `/proc/sys`.
    Setting(String),
    /// The VXLAN device.
    Tunnel,
    /// A file below `/proc/sys` that comes with the VXLAN device.
    TunnelSetting(String),
    /// An address of the VXLAN device.
    TunnelAddress(IpNet),
    /// A permanent neighbor.
    Neighbor {
        /// Device.
        device: String,
        /// Whose MAC it is.
        address: IpAddr,
    },
    /// Forwarding entry of the VXLAN device: behind which node a MAC is.
    Forwarding(MacAddress),
    /// A route of ours in the main table.
    Route(IpNet),
    /// Chains, rules and counters of our nftables tables.
    Ruleset,
    /// An element of one of our nftables sets.
    Element(NftSet, Element),
    /// Entry of `sw_links`, with the programs on the link of that index.
    FastLink(u32),
    /// Entry of `sw_endpoints`.
    FastEndpoint(IpAddr),
    /// The programs on the VXLAN device.
    FastTunnel,
    /// The programs on the underlay device.
    FastUnderlay(String),
    /// Entry of `sw_routes`.
    FastRoute(IpNet),
}

/// Content of a kernel object; the variant follows from the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of a setting.
    Text(String),
    /// The tunnel device.
    Tunnel(TunnelDevice),
    /// Being there is all.
    Present,
    /// Of a neighbor, and of the programs on the tunnel device, which need its MAC.
    Mac(MacAddress),
    /// Of a forwarding entry.
    Node(IpAddr),
    /// Of a route.
    Route(RouteTarget),
    /// Of the ruleset.
    Ruleset(Ruleset),
    /// Of a fast route.
    FastRoute(FastRoute),
    /// Of a fast endpoint.
    FastEndpoint(abi::Endpoint),
    /// Of a fast link.
    FastLink(abi::Link),
}

/// Settings of the VXLAN device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelDevice {
    /// VXLAN network identifier.
    pub id: u32,
    /// UDP port.
    pub port: u16,
    /// Outer source address.
    pub local: Option<IpAddr>,
    /// Whether it learns forwarding entries from packets; ours never does.
    pub learning: bool,
    /// MAC.
    pub mac: MacAddress,
    /// MTU in bytes.
    pub mtu_bytes: u32,
    /// Administratively up.
    pub up: bool,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    /// Nowhere: senders get "host unreachable".
    Unreachable,
    /// To a device.
    Device {
        /// Its name.
        device: String,
        /// Next hop, taken to be on the link; none: the destination itself is.
        next_hop: Option<IpAddr>,
        /// Path MTU in bytes; none: the device's.
        mtu_bytes: Option<u32>,
    },
}

/// Which rules our nftables tables hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruleset {
    /// As we make them.
    Ours {
        /// The backend decides whether source addresses are checked by nftables.
        backend: Backend,
        /// UDP port of the tunnel, guarded when there is one.
        tunnel_port: Option<u16>,
    },
    /// Something else; what, for people.
    Changed(String),
}

/// Our nftables sets. Each exists once per family where that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NftSet {
    /// Nodes that may send tunneled packets.
    TunnelPeers,
    /// Sources to masquerade.
    MasqueradeSources,
    /// Destinations that see pod addresses.
    MasqueradeExceptions,
    /// Pod links (nftables backend).
    PodLinks,
    /// Which MAC may be sent from on which link (nftables backend).
    PodMacs,
    /// Which address may be sent from on which link (nftables backend).
    PodAddresses,
}

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// An address.
    Address(IpAddr),
    /// A range.
    Range(IpNet),
    /// An interface, by index.
    Link(u32),
    /// An interface and a MAC.
    LinkMac(u32, MacAddress),
    /// An interface and an address.
    LinkAddress(u32, IpAddr),
}

/// A route of the fast path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastRoute {
    /// One of `abi::ROUTE_*`.
    pub kind: u32,
    /// Device to send on; none: the host decides.
    pub device: Option<String>,
    /// Largest packet in bytes.
    pub mtu_bytes: u32,
    /// MAC of the remote tunnel device.
    pub tunnel_mac: Option<MacAddress>,
}

// === impl TunnelDevice ===

impl TunnelDevice {
    /// Whether a device can be changed into `other` without making it anew. The kernel lets
    /// MTU and state change, and the MAC, but that clears the device's neighbors.
    #[must_use]
    pub fn can_become(&self, other: &Self) -> bool {
        let fixed = |device: &Self| (device.id, device.port, device.local, device.learning, device.mac);
        fixed(self) == fixed(other)
    }
}

// === impl Key ===

impl Key {
    /// Whether the object vanishes with the tunnel device.
    #[must_use]
    pub fn dies_with_tunnel(&self, value: &Value) -> bool {
        match self {
            Self::TunnelSetting(_) | Self::TunnelAddress(_) | Self::Forwarding(_) | Self::FastTunnel => true,
            Self::Neighbor { device, .. } => device == TUNNEL_DEVICE,
            Self::Route(_) => {
                matches!(value, Value::Route(RouteTarget::Device { device, .. }) if device == TUNNEL_DEVICE)
            }
            _ => false,
        }
    }

    /// Whether the object stays when the tunnel device goes, but holds its index.
    #[must_use]
    pub fn remembers_tunnel(&self, value: &Value) -> bool {
        matches!(value, Value::FastRoute(route) if route.device.as_deref() == Some(TUNNEL_DEVICE))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(path) | Self::TunnelSetting(path) => write!(f, "setting {path}"),
            Self::Tunnel => write!(f, "device {TUNNEL_DEVICE}"),
            Self::TunnelAddress(address) => write!(f, "address {address} on {TUNNEL_DEVICE}"),
            Self::Neighbor { device, address } => write!(f, "neighbor {address} on {device}"),
            Self::Forwarding(mac) => write!(f, "forwarding entry {mac} on {TUNNEL_DEVICE}"),
            Self::Route(destination) => write!(f, "route {destination}"),
            Self::Ruleset => write!(f, "nftables rules of table seaway"),
            Self::Element(set, element) => write!(f, "element {element} of nftables set {set}"),
            Self::FastRoute(destination) => write!(f, "fast route {destination}"),
            Self::FastEndpoint(address) => write!(f, "fast endpoint {address}"),
            Self::FastLink(index) => write!(f, "fast link of interface {index}"),
            Self::FastTunnel => write!(f, "fast path's programs on {TUNNEL_DEVICE}"),
            Self::FastUnderlay(device) => write!(f, "fast path's programs on {device}"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Tunnel(device) => {
                let TunnelDevice { id, port, mac, mtu_bytes, .. } = device;
                write!(f, "vxlan {id} port {port} {mac} mtu {mtu_bytes}")?;
                device.local.map_or(Ok(()), |local| write!(f, " local {local}"))?;
                f.write_str(if device.up { " up" } else { " down" })
            }
            Self::Present => f.write_str("present"),
            Self::Mac(mac) => write!(f, "{mac}"),
            Self::Node(address) => write!(f, "{address}"),
            Self::Route(RouteTarget::Unreachable) => f.write_str("unreachable"),
            Self::Route(RouteTarget::Device { device, next_hop, mtu_bytes }) => {
                next_hop.map_or(Ok(()), |hop| write!(f, "via {hop} "))?;
                write!(f, "dev {device}")?;
                mtu_bytes.map_or(Ok(()), |mtu| write!(f, " mtu {mtu}"))
            }
            Self::Ruleset(Ruleset::Ours { backend, .. }) => write!(f, "as made for the {backend} backend"),
            Self::Ruleset(Ruleset::Changed(what)) => f.write_str(what),
            Self::FastRoute(route) => write!(f, "{route}"),
            Self::FastEndpoint(endpoint) => write!(f, "interface {} id {}", endpoint.interface_index, endpoint.id),
            Self::FastLink(link) => write!(f, "endpoint {}", link.endpoint_id),
        }
    }
}

impl fmt::Display for FastRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            abi::ROUTE_TUNNEL => "tunnel",
            abi::ROUTE_DIRECT => "direct",
            abi::ROUTE_LOCAL_BLOCK => "local block",
            _ => "of unknown kind",
        };
        write!(f, "{kind} mtu {}", self.mtu_bytes)?;
        self.tunnel_mac.map_or(Ok(()), |mac| write!(f, " to {mac}"))?;
        self.device.as_ref().map_or(Ok(()), |device| write!(f, " dev {device}"))
    }
}

impl NftSet {
    /// Name of the set; sets that hold addresses have one twin per family.
    #[must_use]
    pub fn base_name(self) -> &'static str {
        match self {
            Self::TunnelPeers => "tunnel_peers",
            Self::MasqueradeSources => "masquerade_sources",
            Self::MasqueradeExceptions => "masquerade_exceptions",
            Self::PodLinks => "pod_links",
            Self::PodMacs => "pod_macs",
            Self::PodAddresses => "pod_addresses",
        }
    }
}

impl fmt::Display for NftSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base_name())
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Range(range) => write!(f, "{range}"),
            Self::Link(index) => write!(f, "interface {index}"),
            Self::LinkMac(index, mac) => write!(f, "interface {index}, {mac}"),
            Self::LinkAddress(index, address) => write!(f, "interface {index}, {address}"),
        }
    }
}
