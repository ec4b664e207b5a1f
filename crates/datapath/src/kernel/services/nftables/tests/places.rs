//! Kinds of places and backends beyond the plain ones.

use std::io::Write as _;
use std::net::SocketAddr;

use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto};
use seaway_model::Protocol;
use seaway_services::plan::{Backend, FrontendAddress, FrontendKind, Reach};

use super::super::NftablesServices;
use super::world::*;
use crate::ServiceDatapath as _;

#[test]
fn external_addresses_are_served_and_policy_local_keeps_the_client() {
    let world = World::new();
    let (client, server, far) = (world.pod(1), world.pod(2), world.far_pod(3));
    server.serve(8080);
    far.serve(8080);
    for (v6, place) in [(false, "203.0.113.7"), (true, "2001:db8:5::7")] {
        let mut service = changed(
            plan(&format!("web-{v6}"), place, 80, vec![server.backend(v6, 8080), far.backend(v6, 8080)]),
            |frontend| {
                frontend.kind = FrontendKind::ExternalIp;
                frontend.outside = Reach::Backends { set: 1, hide_client: false };
            },
        );
        service.sets.push(seaway_services::plan::BackendSet { backends: vec![server.backend(v6, 8080)] });
        world.set(vec![service]);
        let mut inside = std::collections::BTreeSet::new();
        for _ in 0..20 {
            inside.insert(tcp(&client.namespace, at(place, 80)).server().to_owned());
            let outside = tcp(&world.outside, at(place, 80));
            assert_eq!((outside.server(), outside.client()), ("pod-2", ip(OUTSIDE[usize::from(v6)])));
        }
        assert_eq!(inside.len(), 2, "clients of the node reach all backends");
        assert_eq!(world.audit(), vec![]);
    }
}

#[test]
fn corner_7_policy_changes_between_cluster_and_local_take_effect() {
    let world = World::new();
    let far = world.far_pod(3);
    far.serve(8080);
    let with = |outside: Reach| {
        changed(plan("web", NODE[0], 30080, vec![far.backend(false, 8080)]), move |frontend| {
            frontend.at = FrontendAddress::NodeIpv4;
            frontend.kind = FrontendKind::NodePort;
            frontend.outside = outside;
        })
    };
    for _ in 0..2 {
        world.set(vec![with(Reach::Backends { set: 0, hide_client: true })]);
        assert_eq!(tcp(&world.outside, at(NODE[0], 30080)).client(), ip(NODE[0]));
        world.set(vec![with(Reach::Drop)]);
        assert_eq!(tcp_briefly(&world.outside, at(NODE[0], 30080)), Outcome::Silence);
        assert_eq!(tcp(&world.node, at(NODE[0], 30080)).server(), "far-3");
    }
    assert_eq!(world.audit(), vec![]);
}

#[test]
fn corner_18_host_network_pods_are_servers_and_clients() {
    let world = World::new();
    let client = world.pod(1);
    for (v6, place) in [(false, "10.96.0.61"), (true, "fd96::61")] {
        let node = NODE[usize::from(v6)];
        serve(&world.node, "node", at(node, 8080));
        let backend = Backend { address: ip(node), port: 8080, weight: 1, local: true, node: Some("a".into()) };
        world.set(vec![plan(&format!("host-{v6}"), place, 80, vec![backend])]);
        for client in [&client.namespace, &world.node, &world.outside] {
            assert_eq!(tcp(client, at(place, 80)).server(), "node");
            assert_eq!(udp(client, at(place, 80)).server(), "node");
        }
    }
}

#[test]
fn node_ports_are_served_on_loopback_when_asked_for() {
    let mut world = World::new();
    let (server, far) = (world.pod(2), world.far_pod(3));
    server.serve(8080);
    far.serve(8080);
    let with = |backend| {
        changed(plan("web", NODE[0], 30080, vec![backend]), |frontend| {
            frontend.at = FrontendAddress::NodeIpv4;
            frontend.kind = FrontendKind::NodePort;
        })
    };
    world.set(vec![with(far.backend(false, 8080))]);
    assert_eq!(tcp(&world.node, at("127.0.0.1", 30080)), Outcome::Refused);
    world.settings.node_port_on_loopback = true;
    let settings = world.settings.clone();
    world.with(move |services| services.set_node(&settings).unwrap());
    for backend in [far.backend(false, 8080), server.backend(false, 8080)] {
        world.set(vec![with(backend)]);
        assert!(matches!(tcp(&world.node, at("127.0.0.1", 30080)), Outcome::Answered { .. }));
        assert!(matches!(udp(&world.node, at("127.0.0.1", 30080)), Outcome::Answered { .. }));
    }
    assert_eq!(world.audit(), vec![]);
    world.with(|services| services.uninstall().unwrap());
    assert_eq!(world.node.exec("cat /proc/sys/net/ipv4/conf/all/route_localnet").trim(), "0");
}

