//! Every way Seaway can connect pods, each in a lab of its own, on real traffic:
//! backends, encapsulations, address families, sources of addresses, MTUs.
//!
//! Needs root and the programs of the workspace (`cargo build --workspace
//! --bins`), and says so.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod audit;
mod lab;
mod mtu;
mod pools;
mod spoofing;
mod uninstall;
#[path = "../support/verbs.rs"]
mod verbs;

use serde_json::Value;

use lab::Lab;

#[test]
fn nftables_on_every_node() {
    let lab = Lab::up("nodes: 2\nseaway: {backend: nftables}\n");
    for node in ["n1", "n2"] {
        assert_eq!(backend(&lab, node), ("nftables".into(), "configured".into()));
    }
    assert_eq!(lab.on("n2", &["sh", "-c", "ls /sys/fs/bpf/seaway/links 2>/dev/null | wc -l"]), "0", "no BPF program");
    let all = lab.shell("seaway status --all");
    for node in ["n1", "n2"] {
        let line = all.lines().find(|line| line.starts_with(&format!("{node} "))).unwrap();
        assert!(line.contains("ready") && line.contains("nftables"), "{all}");
    }
    spoofing::is_dropped_and_told(&lab, "n1", "n2");
    audit::repairs_and_names_the_owner(&lab, "n1");
}

#[test]
fn backends_mixed_and_vxlan_only_between_racks() {
    let lab = Lab::up("nodes: 3\nracks: 2\nseaway: {nodeBackends: {n2: nftables}, encapsulation: crossSubnet}\n");
    let backends = ["n1", "n2", "n3"].map(|node| backend(&lab, node).0);
    assert_eq!(backends, ["ebpf", "nftables", "ebpf"]);
    for family in ["-4", "-6"] {
        // n1 and n2 are neighbors, n3 is in the other rack.
        assert_eq!(devices(&lab, "n1", family), ["eth0", "sw_vxlan"]);
        assert_eq!(devices(&lab, "n3", family), ["sw_vxlan", "sw_vxlan"]);
    }
    audit::repairs_and_names_the_owner(&lab, "n1");
    mtu::small_router_is_no_obstacle(&lab);
}

#[test]
fn no_encapsulation_and_ipv4_only() {
    let lab = Lab::up("nodes: 2\nfamilies: ipv4\nseaway: {encapsulation: none}\n");
    assert_eq!(devices(&lab, "n1", "-4"), ["eth0"]);
    assert_eq!(devices(&lab, "n1", "-6"), Vec::<String>::new());
    assert_eq!(lab.status("n1")["podMtuBytes"], 1500);
    assert_eq!(tunnels(&lab, "n1"), 0);
    mtu::oversized_packets_are_refused(&lab, "n1", "n2", &["-4"], 1500);
    pools::stay_while_pods_use_them(&lab, &["n1", "n2"]);
}

#[test]
fn ipv6_only() {
    let lab = Lab::up("nodes: 2\nracks: 2\nfamilies: ipv6\n");
    assert_eq!(devices(&lab, "n1", "-6"), ["sw_vxlan"]);
    assert_eq!(devices(&lab, "n1", "-4"), Vec::<String>::new());
    // VXLAN over IPv6 takes 70 bytes.
    assert_eq!(lab.status("n1")["podMtuBytes"], 1430);
    mtu::oversized_packets_are_refused(&lab, "n1", "n2", &["-6"], 1430);
    // Routers do not fragment IPv6: the nodes must learn of it.
    mtu::small_router_is_no_obstacle(&lab);
}

#[test]
fn addresses_from_node_ranges_and_small_links() {
    let lab = Lab::up("nodes: 2\nlinkMtuBytes: 1400\nseaway: {ipam: nodePodCIDRs, encapsulation: crossSubnet}\n");
    assert_eq!(lab.shell("kubectl get ippools,ipblocks -o name"), "", "nobody claims blocks");
    let wanted = lab.shell("kubectl get node n2 -o jsonpath='{.spec.podCIDRs[*]}'");
    let status = lab.status("n2");
    let held = status["blocks"].as_array().unwrap().iter().filter_map(|block| block["cidr"].as_str());
    assert_eq!(held.collect::<Vec<_>>().join(" "), wanted);
    assert_eq!(devices(&lab, "n1", "-4"), ["eth0"]);
    assert_eq!(status["podMtuBytes"], 1350);
}

#[test]
fn large_links_until_removed() {
    let lab = Lab::up("nodes: 2\nlinkMtuBytes: 9000\n");
    assert_eq!(lab.status("n1")["podMtuBytes"], 8950);
    let check = lab.on("n1", &["seaway", "check", "--pre"]);
    assert!(check.contains("Backend: ebpf, because the kernel has everything it needs"), "{check}");
    mtu::oversized_packets_are_refused(&lab, "n1", "n2", &["-4", "-6"], 8950);
    mtu::a_lowered_wire_is_named(&lab);
    uninstall::leaves_nothing(&lab, &["n1", "n2"]);
}

fn backend(lab: &Lab, node: &str) -> (String, String) {
    let status = lab.status(node);
    let text = |field: &str| status[field].as_str().unwrap().to_owned();
    (text("backend"), text("backendReason"))
}

/// The devices through which a node reaches other nodes' blocks.
fn devices(lab: &Lab, node: &str, family: &str) -> Vec<String> {
    let routes = lab.routes(node, family);
    let remote = routes.iter().filter(|route| route["gateway"].is_string());
    let mut devices: Vec<_> = remote.filter_map(|route| Some(route["dev"].as_str()?.to_owned())).collect();
    devices.sort();
    devices
}

fn tunnels(lab: &Lab, node: &str) -> usize {
    let links: Value = lab.json_on(node, &["ip", "-j", "link", "show", "type", "vxlan"]);
    links.as_array().map_or(0, Vec::len)
}
