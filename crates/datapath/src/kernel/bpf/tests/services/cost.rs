//! What a packet costs in the programs. The figures are printed, not judged; judged is that each
//! packet went the way that its row says.
//!
//! `cargo test -p seaway-datapath --lib packets_of_each_kind -- --nocapture`

use std::net::IpAddr;

use super::super::super::Program;
use super::super::packet::{PacketBuilder, packet};
use super::super::test_run::TestRun;
use super::cluster::{Between, Cluster, ServingNode, client, node};
use super::plan::{NODE_PORT, TARGET_PORT, node_port};

/// Runs of each kind; the median counts. Each is a call of its own, because within one the kernel
/// hands the program the frame that its last run left.
const RUNS: u16 = 2_001;
const TO_STACK: i32 = -1;
const REDIRECT: i32 = 7;

struct Kind {
    what: &'static str,
    program: Program,
    device: u32,
    verdict: i32,
}

fn median(serving: &ServingNode, kind: &Kind, frame: impl Fn(u16) -> PacketBuilder) -> u32 {
    let mut nanos: Vec<u32> = (0..RUNS)
        .map(|run| {
            let trial = TestRun::new(kind.program, kind.device, frame(run).build());
            let (verdict, nanos) = trial.time(&serving.node);
            assert_eq!(verdict, kind.verdict, "{}", kind.what);
            nanos
        })
        .collect();
    nanos.sort_unstable();
    nanos[nanos.len() / 2]
}

fn measure(cluster: &Cluster, ipv4: bool) -> Vec<(&'static str, u32)> {
    let [near, far] = &cluster.nodes;
    // Of the connection that is made before and used then.
    let known_port = if ipv4 { 1_025 } else { 1_026 };
    near.apply(node_port("cost", &[near.sees(&near.pod, ipv4)]).build());
    let (device, link) = (near.node.namespace.index("eth0"), near.pod.index);
    let mac = near.node.namespace.mac("eth0");
    let pods: [IpAddr; 2] = [&near.pod, &far.pod].map(|pod| if ipv4 { pod.ipv4.into() } else { pod.ipv6.into() });
    let outside = |port, to| packet(client(ipv4), node(1, ipv4)).destination_mac(mac).tcp(port, to);
    let inside =
        |to: IpAddr, port| packet(pods[0], to).macs(near.pod.pod_mac, near.pod.host_mac).tcp(TARGET_PORT, port);
    let row = |what, program, device, verdict| Kind { what, program, device, verdict };
    let kinds = [
        row("pod to pod of another node, no Service", Program::FromPod, link, REDIRECT),
        row("from elsewhere, for no Service", Program::FromUnderlay, device, TO_STACK),
        row("from elsewhere, first of a connection", Program::FromUnderlay, device, REDIRECT),
        row("from elsewhere, connection known", Program::FromUnderlay, device, REDIRECT),
        row("reply, translated back", Program::FromPod, link, REDIRECT),
    ];
    let costs = [
        median(near, &kinds[0], |_| inside(pods[1], 40_000)),
        median(near, &kinds[1], |_| outside(40_000, 22)),
        median(near, &kinds[2], |run| outside(2_000 + run, NODE_PORT).syn()),
        {
            TestRun::new(Program::FromUnderlay, device, outside(known_port, NODE_PORT).syn().build())
                .execute(&near.node);
            median(near, &kinds[3], |_| outside(known_port, NODE_PORT))
        },
        {
            // The client is hidden behind the node, under a port that the connection tells.
            let port = near.port_towards(known_port);
            median(near, &kinds[4], |_| inside(node(1, ipv4), port))
        },
    ];
    kinds.iter().map(|kind| kind.what).zip(costs).collect()
}

#[test]
fn packets_of_each_kind_go_their_way_and_cost_what_is_printed() {
    let cluster = Cluster::new(Between::Tunnel);
    let (ipv4, ipv6) = (measure(&cluster, true), measure(&cluster, false));
    println!("{:<44}{:>8}{:>8}", "nanoseconds", "IPv4", "IPv6");
    for ((what, ipv4), (_, ipv6)) in ipv4.iter().zip(ipv6) {
        println!("{what:<44}{ipv4:>8}{ipv6:>8}");
    }
}
