//! What the programs write into packets of our own making, and what they remember.

use std::net::IpAddr;

use seaway_model::DropReason;
use seaway_model::Protocol::{Sctp, Udp};
use seaway_model::abi::conntrack::{CONNTRACK_FORWARD, ConntrackEntry, ConntrackKey};

use super::super::super::Program;
use super::super::packet::{ETHERNET_BYTES, PacketBuilder, crc32c, internet_checksum, packet};
use super::super::test_run::{TestRun, Verdict};
use super::cluster::{Between, Cluster, ServingNode, client, node};
use super::plan::{NODE_PORT, TARGET_PORT, node_port};
use crate::services::ServiceDatapath as _;

const SCTP_INIT: [u8; 20] = [1, 0, 0, 20, 1, 2, 3, 4, 0, 0, 16, 0, 0, 10, 0, 10, 9, 8, 7, 6];

fn from_client(serving: &ServingNode, ipv4: bool) -> PacketBuilder {
    packet(client(ipv4), node(1, ipv4)).destination_mac(serving.node.namespace.mac("eth0"))
}

fn arrives(serving: &ServingNode, what: &str, packet: PacketBuilder, verdict: Verdict) -> Vec<u8> {
    let device = serving.node.namespace.index("eth0");
    TestRun::new(Program::FromUnderlay, device, packet.build()).expect(&serving.node, what, verdict)
}

fn connections(serving: &ServingNode) -> Vec<(ConntrackKey, ConntrackEntry)> {
    serving.with(|services| services.conntrack().unwrap().unwrap().entries().unwrap())
}

fn transport(frame: &[u8], ipv4: bool) -> &[u8] {
    &frame[ETHERNET_BYTES + if ipv4 { 20 } else { 40 }..]
}

#[test]
fn sctp_gets_other_ports_and_a_right_checksum() {
    let cluster = Cluster::new(Between::Tunnel);
    let near = &cluster.nodes[0];
    for ipv4 in [true, false] {
        let name = format!("sctp-{ipv4}");
        near.apply(node_port(&name, &[near.sees(&near.pod, ipv4)]).protocol(Sctp).build());
        for padding in [0, 1, 700, 1_300] {
            let chunk = [SCTP_INIT.as_slice(), &vec![0x5a; padding]].concat();
            let packet = from_client(near, ipv4).sctp(40_000 + u16::try_from(padding).unwrap(), NODE_PORT, &chunk);
            let out = arrives(near, &name, packet, Verdict::Redirect);
            let mut bytes = transport(&out, ipv4).to_vec();
            assert_eq!(bytes[2..4], TARGET_PORT.to_be_bytes());
            let found = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
            bytes[8..12].fill(0);
            assert_eq!(found, crc32c(&bytes), "{padding} bytes more");
        }
        let data = from_client(near, ipv4).sctp(50_000, NODE_PORT, &[0, 3, 0, 4]);
        arrives(near, "data of an unknown association", data, Verdict::ToStack);
    }
}

#[test]
fn a_datagram_without_checksum_stays_without() {
    let cluster = Cluster::new(Between::Tunnel);
    let near = &cluster.nodes[0];
    near.apply(node_port("plain", &[near.sees(&near.pod, true)]).protocol(Udp).build());
    let out = arrives(near, "no checksum", from_client(near, true).udp(40_000, NODE_PORT), Verdict::Redirect);
    assert_eq!(internet_checksum(&out[ETHERNET_BYTES..ETHERNET_BYTES + 20]), 0);
    let datagram = transport(&out, true);
    assert_eq!((&datagram[2..4], &datagram[6..8]), (TARGET_PORT.to_be_bytes().as_slice(), [0, 0].as_slice()));
    let source: IpAddr = IpAddr::from(<[u8; 4]>::try_from(&out[ETHERNET_BYTES + 12..][..4]).unwrap());
    assert_eq!(source, node(1, true), "the client is hidden");
}

#[test]
fn connections_past_their_time_are_swept_and_young_ones_stay() {
    let cluster = Cluster::new(Between::Tunnel);
    let near = &cluster.nodes[0];
    near.apply(node_port("udp", &[near.sees(&near.pod, true)]).protocol(Udp).build());
    for port in 40_000..40_100 {
        arrives(near, "new", from_client(near, true).udp(port, NODE_PORT), Verdict::Redirect);
    }
    assert_eq!(connections(near).len(), 200);
    near.with(|services| {
        services.audit().unwrap();
        let conntrack = services.conntrack().unwrap().unwrap();
        assert_eq!(conntrack.entries().unwrap().len(), 200, "all are young");
        for (key, mut entry) in conntrack.entries().unwrap() {
            let port = u16::from_be(if entry.flags & CONNTRACK_FORWARD == 0 {
                entry.destination_port
            } else {
                key.source_port
            });
            if port < 40_060 {
                entry.last_seen_nanos = entry.last_seen_nanos.saturating_sub(31_000_000_000);
                conntrack.put(&key, &entry).unwrap();
            }
        }
        services.audit().unwrap();
    });
    assert_eq!(connections(near).len(), 80);
    let usage = near.with(|services| services.usage().unwrap());
    let (_, used, limit) = usage.tables.iter().find(|(name, ..)| name == "sw_conntrack").unwrap();
    assert_eq!((*used, *limit), (40, 1_024));
}

#[test]
fn an_old_entry_counts_as_absent_before_it_is_swept() {
    let cluster = Cluster::new(Between::Tunnel);
    let [near, far] = &cluster.nodes;
    near.apply(node_port("udp", &[near.sees(&near.pod, true)]).protocol(Udp).keep_client().build());
    let datagram = || from_client(near, true).udp(40_000, NODE_PORT);
    arrives(near, "new", datagram(), Verdict::Redirect);
    near.with(|services| {
        let conntrack = services.conntrack().unwrap().unwrap();
        for (key, mut entry) in conntrack.entries().unwrap() {
            entry.last_seen_nanos = entry.last_seen_nanos.saturating_sub(31_000_000_000);
            conntrack.put(&key, &entry).unwrap();
        }
    });
    // Another endpoint, and no removal: as after a restart that missed the change.
    let answer = packet(near.pod.ipv4, client(true)).macs(near.pod.pod_mac, near.pod.host_mac).udp(TARGET_PORT, 40_000);
    let run = TestRun::new(Program::FromPod, near.pod.index, answer.build());
    run.expect(&near.node, "an answer that comes too late", Verdict::ToStack);
    assert_eq!(connections(near), []);
    near.apply(node_port("udp", &[near.sees(&far.pod, true)]).protocol(Udp).build());
    arrives(near, "new again", datagram(), Verdict::Redirect);
    assert!(connections(near).iter().any(|(_, entry)| entry.destination[12..] == far.pod.ipv4.octets()));
}

#[test]
fn a_packet_at_its_last_hop_goes_no_further() {
    let cluster = Cluster::new(Between::Tunnel);
    let near = &cluster.nodes[0];
    near.apply(node_port("udp", &[near.sees(&near.pod, true)]).protocol(Udp).build());
    let last = from_client(near, true).udp(40_000, NODE_PORT).hop_limit(1);
    let device = near.node.namespace.index("eth0");
    let (verdict, _) = TestRun::new(Program::FromUnderlay, device, last.build()).execute(&near.node);
    assert_eq!(verdict, 2);
    assert_eq!(near.node.counters().drops[&DropReason::TtlExpired].packets, 1);
}
