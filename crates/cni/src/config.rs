//! The network configuration on standard input. Reading it is total: any bytes
//! give a configuration or an error that names the field (fuzz target
//! `cni_request`).

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use seaway_model::agent_api::{AGENT_SOCKET, AttachmentKey};
use seaway_model::{ContainerId, InterfaceName, MacAddress};
use serde_json::{Map, Value};

use crate::arguments::Arguments;
use crate::error::CniError;
use crate::version::SpecVersion;

/// Longest piece of a bad value that is shown in an error.
const SHOWN_VALUE_LIMIT_CHARS: usize = 120;

/// A network configuration, its envelope checked. What only some verbs need is
/// read when they ask, so that DEL does not stumble over what ADD would refuse.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// `cniVersion`; 0.1.0 when absent, as the specification says.
    pub version: SpecVersion,
    /// `name`: the network.
    pub network: String,
    /// `agentSocket`, or where the agent listens by default.
    pub agent_socket: PathBuf,
    fields: Map<String, Value>,
}

/// What ADD was told about the wanted addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Addresses; empty: any.
    pub addresses: Vec<IpAddr>,
    /// MAC; absent: any.
    pub mac: Option<MacAddress>,
    /// A later plugin of the chain shapes the traffic.
    pub shaped: bool,
}

impl NetworkConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Not JSON, an unknown version, or a bad `name` or `agentSocket`.
    pub fn parse(bytes: &[u8]) -> Result<NetworkConfig, CniError> {
        let fields: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| CniError::NotJson { problem: error.to_string() })?;
        let version = match fields.get("cniVersion") {
            None | Some(Value::Null) => SpecVersion::V0_1_0,
            Some(Value::String(text)) if text.is_empty() => SpecVersion::V0_1_0,
            Some(Value::String(text)) => SpecVersion::parse(text)?,
            Some(other) => return Err(malformed("cniVersion", other, "a version as text")),
        };
        let network = match fields.get("name") {
            None | Some(Value::Null) => {
                return Err(CniError::FieldMissing { field: "name", problem: "it names the network" });
            }
            Some(Value::String(text)) => checked_name(text)?,
            Some(other) => return Err(malformed("name", other, "the network's name as text")),
        };
        let agent_socket = match fields.get("agentSocket") {
            None | Some(Value::Null) => PathBuf::from(AGENT_SOCKET),
            Some(Value::String(text)) if Path::new(text).is_absolute() => PathBuf::from(text),
            Some(other) => return Err(malformed("agentSocket", other, "an absolute path")),
        };
        Ok(NetworkConfig { version, network, agent_socket, fields })
    }

    /// Refuses what users expect to work and Seaway does not obey.
    ///
    /// # Errors
    /// Names the field, its value, and what to use in its place.
    pub fn refuse_unsupported(&self) -> Result<(), CniError> {
        for (field, instead) in [
            ("ipam", "remove it: addresses come from IPPool objects (kubectl get ippools)"),
            ("ipMasq", "remove it: set `masquerade` in the IPPool object"),
        ] {
            match self.fields.get(field) {
                None | Some(Value::Null | Value::Bool(false)) => {}
                Some(Value::Object(map)) if map.is_empty() => {}
                Some(value) => {
                    return Err(CniError::FieldUnsupported { field, value: shown(value), instead });
                }
            }
        }
        Ok(())
    }

    /// Addresses and MAC asked for: by capability (`runtimeConfig`), else by
    /// `args.cni`, else by `CNI_ARGS`, which must lose (CONVENTIONS.md).
    ///
    /// # Errors
    /// Names the field that holds no address or MAC.
    pub fn wishes(&self, arguments: &Arguments) -> Result<Wishes, CniError> {
        let mut wishes = Wishes::default();
        for (place, path) in [("runtimeConfig", &["runtimeConfig"][..]), ("args.cni", &["args", "cni"])] {
            let Some(holder) = self.object_at(path)? else { continue };
            if wishes.addresses.is_empty()
                && let Some(value) = holder.get("ips").filter(|value| !value.is_null())
            {
                wishes.addresses = addresses_in(&format!("{place}.ips"), value)?;
            }
            if wishes.mac.is_none()
                && let Some(value) = holder.get("mac").filter(|value| !value.is_null())
            {
                wishes.mac = mac_in(&format!("{place}.mac"), value)?;
            }
            // How much is the other plugin's to read; a rate of zero is no limit.
            let rate = |name| holder.get("bandwidth").and_then(|limits| limits.get(name)).and_then(Value::as_u64);
            wishes.shaped |=
                ["ingressRate", "egressRate"].into_iter().any(|name| rate(name).is_some_and(|bits| bits > 0));
        }
        if wishes.addresses.is_empty()
            && let Some(text) = &arguments.address
        {
            let value = Value::String(text.clone());
            wishes.addresses = vec![address_in("CNI_ARGS IP", &value)?];
        }
        if wishes.mac.is_none()
            && let Some(text) = &arguments.mac
        {
            wishes.mac = mac_in("CNI_ARGS MAC", &Value::String(text.clone()))?;
        }
        Ok(wishes)
    }

    /// `prevResult`, when a plugin ran before us. Versions before 0.3.0 have no chains.
    ///
    /// # Errors
    /// It is there and no object.
    pub fn previous_result(&self) -> Result<Option<&Map<String, Value>>, CniError> {
        if self.version < SpecVersion::V0_3_0 {
            return Ok(None);
        }
        match self.fields.get("prevResult") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(malformed("prevResult", other, "an object")),
        }
    }

    /// Attachments that GC must keep: `cni.dev/valid-attachments`, or the older
    /// `cni.dev/attachments`. Absent (or `null`, which Go writes for a list that
    /// was never set) is not the same as empty: only an empty list means that
    /// nothing is valid.
    ///
    /// # Errors
    /// Names the entry that lacks an id or an interface.
    pub fn valid_attachments(&self) -> Result<Option<Vec<AttachmentKey>>, CniError> {
        for field in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
            match self.fields.get(field) {
                None | Some(Value::Null) => {}
                Some(Value::Array(entries)) => {
                    return entries
                        .iter()
                        .enumerate()
                        .map(|(index, entry)| attachment_in(&format!("{field}[{index}]"), entry))
                        .collect::<Result<_, _>>()
                        .map(Some);
                }
                Some(other) => return Err(malformed(field, other, "a list")),
            }
        }
        Ok(None)
    }

    /// The well-known `dns` section, which belongs into the result as it is.
    ///
    /// # Errors
    /// It is there and no object.
    pub fn dns(&self) -> Result<Option<&Map<String, Value>>, CniError> {
        match self.fields.get("dns") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) if map.is_empty() => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(malformed("dns", other, "an object")),
        }
    }

    /// The object at a path of fields.
    fn object_at(&self, path: &[&str]) -> Result<Option<&Map<String, Value>>, CniError> {
        let mut holder = &self.fields;
        for (depth, step) in path.iter().enumerate() {
            match holder.get(*step) {
                None | Some(Value::Null) => return Ok(None),
                Some(Value::Object(map)) => holder = map,
                Some(other) => {
                    let place = path.get(..=depth).unwrap_or(path).join(".");
                    return Err(malformed(&place, other, "an object"));
                }
            }
        }
        Ok(Some(holder))
    }
}

