//! The reference `bridge` and `host-local` plugins, with a route per node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{STEP_TIMEOUT, Up, died};
use crate::cluster::api::{ApiClient, NODE, Scope};
use crate::cluster::files::write_private;
use crate::error::Result;

impl Up<'_> {
    /// Waits for every node's range, then writes configuration and routes.
    pub(super) fn install_bridge(&self, api: &ApiClient) -> Result<()> {
        let count = self.machine.nodes().len();
        let mut failed = || died(self.machine.nodes());
        let ranges: BTreeMap<String, Vec<IpNet>> =
            api.watch_until("pod ranges of the nodes are", NODE, Scope::default(), STEP_TIMEOUT, &mut failed, |nodes| {
                let ranges: BTreeMap<_, _> =
                    nodes.iter().map(|(name, node)| (name.clone(), node_ranges(node))).filter(|(_, r)| !r.is_empty()).collect();
                if ranges.len() == count { Ok(ranges) } else { Err(format!("{} of {count} have one", ranges.len())) }
            })?;
        for node in self.machine.nodes() {
            for plugin in ["bridge", "host-local", "loopback", "portmap"] {
                let link = node.path("/opt/cni/bin").join(plugin);
                let _ = std::fs::remove_file(&link);
                std::os::unix::fs::symlink(format!("/usr/lib/cni/{plugin}"), &link)
                    .map_err(|source| crate::cluster::ClusterError::Storage { path: link, source })?;
            }
            for other in self.machine.nodes().iter().filter(|other| other.name() != node.name()) {
                for range in ranges.get(other.name()).into_iter().flatten() {
                    let via = other.addresses().into_iter().find(|a| a.is_ipv4() == matches!(range, IpNet::V4(_)));
                    if let Some(via) = via {
                        route(node, range, via)?;
                    }
                }
            }
            let own = ranges.get(node.name()).cloned().unwrap_or_default();
            write_private(&node.path("/etc/cni/net.d/10-bridge.conflist"), &conflist(&own).to_string())?;
        }
        Ok(())
    }
}

fn route(node: &crate::machine::Node, range: &IpNet, via: IpAddr) -> Result<()> {
    node.exec(&["ip", "route", "replace", &range.to_string(), "via", &via.to_string()])?;
    Ok(())
}

fn node_ranges(node: &Value) -> Vec<IpNet> {
    let ranges = node.pointer("/spec/podCIDRs").and_then(Value::as_array);
    ranges.into_iter().flatten().filter_map(|range| range.as_str()?.parse().ok()).collect()
}

fn conflist(ranges: &[IpNet]) -> Value {
    let ranges: Vec<Value> = ranges.iter().map(|range| json!([{ "subnet": range }])).collect();
    json!({
        "cniVersion": "1.0.0",
        "name": "bridge",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": ranges,
                    "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}
