//! Services by the ten thousand: written into the cluster's store itself, in the form in which the
//! API server keeps them (JSON, which it reads beside its own encoding). Through the API server each
//! would cost an allocation of its address, admission and a journal of managed fields: minutes.

use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::bench::error::BenchError;
use crate::cluster::api::ApiClient;
use crate::cluster::config::control_plane::ETCD_PORT;
use crate::cluster::files::KEY_DIRECTORY;
use crate::error::{IoContext, Result};
use crate::machine::Node;

/// How long the API server may take to hear of the last object.
const HEARD_TIMEOUT: Duration = Duration::from_secs(120);
/// How often it is asked.
const HEARD_POLL: Duration = Duration::from_millis(50);

/// Makes objects as the store keeps them.
#[derive(Debug, Clone)]
struct Filler {
    /// When all of them were made: whoever repairs allocations deletes an older address whose Service it
    /// has not heard of yet.
    created: String,
}

/// An object as the store keeps it.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    key: String,
    value: Value,
}

/// Writes Services and EndpointSlices, given as one would to the API server, and returns when that
/// serves the last of them. `node` runs the control plane. `done` hears the count now and then.
///
/// # Errors
/// The store refuses, or the API server does not hear of the objects.
pub(super) fn fill(
    node: &Node,
    api: &ApiClient,
    objects: impl Iterator<Item = Value> + Clone + Send,
    mut done: impl FnMut(usize) + Send,
) -> Result<()> {
    let kubeconfig = store_access(node)?;
    let filler = Filler { created: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string() };
    // Watches tell of each kind in the order of writing: who heard of its last object heard of all.
    let last = last_of_each_kind(objects.clone());
    let is_last = |object: &Value| last.iter().any(|other| kind_and_name(other) == kind_and_name(object));
    // Whoever repairs allocations creates what is missing, too: addresses come first.
    let addresses = objects.clone().filter_map(|object| filler.address(&object));
    let most = objects.filter(|object| !is_last(object)).map(|object| filler.complete(object));
    let end = last.iter().cloned().map(|object| filler.complete(object));
    let written = node.run_in(|| {
        let store = ApiClient::new(&kubeconfig)?;
        store.create_all(addresses.chain(most).map(put), &mut done)?;
        store.create_all(end.map(put), |_| ())
    })?;
    written?;
    last.iter().try_for_each(|object| wait_until_served(api, object))
}

fn last_of_each_kind(objects: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut last: Vec<Value> = Vec::new();
    for object in objects {
        match last.iter_mut().find(|other| other.get("kind") == object.get("kind")) {
            Some(other) => *other = object,
            None => last.push(object),
        }
    }
    last
}

fn kind_and_name(object: &Value) -> (Option<&Value>, (&str, &str)) {
    (object.get("kind"), names(object))
}

// === impl Filler ===

impl Filler {
    /// The object with what the API server would have filled in.
    fn complete(&self, mut object: Value) -> Stored {
        let is_service = object.get("kind").is_some_and(|kind| kind == "Service");
        let resource = if is_service { "services/specs" } else { "endpointslices" };
        let (namespace, name) = names(&object);
        let key = format!("/registry/{resource}/{namespace}/{name}");
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("uid".to_owned(), json!(identity(&key)));
            metadata.insert("creationTimestamp".to_owned(), json!(self.created));
        }
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            let addresses = json!([spec.get("clusterIP")]);
            let defaults = [
                ("clusterIPs", addresses),
                ("ipFamilies", json!(["IPv4"])),
                ("ipFamilyPolicy", json!("SingleStack")),
                ("internalTrafficPolicy", json!("Cluster")),
                ("sessionAffinity", json!("None")),
                ("type", json!("ClusterIP")),
            ];
            for (field, value) in defaults {
                spec.entry(field).or_insert(value);
            }
        }
        if is_service && let Some(fields) = object.as_object_mut() {
            fields.insert("status".to_owned(), json!({ "loadBalancer": {} }));
        }
        Stored { key, value: object }
    }

    /// The record that a Service's address is taken (KEP-1880).
    fn address(&self, service: &Value) -> Option<Stored> {
        let address = service.pointer("/spec/clusterIP")?.as_str()?;
        let key = format!("/registry/ipaddresses/{address}");
        let (namespace, name) = names(service);
        let value = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": {
                "name": address, "uid": identity(&key), "creationTimestamp": self.created,
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": "IPv4",
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                },
            },
            "spec": { "parentRef": { "group": "", "resource": "services", "namespace": namespace, "name": name } },
        });
        Some(Stored { key, value })
    }
}