#[test]
fn node_ports_follow_the_chosen_addresses() {
    let mut world = World::new();
    let server = world.pod(2);
    server.serve(8080);
    world.node.ip("addr add 192.0.2.9/24 dev eth0");
    world.set(vec![changed(plan("web", NODE[0], 30080, vec![server.backend(false, 8080)]), |frontend| {
        frontend.at = FrontendAddress::NodeIpv4;
        frontend.kind = FrontendKind::NodePort;
    })]);
    assert_eq!(tcp(&world.outside, at("192.0.2.9", 30080)), Outcome::Refused);
    world.settings.node_port_addresses = vec![ip("192.0.2.9")];
    let settings = world.settings.clone();
    world.with(move |services: &mut NftablesServices| services.set_node(&settings).unwrap());
    assert_eq!(tcp(&world.outside, at("192.0.2.9", 30080)).server(), "pod-2");
    assert_eq!(tcp(&world.outside, at(NODE[0], 30080)), Outcome::Refused);
    assert_eq!(world.audit(), vec![]);
}

/// An SCTP INIT chunk with its common header (RFC 9260 §3.1, §3.3.2), checksum left out: the
/// kernel translates before anybody checks it.
fn sctp_init(from: u16, to: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend_from_slice(&from.to_be_bytes());
    packet.extend_from_slice(&to.to_be_bytes());
    packet.extend_from_slice(&[0; 8]);
    packet.extend_from_slice(&[1, 0, 0, 20]);
    packet.extend_from_slice(&[0, 0, 0, 1]);
    packet.extend_from_slice(&[0, 1, 0, 0, 0, 10, 0, 10]);
    packet.extend_from_slice(&[0, 0, 0, 1]);
    // CRC32c over the packet, which connection tracking checks.
    let checksum = crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&checksum);
    packet
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

#[test]
fn sctp_is_translated() {
    let world = World::new();
    let (client, server) = (world.pod(1), world.pod(2));
    let place = "10.96.0.71";
    world.set(vec![changed(plan("sctp", place, 36412, vec![server.backend(false, 5000)]), |frontend| {
        frontend.protocol = Protocol::Sctp;
    })]);
    let raw = || {
        #[expect(unsafe_code, reason = "nix names no SCTP protocol")]
        // SAFETY: no pointer is passed.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_SCTP) };
        assert!(fd >= 0);
        fd
    };
    let receiver = server.namespace.run(raw);
    let sender = client.namespace.run(raw);
    let to = SockaddrStorage::from(SocketAddr::new(ip(place), 0));
    sendto(sender, &sctp_init(4000, 36412), &to, MsgFlags::empty()).unwrap();
    let mut buffer = [0u8; 200];
    let mut wait = [nix::poll::PollFd::new(
        #[expect(unsafe_code, reason = "the descriptor stays open until the process ends")]
        // SAFETY: nobody closes it.
        unsafe {
            std::os::fd::BorrowedFd::borrow_raw(receiver)
        },
        nix::poll::PollFlags::POLLIN,
    )];
    assert_eq!(nix::poll::poll(&mut wait, 5000u16).unwrap(), 1, "nothing arrived");
    let length = nix::sys::socket::recv(receiver, &mut buffer, MsgFlags::empty()).unwrap();
    let transport = &buffer[20..length];
    assert_eq!(u16::from_be_bytes([transport[0], transport[1]]), 4000);
    assert_eq!(u16::from_be_bytes([transport[2], transport[3]]), 5000, "the backend's port");
}

#[test]
fn corner_11_packets_that_cannot_be_placed_do_not_reach_the_client_untranslated() {
    let world = World::new();
    let (client, server) = (world.pod(1), world.pod(2));
    let place = "10.96.0.72";
    world.set(vec![plan("web", place, 80, vec![server.backend(false, 8080)])]);
    // Without picking up connections in their midst, what is not known is invalid.
    world.node.run(|| std::fs::write("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", "0").unwrap());
    let address = SocketAddr::new(server.v4, 8080);
    let listener = server.namespace.run(move || std::net::TcpListener::bind(address).unwrap());
    let mut stream = client.namespace.run(move || std::net::TcpStream::connect((ip(place), 80)).unwrap());
    let (mut served, _) = listener.accept().unwrap();
    client.namespace.exec("nft add table ip seen");
    client.namespace.exec("nft add chain ip seen input { type filter hook input priority 0 ; }");
    client.namespace.exec(&format!("nft add rule ip seen input ip saddr {} counter", server.v4));
    world.node.exec("conntrack -F");
    served.write_all(b"late").unwrap();
    // Both ends send again, so both directions were tried by the time the client's own packet is
    // answered or not; the server's packet is on its way before the counter is read.
    let _ = stream.write_all(b"more");
    let invalid = || {
        let listed = world.node.exec("cat /proc/net/stat/nf_conntrack");
        let column = listed.lines().next().unwrap().split_whitespace().position(|name| name == "invalid").unwrap();
        listed.lines().skip(1).any(|line| line.split_whitespace().nth(column) != Some("00000000"))
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !invalid() {
        assert!(std::time::Instant::now() < deadline, "nothing was invalid");
        std::thread::yield_now();
    }
    let seen = client.namespace.exec("nft list table ip seen");
    assert!(seen.contains("packets 0"), "{seen}");
}
