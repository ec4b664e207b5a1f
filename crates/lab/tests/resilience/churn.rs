//! Bursts of pods come and go; nothing of them stays.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Value, json};

use super::lab::{IDLE_IMAGE, Lab, wait_for, wait_until};
use super::ledger;

const NODE: &str = "n2";
const PODS: usize = 50;
const ROUNDS: usize = 2;
/// Maps with entries of single pods. `sw_stack_flows` forgets by itself.
const MAPS_OF_PODS: [&str; 3] = ["sw_links", "sw_endpoints", "sw_endpoint_counters"];

pub(crate) fn bursts_leak_nothing(lab: &Lab) {
    lab.wait_for_agents();
    ledger::must_match_pods(lab);
    let before = held(lab);
    lab.apply(&burst());
    for round in 1..=ROUNDS {
        let start = std::time::Instant::now();
        lab.kubectl(&["scale", "deployment/burst", &format!("--replicas={PODS}")]);
        lab.kubectl(&["rollout", "status", "deployment/burst", "--timeout=240s"]);
        println!("  round {round}: {PODS} pods Ready after {:.1} s", start.elapsed().as_secs_f64());
        ledger::must_match_pods(lab);
        let during = held(lab);
        let added: Vec<_> = during.difference(&before).filter(|line| line.starts_with("link ")).collect();
        assert_eq!(added.len(), PODS, "every pod has its link: {added:?}");
        lab.kubectl(&["scale", "deployment/burst", "--replicas=0"]);
        wait_until("the burst is gone", || {
            ledger::items(&lab.kubectl_json(&["get", "pods", "-l", "app=burst"])).count() == 0
        });
        ledger::must_match_pods(lab);
    }
    wait_for("the kernel holds what it held before", || {
        let now = held(lab);
        if now == before { Ok(()) } else { Err(now.symmetric_difference(&before).cloned().collect::<Vec<_>>()) }
    });
    lab.kubectl(&["delete", "deployment", "burst", "--timeout=120s"]);
}

/// What the node's kernel holds of single pods, a line each. Blocks are not of
/// single pods: a node takes more in a burst, and gives them back later.
fn held(lab: &Lab) -> BTreeSet<String> {
    let blocks = block_addresses(lab);
    let mut lines = BTreeSet::new();
    let mut add = |kind: &str, entries: Vec<String>| {
        let of_pods = entries.into_iter().filter(|entry| !entry.contains('/') && !blocks.contains(entry));
        lines.extend(of_pods.map(|entry| format!("{kind} {entry}")));
    };
    add("link", fields(&lab.json_on(NODE, &["ip", "-j", "link"]), "ifname"));
    for family in ["-4", "-6"] {
        add("route", fields(&lab.json_on(NODE, &["ip", "-j", family, "route", "show", "proto", "83"]), "dst"));
        let neighbors = lab.json_on(NODE, &["ip", "-j", family, "neighbor", "show", "nud", "permanent"]);
        add("neighbor", fields(&neighbors, "dst"));
    }
    add("pin", lab.on(NODE, &["ls", "/sys/fs/bpf/seaway/links"]).lines().map(str::to_owned).collect());
    for map in MAPS_OF_PODS {
        let path = format!("/sys/fs/bpf/seaway/maps/{map}");
        let entries = lab.json_on(NODE, &["bpftool", "-j", "map", "dump", "pinned", &path]);
        add(map, entries.as_array().unwrap().iter().map(key_of).collect());
    }
    lines
}

fn fields(list: &Value, name: &str) -> Vec<String> {
    list.as_array().unwrap().iter().filter_map(|entry| Some(entry.get(name)?.as_str()?.to_owned())).collect()
}

/// The key of a map's entry: an address if it is as long as one, else its bytes.
fn key_of(entry: &Value) -> String {
    let bytes: Vec<u8> = fields_of_key(entry).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    match <[u8; 16]>::try_from(bytes.as_slice()) {
        Ok(address) => Ipv6Addr::from(address).to_canonical().to_string(),
        Err(_) => format!("{bytes:02x?}"),
    }
}

fn fields_of_key(entry: &Value) -> impl Iterator<Item = &str> {
    let bytes = entry.get("key").and_then(Value::as_array).unwrap();
    bytes.iter().map(|byte| byte.as_str().unwrap().trim_start_matches("0x"))
}

/// The first address of each block, which is the node's own.
fn block_addresses(lab: &Lab) -> BTreeSet<String> {
    let blocks = lab.kubectl_json(&["get", "ipblocks"]);
    let ranges = ledger::items(&blocks).filter_map(|block| block.pointer("/spec/cidr")?.as_str()?.split_once('/'));
    ranges.map(|(address, _)| address.parse::<IpAddr>().unwrap().to_string()).collect()
}

fn burst() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "burst", "namespace": "default" },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": { "app": "burst" } },
            "template": {
                "metadata": { "labels": { "app": "burst" } },
                "spec": {
                    "nodeSelector": { "kubernetes.io/hostname": NODE },
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{ "name": "main", "image": IDLE_IMAGE }],
                },
            },
        },
    })
}
