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
        let mut pools = parse_manifests("deploy/pools.yaml", POOLS)?;
        set_pool_ranges(&mut pools, &self.settings.pod_cidrs);
        let mut programs = parse_manifests("deploy/seaway.yaml", PROGRAMS)?;
        for object in programs.iter_mut().filter(|object| object["kind"] == "ConfigMap") {
            set_configuration(object, &self.settings.control_plane_addresses, &self.settings.service_cidrs)?;
        }
        pools.extend(programs);
        Ok(pools)
    }
}

/// Gives each pool the lab's range of its family; a family the lab lacks has no pool.
fn set_pool_ranges(pools: &mut Vec<Value>, ranges: &[IpNet]) {
    pools.retain_mut(|pool| {
        let is_ipv4 = pool.pointer("/spec/cidr").and_then(Value::as_str).is_some_and(|range| !range.contains(':'));
        let range = ranges.iter().find(|range| matches!(range, IpNet::V4(_)) == is_ipv4);
        match (pool.pointer_mut("/spec/cidr"), range) {
            (Some(field), Some(range)) => {
                *field = json!(range);
                true
            }
            _ => false,
        }
    });
}

/// Tells the agents where the API server and the Services are.
fn set_configuration(object: &mut Value, api_server: &[IpAddr], services: &[IpNet]) -> Result<(), ClusterError> {
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
        fields.insert("serviceCIDRs".to_owned(), json!(services));
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
        set_pool_ranges(&mut pools, &["10.9.0.0/16".parse().unwrap()]);
        let ranges: Vec<_> = pools.iter().map(|pool| pool["spec"]["cidr"].clone()).collect();
        assert_eq!(ranges, [json!("10.9.0.0/16")]);
    }

    #[test]
    fn the_configuration_names_the_api_server() {
        let mut objects = parse_manifests("programs", PROGRAMS).unwrap();
        let object = objects.iter_mut().find(|object| object["kind"] == "ConfigMap").unwrap();
        set_configuration(object, &["172.31.0.10".parse().unwrap()], &["10.96.0.0/16".parse().unwrap()]).unwrap();
        let text = object["data"]["config.yaml"].as_str().unwrap();
        let configuration: Value = serde_saphyr::from_str(text).unwrap();
        assert_eq!(configuration["apiServer"], json!({ "host": "172.31.0.10", "port": 6443 }));
        assert_eq!(configuration["serviceCIDRs"], json!(["10.96.0.0/16"]));
    }
}
