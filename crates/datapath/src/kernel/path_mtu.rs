//! How large packets may be on the way to other nodes, as routers have told the kernel
//! (RFC 1191, RFC 8201). It forgets after ten minutes (`mtu_expires`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::netlink::Netlink;
use super::rtnetlink::{FAMILY_V4, FAMILY_V6, route};
use crate::DatapathError;

/// MTU in bytes of the way to each address for which a router has told a smaller one than
/// that of the device.
pub fn path_mtus() -> Result<BTreeMap<IpAddr, u32>, DatapathError> {
    let mut netlink = Netlink::route()?.strict();
    let mut found = BTreeMap::new();
    for family in [FAMILY_V4, FAMILY_V6] {
        let answers = netlink.dump(&route::get_learned(family))?;
        found.extend(answers.iter().filter_map(|(kind, body)| route::parse_learned_mtu(*kind, body)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::kernel::bpf::tests::namespaces::Namespace;

    /// The kernel learns within microseconds of the router's message.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// What the far side of the router carries.
    const NARROW_BYTES: u32 = 1300;

    /// A sender and a router to a narrow network.
    fn world() -> (Namespace, Namespace) {
        let (sender, router) = (Namespace::new(), Namespace::new());
        router.ip(&format!("link add near type veth peer name eth0 netns {}", sender.path().display()));
        router.ip(&format!("link add far mtu {NARROW_BYTES} type veth peer name far-end"));
        router.ip("link set far-end up");
        for (namespace, device, v4, v6) in [
            (&sender, "eth0", "192.0.2.1/24", "2001:db8:1::1/64"),
            (&router, "near", "192.0.2.2/24", "2001:db8:1::2/64"),
            (&router, "far", "198.51.100.1/24", "2001:db8:2::1/64"),
        ] {
            namespace.ip(&format!("addr add {v4} dev {device}"));
            namespace.ip(&format!("-6 addr add {v6} dev {device} nodad"));
            namespace.ip(&format!("link set {device} up"));
        }
        router.exec("sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        sender.ip("route add default via 192.0.2.2");
        sender.ip("-6 route add default via 2001:db8:1::2");
        (sender, router)
    }

    #[test]
    fn what_a_router_tells_is_read() {
        let (sender, _router) = world();
        assert_eq!(sender.run(|| path_mtus().unwrap()), BTreeMap::new());
        let far: [IpAddr; 2] = ["198.51.100.9".parse().unwrap(), "2001:db8:2::9".parse().unwrap()];
        let expected: BTreeMap<IpAddr, u32> = far.iter().map(|address| (*address, NARROW_BYTES)).collect();
        let deadline = Instant::now() + PATIENCE;
        // A connected socket asks for path MTU discovery by itself (ip(7), IP_MTU_DISCOVER). The
        // first packets may go while the carrier still comes up.
        while sender.run(|| path_mtus().unwrap()) != expected {
            assert!(Instant::now() < deadline, "{:?}", sender.run(|| path_mtus().unwrap()));
            sender.run(move || {
                for address in far {
                    let any: IpAddr =
                        if address.is_ipv4() { [0; 4].into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
                    let socket = UdpSocket::bind((any, 0)).unwrap();
                    // Refused once it is known that the way is narrower.
                    let _ = socket.connect((address, 9)).and_then(|()| socket.send(&[0; 1400]));
                }
            });
        }
    }
}
