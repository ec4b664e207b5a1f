//! Installing Seaway's DNS by the manifest users apply elsewhere, with the lab's own
//! domain and addresses in the places where users write theirs.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{CLUSTER_DOMAIN, Up};
use crate::cluster::ClusterError;
use crate::cluster::api::{ApiClient, parse_manifests};
use crate::error::Result;

const MANIFEST: &str = include_str!("../../../../../deploy/dns.yaml");

impl Up<'_> {
    pub(super) fn install_seaway_dns(&self, api: &ApiClient) -> Result<()> {
        for object in objects(&self.settings.dns_addresses)? {
            api.apply_object(&object)?;
        }
        Ok(())
    }
}

/// The manifest's objects for a Service with these addresses, the primary family's first.
fn objects(addresses: &[IpAddr]) -> Result<Vec<Value>, ClusterError> {
    let mut objects = parse_manifests("deploy/dns.yaml", MANIFEST)?;
    let families: Vec<_> = addresses.iter().map(|ip| if ip.is_ipv4() { "IPv4" } else { "IPv6" }).collect();
    let policy = if addresses.len() > 1 { "RequireDualStack" } else { "SingleStack" };
    for object in &mut objects {
        if object["kind"] == "ConfigMap" {
            let configuration = json!({ "dns": { "domain": CLUSTER_DOMAIN, "serviceAddresses": addresses } });
            // JSON is YAML.
            if let Some(field) = object.pointer_mut("/data/config.yaml") {
                *field = json!(configuration.to_string());
            }
        }
        if object["kind"] == "Service"
            && let Some(fields) = object.get_mut("spec").and_then(Value::as_object_mut)
        {
            fields.insert("clusterIP".to_owned(), json!(addresses.first()));
            fields.insert("clusterIPs".to_owned(), json!(addresses));
            fields.insert("ipFamilies".to_owned(), json!(families));
            fields.insert("ipFamilyPolicy".to_owned(), json!(policy));
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_has_an_address_of_each_family_and_the_server_knows_them() {
        let addresses = ["10.96.0.10".parse().unwrap(), "fd00:96::a".parse().unwrap()];
        let objects = objects(&addresses).unwrap();
        let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap();
        assert_eq!(of_kind("Service")["spec"]["clusterIPs"], json!(["10.96.0.10", "fd00:96::a"]));
        assert_eq!(of_kind("Service")["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
        let text = of_kind("ConfigMap")["data"]["config.yaml"].as_str().unwrap();
        assert!(text.contains(r#""serviceAddresses":["10.96.0.10","fd00:96::a"]"#), "{text}");
        let selector = &of_kind("Service")["spec"]["selector"];
        let labels = &of_kind("DaemonSet")["spec"]["template"]["metadata"]["labels"];
        assert_eq!(selector["k8s-app"], labels["k8s-app"]);
    }
}
