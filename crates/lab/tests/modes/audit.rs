//! What is deleted by hand comes back, and the report says whose it was.

use serde_json::Value;

use super::lab::Lab;

/// The agent audits by itself once a minute, and may be first.
const ATTEMPTS: usize = 3;

/// Something deleted by hand.
struct Damage {
    command: Vec<String>,
    /// Parts of the line that the audit must report it with.
    report: Vec<String>,
}

/// Deletes an object of each kind and has `seaway audit` mend them.
pub(crate) fn repairs_and_names_the_owner(lab: &Lab, node: &str) {
    assert_eq!(lab.run(&["exec", node, "--", "seaway", "audit"]).status.code(), Some(0), "all is well before");
    let mut unnamed = Vec::new();
    for _ in 0..ATTEMPTS {
        let damages = damages(lab, node);
        for damage in &damages {
            lab.on(node, &damage.command.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let output = lab.run(&["exec", node, "--", "seaway", "audit"]);
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_named = |damage: &Damage| {
            report
                .lines()
                .any(|line| damage.report.iter().all(|part| line.contains(part)) && !line.contains("could not"))
        };
        unnamed = damages.into_iter().filter(|damage| !is_named(damage)).map(|damage| damage.report).collect();
        assert_eq!(lab.run(&["exec", node, "--", "seaway", "audit"]).status.code(), Some(0), "nothing left: {report}");
        if unnamed.is_empty() {
            assert_eq!(output.status.code(), Some(3), "{report}");
            lab.must(&["test"]);
            return;
        }
        println!("another attempt, after {report}");
    }
    panic!("not reported: {unnamed:#?}");
}

fn damages(lab: &Lab, node: &str) -> Vec<Damage> {
    let mut damages = vec![route(lab, node), pod_neighbor(lab, node), masqueraded_block(lab, node)];
    if lab.status(node)["backend"] == "ebpf" {
        damages.push(fast_endpoint(lab, node));
        damages.push(fast_link(lab, node));
    } else {
        damages.push(allowed_address(lab, node));
    }
    damages
}

fn route(lab: &Lab, node: &str) -> Damage {
    let routes = lab.routes(node, "-4");
    let remote = routes.iter().find(|route| route["gateway"].is_string()).expect("other nodes have blocks");
    let block = text(&remote["dst"]);
    Damage {
        command: words(&["ip", "route", "del", &block, "proto", "83"]),
        report: vec![format!("route {block} was missing"), format!("IPBlock {block} of node n")],
    }
}

fn pod_neighbor(lab: &Lab, node: &str) -> Damage {
    let (address, device) = test_pod(lab, node);
    Damage {
        command: words(&["ip", "neighbor", "del", &address, "dev", &device]),
        report: vec![format!("neighbor {address} on {device} was missing"), "(pod seaway-test/probe-".into()],
    }
}

fn masqueraded_block(lab: &Lab, node: &str) -> Damage {
    let routes = lab.routes(node, "-4");
    let own = routes.iter().find(|route| route["type"] == "unreachable").expect("the node has a block");
    let block = text(&own["dst"]);
    let element = format!("{{ {block} }}");
    Damage {
        command: words(&["nft", "delete", "element", "inet", "seaway", "masquerade_sources_v4", &element]),
        report: vec![
            format!("element {block} of nftables set masquerade_sources was missing"),
            format!("block {block}"),
        ],
    }
}

fn allowed_address(lab: &Lab, node: &str) -> Damage {
    let (address, device) = test_pod(lab, node);
    let element = format!("{{ \"{device}\" . {address} }}");
    Damage {
        command: words(&["nft", "delete", "element", "inet", "seaway", "pod_addresses_v4", &element]),
        report: vec![format!("{address} of nftables set pod_addresses was missing"), "(pod seaway-test/probe-".into()],
    }
}

fn fast_endpoint(lab: &Lab, node: &str) -> Damage {
    let (address, _) = test_pod(lab, node);
    // IPv4 addresses are written as IPv6 (RFC 4291 §2.5.5.2).
    let ipv4: std::net::Ipv4Addr = address.parse().unwrap();
    let key = ipv4.to_ipv6_mapped().octets().map(|byte| format!("{byte:02x}")).join(" ");
    Damage {
        command: map_delete("sw_endpoints", &key),
        report: vec![format!("fast endpoint {address} was missing"), "(pod seaway-test/probe-".into()],
    }
}

fn fast_link(lab: &Lab, node: &str) -> Damage {
    let (_, device) = test_pod(lab, node);
    let link = lab.json_on(node, &["ip", "-j", "link", "show", &device]);
    let index = u32::try_from(link.pointer("/0/ifindex").and_then(Value::as_u64).unwrap()).unwrap();
    let key = index.to_ne_bytes().map(|byte| format!("{byte:02x}")).join(" ");
    Damage {
        command: map_delete("sw_links", &key),
        report: vec![format!("fast link of interface {index} was missing"), "(pod seaway-test/probe-".into()],
    }
}

fn map_delete(map: &str, key: &str) -> Vec<String> {
    let path = format!("/sys/fs/bpf/seaway/maps/{map}");
    let mut command = words(&["bpftool", "map", "delete", "pinned", &path, "key", "hex"]);
    command.extend(key.split(' ').map(str::to_owned));
    command
}

/// The IPv4 address of a test pod and the host's side of its link.
fn test_pod(lab: &Lab, node: &str) -> (String, String) {
    let address = lab.test_pod_address(node, "-4");
    let routes = lab.routes(node, "-4");
    let own = routes.iter().find(|route| route["dst"] == *address).expect("pods have routes");
    (address, text(&own["dev"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
