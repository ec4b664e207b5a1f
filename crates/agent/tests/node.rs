//! A whole node without Kubernetes: agent, plugin, kernel, called by `cnitool`
//! as a container runtime calls, chained with the reference plugins. Needs root.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a step that fails fails the test"
)]

#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/rig.rs"]
mod rig;

use std::net::IpAddr;
use std::process::Output;

use namespaces::{Sandbox, call, on_a_node, shell};
use rig::Rig;
use seaway_datapath::BackendChoice;
use seaway_model::agent_api::{Answer, Request};
use serde_json::{Value, json};

const BACKENDS: [BackendChoice; 2] = [BackendChoice::Ebpf, BackendChoice::Nftables];

fn succeeded(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn failed(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Connects a sandbox; its addresses, IPv4 first.
fn add(rig: &Rig, name: &str, sandbox: &Sandbox, capabilities: &str) -> Vec<IpAddr> {
    let result: Value =
        serde_json::from_str(&succeeded(&rig.cnitool("add", name, &sandbox.path, capabilities))).unwrap();
    assert!(result["interfaces"][0]["name"].as_str().unwrap().starts_with("sw"), "{result}");
    let addresses = result["ips"].as_array().unwrap();
    let parse = |entry: &Value| entry["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap();
    addresses.iter().map(parse).collect()
}

#[test]
fn pods_are_connected_checked_collected_and_disconnected() {
    for backend in BACKENDS {
        on_a_node(|| {
            let before = links();
            let mut rig = Rig::new(backend, Vec::new());
            rig.start();
            let (one, two) = (Sandbox::new(), Sandbox::new());
            succeeded(&rig.cnitool("status", "one", &one.path, ""));
            let addresses = add(&rig, "one", &one, "");
            let others = add(&rig, "two", &two, "");
            assert_eq!(addresses.len(), 2, "one of each family");
            one.serve(80);
            for (address, other) in addresses.iter().zip(&others) {
                assert_eq!(two.call(*address, 80).unwrap(), other.to_string(), "pod to pod");
                call(*address, 80).unwrap();
            }
            succeeded(&rig.cnitool("check", "one", &one.path, ""));
            failed(&rig.cnitool("add", "one", &one.path, ""));
            assert_eq!(two.call(addresses[0], 80).unwrap(), others[0].to_string(), "a repeated ADD breaks nothing");
            two.inside(|| shell("ip -6 route delete default"));
            let said = failed(&rig.cnitool("check", "two", &two.path, ""));
            assert!(said.contains("SW0304"), "{said}");
            for _ in 0..2 {
                succeeded(&rig.cnitool("del", "one", &one.path, ""));
            }
            // cnitool deletes what it remembers itself, and names no valid attachment to us.
            succeeded(&rig.cnitool("gc", "two", &two.path, ""));
            let Answer::Endpoints { endpoints } = rig.ask(Request::Endpoints) else { panic!() };
            assert_eq!(endpoints, []);
            rig.stop();
            assert!(failed(&rig.cnitool("status", "one", &one.path, "")).contains("SW0714"));
            rig.uninstall();
            assert_eq!(links(), before);
        });
    }
}

/// What later plugins did to the link, its settings and the result is no difference to our CHECK.
fn ours_is_as_it_was(rig: &Rig, result: &str, sandbox: &Sandbox) {
    let result: Value = serde_json::from_str(result).unwrap();
    let Answer::Endpoints { endpoints } = rig.ask(Request::Endpoints) else { panic!() };
    let container = endpoints[0].key.container_id.0.clone();
    let input =
        json!({"cniVersion": result["cniVersion"], "name": "seaway", "type": "seaway-cni", "prevResult": result});
    succeeded(&rig.plugin("CHECK", &container, &sandbox.path, &input));
}

/// CHECK of the whole chain is left out: the plugins of Debian 12 fail their own (portmap in a
/// dual-stack network, bandwidth without a limit).
#[test]
fn the_reference_plugins_follow_in_the_chain() {
    let chain = vec![
        json!({"type": "portmap", "capabilities": {"portMappings": true}}),
        json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}),
        json!({"type": "tuning", "sysctl": {"net.ipv4.ip_unprivileged_port_start": "80"}}),
    ];
    // On this thread, which is in the machine's own namespace.
    let _guard = ShaperDevices::watch();
    for backend in BACKENDS {
        on_a_node(|| {
            let before = links();
            let mut rig = Rig::new(backend, chain.clone());
            rig.start();
            let (one, two) = (Sandbox::new(), Sandbox::new());
            let wishes = json!({
                "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
                "bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 800_000,
                              "egressRate": 8_000_000, "egressBurst": 800_000},
            })
            .to_string();
            let result = succeeded(&rig.cnitool("add", "one", &one.path, &wishes));
            ours_is_as_it_was(&rig, &result, &one);
            let others = add(&rig, "two", &two, "");
            one.serve(80);
            let node: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
            for (address, other) in node.into_iter().zip(&others) {
                assert_eq!(two.call(address, 8080).unwrap(), other.to_string(), "host port, from a pod");
            }
            assert_eq!(one.inside(|| shell("cat /proc/sys/net/ipv4/ip_unprivileged_port_start")).trim(), "80");
            assert!(shell("tc qdisc").contains("tbf"), "the link is shaped");
            succeeded(&rig.cnitool("del", "one", &one.path, &wishes));
            assert!(two.call(node[0], 8080).is_err(), "the mapping went with the pod");
            succeeded(&rig.cnitool("del", "two", &two.path, ""));
            rig.stop();
            rig.uninstall();
            assert_eq!(links(), before);
        });
    }
}

