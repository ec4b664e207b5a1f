//! The Services of the benchmark as objects: one slice each, whose endpoints
//! are no pods.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// Namespace of all of them.
pub(super) const NAMESPACE: &str = "seaway-bench";
/// Endpoints of each.
pub(super) const ENDPOINTS: u32 = 10;
/// Range of the cluster's Services.
pub(super) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// Most Services that fit.
pub(super) const MOST_SERVICES: u32 = 60_000;

/// Below it are the addresses that Kubernetes itself takes.
const FIRST_SERVICE_ADDRESS: u32 = u32::from_be_bytes([10, 96, 1, 0]);
const FIRST_ENDPOINT: u32 = u32::from_be_bytes([10, 248, 0, 0]);
const PORT: u16 = 80;
/// Multiplier of Knuth's hash: names asked one after the other are not
/// neighbours in anybody's table.
const SCATTER: u32 = 2_654_435_761;

/// The objects.
pub(super) fn objects(services: u32) -> impl Iterator<Item = Value> + Clone + Send {
    (0..services).flat_map(|index| [service(index), slice(index)])
}

/// Full name of a Service, with the dot at its end.
pub(super) fn full_name(index: u32) -> String {
    format!("{}.{NAMESPACE}.svc.cluster.local.", name(index))
}

fn name(index: u32) -> String {
    format!("svc-{:08x}", index.wrapping_mul(SCATTER))
}

fn service(index: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name(index), "namespace": NAMESPACE },
        "spec": {
            "clusterIP": Ipv4Addr::from(FIRST_SERVICE_ADDRESS + index),
            "ports": [{ "name": "http", "port": PORT, "protocol": "TCP" }],
        },
    })
}

fn slice(index: u32) -> Value {
    let first = FIRST_ENDPOINT + index * ENDPOINTS;
    let endpoint = |address: u32| json!({ "addresses": [Ipv4Addr::from(address)], "conditions": { "ready": true } });
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": name(index), "namespace": NAMESPACE,
            "labels": {
                "kubernetes.io/service-name": name(index),
                "endpointslice.kubernetes.io/managed-by": "seaway-bench",
            },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": PORT, "protocol": "TCP" }],
        "endpoints": (first..first + ENDPOINTS).map(endpoint).collect::<Value>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_fit_into_their_range_and_names_differ() {
        let range: ipnet::Ipv4Net = SERVICE_RANGE.parse().unwrap();
        assert!(range.contains(&Ipv4Addr::from(FIRST_SERVICE_ADDRESS + MOST_SERVICES - 1)));
        let names: std::collections::BTreeSet<_> = (0..MOST_SERVICES).map(name).collect();
        assert_eq!(names.len(), MOST_SERVICES as usize);
        let slices: Vec<_> = objects(2).filter(|object| object["kind"] == "EndpointSlice").collect();
        assert_eq!(slices[1].pointer("/endpoints/0/addresses/0").unwrap(), "10.248.0.10");
    }
}
