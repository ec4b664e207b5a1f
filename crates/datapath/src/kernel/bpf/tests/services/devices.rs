//! The XDP program on underlay devices, with real packets. Its veth devices need more than those of
//! drivers: whoever sends to them must make checksums itself, and their other ends must run an XDP
//! program to take frames that were sent by one.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use seaway_model::MacAddress;
use seaway_model::Protocol::{Tcp, Udp};
use seaway_model::abi;

use super::super::super::{DeviceState, FastPath, UnderlayDevice, XdpChoice, probe, sys};
use super::super::hand::PIN_DIR;
use super::super::namespaces::Namespace;
use super::cluster::{Between, Cluster, ServingNode, node, serving_with};
use super::plan::{NODE_PORT, node_port};
use super::talk::{tcp, udp_from};

/// `ETHTOOL_STXCSUM` in linux/ethtool.h.
const TRANSMIT_CHECKSUMS: u32 = 0x17;

/// Has the kernel make checksums before a frame leaves, as it does for devices that cannot.
fn make_checksums(namespace: &Namespace, interface: &'static str) {
    namespace.run(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let value = [TRANSMIT_CHECKSUMS, 0];
        // SAFETY: all zeros are a valid value of this plain struct.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (place, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *place = byte.cast_signed();
        }
        request.ifr_ifru.ifru_data = value.as_ptr().cast_mut().cast();
        // SAFETY: the request names a live buffer of the size that the command asks for.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &request) };
        assert_eq!(result, 0, "{interface}: {}", std::io::Error::last_os_error());
    });
}

/// Has an interface take frames that XDP sends to it, as long as the link lives.
fn take_frames(namespace: &Namespace, interface: &str) -> OwnedFd {
    let index = namespace.index(interface);
    namespace.run(move || sys::attach_xdp(probe::load_xdp_pass().unwrap().as_fd(), index).unwrap())
}

/// Nodes whose pods serve, and whose devices run the program if `choice` says so; and what must
/// live as long.
fn cluster_with(choice: XdpChoice) -> (Cluster, Vec<OwnedFd>) {
    let cluster = serving_with(Between::Direct, choice);
    make_checksums(&cluster.client, "eth0");
    for node in &cluster.nodes {
        make_checksums(&node.node.namespace, "eth0");
    }
    let links = ["port1", "port2"].map(|port| take_frames(&cluster.hub, port));
    (cluster, links.into())
}

fn attach(serving: &ServingNode) -> DeviceState {
    let namespace = &serving.node.namespace;
    let (index, mac) = (namespace.index("eth0"), MacAddress(namespace.mac("eth0")));
    serving
        .node
        .with(move |fast_path| fast_path.attach_device(UnderlayDevice { index, mac, kind: Some("veth") }).unwrap())
}

fn sent_on(serving: &ServingNode) -> abi::Counter {
    serving.node.with(|fast_path| fast_path.sent_on_by_devices().unwrap())
}

/// A client elsewhere talks to a pod of the second node through the first.
fn talk_through_the_first_node(cluster: &Cluster) {
    let [near, far] = &cluster.nodes;
    for ipv4 in [true, false] {
        for protocol in [Tcp, Udp] {
            let name = format!("far-{ipv4}-{protocol:?}").to_lowercase();
            near.apply(node_port(&name, &[near.sees(&far.pod, ipv4)]).protocol(protocol).build());
        }
        let target = SocketAddr::new(node(1, ipv4), NODE_PORT);
        let seen = tcp(&cluster.client, target, 300_000)
            .unwrap_or_else(|error| panic!("{ipv4} {error:?} {}", cluster.drops()));
        assert_eq!(seen.client.ip(), node(1, ipv4));
        let answers = cluster.client.run(move || {
            let socket = UdpSocket::bind(if ipv4 { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
            (1..=50).filter(|bytes| udp_from(&socket, target, *bytes).is_some()).count()
        });
        assert_eq!(answers, 50, "{ipv4} {}", cluster.drops());
    }
}

#[test]
fn a_driver_sends_on_what_only_passes_through() {
    let (cluster, _links) = cluster_with(XdpChoice::Always);
    let near = &cluster.nodes[0];
    assert_eq!(attach(near), DeviceState::Runs { new: true });
    assert_eq!(attach(near), DeviceState::Runs { new: false });
    talk_through_the_first_node(&cluster);
    let sent = sent_on(near);
    // Both directions of both protocols and families: all but the first packets of each.
    assert!(sent.packets > 400 && sent.bytes > 1_000_000, "{sent:?} {}", cluster.drops());
}

#[test]
fn without_the_program_the_same_packets_take_the_other_way() {
    let (cluster, _links) = cluster_with(XdpChoice::Off);
    let near = &cluster.nodes[0];
    assert!(matches!(attach(near), DeviceState::Without(_)));
    talk_through_the_first_node(&cluster);
    assert_eq!(sent_on(near).packets, 0);
}

#[test]
fn veth_devices_are_left_alone_unless_asked_for() {
    let cluster = Cluster::with(Between::Direct, XdpChoice::Auto);
    let DeviceState::Without(reason) = attach(&cluster.nodes[0]) else { panic!("it runs") };
    assert!(reason.contains("veth"), "{reason}");
}

#[test]
fn the_next_agent_takes_the_program_over_or_takes_it_away() {
    let cluster = Cluster::with(Between::Direct, XdpChoice::Always);
    let near = &cluster.nodes[0];
    assert_eq!(attach(near), DeviceState::Runs { new: true });
    let shown = || near.node.namespace.exec("ip -details link show dev eth0").contains("prog/xdp");
    near.reload(XdpChoice::Always);
    assert!(shown());
    assert_eq!(attach(near), DeviceState::Runs { new: false });
    near.reload(XdpChoice::Off);
    assert!(!shown());
    near.reload(XdpChoice::Always);
    assert_eq!(attach(near), DeviceState::Runs { new: true });
    near.node.forget();
    near.node.namespace.run(|| {
        FastPath::uninstall(Path::new(PIN_DIR)).unwrap();
    });
    assert!(!shown());
}
