//! What the kernel must hold for a plan and for a pod.

use std::net::IpAddr;

use ipnet::IpNet;
use seaway_model::{MacAddress, abi};
use seaway_routing::plan::{BlockRoute, NetworkPlan, TunnelPlan, Underlay, Via};

use super::objects::{
    Element, FastRoute, Key, NftSet, RouteTarget, Ruleset, TUNNEL_DEVICE, TunnelDevice, Value, Wanted, WantedObjects,
};
use crate::link::{AttachedLink, link_local_address};
use crate::support::Backend;

/// Turns on IPv4 forwarding.
const FORWARDING_V4: &str = "net/ipv4/ip_forward";
/// Turns on IPv6 forwarding.
const FORWARDING_V6: &str = "net/ipv6/conf/all/forwarding";
/// Loose reverse-path check of the tunnel (RFC 3704 §2.4): the kernel takes the larger of
/// this and the value for all devices, so 2 also overrides a strict 1 there.
const TUNNEL_REVERSE_PATH: &str = "net/ipv4/conf/sw_vxlan/rp_filter";

/// Objects of the node as such. `underlay` names the device of direct routes; without it
/// they are left out.
#[must_use]
pub fn network_objects(plan: &NetworkPlan, underlay: Option<&Underlay>, backend: Backend) -> WantedObjects {
    let mut objects = Collector { objects: WantedObjects::new(), backend };
    objects.settings(plan);
    if let Some(tunnel) = &plan.tunnel {
        objects.tunnel(tunnel);
    }
    for route in &plan.routes {
        objects.block_route(route, underlay);
    }
    for block in &plan.local_blocks {
        let cause = format!("block {} of pool {}", block.cidr, block.pool);
        // Pods' own routes are longer, so this one meets packets to addresses without a pod;
        // without it they would follow the default route and come back.
        objects.put(Key::Route(block.cidr), Value::Route(RouteTarget::Unreachable), &cause);
        let local =
            FastRoute { kind: abi::ROUTE_LOCAL_BLOCK, device: None, mtu_bytes: plan.pod_mtu_bytes, tunnel_mac: None };
        objects.put_fast(Key::FastRoute(block.cidr), Value::FastRoute(local), &cause);
    }
    objects.masquerade(plan);
    for peer in &plan.trusted_tunnel_peers {
        objects.put(Key::Element(NftSet::TunnelPeers, Element::Address(*peer)), Value::Present, "nodes of the cluster");
    }
    objects.objects
}

/// Objects that the eBPF backend needs for Services.
#[must_use]
pub fn service_objects(underlay: &Underlay) -> WantedObjects {
    let wanted = Wanted { value: Value::Present, cause: "Services".to_owned() };
    WantedObjects::from([(Key::FastUnderlay(underlay.device.clone()), wanted)])
}

/// Objects of an attached pod on the node's side.
#[must_use]
pub fn pod_objects(link: &AttachedLink, backend: Backend) -> WantedObjects {
    let mut objects = Collector { objects: WantedObjects::new(), backend };
    let cause = link.cause();
    let index = link.host_index;
    let device = link.host_interface.as_str().to_owned();
    for address in &link.addresses {
        let target = RouteTarget::Device { device: device.clone(), next_hop: None, mtu_bytes: None };
        objects.put(Key::Neighbor { device: device.clone(), address: *address }, Value::Mac(link.pod_mac), &cause);
        objects.put(Key::Route(IpNet::from(*address)), Value::Route(target), &cause);
        let endpoint = abi::Endpoint {
            // Without an interface the host stack delivers, where shapers see the packet.
            interface_index: if link.shaped { 0 } else { index },
            id: link.endpoint_id,
            pod_mac: link.pod_mac.0,
            host_mac: link.host_mac.0,
        };
        objects.put_fast(Key::FastEndpoint(*address), Value::FastEndpoint(endpoint), &cause);
    }
    objects.put_fast(Key::FastLink(index), Value::FastLink(fast_link(link)), &cause);
    if backend == Backend::Nftables {
        objects.put(Key::Element(NftSet::PodLinks, Element::Link(index)), Value::Present, &cause);
        objects.put(Key::Element(NftSet::PodMacs, Element::LinkMac(index, link.pod_mac)), Value::Present, &cause);
        for address in &link.addresses {
            let element = Element::LinkAddress(index, *address);
            objects.put(Key::Element(NftSet::PodAddresses, element), Value::Present, &cause);
        }
    }
    objects.objects
}

fn fast_link(link: &AttachedLink) -> abi::Link {
    let flags = if link.shaped { abi::LINK_STACK_ONLY } else { 0 };
    let mut fast =
        abi::Link { endpoint_id: link.endpoint_id, pod_mac: link.pod_mac.0, flags, ipv4: [0; 4], ipv6: [0; 16] };
    for address in &link.addresses {
        match address {
            IpAddr::V4(v4) => fast.ipv4 = v4.octets(),
            IpAddr::V6(v6) => fast.ipv6 = v6.octets(),
        }
    }
    fast
}

