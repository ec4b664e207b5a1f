//! The Services of the benchmark as objects. All but the first
//! [`PROBES`] are there to fill the tables: their endpoints are no pods.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

/// Namespace of all of them. Pods elsewhere get no environment variables for them.
pub(super) const NAMESPACE: &str = "seaway-bench";
/// Services with a real backend, at most.
pub(super) const PROBES: u32 = 32;
/// Range of the cluster's Services.
pub(super) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// Range of the cluster's pods; the upper half is for endpoints that are no pods.
pub(super) const POD_RANGE: &str = "10.240.0.0/12";
/// Most Services that fit.
pub(super) const MOST_SERVICES: u32 = 60_000;
/// Most endpoints of each.
pub(super) const MOST_ENDPOINTS: u32 = 8;

/// Below it are the addresses that Kubernetes itself takes.
const FIRST_SERVICE_ADDRESS: u32 = u32::from_be_bytes([10, 96, 1, 0]);
const FIRST_FILLER_ENDPOINT: u32 = u32::from_be_bytes([10, 248, 0, 0]);
const SERVICE_PORT: u16 = 80;
/// Where fillers are said to run.
const FILLER_NODES: u32 = 500;
const FILLER_ZONES: u32 = 3;
/// Multiplier of Knuth's hash: names in the order of their creation would put
/// the probes first in every list.
const SCATTER: u32 = 2_654_435_761;

/// What clients of a Service connect to.
pub(super) fn frontend(index: u32) -> SocketAddr {
    SocketAddr::new(cluster_ip(index).into(), SERVICE_PORT)
}

/// How many of `size` Services have a real backend.
pub(super) fn probes(size: u32) -> u32 {
    size.min(PROBES)
}

/// The objects of these Services.
pub(super) fn objects(
    indices: std::ops::Range<u32>,
    endpoints: u32,
    target_port: u16,
) -> impl Iterator<Item = Value> + Clone {
    indices.flat_map(move |index| {
        // A probe gets its one backend later.
        let endpoints = if index < PROBES { 1 } else { endpoints };
        [service(index, target_port), slice(index, fillers(index, endpoints), target_port)]
    })
}

/// Where the slice of a Service is.
pub(super) fn slice_path(index: u32) -> String {
    format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices/{}", name(index))
}

/// Label that finds the slice of a Service.
pub(super) fn slice_label(index: u32) -> String {
    format!("kubernetes.io/service-name={}", name(index))
}

/// The endpoints field of a slice.
pub(super) fn endpoints(addresses: &[IpAddr]) -> Value {
    let endpoint = |address: &IpAddr| json!({ "addresses": [address], "conditions": { "ready": true } });
    addresses.iter().map(endpoint).collect()
}

/// Endpoints as the cluster's own controller describes them, on nodes that are not there.
fn fillers(index: u32, count: u32) -> Value {
    let first = FIRST_FILLER_ENDPOINT + index * MOST_ENDPOINTS;
    let filler = |number: u32| {
        let pod = format!("{}-7d9c5b7b9d-{number:05}", name(index));
        json!({
            "addresses": [Ipv4Addr::from(first + number)],
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "nodeName": format!("filler-{}", (index + number) % FILLER_NODES),
            "zone": format!("zone-{}", (index + number) % FILLER_ZONES),
            "targetRef": { "kind": "Pod", "namespace": NAMESPACE, "name": pod },
        })
    };
    (0..count).map(filler).collect()
}

fn name(index: u32) -> String {
    format!("svc-{:08x}", index.wrapping_mul(SCATTER))
}

fn cluster_ip(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_SERVICE_ADDRESS + index)
}

fn service(index: u32, target_port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name(index), "namespace": NAMESPACE },
        "spec": {
            "clusterIP": cluster_ip(index),
            "ports": [{ "port": SERVICE_PORT, "targetPort": target_port, "protocol": "TCP" }],
        },
    })
}

fn slice(index: u32, endpoints: Value, port: u16) -> Value {
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
        "ports": [{ "name": "", "port": port, "protocol": "TCP" }],
        "endpoints": endpoints,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_have_one_endpoint_and_the_rest_fills() {
        let all: Vec<_> = objects(0..PROBES + 1, 5, 7001).collect();
        assert_eq!(all.len(), 2 * (PROBES as usize + 1));
        assert_eq!(all[1]["endpoints"].as_array().unwrap().len(), 1);
        assert_eq!(all[1].pointer("/endpoints/0/addresses/0").unwrap(), "10.248.0.0");
        let last = all.last().unwrap();
        assert_eq!(last["endpoints"].as_array().unwrap().len(), 5);
        assert_eq!(frontend(0).to_string(), "10.96.1.0:80");
    }

    #[test]
    fn the_most_fit_into_their_ranges_and_names_differ() {
        let services: ipnet::Ipv4Net = SERVICE_RANGE.parse().unwrap();
        assert!(services.contains(&cluster_ip(MOST_SERVICES - 1)));
        let pods: ipnet::Ipv4Net = POD_RANGE.parse().unwrap();
        assert!(pods.contains(&Ipv4Addr::from(FIRST_FILLER_ENDPOINT + MOST_SERVICES * MOST_ENDPOINTS - 1)));
        let names: std::collections::BTreeSet<_> = (0..MOST_SERVICES).map(name).collect();
        assert_eq!(names.len(), MOST_SERVICES as usize);
    }
}
