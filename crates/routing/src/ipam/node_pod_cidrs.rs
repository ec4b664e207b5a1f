//! `Node.spec.podCIDRs` as the source of addresses.

use std::collections::BTreeMap;

use seaway_model::{Encapsulation, IpBlock, IpPool, LabelSelector, Snapshot};

/// Label that ties a pool made here to its node; it exists only in the returned snapshot.
const NODE_LABEL: &str = "seaway.dev/pod-cidr-of";

/// The snapshot as it would be had every node one pool per pod CIDR, and had it claimed its only block.
/// Pools and blocks from the API are ignored.
#[must_use]
pub fn with_node_pod_cidrs(snapshot: &Snapshot, encapsulation: Encapsulation, masquerade: bool) -> Snapshot {
    let mut changed = Snapshot { pools: BTreeMap::new(), blocks: BTreeMap::new(), ..snapshot.clone() };
    for (name, node) in &mut changed.nodes {
        node.labels.insert(NODE_LABEL.to_owned(), name.to_string());
        for cidr in &node.pod_cidrs {
            let cidr = cidr.trunc();
            let family = if cidr.addr().is_ipv4() { "ipv4" } else { "ipv6" };
            let pool = IpPool {
                name: format!("node-{name}-{family}"),
                cidr,
                block_prefix_length: cidr.prefix_len(),
                encapsulation,
                node_selector: LabelSelector {
                    match_labels: [(NODE_LABEL.to_owned(), name.to_string())].into(),
                    match_expressions: Vec::new(),
                },
                namespace_selector: LabelSelector::default(),
                masquerade,
                disabled: false,
            };
            changed.blocks.insert(cidr, IpBlock { cidr, pool: pool.name.clone(), node: name.clone() });
            changed.pools.insert(pool.name.clone(), pool);
        }
    }
    changed
}
