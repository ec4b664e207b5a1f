//! Links: veth pairs, the VXLAN device, reading all.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use seaway_model::MacAddress;

use super::{FAMILY_V4, FAMILY_V6};
use crate::Count;
use crate::kernel::netlink::{Attribute, Attributes, Request, constants};
use crate::plan::TunnelDevice;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_STATS64: u16 = 23;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_LEARNING: u16 = 7;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_LOCAL6: u16 = 17;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// `IN6_ADDR_GEN_MODE_NONE`: no link-local address that would go through duplicate
/// address detection for a second.
const NO_GENERATED_ADDRESS: u8 = 1;
const IPV4_DEVCONF_PROXY_ARP: u16 = 3;
const IPV4_DEVCONF_SEND_REDIRECTS: u16 = 6;
const IPV4_DEVCONF_RP_FILTER: u16 = 8;
const IFF_UP: u32 = 1;

/// A link as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LinkInfo {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) up: bool,
    pub(crate) mtu_bytes: u32,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) alias: Option<String>,
    /// Index of the other end of a veth pair, in whatever namespace that is.
    pub(crate) peer_index: Option<u32>,
    /// `veth`, `vxlan`, …; none for devices of drivers.
    pub(crate) kind: Option<String>,
    pub(crate) vxlan: Option<VxlanInfo>,
    pub(crate) received: Count,
    pub(crate) sent: Count,
}

/// What only VXLAN devices have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct VxlanInfo {
    pub(crate) id: u32,
    pub(crate) port: u16,
    pub(crate) local: Option<IpAddr>,
    pub(crate) learning: bool,
}

/// One end of a veth pair to make.
#[derive(Debug, Clone)]
pub(crate) struct VethEnd<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: MacAddress,
    pub(crate) mtu_bytes: u32,
}

/// `struct ifinfomsg`: family, type, index, flags and which flags to change.
fn header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

/// Makes a veth pair whose peer is born in another namespace.
pub(crate) fn add_veth(host: &VethEnd<'_>, pod: &VethEnd<'_>, pod_netns: BorrowedFd<'_>) -> Request {
    let flags = constants::NLM_F_CREATE | constants::NLM_F_EXCL;
    let object = format!("veth pair {} and {}", host.name, pod.name);
    Request::new(RTM_NEWLINK, flags, &header(0, 0, 0), "add", object)
        .text(IFLA_IFNAME, host.name)
        .mac(IFLA_ADDRESS, host.mac)
        .u32(IFLA_MTU, host.mtu_bytes)
        .nested(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth").nested(IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |peer| {
                    peer.raw(&header(0, 0, 0))
                        .text(IFLA_IFNAME, pod.name)
                        .mac(IFLA_ADDRESS, pod.mac)
                        .u32(IFLA_MTU, pod.mtu_bytes)
                        .attribute(IFLA_NET_NS_FD, &pod_netns.as_raw_fd().to_ne_bytes())
                })
            })
        })
}

/// Makes the VXLAN device.
pub(crate) fn add_vxlan(name: &str, device: &TunnelDevice) -> Request {
    let flags = constants::NLM_F_CREATE | constants::NLM_F_EXCL;
    Request::new(RTM_NEWLINK, flags, &header(0, 0, 0), "add", format!("VXLAN device {name}"))
        .text(IFLA_IFNAME, name)
        .mac(IFLA_ADDRESS, device.mac)
        .u32(IFLA_MTU, device.mtu_bytes)
        .nested(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "vxlan").nested(IFLA_INFO_DATA, |data| {
                let data = data
                    .u32(IFLA_VXLAN_ID, device.id)
                    .attribute(IFLA_VXLAN_PORT, &device.port.to_be_bytes())
                    .attribute(IFLA_VXLAN_LEARNING, &[u8::from(device.learning)]);
                match device.local {
                    Some(local @ IpAddr::V4(_)) => data.address(IFLA_VXLAN_LOCAL, local),
                    Some(local @ IpAddr::V6(_)) => data.address(IFLA_VXLAN_LOCAL6, local),
                    None => data,
                }
            })
        })
}

/// Sets what may change on the VXLAN device, and its state.
pub(crate) fn set_tunnel(index: u32, name: &str, device: &TunnelDevice) -> Vec<Request> {
    let up = if device.up { IFF_UP } else { 0 };
    let change =
        |flags, mask| Request::new(RTM_NEWLINK, 0, &header(index, flags, mask), "change", format!("device {name}"));
    vec![
        change(0, 0).u32(IFLA_MTU, device.mtu_bytes),
        change(0, 0).nested(IFLA_AF_SPEC, without_generated_address),
        change(up, IFF_UP),
    ]
}

