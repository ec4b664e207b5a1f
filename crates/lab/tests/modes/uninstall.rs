//! Removing Seaway by the lines of its guide.

use super::lab::Lab;

const GUIDE: &str = include_str!("../../../../docs/guide/uninstall.md");

/// Prints what is there of Seaway, a line each.
const LOOK: &str = r"
ip -br link | grep -oE '^sw[0-9a-f_][^ @]*' | sed 's/^/link /'
ip route show proto 83 | sed 's/^/route /'
ip -6 route show proto 83 | sed 's/^/route /'
nft list tables | grep -w seaway
ls -d /sys/fs/bpf/seaway /run/seaway /opt/cni/bin/seaway* /etc/cni/net.d/*seaway* 2>/dev/null
tc qdisc show | grep clsact
true
";

/// The guide's lines leave nothing of Seaway on any of these nodes.
pub(crate) fn leaves_nothing(lab: &Lab, nodes: &[&str]) {
    lab.shell("kubectl delete namespace seaway-test");
    for node in nodes {
        let there = lab.on(node, &["sh", "-c", LOOK]);
        for part in [
            "link sw_vxlan",
            "route ",
            "table inet seaway",
            "/sys/fs/bpf/seaway",
            "/run/seaway",
            "/opt/cni/bin/seaway",
            "net.d/",
        ] {
            assert!(there.contains(part), "no {part} on {node} before: {there}");
        }
    }
    let lines: Vec<&str> = GUIDE.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert!(lines.len() >= 5, "the guide's lines begin with a dollar sign");
    for line in lines {
        println!("$ {line}\n{}", lab.shell(&format!("timeout 120 {line}")));
    }
    for node in nodes {
        assert_eq!(lab.on(node, &["sh", "-c", LOOK]), "", "left on {node}");
    }
}
