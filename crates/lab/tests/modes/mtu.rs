//! Packets that are too large for the way they take.

use super::lab::Lab;

/// More than any pod may send in these labs.
const OVERSIZED_BYTES: &str = "16000";

/// A pod that believes in larger packets than the way to another node takes is told so by its node.
pub(crate) fn oversized_packets_are_refused(lab: &Lab, from: &str, to: &str, families: &[&str], mtu_bytes: u32) {
    let process = lab.test_pod_on(from);
    let targets: Vec<_> = families.iter().map(|family| (*family, lab.test_pod_address(to, family))).collect();
    let in_pod =
        |words: &[&str]| lab.run(&[&["exec", from, "--", "nsenter", "--net", "--target", &process], words].concat());
    // What fits, fits exactly.
    for (family, target) in &targets {
        let headers_bytes = if *family == "-4" { 20 + 8 } else { 40 + 8 };
        let payload = (mtu_bytes - headers_bytes).to_string();
        let output = in_pod(&["ping", "-n", "-c", "1", "-W", "2", "-M", "do", "-s", &payload, target]);
        assert!(output.status.success(), "{payload} bytes of payload to {target}: {output:?}");
    }
    // Both ends of the link, and what the pod's routes say.
    let (address, family) = (lab.test_pod_address(from, families[0]), families[0]);
    let routes = lab.routes(from, family);
    let own = routes.iter().find(|route| route["dst"] == *address).expect("pods have routes");
    lab.on(from, &["ip", "link", "set", own["dev"].as_str().unwrap(), "mtu", "20000"]);
    assert!(in_pod(&["ip", "link", "set", "eth0", "mtu", "20000"]).status.success());
    for (family, gateway, answer) in
        [("-4", "169.254.1.1", "Frag needed and DF set (mtu = "), ("-6", "fe80::1", "Packet too big: mtu=")]
    {
        let Some((_, target)) = targets.iter().find(|(one, _)| *one == family) else { continue };
        let route =
            ["ip", family, "route", "replace", "default", "via", gateway, "dev", "eth0", "onlink", "proto", "83"];
        assert!(in_pod(&route).status.success());
        let output = in_pod(&["ping", "-n", "-c", "1", "-W", "2", "-M", "do", "-s", OVERSIZED_BYTES, target]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(&format!("{answer}{mtu_bytes}")), "to {target}: {said}{output:?}");
    }
    lab.must(&["test"]);
}

/// A router with smaller links fragments the tunnel's packets, or tells the nodes, whose packets then fit.
pub(crate) fn small_router_is_no_obstacle(lab: &Lab) {
    lab.on("wire", &["ip", "link", "set", "rack2", "mtu", "1400"]);
    lab.must(&["test"]);
}

/// A wire that swallows large packets without a word.
pub(crate) fn a_lowered_wire_is_named(lab: &Lab) {
    lab.must(&["break", "mtu", "n2", "1400"]);
    let output = lab.run(&["test"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("large packets from node n1 to node n2 are lost, small ones arrive"), "{said}");
    lab.must(&["heal", "--all"]);
    lab.must(&["test"]);
}
