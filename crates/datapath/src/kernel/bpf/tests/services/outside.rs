//! Clients from elsewhere, with real packets.

use std::net::SocketAddr;

use seaway_model::Protocol::{Tcp, Udp};

use super::cluster::{Between, client, node, serving};
use super::plan::{NODE_PORT, load_balancer, node_port};
use super::talk::{tcp, udp};

#[test]
fn a_node_port_leads_to_the_pod_of_the_node_and_keeps_the_client() {
    let cluster = serving(Between::Tunnel);
    let near = &cluster.nodes[0];
    for ipv4 in [true, false] {
        for protocol in [Tcp, Udp] {
            let name = format!("local-{ipv4}-{protocol:?}").to_lowercase();
            let backend = near.sees(&near.pod, ipv4);
            near.apply(node_port(&name, &[backend]).keep_client().protocol(protocol).build());
        }
        let target = SocketAddr::new(node(1, ipv4), NODE_PORT);
        let seen =
            tcp(&cluster.client, target, 300_000).unwrap_or_else(|error| panic!("{error:?} {}", cluster.drops()));
        assert_eq!(seen.client.ip(), client(ipv4));
        let seen = udp(&cluster.client, target, 1_000).unwrap_or_else(|| panic!("{}", cluster.drops()));
        assert_eq!(seen.client.ip(), client(ipv4));
    }
}

#[test]
fn a_node_port_leads_to_the_pod_of_the_node_and_hides_the_client() {
    let cluster = serving(Between::Tunnel);
    let near = &cluster.nodes[0];
    for ipv4 in [true, false] {
        for protocol in [Tcp, Udp] {
            let name = format!("cluster-{ipv4}-{protocol:?}").to_lowercase();
            near.apply(node_port(&name, &[near.sees(&near.pod, ipv4)]).protocol(protocol).build());
        }
        let target = SocketAddr::new(node(1, ipv4), NODE_PORT);
        let seen =
            tcp(&cluster.client, target, 300_000).unwrap_or_else(|error| panic!("{error:?} {}", cluster.drops()));
        assert_eq!(seen.client.ip(), node(1, ipv4));
        assert!((1_024..30_000).contains(&seen.client.port()), "{seen:?}");
        let seen = udp(&cluster.client, target, 1_000).unwrap_or_else(|| panic!("{}", cluster.drops()));
        assert_eq!(seen.client.ip(), node(1, ipv4));
    }
}

#[test]
fn a_node_port_leads_to_the_pod_of_another_node() {
    for between in [Between::Tunnel, Between::Direct] {
        let cluster = serving(between);
        let [near, far] = &cluster.nodes;
        for ipv4 in [true, false] {
            for protocol in [Tcp, Udp] {
                let name = format!("far-{ipv4}-{protocol:?}").to_lowercase();
                near.apply(node_port(&name, &[near.sees(&far.pod, ipv4)]).protocol(protocol).build());
            }
            let target = SocketAddr::new(node(1, ipv4), NODE_PORT);
            let seen = udp(&cluster.client, target, 1_000).unwrap_or_else(|| panic!("{between:?} {}", cluster.drops()));
            assert_eq!(seen.client.ip(), node(1, ipv4));
            let seen = tcp(&cluster.client, target, 300_000)
                .unwrap_or_else(|error| panic!("{between:?} {ipv4} {error:?} {}", cluster.drops()));
            assert_eq!(seen.client.ip(), node(1, ipv4));
        }
    }
}

#[test]
fn a_load_balancers_address_leads_to_the_pods_of_both_nodes() {
    let cluster = serving(Between::Tunnel);
    let [near, far] = &cluster.nodes;
    for (ipv4, address, command) in [
        (true, "203.0.113.7", "route add 203.0.113.7 via 192.0.2.1"),
        (false, "fd00::7", "route add fd00::7 via 2001:db8::1"),
    ] {
        cluster.client.ip(command);
        let backends = [near.sees(&near.pod, ipv4), near.sees(&far.pod, ipv4)];
        near.apply(load_balancer(&format!("balanced-{ipv4}"), &backends, address).build());
        for _ in 0..16 {
            tcp(&cluster.client, SocketAddr::new(address.parse().unwrap(), 80), 1_000)
                .unwrap_or_else(|error| panic!("{error:?} {}", cluster.drops()));
        }
    }
}