/// A `<address>[/<prefix length>]`, as capabilities and results write it.
pub(crate) fn address_in(field: &str, value: &Value) -> Result<IpAddr, CniError> {
    let problem = "an IP address, with or without a prefix length";
    let text = value.as_str().ok_or_else(|| malformed(field, value, problem))?;
    let address = match text.parse::<IpNet>() {
        Ok(network) => network.addr(),
        Err(_) => text.parse().map_err(|_| malformed(field, value, problem))?,
    };
    Ok(address.to_canonical())
}

pub(crate) fn malformed(field: &str, value: &Value, expected: &str) -> CniError {
    CniError::FieldMalformed { field: field.to_owned(), value: shown(value), problem: format!("expected {expected}") }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_VALUE_LIMIT_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn checked_name(text: &str) -> Result<String, CniError> {
    if text.is_empty() {
        return Err(CniError::FieldMissing { field: "name", problem: "it names the network" });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !text.starts_with(|first: char| first.is_ascii_alphanumeric()) || !text.chars().all(allowed) {
        let expected = "a letter or digit, then letters, digits, '_', '.' or '-'";
        return Err(malformed("name", &Value::String(text.to_owned()), expected));
    }
    Ok(text.to_owned())
}

fn addresses_in(field: &str, value: &Value) -> Result<Vec<IpAddr>, CniError> {
    let list = value.as_array().ok_or_else(|| malformed(field, value, "a list of addresses"))?;
    list.iter().enumerate().map(|(index, entry)| address_in(&format!("{field}[{index}]"), entry)).collect()
}

fn mac_in(field: &str, value: &Value) -> Result<Option<MacAddress>, CniError> {
    let text = value.as_str().ok_or_else(|| malformed(field, value, "a MAC address as text"))?;
    if text.is_empty() {
        return Ok(None);
    }
    let mac: MacAddress =
        text.parse().map_err(|_| malformed(field, value, "a MAC address such as 0a:1b:2c:3d:4e:5f"))?;
    let [first, ..] = mac.0;
    // IEEE 802: the lowest bit of the first octet marks a group, not a station.
    if first & 1 == 1 || mac.0 == [0; 6] {
        return Err(malformed(field, value, "the MAC address of one station, not of a group"));
    }
    Ok(Some(mac))
}

fn attachment_in(field: &str, entry: &Value) -> Result<AttachmentKey, CniError> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    match (text("containerID"), text("ifname")) {
        (Some(container_id), Some(interface)) => {
            Ok(AttachmentKey { container_id: ContainerId(container_id), interface: InterfaceName(interface) })
        }
        _ => Err(malformed(field, entry, "an object with containerID and ifname")),
    }
}
