//! Pod links: what is asked for, what was made, and the names and records on it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use seaway_model::agent_api::AttachmentKey;
use seaway_model::{ContainerId, InterfaceName, MacAddress, PodRef};
use sha2::{Digest, Sha256};

/// The IPv4 gateway of every pod: link-local, so that it is never anybody's address.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The IPv6 gateway of every pod.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// First word of the record on a link.
const RECORD_PREFIX: &str = "seaway:v1";
/// Longest interface alias in bytes (`IFALIASZ` in linux/if.h, with its NUL).
const ALIAS_MAX_BYTES: usize = 255;

/// A pod link that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodLink {
    /// Which sandbox and interface.
    pub key: AttachmentKey,
    /// CNI network name.
    pub network: String,
    /// The pod, when known.
    pub pod: Option<PodRef>,
    /// The pod's unique id, when known.
    pub pod_uid: Option<String>,
    /// Addresses, at most one per family.
    pub addresses: Vec<IpAddr>,
    /// MAC inside the pod; none: derived from the key.
    pub mac: Option<MacAddress>,
    /// MTU in bytes.
    pub mtu_bytes: u32,
    /// A plugin after us shapes the pod's traffic in the host stack.
    pub shaped: bool,
}

/// A pod link in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedLink {
    /// Which sandbox and interface.
    pub key: AttachmentKey,
    /// CNI network name.
    pub network: String,
    /// The pod, when known.
    pub pod: Option<PodRef>,
    /// The pod's unique id, when known.
    pub pod_uid: Option<String>,
    /// Addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Name on the node.
    pub host_interface: InterfaceName,
    /// Index on the node.
    pub host_index: u32,
    /// MAC on the node's side: what the pod's gateways resolve to.
    pub host_mac: MacAddress,
    /// MAC inside the pod.
    pub pod_mac: MacAddress,
    /// MTU in bytes of both sides.
    pub mtu_bytes: u32,
    /// Number of the endpoint in events and counters; never 0.
    pub endpoint_id: u32,
    /// All of the pod's traffic takes the host stack, where it is shaped.
    pub shaped: bool,
}

// === impl PodLink ===

impl PodLink {
    /// The pod's MAC: the one asked for or one derived from the key.
    #[must_use]
    pub fn pod_mac(&self) -> MacAddress {
        self.mac.unwrap_or_else(|| derived_mac(&self.key, "pod"))
    }

    /// The MAC of the node's side.
    #[must_use]
    pub fn host_mac(&self) -> MacAddress {
        derived_mac(&self.key, "host")
    }
}

// === impl AttachedLink ===

impl AttachedLink {
    /// What the link is for, for people: `pod shop/web-0` or `container 3f2a…`.
    #[must_use]
    pub fn cause(&self) -> String {
        match &self.pod {
            Some(pod) => format!("pod {pod}"),
            None => format!("container {}", self.key.container_id),
        }
    }

    /// Whether the link is what `wanted` asks for.
    #[must_use]
    pub fn is_for(&self, wanted: &PodLink) -> bool {
        self.key == wanted.key && self.addresses == sorted(&wanted.addresses) && self.pod_mac == wanted.pod_mac()
    }
}

/// The gateway of a pod for the family of `address`.
#[must_use]
pub fn gateway_like(address: &IpAddr) -> IpAddr {
    if address.is_ipv4() { GATEWAY_V4.into() } else { GATEWAY_V6.into() }
}

/// Addresses with IPv4 first.
#[must_use]
pub fn sorted(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut addresses = addresses.to_vec();
    addresses.sort_unstable();
    addresses
}

fn digest(key: &AttachmentKey, purpose: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [key.container_id.as_str(), key.interface.as_str(), purpose] {
        hash.update(part.as_bytes());
        // A byte that no name contains keeps ("a", "bc") apart from ("ab", "c").
        hash.update([0]);
    }
    hash.finalize().into()
}

/// Name of the node's side of a link: `sw` and eight hexadecimal digits.
#[must_use]
pub fn host_interface_name(key: &AttachmentKey) -> InterfaceName {
    let [a, b, c, d, ..] = digest(key, "");
    InterfaceName(format!("sw{a:02x}{b:02x}{c:02x}{d:02x}"))
}

/// Whether a name on the node has the form of a pod link's.
#[must_use]
pub fn is_host_interface_name(name: &str) -> bool {
    name.strip_prefix("sw")
        .is_some_and(|hex| hex.len() == 8 && hex.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()))
}

fn derived_mac(key: &AttachmentKey, purpose: &str) -> MacAddress {
    let [a, b, c, d, e, f, ..] = digest(key, purpose);
    // Locally administered, unicast (IEEE 802c).
    MacAddress([(a & 0xfc) | 0x02, b, c, d, e, f])
}

/// The link-local address that goes with a MAC (RFC 4291 appendix A).
#[must_use]
pub fn link_local_address(mac: MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f))
}