/// Where etcd is and how it is asked, as a kubeconfig: it speaks HTTP with client certificates, too.
fn store_access(node: &Node) -> Result<String> {
    let file = |name: &str| {
        let path = node.path(KEY_DIRECTORY).join(name);
        std::fs::read(&path).on_file("read", &path).map(ByteString)
    };
    let access = json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{ "name": "store", "cluster": {
            "server": format!("https://127.0.0.1:{ETCD_PORT}"), "certificate-authority-data": file("etcd-ca.crt")?,
        }}],
        "users": [{ "name": "store", "user": {
            "client-certificate-data": file("apiserver-etcd-client.crt")?,
            "client-key-data": file("apiserver-etcd-client.key")?,
        }}],
        "contexts": [{ "name": "store", "context": { "cluster": "store", "user": "store" } }],
        "current-context": "store",
    });
    Ok(access.to_string())
}

/// A request of etcd's JSON interface, as `(path, request)`. Never several objects in one: they would share
/// a revision, and a watch that begins again after it has heard of one never hears of the others.
fn put(stored: Stored) -> (String, Value) {
    let (key, value) = (ByteString(stored.key.into_bytes()), ByteString(stored.value.to_string().into_bytes()));
    ("/v3/kv/put".to_owned(), json!({ "key": key, "value": value }))
}

fn names(object: &Value) -> (&str, &str) {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    (text("/metadata/namespace"), text("/metadata/name"))
}

/// An UUID of its own for every key (RFC 9562 §5.8).
fn identity(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    let hex: String = digest.iter().take(15).map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30))
}

/// Until its cache has the object: what watchers hear of comes from there.
fn wait_until_served(api: &ApiClient, object: &Value) -> Result<()> {
    let (namespace, name) = names(object);
    let collection = if object["kind"] == "Service" {
        format!("/api/v1/namespaces/{namespace}/services")
    } else {
        format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")
    };
    let give_up = Instant::now() + HEARD_TIMEOUT;
    while let Err(error) = api.get(&format!("{collection}/{name}?resourceVersion=0")) {
        if Instant::now() > give_up {
            let reason = format!("it does not serve {name}: {}", crate::cluster::error::chain(&error));
            return Err(BenchError::Program { program: "kube-apiserver".into(), reason }.into());
        }
        std::thread::sleep(HEARD_POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filler() -> Filler {
        Filler { created: "2026-01-01T00:00:00Z".into() }
    }

    fn service() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "web", "namespace": "shop" },
            "spec": { "clusterIP": "10.96.1.0", "ports": [] },
        })
    }

    #[test]
    fn a_service_is_stored_as_the_api_server_would() {
        let stored = filler().complete(service());
        assert_eq!(stored.key, "/registry/services/specs/shop/web");
        assert_eq!(stored.value["spec"]["clusterIPs"], json!(["10.96.1.0"]));
        let address = filler().address(&service()).unwrap();
        assert_eq!(address.key, "/registry/ipaddresses/10.96.1.0");
        assert_eq!(address.value["spec"]["parentRef"]["name"], "web");
        let identities = [&stored, &address].map(|one| one.value["metadata"]["uid"].as_str().unwrap().to_owned());
        assert_ne!(identities[0], identities[1]);
        assert_eq!(identities[0].split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    }

    #[test]
    fn a_slice_keeps_its_fields_and_takes_no_address() {
        let slice = json!({ "kind": "EndpointSlice", "metadata": { "name": "web-1", "namespace": "shop" } });
        assert_eq!(filler().address(&slice), None);
        let stored = filler().complete(slice);
        assert_eq!(stored.key, "/registry/endpointslices/shop/web-1");
        assert!(stored.value.get("spec").is_none() && stored.value.get("status").is_none());
    }

    #[test]
    fn the_last_of_each_kind_are_known() {
        let object = |kind: &str, name: &str| json!({ "kind": kind, "metadata": { "name": name } });
        let all = [object("Service", "a"), object("EndpointSlice", "b"), object("Service", "c")];
        let last = last_of_each_kind(all.iter().cloned());
        assert_eq!(last, [all[2].clone(), all[1].clone()]);
    }

    #[test]
    fn every_object_is_written_by_itself() {
        let (path, request) = put(Stored { key: "/a".into(), value: json!({ "b": 1 }) });
        // Octets are in base 64.
        assert_eq!((path.as_str(), request), ("/v3/kv/put", json!({ "key": "L2E=", "value": "eyJiIjoxfQ==" })));
    }
}
