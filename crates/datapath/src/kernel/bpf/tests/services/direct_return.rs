//! Endpoints that answer clients past the node that the client came to.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use seaway_model::Protocol::{Tcp, Udp};
use seaway_services::plan::Algorithm;

use super::super::traffic::PATIENCE;
use super::cluster::{Between, client, node, serving};
use super::plan::{NODE_PORT, load_balancer, node_port};
use super::talk::{tcp, udp};

#[test]
fn a_pod_of_another_node_sees_the_client_and_answers_it_directly() {
    for between in [Between::Tunnel, Between::Direct] {
        let cluster = serving(between);
        let [near, far] = &cluster.nodes;
        for ipv4 in [true, false] {
            for protocol in [Tcp, Udp] {
                let name = format!("dsr-{ipv4}-{protocol:?}").to_lowercase();
                cluster.apply(|node| {
                    node_port(&name, &[node.sees(&far.pod, ipv4)]).protocol(protocol).direct_return().build()
                });
            }
            let target = SocketAddr::new(node(1, ipv4), NODE_PORT);
            let what = format!("{between:?} {ipv4}");
            let seen = udp(&cluster.client, target, 1_000).unwrap_or_else(|| panic!("{what} {}", cluster.drops()));
            assert_eq!(seen.client.ip(), client(ipv4));
            // Segments are as large as the client's link, so the tunnel's size has to be told.
            let seen = tcp(&cluster.client, target, 300_000);
            let seen = seen.unwrap_or_else(|error| panic!("{what} {error:?} {}", cluster.drops()));
            assert_eq!((seen.client.ip(), seen.server.ip()), (client(ipv4), far.sees(&far.pod, ipv4).0));
        }
        let answered = near.with(|services| services.conntrack().unwrap().unwrap().entries().unwrap());
        assert!(
            answered.iter().all(|(_, entry)| entry.flags & seaway_model::abi::conntrack::CONNTRACK_DIRECT_RETURN != 0)
        );
    }
}

#[test]
fn connections_survive_when_a_router_sends_them_through_another_node() {
    let cluster = serving(Between::Tunnel);
    let [near, far] = &cluster.nodes;
    cluster.apply(|node| {
        let backends = [node.sees(&near.pod, true), node.sees(&far.pod, true)];
        load_balancer("web", &backends, "203.0.113.7").algorithm(Algorithm::Maglev).direct_return().build()
    });
    cluster.client.ip("route add 203.0.113.7 via 192.0.2.1");
    let connections = cluster.client.run(|| {
        let mut connections = Vec::new();
        for _ in 0..12 {
            let stream = TcpStream::connect_timeout(&"203.0.113.7:80".parse().unwrap(), PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            connections.push(stream);
        }
        connections
    });
    cluster.client.ip("route replace 203.0.113.7 via 192.0.2.2");
    cluster.client.run(move || {
        for mut stream in connections {
            stream.read_exact(&mut [0; 100]).unwrap();
            stream.write_all(b"hello").unwrap();
            let mut back = [0; 5];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"hello");
        }
    });
}