/// The record kept as the alias of the node's side of a link, so that a new agent
/// knows whose link it is: `seaway:v1 CONTAINER IFNAME NETWORK NAMESPACE/NAME UID`, and
/// `shaped` after it where that is so; `-` stands for what is unknown. A pod whose name would not fit is recorded by its UID.
#[must_use]
pub fn record(link: &PodLink) -> String {
    let word = |text: Option<String>| {
        text.filter(|t| !t.is_empty() && !t.contains(char::is_whitespace)).unwrap_or_else(|| "-".into())
    };
    let uid = word(link.pod_uid.clone());
    let mut text = String::new();
    let pod = word(link.pod.as_ref().map(ToString::to_string));
    let _ = write!(
        text,
        "{RECORD_PREFIX} {} {} {} ",
        link.key.container_id,
        link.key.interface,
        word(Some(link.network.clone()))
    );
    let rest = format!(" {uid}{}", if link.shaped { " shaped" } else { "" });
    let pod = if text.len() + pod.len() + rest.len() <= ALIAS_MAX_BYTES { pod } else { "-".into() };
    text.push_str(&pod);
    text.push_str(&rest);
    text
}

/// What [`record`] wrote, without addresses and MACs; `None` when it is not ours.
#[must_use]
pub fn parse_record(alias: &str) -> Option<Recorded> {
    let mut words = alias.strip_prefix(RECORD_PREFIX)?.strip_prefix(' ')?.split(' ');
    let known = |text: &str| (text != "-").then(|| text.to_owned());
    let container_id = ContainerId(words.next().filter(|w| !w.is_empty())?.to_owned());
    let interface = InterfaceName(words.next()?.to_owned());
    let network = known(words.next()?).unwrap_or_default();
    let pod = known(words.next()?).and_then(|text| {
        let (namespace, name) = text.split_once('/')?;
        Some(PodRef { namespace: namespace.to_owned(), name: name.to_owned() })
    });
    let pod_uid = known(words.next()?);
    let shaped = words.next() == Some("shaped");
    Some(Recorded { key: AttachmentKey { container_id, interface }, network, pod, pod_uid, shaped })
}

/// A record read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Which sandbox and interface.
    pub key: AttachmentKey,
    /// CNI network name.
    pub network: String,
    /// The pod, when known.
    pub pod: Option<PodRef>,
    /// The pod's unique id, when known.
    pub pod_uid: Option<String>,
    /// All of the pod's traffic takes the host stack.
    pub shaped: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(pod: Option<PodRef>, uid: Option<&str>) -> PodLink {
        PodLink {
            key: AttachmentKey { container_id: "c1".into(), interface: "eth0".into() },
            network: "seaway".into(),
            pod,
            pod_uid: uid.map(Into::into),
            addresses: Vec::new(),
            mac: None,
            mtu_bytes: 1450,
            shaped: false,
        }
    }

    #[test]
    fn records_come_back() {
        let pod = PodRef { namespace: "shop".into(), name: "web-0".into() };
        for wanted in [link(Some(pod.clone()), Some("u-1")), link(Some(pod), None), link(None, None)] {
            let recorded = parse_record(&record(&wanted)).unwrap();
            assert_eq!((recorded.key, recorded.network), (wanted.key, wanted.network));
            assert_eq!((recorded.pod, recorded.pod_uid), (wanted.pod, wanted.pod_uid));
            assert!(!recorded.shaped);
        }
        let shaped = PodLink { shaped: true, ..link(None, None) };
        assert!(parse_record(&record(&shaped)).unwrap().shaped);
        for foreign in ["", "seaway:v1", "seaway:v1 ", "seaway:v2 a b c d e", "cali1234", "seaway:v1 a b"] {
            assert_eq!(parse_record(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn a_record_fits_into_an_alias() {
        let pod = PodRef { namespace: "n".repeat(63), name: "p".repeat(253) };
        let mut wanted = link(Some(pod), Some("1b4e28ba-2fa1-11d2-883f-0016d3cca427"));
        wanted.key.container_id = ContainerId("f".repeat(64));
        let text = record(&wanted);
        assert!(text.len() <= ALIAS_MAX_BYTES);
        let recorded = parse_record(&text).unwrap();
        assert_eq!(recorded.pod, None);
        assert_eq!(recorded.pod_uid, wanted.pod_uid);
    }

    #[test]
    fn names_and_macs_are_derived_and_local() {
        let wanted = link(None, None);
        let name = host_interface_name(&wanted.key);
        assert!(is_host_interface_name(name.as_str()), "{name}");
        assert!(!is_host_interface_name("sw_vxlan") && !is_host_interface_name("swABCDEF01"));
        assert_ne!(wanted.pod_mac(), wanted.host_mac());
        for mac in [wanted.pod_mac(), wanted.host_mac()] {
            assert_eq!(mac.0[0] & 3, 2, "{mac}");
        }
    }
}
