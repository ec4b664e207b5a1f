//! Imports, Gateways and routes. Their kinds have no types here: only what DNS needs is read, and
//! what cannot be used is left out and named.

use kube::ResourceExt;
use kube::api::DynamicObject;
use seaway_model::ServiceRef;
use seaway_model::names::{Gateway, GatewayRef, Listener, Route, RouteKind, RouteParent, RouteRef, ServiceImport};
use seaway_model::service::ServicePort;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::services::{Flaws, read_annotations};
use crate::InvalidObject;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ImportSpec {
    r#type: String,
    ips: Vec<String>,
    ports: Vec<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Port {
    name: String,
    protocol: Option<String>,
    port: i32,
    app_protocol: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GatewaySpec {
    listeners: Vec<GatewayListener>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GatewayListener {
    name: String,
    hostname: Option<String>,
    port: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GatewayStatus {
    addresses: Vec<GatewayAddress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GatewayAddress {
    r#type: Option<String>,
    value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RouteSpec {
    hostnames: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RouteStatus {
    parents: Vec<ParentStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ParentStatus {
    parent_ref: ParentReference,
    conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ParentReference {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    section_name: Option<String>,
    port: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

pub(crate) fn import(object: DynamicObject) -> (ServiceRef, (ServiceImport, Vec<InvalidObject>)) {
    let mut flaws = Flaws::of("ServiceImport", &object.metadata);
    let spec: ImportSpec = part(&object, "spec", &mut flaws);
    let headless = match spec.r#type.as_str() {
        "Headless" => true,
        "" | "ClusterSetIP" => false,
        other => {
            flaws.add("spec.type", other, "is not known; it counts as ClusterSetIP");
            false
        }
    };
    let ports = spec.ports.into_iter().filter_map(|port| {
        Some(ServicePort {
            protocol: flaws.protocol("spec.ports[].protocol", port.protocol.as_deref())?,
            port: flaws.port("spec.ports[].port", port.port)?,
            name: port.name,
            node_port: None,
            app_protocol: port.app_protocol,
        })
    });
    let ports = ports.collect();
    let addresses = spec.ips.iter().filter(|_| !headless);
    let addresses = addresses.filter_map(|text| flaws.address("spec.ips", text)).collect();
    let name = ServiceRef::new(object.namespace().unwrap_or_default(), object.name_any());
    (name, (ServiceImport { headless, addresses, ports }, flaws.found))
}

pub(crate) fn gateway(object: DynamicObject) -> (GatewayRef, (Gateway, Vec<InvalidObject>)) {
    let mut flaws = Flaws::of("Gateway", &object.metadata);
    let spec: GatewaySpec = part(&object, "spec", &mut flaws);
    let status: GatewayStatus = part(&object, "status", &mut flaws);
    let listeners = spec.listeners.into_iter().filter_map(|listener| {
        let port = flaws.port("spec.listeners[].port", listener.port)?;
        Some(Listener { name: listener.name, hostname: listener.hostname.filter(|name| !name.is_empty()), port })
    });
    let listeners = listeners.collect();
    let (mut addresses, mut hostname) = (Vec::new(), None);
    for address in status.addresses {
        match address.r#type.as_deref() {
            None | Some("IPAddress") => addresses.extend(flaws.address("status.addresses[].value", &address.value)),
            Some("Hostname") => hostname = hostname.or(Some(address.value)),
            // Names of an implementation's own mean nothing to others.
            Some(_) => {}
        }
    }
    let gateway = Gateway {
        created_at_seconds: created_at_seconds(&object),
        addresses,
        hostname,
        listeners,
        annotations: read_annotations(&object.metadata),
    };
    let name = GatewayRef { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
    (name, (gateway, flaws.found))
}

pub(crate) fn http_route(object: DynamicObject) -> (RouteRef, (Route, Vec<InvalidObject>)) {
    route(&object, RouteKind::Http)
}

pub(crate) fn grpc_route(object: DynamicObject) -> (RouteRef, (Route, Vec<InvalidObject>)) {
    route(&object, RouteKind::Grpc)
}

pub(crate) fn tls_route(object: DynamicObject) -> (RouteRef, (Route, Vec<InvalidObject>)) {
    route(&object, RouteKind::Tls)
}

fn route(object: &DynamicObject, kind: RouteKind) -> (RouteRef, (Route, Vec<InvalidObject>)) {
    let mut flaws = Flaws::of(kind.name(), &object.metadata);
    let spec: RouteSpec = part(object, "spec", &mut flaws);
    let status: RouteStatus = part(object, "status", &mut flaws);
    let namespace = object.namespace().unwrap_or_default();
    let accepted = |parent: &ParentStatus| {
        let reference = &parent.parent_ref;
        reference.group.as_deref().is_none_or(|group| group == "gateway.networking.k8s.io")
            && reference.kind.as_deref().is_none_or(|kind| kind == "Gateway")
            && parent.conditions.iter().any(|condition| condition.r#type == "Accepted" && condition.status == "True")
    };
    let mut parents: Vec<RouteParent> = Vec::new();
    for ParentStatus { parent_ref, .. } in status.parents.into_iter().filter(accepted) {
        let gateway =
            GatewayRef { namespace: parent_ref.namespace.unwrap_or_else(|| namespace.clone()), name: parent_ref.name };
        parents.push(RouteParent { gateway, listener: parent_ref.section_name, port: parent_ref.port });
    }
    parents.sort();
    parents.dedup();
    let route = Route {
        created_at_seconds: created_at_seconds(object),
        hostnames: spec.hostnames,
        parents,
        annotations: read_annotations(&object.metadata),
    };
    (RouteRef { kind, namespace, name: object.name_any() }, (route, flaws.found))
}

fn created_at_seconds(object: &DynamicObject) -> i64 {
    object.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second())
}

/// One part of an object; a part that cannot be read counts as absent.
fn part<T: DeserializeOwned + Default>(object: &DynamicObject, field: &'static str, flaws: &mut Flaws) -> T {
    let Some(value) = object.data.get(field) else { return T::default() };
    T::deserialize(value).unwrap_or_else(|error| {
        flaws.add(field, "…", &format!("cannot be read ({error}); it counts as absent"));
        T::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: serde_json::Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn imports_are_read_and_what_is_wrong_is_named() {
        let (of, (import, flaws)) = import(object(json!({
            "metadata": {"namespace": "shop", "name": "db"},
            "spec": {
                "type": "ClusterSetIP",
                "ips": ["10.42.0.1", "nonsense"],
                "ports": [{"name": "sql", "port": 5432}, {"name": "bad", "port": 0}],
            },
        })));
        assert_eq!(of, ServiceRef::new("shop", "db"));
        assert_eq!(import.addresses, ["10.42.0.1".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!((import.ports.len(), import.headless), (1, false));
        let fields: Vec<_> = flaws.iter().map(|flaw| flaw.field).collect();
        assert_eq!(fields, ["spec.ports[].port", "spec.ips"]);
        let (_, (headless, flaws)) = self::import(object(json!({
            "metadata": {"namespace": "shop", "name": "db"}, "spec": {"type": "Headless", "ips": ["10.0.0.1"]},
        })));
        assert!(headless.headless && headless.addresses.is_empty() && flaws.is_empty());
    }

    #[test]
    fn gateways_have_addresses_and_listeners() {
        let (_, (gateway, flaws)) = gateway(object(json!({
            "metadata": {"namespace": "infra", "name": "edge", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"listeners": [{"name": "web", "hostname": "*.example.org", "port": 443}, {"name": "any", "port": 80}]},
            "status": {"addresses": [{"type": "IPAddress", "value": "192.0.2.1"}, {"value": "2001:db8::1"},
                                     {"type": "Hostname", "value": "lb.example.net"}]},
        })));
        assert!(flaws.is_empty(), "{flaws:?}");
        assert_eq!((gateway.addresses.len(), gateway.hostname.as_deref()), (2, Some("lb.example.net")));
        assert_eq!(gateway.listeners[0].hostname.as_deref(), Some("*.example.org"));
        assert!(gateway.created_at_seconds > 1_700_000_000);
    }

    #[test]
    fn routes_count_where_they_are_accepted() {
        let parent = |name: &str, status: &str| {
            json!({"parentRef": {"name": name, "namespace": "infra", "sectionName": "web"},
                   "conditions": [{"type": "Accepted", "status": status}]})
        };
        let (of, (route, _)) = http_route(object(json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"hostnames": ["shop.example.org"]},
            "status": {"parents": [parent("edge", "True"), parent("other", "False"), parent("edge", "True")]},
        })));
        assert_eq!(of.to_string(), "HTTPRoute shop/web");
        assert_eq!(route.parents.len(), 1);
        assert_eq!(route.parents[0].gateway.to_string(), "infra/edge");
        let (_, (broken, flaws)) =
            tls_route(object(json!({"metadata": {"name": "x"}, "spec": {"hostnames": "not a list"}})));
        assert!(broken.hostnames.is_empty());
        assert_eq!(flaws[0].field, "spec");
    }
}
