//! The result of ADD, in the words of the configuration's version. Pure.

use ipnet::IpNet;
use seaway_model::agent_api::{AddedAttachment, AddressAndGateway};
use serde_json::{Map, Value, json};

use crate::command::Sandbox;
use crate::config::NetworkConfig;
use crate::error::CniError;
use crate::version::SpecVersion;

/// The success structure of the specification, section 5. A previous plugin's
/// result is passed on with ours appended.
///
/// # Errors
/// `prevResult` or `dns` is not what its name says.
pub fn added_result(config: &NetworkConfig, sandbox: &Sandbox, added: &AddedAttachment) -> Result<Value, CniError> {
    let dns = config.dns()?;
    if config.version < SpecVersion::V0_3_0 {
        return Ok(result_by_family(config, added, dns));
    }
    let mut result = config.previous_result()?.cloned().unwrap_or_default();
    result.insert("cniVersion".into(), json!(config.version.text()));
    let interfaces = list_in(&mut result, "interfaces");
    let ours = interfaces.len() + 1;
    interfaces.extend(interface_entries(config.version, sandbox, added));
    let addresses = list_in(&mut result, "ips");
    addresses.extend(added.addresses.iter().map(|entry| address_entry(config.version, entry, ours)));
    let routes = list_in(&mut result, "routes");
    routes.extend(added.addresses.iter().map(default_route));
    if let Some(dns) = dns {
        result.insert("dns".into(), Value::Object(dns.clone()));
    }
    Ok(Value::Object(result))
}

/// The answer to VERSION.
#[must_use]
pub fn version_result() -> Value {
    let supported: Vec<_> = SpecVersion::ALL.iter().map(|version| version.text()).collect();
    json!({"cniVersion": SpecVersion::NEWEST.text(), "supportedVersions": supported})
}

/// The list under a key, made where the previous result has none.
fn list_in<'a>(result: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let value = result.entry(key).or_insert_with(|| Value::Array(Vec::new()));
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(list) => list,
        _ => unreachable!("made an array two lines above"),
    }
}

fn interface_entries(version: SpecVersion, sandbox: &Sandbox, added: &AddedAttachment) -> [Value; 2] {
    let namespace = sandbox.namespace.as_deref().map(|path| path.to_string_lossy());
    let mut host = json!({"name": added.host_interface, "mac": added.host_mac});
    let mut pod = json!({
        "name": sandbox.key.interface,
        "mac": added.mac,
        "sandbox": namespace.unwrap_or_default(),
    });
    if version >= SpecVersion::V1_1_0 {
        for entry in [&mut host, &mut pod] {
            if let Some(fields) = entry.as_object_mut() {
                fields.insert("mtu".into(), json!(added.mtu_bytes));
            }
        }
    }
    [host, pod]
}

fn address_entry(version: SpecVersion, entry: &AddressAndGateway, interface: usize) -> Value {
    let mut value = json!({
        "address": entry.address,
        "gateway": entry.gateway,
        "interface": interface,
    });
    if version < SpecVersion::V1_0_0
        && let Some(fields) = value.as_object_mut()
    {
        fields.insert("version".into(), json!(if is_ipv4(&entry.address) { "4" } else { "6" }));
    }
    value
}

fn default_route(entry: &AddressAndGateway) -> Value {
    json!({"dst": everything_like(&entry.address), "gw": entry.gateway})
}

/// Versions before 0.3.0 know one address per family and nothing else.
fn result_by_family(config: &NetworkConfig, added: &AddedAttachment, dns: Option<&Map<String, Value>>) -> Value {
    let mut result = json!({"cniVersion": config.version.text()});
    let Some(fields) = result.as_object_mut() else { return result };
    for entry in &added.addresses {
        let key = if is_ipv4(&entry.address) { "ip4" } else { "ip6" };
        fields.entry(key).or_insert_with(
            || json!({"ip": entry.address, "gateway": entry.gateway, "routes": [default_route(entry)]}),
        );
    }
    if let Some(dns) = dns {
        fields.insert("dns".into(), Value::Object(dns.clone()));
    }
    result
}

fn is_ipv4(address: &IpNet) -> bool {
    matches!(address, IpNet::V4(_))
}

fn everything_like(address: &IpNet) -> &'static str {
    if is_ipv4(address) { "0.0.0.0/0" } else { "::/0" }
}