/// Sets up the node's side of a pod link: its record, its settings, and up.
///
/// A loose reverse-path filter (2) overrides a strict one for all devices; the source
/// check of either backend is the strict one. Proxy ARP and redirects make no sense
/// where every address is one hop away.
pub(crate) fn set_host_side(index: u32, name: &str, record: &str) -> Vec<Request> {
    let settings = Request::new(RTM_NEWLINK, 0, &header(index, 0, 0), "set up", format!("interface {name}"))
        .text(IFLA_IFALIAS, record)
        .nested(IFLA_AF_SPEC, |spec| {
            let spec = spec.nested(u16::from(FAMILY_V4), |inet| {
                inet.nested(IFLA_INET_CONF, |settings| {
                    settings
                        .u32(IPV4_DEVCONF_PROXY_ARP, 0)
                        .u32(IPV4_DEVCONF_SEND_REDIRECTS, 0)
                        .u32(IPV4_DEVCONF_RP_FILTER, 2)
                })
            });
            without_generated_address(spec)
        });
    vec![settings, set_up(index, name)]
}

/// Brings a link up without an address of its own making. The mode comes first: within
/// one message the kernel would bring the link up before it looks at the mode.
pub(crate) fn set_up_without_address(index: u32, name: &str) -> Vec<Request> {
    let mode = Request::new(RTM_NEWLINK, 0, &header(index, 0, 0), "set up", format!("interface {name}"))
        .nested(IFLA_AF_SPEC, without_generated_address);
    vec![mode, set_up(index, name)]
}

/// Brings a link up.
pub(crate) fn set_up(index: u32, name: &str) -> Request {
    Request::new(RTM_NEWLINK, 0, &header(index, IFF_UP, IFF_UP), "set up", format!("interface {name}"))
}

/// On kernels without IPv6 the part for `AF_INET6` would be refused.
fn without_generated_address(spec: Request) -> Request {
    if !std::path::Path::new("/proc/net/if_inet6").exists() {
        return spec;
    }
    spec.nested(u16::from(FAMILY_V6), |inet6| inet6.attribute(IFLA_INET6_ADDR_GEN_MODE, &[NO_GENERATED_ADDRESS]))
}

/// Removes a link and with it its peer, addresses, neighbors and routes.
pub(crate) fn delete(index: u32, name: &str) -> Request {
    Request::new(RTM_DELLINK, 0, &header(index, 0, 0), "delete", format!("interface {name}"))
}

/// Asks for one link by name.
pub(crate) fn get(name: &str) -> Request {
    Request::new(RTM_GETLINK, 0, &header(0, 0, 0), "read", format!("interface {name}")).text(IFLA_IFNAME, name)
}

/// Asks for all links.
pub(crate) fn get_all() -> Request {
    Request::new(RTM_GETLINK, 0, &header(0, 0, 0), "read", "all interfaces")
}

/// Reads an answer; `None` when it is no link.
pub(crate) fn parse(kind: u16, body: &[u8]) -> Option<LinkInfo> {
    let header = body.first_chunk::<16>().filter(|_| kind == RTM_NEWLINK)?;
    let [_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *header;
    let mut link = LinkInfo {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        up: u32::from_ne_bytes([f0, f1, f2, f3]) & IFF_UP != 0,
        ..LinkInfo::default()
    };
    for attribute in Attributes(body.get(16..)?) {
        match attribute.kind {
            IFLA_IFNAME => link.name = attribute.text()?.to_owned(),
            IFLA_MTU => link.mtu_bytes = attribute.u32()?,
            IFLA_ADDRESS => link.mac = attribute.mac(),
            IFLA_IFALIAS => link.alias = attribute.text().map(str::to_owned),
            IFLA_LINK => link.peer_index = attribute.u32(),
            IFLA_LINKINFO => parse_kind(attribute, &mut link),
            IFLA_STATS64 => {
                // `struct rtnl_link_stats64`: packets received and sent, bytes likewise.
                let (words, _) = attribute.payload.as_chunks::<8>();
                let mut words = words.iter().map(|word| u64::from_ne_bytes(*word));
                let mut word = || words.next().unwrap_or_default();
                (link.received.packets, link.sent.packets) = (word(), word());
                (link.received.bytes, link.sent.bytes) = (word(), word());
            }
            _ => {}
        }
    }
    Some(link)
}

fn parse_kind(info: Attribute<'_>, link: &mut LinkInfo) {
    link.kind = info.nested().find(IFLA_INFO_KIND).and_then(Attribute::text).map(str::to_owned);
    if link.kind.as_deref() != Some("vxlan") {
        return;
    }
    let mut vxlan = VxlanInfo::default();
    for attribute in info.nested().find(IFLA_INFO_DATA).map(Attribute::nested).into_iter().flatten() {
        match attribute.kind {
            IFLA_VXLAN_ID => vxlan.id = attribute.u32().unwrap_or_default(),
            IFLA_VXLAN_PORT => vxlan.port = attribute.u16_big_endian().unwrap_or_default(),
            IFLA_VXLAN_LOCAL | IFLA_VXLAN_LOCAL6 => vxlan.local = attribute.address(),
            IFLA_VXLAN_LEARNING => vxlan.learning = attribute.u8() == Some(1),
            _ => {}
        }
    }
    link.vxlan = Some(vxlan);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(RTM_NEWLINK, &body);
        }
    }
}
