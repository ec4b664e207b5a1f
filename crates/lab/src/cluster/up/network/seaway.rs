//! Installing Seaway by the manifests users apply elsewhere, with the lab's
//! own ranges in the places where users write theirs.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::super::Up;
use crate::cluster::ClusterError;
use crate::cluster::api::{ApiClient, parse_manifests};
use crate::cluster::config::API_SERVER_PORT;
use crate::error::Result;
use crate::spec::{EncapsulationChoice, IpamChoice, LabSpec};

const DEFINITIONS: &str = include_str!("../../../../../../deploy/crds.yaml");
const PROGRAMS: &str = include_str!("../../../../../../deploy/seaway.yaml");
const POOLS: &str = include_str!("../../../../../../deploy/pools.yaml");

impl Up<'_> {
    pub(super) fn install_seaway(&self, api: &ApiClient) -> Result<()> {
        // The runtime calls `loopback` itself, and the agent chains `portmap` if it is there.
        self.on_all_nodes(super::link_reference_plugins)?;
        api.apply("deploy/crds.yaml", DEFINITIONS)?;
        for object in self.seaway_objects()? {
            api.apply_object(&object)?;
        }
        Ok(())
    }

    fn seaway_objects(&self) -> Result<Vec<Value>, ClusterError> {
        let mut pools = match self.spec.seaway.ipam {
            IpamChoice::Pools => parse_manifests("deploy/pools.yaml", POOLS)?,
            IpamChoice::NodePodCidrs => Vec::new(),
        };
        set_pools(&mut pools, &self.settings.pod_cidrs, self.spec.seaway.encapsulation);
        let mut programs = parse_manifests("deploy/seaway.yaml", PROGRAMS)?;
        for object in programs.iter_mut().filter(|object| object["kind"] == "ConfigMap") {
            set_configuration(object, &self.settings.control_plane_addresses, self.spec)?;
        }
        pools.extend(programs);
        Ok(pools)
    }
}

/// Gives each pool the lab's range of its family and its encapsulation; a family the lab lacks has no pool.
fn set_pools(pools: &mut Vec<Value>, ranges: &[IpNet], encapsulation: EncapsulationChoice) {
    pools.retain_mut(|pool| {
        let is_ipv4 = pool.pointer("/spec/cidr").and_then(Value::as_str).is_some_and(|range| !range.contains(':'));
        let range = ranges.iter().find(|range| matches!(range, IpNet::V4(_)) == is_ipv4);
        match (pool.get_mut("spec").and_then(Value::as_object_mut), range) {
            (Some(fields), Some(range)) => {
                fields.insert("cidr".to_owned(), json!(range));
                fields.insert("encapsulation".to_owned(), json!(encapsulation));
                true
            }
            _ => false,
        }
    });
}

/// Tells the agents where the API server and the Services are, and what else was chosen.
fn set_configuration(object: &mut Value, api_server: &[IpAddr], spec: &LabSpec) -> Result<(), ClusterError> {
    let malformed = |reason: String| ClusterError::Manifest { name: "deploy/seaway.yaml".to_owned(), reason };
    let field = object
        .pointer_mut("/data/config.yaml")
        .ok_or_else(|| malformed("its ConfigMap has no config.yaml".to_owned()))?;
    let text = field.as_str().unwrap_or_default();
    let mut configuration: Value = serde_saphyr::from_str(text).map_err(|error| malformed(error.to_string()))?;
    if let Some(fields) = configuration.as_object_mut() {
        if let Some(address) = api_server.first() {
            fields.insert("apiServer".to_owned(), json!({ "host": address, "port": API_SERVER_PORT }));
        }
        fields.insert("services".to_owned(), json!({ "enabled": spec.services.is_seaway() }));
        fields.insert("serviceCIDRs".to_owned(), json!(spec.service_ranges()));
        fields.insert("backend".to_owned(), json!(spec.seaway.backend));
        fields.insert("nodeBackends".to_owned(), json!(spec.seaway.node_backends));
        let ipam = json!({
            "source": spec.seaway.ipam,
            "nodePodCIDRs": { "encapsulation": spec.seaway.encapsulation },
        });
        fields.insert("ipam".to_owned(), ipam);
    }
    *field = json!(serde_saphyr::to_string(&configuration).map_err(|error| malformed(error.to_string()))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_get_the_lab_s_ranges_and_none_of_a_family_it_lacks() {
        let mut pools = parse_manifests("pools", POOLS).unwrap();
        set_pools(&mut pools, &["10.9.0.0/16".parse().unwrap()], EncapsulationChoice::CrossSubnet);
        let ranges: Vec<_> = pools.iter().map(|pool| pool["spec"]["cidr"].clone()).collect();
        assert_eq!(ranges, [json!("10.9.0.0/16")]);
        assert_eq!(pools[0]["spec"]["encapsulation"], "crossSubnet");
    }

    #[test]
    fn the_configuration_names_the_api_server() {
        let mut objects = parse_manifests("programs", PROGRAMS).unwrap();
        let object = objects.iter_mut().find(|object| object["kind"] == "ConfigMap").unwrap();
        let spec = LabSpec::parse("families: ipv4\nseaway: {backend: nftables}").unwrap();
        set_configuration(object, &["172.31.0.10".parse().unwrap()], &spec).unwrap();
        let text = object["data"]["config.yaml"].as_str().unwrap();
        let configuration: Value = serde_saphyr::from_str(text).unwrap();
        assert_eq!(configuration["apiServer"], json!({ "host": "172.31.0.10", "port": 6443 }));
        assert_eq!(configuration["serviceCIDRs"], json!(["10.96.0.0/16"]));
        assert_eq!(configuration["backend"], "nftables");
    }
}