/// What routes name as next hop on the tunnel. IPv6 refuses one that another device's
/// prefix covers, even "onlink", and every node address is covered by the underlay's;
/// link-local ones are taken as they are. Only this node sees them, with their neighbor.
fn tunnel_next_hop(planned: IpAddr, mac: MacAddress) -> IpAddr {
    if planned.is_ipv6() { link_local_address(mac).into() } else { planned }
}

struct Collector {
    objects: WantedObjects,
    backend: Backend,
}

// === impl Collector ===

impl Collector {
    fn put(&mut self, key: Key, value: Value, cause: &str) {
        self.objects.insert(key, Wanted { value, cause: cause.to_owned() });
    }

    fn put_fast(&mut self, key: Key, value: Value, cause: &str) {
        if self.backend == Backend::Ebpf {
            self.put(key, value, cause);
        }
    }

    fn settings(&mut self, plan: &NetworkPlan) {
        let blocks = || {
            plan.local_blocks.iter().map(|block| block.cidr).chain(plan.routes.iter().map(|route| route.destination))
        };
        let on = || Value::Text("1".to_owned());
        if blocks().any(|cidr| matches!(cidr, IpNet::V4(_))) {
            self.put(Key::Setting(FORWARDING_V4.to_owned()), on(), "pods with IPv4 addresses");
        }
        if blocks().any(|cidr| matches!(cidr, IpNet::V6(_))) {
            self.put(Key::Setting(FORWARDING_V6.to_owned()), on(), "pods with IPv6 addresses");
        }
        let tunnel_port = plan.tunnel.as_ref().map(|tunnel| tunnel.port);
        let rules = Ruleset::Ours { backend: self.backend, tunnel_port };
        self.put(Key::Ruleset, Value::Ruleset(rules), "the agent's configuration");
    }

    fn tunnel(&mut self, tunnel: &TunnelPlan) {
        let cause = "pools with encapsulation vxlan or crossSubnet";
        let device = TunnelDevice {
            id: tunnel.id,
            port: tunnel.port,
            local: Some(tunnel.local),
            learning: false,
            mac: tunnel.mac,
            mtu_bytes: tunnel.mtu_bytes,
            up: true,
        };
        self.put(Key::Tunnel, Value::Tunnel(device), cause);
        self.put(Key::TunnelSetting(TUNNEL_REVERSE_PATH.to_owned()), Value::Text("2".to_owned()), cause);
        for address in &tunnel.device_addresses {
            let cause = format!("own block of {address}");
            self.put(Key::TunnelAddress(*address), Value::Present, &cause);
            // An endpoint without an interface: the fast path leaves it to the host stack.
            let own = abi::Endpoint { interface_index: 0, id: 0, pod_mac: [0; 6], host_mac: [0; 6] };
            self.put_fast(Key::FastEndpoint(address.addr()), Value::FastEndpoint(own), &cause);
        }
        self.put_fast(Key::FastTunnel, Value::Mac(tunnel.mac), cause);
        for peer in &tunnel.peers {
            let cause = format!("node {}", peer.node);
            self.put(Key::Forwarding(peer.mac), Value::Node(peer.underlay_address), &cause);
            for next_hop in &peer.next_hops {
                self.tunnel_neighbor(*next_hop, peer.mac, &cause);
            }
        }
    }

    fn tunnel_neighbor(&mut self, address: IpAddr, mac: MacAddress, cause: &str) {
        let address = tunnel_next_hop(address, mac);
        self.put(Key::Neighbor { device: TUNNEL_DEVICE.to_owned(), address }, Value::Mac(mac), cause);
    }

    fn block_route(&mut self, route: &BlockRoute, underlay: Option<&Underlay>) {
        let BlockRoute { destination, via, mtu_bytes, cause } = route;
        let (device, next_hop, kind, tunnel_mac) = match via {
            Via::Tunnel { next_hop, mac } => {
                self.tunnel_neighbor(*next_hop, *mac, cause);
                (TUNNEL_DEVICE.to_owned(), tunnel_next_hop(*next_hop, *mac), abi::ROUTE_TUNNEL, Some(*mac))
            }
            Via::Direct { next_hop } => match underlay {
                Some(underlay) => {
                    let key = Key::FastUnderlay(underlay.device.clone());
                    self.put_fast(key, Value::Present, "pools without encapsulation");
                    (underlay.device.clone(), *next_hop, abi::ROUTE_DIRECT, None)
                }
                None => return,
            },
        };
        let fast = FastRoute { kind, device: Some(device.clone()), mtu_bytes: *mtu_bytes, tunnel_mac };
        let target = RouteTarget::Device { device, next_hop: Some(next_hop), mtu_bytes: Some(*mtu_bytes) };
        self.put(Key::Route(*destination), Value::Route(target), cause);
        self.put_fast(Key::FastRoute(*destination), Value::FastRoute(fast), cause);
    }

    fn masquerade(&mut self, plan: &NetworkPlan) {
        for source in &plan.masquerade.sources {
            let element = Element::Range(source.trunc());
            self.put(Key::Element(NftSet::MasqueradeSources, element), Value::Present, &format!("block {source}"));
        }
        for destination in &plan.masquerade.except_destinations {
            let element = Element::Range(destination.trunc());
            let cause = "pools, nodes and configured ranges";
            self.put(Key::Element(NftSet::MasqueradeExceptions, element), Value::Present, cause);
        }
    }
}