/// The bandwidth plugin makes the kernel load `ifb`, which leaves two devices in
/// the machine's own namespace the first time. Those that were not there before
/// are removed.
struct ShaperDevices {
    before: Vec<&'static str>,
}

impl ShaperDevices {
    const NAMES: [&'static str; 2] = ["ifb0", "ifb1"];

    fn watch() -> Self {
        Self { before: Self::present() }
    }

    fn present() -> Vec<&'static str> {
        let exists = |name: &&str| std::path::Path::new("/sys/class/net").join(name).exists();
        Self::NAMES.into_iter().filter(exists).collect()
    }
}

impl Drop for ShaperDevices {
    fn drop(&mut self) {
        for name in Self::present().into_iter().filter(|name| !self.before.contains(name)) {
            shell(&format!("ip link delete {name}"));
        }
    }
}

#[test]
fn an_agent_comes_back_to_what_it_left() {
    for backend in BACKENDS {
        on_a_node(|| {
            let mut rig = Rig::new(backend, Vec::new());
            rig.start();
            let (one, two, three) = (Sandbox::new(), Sandbox::new(), Sandbox::new());
            let addresses = add(&rig, "one", &one, "");
            let others = add(&rig, "two", &two, "");
            one.serve(80);
            rig.stop();
            assert_eq!(two.call(addresses[0], 80).unwrap(), others[0].to_string(), "the kernel needs no agent");
            let said = failed(&rig.cnitool("add", "three", &three.path, ""));
            assert!(said.contains("SW0714"), "{said}");
            succeeded(&rig.cnitool("del", "two", &two.path, ""));
            assert_eq!(std::fs::read_dir("/run/seaway/deletes").unwrap().count(), 1, "kept for the agent");

            rig.start();
            let Answer::Endpoints { endpoints } = rig.ask(Request::Endpoints) else { panic!() };
            let held: Vec<_> = endpoints.iter().map(|endpoint| endpoint.addresses.clone()).collect();
            assert_eq!(held, std::slice::from_ref(&addresses), "one was adopted, two was deleted");
            assert_eq!(std::fs::read_dir("/run/seaway/deletes").unwrap().count(), 0);
            assert_eq!(rig.ask(Request::Audit), Answer::Audited { differences: Vec::new() });
            succeeded(&rig.cnitool("check", "one", &one.path, ""));
            let fresh = add(&rig, "three", &three, "");
            assert!(!fresh.contains(&addresses[0]));
            assert_eq!(three.call(addresses[1], 80).unwrap(), fresh[1].to_string());
            rig.stop();
        });
    }
}

fn links() -> String {
    let shown: Value = serde_json::from_str(&shell("ip -json link")).unwrap();
    let names = shown.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap().to_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.join(" ")
}
