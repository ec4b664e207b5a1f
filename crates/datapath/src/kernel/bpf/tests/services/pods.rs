//! Pods whose sockets nobody translated: by the packet.

use std::net::SocketAddr;

use seaway_model::Protocol::{Tcp, Udp};

use super::cluster::{Between, node, serving};
use super::plan::{TARGET_PORT, load_balancer};
use super::talk::{serve, tcp, udp};

const SERVICES: [(bool, &str); 2] = [(true, "10.96.0.7"), (false, "fd96::7")];

#[test]
fn a_pod_reaches_backends_everywhere_and_keeps_its_address() {
    for between in [Between::Tunnel, Between::Direct] {
        let cluster = serving(between);
        let [near, far] = &cluster.nodes;
        let other = near.node.add_pod(1, 2);
        near.node.attach(&other);
        for (ipv4, address) in SERVICES {
            serve(&other.namespace, SocketAddr::new(near.sees(&other, ipv4).0, TARGET_PORT));
            serve(&near.node.namespace, SocketAddr::new(node(1, ipv4), TARGET_PORT));
            serve(&far.node.namespace, SocketAddr::new(node(2, ipv4), TARGET_PORT));
            let own = near.sees(&near.pod, ipv4).0;
            let backends = [
                ("the same node", (near.sees(&other, ipv4).0, true)),
                ("another node", near.sees(&far.pod, ipv4)),
                ("the node", (node(1, ipv4), true)),
                ("another node itself", (node(2, ipv4), false)),
            ];
            for (what, backend) in backends {
                for protocol in [Tcp, Udp] {
                    let name = format!("{ipv4}-{protocol:?}").to_lowercase();
                    near.apply(load_balancer(&name, &[backend], address).keep_client().protocol(protocol).build());
                }
                let target = SocketAddr::new(address.parse().unwrap(), 80);
                let seen = tcp(&near.pod.namespace, target, 100_000);
                let seen = seen.unwrap_or_else(|error| panic!("{between:?} {what} {error:?} {}", cluster.drops()));
                assert_eq!((seen.client.ip(), seen.server.ip()), (own, backend.0), "{what}");
                let seen = udp(&near.pod.namespace, target, 100);
                let seen = seen.unwrap_or_else(|| panic!("{between:?} {what} {}", cluster.drops()));
                assert_eq!((seen.client.ip(), seen.server.ip()), (own, backend.0), "{what}");
            }
        }
    }
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let cluster = serving(Between::Tunnel);
    let near = &cluster.nodes[0];
    for (ipv4, address) in SERVICES {
        let backend = near.sees(&near.pod, ipv4);
        near.apply(load_balancer(&format!("self-{ipv4}"), &[backend], address).keep_client().build());
        let target = SocketAddr::new(address.parse().unwrap(), 80);
        let seen = tcp(&near.pod.namespace, target, 100_000);
        let seen = seen.unwrap_or_else(|error| panic!("{ipv4} {error:?} {}", cluster.drops()));
        assert_eq!((seen.client.ip(), seen.server.ip()), (node(1, ipv4), backend.0));
    }
}
