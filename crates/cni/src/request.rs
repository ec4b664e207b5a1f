//! From a command and a configuration to the question the agent is asked. Pure.

use ipnet::IpNet;
use seaway_model::agent_api::{Attachment, CheckAttachment, Request};
use serde_json::Value;

use crate::command::{Command, Sandbox};
use crate::config::{NetworkConfig, Wishes, address_in, malformed};
use crate::error::CniError;
use crate::version::SpecVersion;

/// The request for a command; none for VERSION, which asks nobody.
///
/// # Errors
/// The verb is younger than the configuration, or a field it needs is bad.
pub fn request_for(command: &Command, config: &NetworkConfig) -> Result<Option<Request>, CniError> {
    match command {
        Command::Add(sandbox) => {
            config.refuse_unsupported()?;
            // Bad `prevResult` or `dns` would fail the answer, after the work is done.
            config.previous_result()?;
            config.dns()?;
            let wishes = config.wishes(&sandbox.arguments)?;
            Ok(Some(Request::Add(attachment(sandbox, config, wishes))))
        }
        Command::Delete(sandbox) => Ok(Some(Request::Delete(attachment(sandbox, config, Wishes::default())))),
        Command::Check(sandbox) => {
            require(config, "CHECK", SpecVersion::V0_4_0)?;
            Ok(Some(Request::Check(CheckAttachment {
                attachment: attachment(sandbox, config, Wishes::default()),
                expected_addresses: expected_addresses(sandbox, config)?,
            })))
        }
        Command::GarbageCollect => {
            require(config, "GC", SpecVersion::V1_1_0)?;
            Ok(Some(Request::GarbageCollect { network: config.network.clone(), valid: config.valid_attachments()? }))
        }
        Command::Status => {
            require(config, "STATUS", SpecVersion::V1_1_0)?;
            Ok(Some(Request::Status))
        }
        Command::Version => Ok(None),
    }
}

fn attachment(sandbox: &Sandbox, config: &NetworkConfig, wishes: Wishes) -> Attachment {
    Attachment {
        key: sandbox.key.clone(),
        network: config.network.clone(),
        pod: sandbox.arguments.pod.clone(),
        pod_uid: sandbox.arguments.pod_uid.clone(),
        requested_addresses: wishes.addresses,
        requested_mac: wishes.mac,
        shaped: wishes.shaped,
    }
}

fn require(config: &NetworkConfig, verb: &'static str, needed: SpecVersion) -> Result<(), CniError> {
    if config.version < needed {
        let (needed, found) = (needed.text(), config.version.text());
        return Err(CniError::VerbTooNew { verb, needed, found });
    }
    Ok(())
}

/// Addresses that `prevResult` gives to our interface. Plugins after us may have
/// added interfaces and addresses of their own: those are not ours to check.
fn expected_addresses(sandbox: &Sandbox, config: &NetworkConfig) -> Result<Vec<IpNet>, CniError> {
    let Some(previous) = config.previous_result()? else {
        let problem = "CHECK compares with the result of ADD";
        return Err(CniError::FieldMissing { field: "prevResult", problem });
    };
    let empty = Vec::new();
    let list = |field: &str| match previous.get(field) {
        None | Some(Value::Null) => Ok(&empty),
        Some(Value::Array(list)) => Ok(list),
        Some(other) => Err(malformed(&format!("prevResult.{field}"), other, "a list")),
    };
    let ours = list("interfaces")?.iter().position(|interface| {
        let text = |field| interface.get(field).and_then(Value::as_str).unwrap_or_default();
        text("name") == sandbox.key.interface.as_str() && !text("sandbox").is_empty()
    });
    let Some(ours) = ours else {
        let value = previous.get("interfaces").cloned().unwrap_or(Value::Null);
        let expected = format!("an entry with the name {} and a sandbox", sandbox.key.interface);
        return Err(malformed("prevResult.interfaces", &value, &expected));
    };
    let mut addresses = Vec::new();
    for (index, entry) in list("ips")?.iter().enumerate() {
        let belongs = entry.get("interface").and_then(Value::as_u64);
        if belongs.is_some_and(|interface| usize::try_from(interface) != Ok(ours)) {
            continue;
        }
        let field = format!("prevResult.ips[{index}].address");
        addresses.push(IpNet::from(address_in(&field, entry.get("address").unwrap_or(&Value::Null))?));
    }
    Ok(addresses)
}
