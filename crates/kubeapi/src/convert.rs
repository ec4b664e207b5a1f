//! From objects of the API to the model, naming the field that is wrong.

mod dns_config;
mod names;
mod services;

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use kube::ResourceExt;
use seaway_model::labels::{Operator, Requirement};
use seaway_model::{Encapsulation, IpBlock, IpPool, LabelSelector, Labels, Node, NodeName, Pod, PodRef};

use crate::InvalidObject;
use crate::blocks::block_name;
use crate::resources::{
    DEFAULT_IPV4_BLOCK, DEFAULT_IPV6_BLOCK, EncapsulationMode, IPBlock, IPPool, Selector, SelectorOperator,
};

pub(crate) use dns_config::dns_spec;
pub(crate) use names::{gateway, grpc_route, http_route, import, tls_route};
pub(crate) use services::{service, service_ranges, slice};

pub(crate) fn pool(object: &IPPool) -> Result<IpPool, InvalidObject> {
    let spec = &object.spec;
    let cidr = range("IPPool", object.name_any(), "spec.cidr", &spec.cidr)?;
    let default = if cidr.addr().is_ipv4() { DEFAULT_IPV4_BLOCK } else { DEFAULT_IPV6_BLOCK };
    Ok(IpPool {
        name: object.name_any(),
        cidr,
        block_prefix_length: spec.block_prefix_length.unwrap_or(default),
        encapsulation: match spec.encapsulation {
            EncapsulationMode::Vxlan => Encapsulation::Vxlan,
            EncapsulationMode::None => Encapsulation::None,
            EncapsulationMode::CrossSubnet => Encapsulation::CrossSubnet,
        },
        node_selector: spec.node_selector.as_ref().map(selector).unwrap_or_default(),
        namespace_selector: spec.namespace_selector.as_ref().map(selector).unwrap_or_default(),
        masquerade: spec.masquerade,
        // Kept by our finalizer while pods use it, but on its way out.
        disabled: spec.disabled || object.metadata.deletion_timestamp.is_some(),
    })
}

pub(crate) fn block(object: &IPBlock) -> Result<IpBlock, InvalidObject> {
    let name = object.name_any();
    let cidr = range("IPBlock", name.clone(), "spec.cidr", &object.spec.cidr)?;
    let expected = block_name(&cidr);
    if name != expected {
        // The name is what makes a claim exclusive; under another name one range could have two owners.
        let reason = format!("does not belong to that range; its block is named {expected}");
        return Err(InvalidObject { kind: "IPBlock", name: name.clone(), field: "metadata.name", value: name, reason });
    }
    Ok(IpBlock { cidr, pool: object.spec.pool.clone(), node: NodeName::from(object.spec.node.as_str()) })
}

/// Addresses that do not parse are left out: a node with one good address is better than none.
/// What the cluster autoscaler puts on a node that it is about to remove (KEP-3836).
const DELETION_TAINT: &str = "ToBeDeletedByClusterAutoscaler";

pub(crate) fn node(object: &core::Node) -> Node {
    let status = object.status.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_ref()).into_iter().flatten();
    let spec = object.spec.as_ref();
    let pod_cidrs = spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten();
    Node {
        addresses: addresses.filter(|a| a.type_ == "InternalIP").filter_map(|a| a.address.parse().ok()).collect(),
        pod_cidrs: pod_cidrs.filter_map(|cidr| cidr.parse().ok()).collect(),
        labels: object.labels().clone(),
        leaving: spec
            .and_then(|spec| spec.taints.as_ref())
            .is_some_and(|taints| taints.iter().any(|taint| taint.key == DELETION_TAINT)),
    }
}

pub(crate) fn pod(object: &core::Pod) -> (PodRef, Pod) {
    let reference = PodRef { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
    let ips = object.status.as_ref().and_then(|status| status.pod_ips.as_ref()).into_iter().flatten();
    let spec = object.spec.as_ref();
    let pod = Pod {
        uid: object.uid().unwrap_or_default(),
        labels: object.labels().clone(),
        node: spec.and_then(|spec| spec.node_name.clone()).map(NodeName::from),
        addresses: if has_ended(object) {
            Vec::new()
        } else {
            ips.filter_map(|ip| ip.ip.parse::<IpAddr>().ok()).collect()
        },
        host_network: spec.and_then(|spec| spec.host_network).unwrap_or(false),
    };
    (reference, pod)
}

/// Whether all its containers ended for good. The object still names its addresses then, but another
/// pod may have them by now.
fn has_ended(object: &core::Pod) -> bool {
    let phase = object.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// A pod of any node, reduced to who has which address.
pub(crate) fn address_holder(object: &core::Pod) -> (PodRef, Pod) {
    let (reference, pod) = pod(object);
    (reference, Pod { uid: String::new(), labels: Labels::new(), ..pod })
}

fn range(kind: &'static str, name: String, field: &'static str, text: &str) -> Result<IpNet, InvalidObject> {
    let invalid = |reason: String| InvalidObject { kind, name, field, value: text.to_owned(), reason };
    match text.parse::<IpNet>() {
        Err(_) => Err(invalid("is not an address range as 10.244.0.0/16".into())),
        Ok(net) if net.addr() != net.network() => {
            Err(invalid(format!("has bits to the right of its prefix; {} is meant", net.trunc())))
        }
        Ok(net) => Ok(net),
    }
}

fn selector(selector: &Selector) -> LabelSelector {
    let requirement = |term: &crate::resources::SelectorRequirement| Requirement {
        key: term.key.clone(),
        operator: match term.operator {
            SelectorOperator::In => Operator::In,
            SelectorOperator::NotIn => Operator::NotIn,
            SelectorOperator::Exists => Operator::Exists,
            SelectorOperator::DoesNotExist => Operator::DoesNotExist,
        },
        values: term.values.iter().cloned().collect(),
    };
    LabelSelector {
        match_labels: selector.match_labels.clone(),
        match_expressions: selector.match_expressions.iter().map(requirement).collect(),
    }
}

#[cfg(test)]
mod tests {
    use crate::resources::{IPBlockSpec, IPPoolSpec};

    use super::*;

    fn pool_with(cidr: &str) -> IPPool {
        let spec: IPPoolSpec = serde_json::from_value(serde_json::json!({ "cidr": cidr })).unwrap();
        IPPool::new("p", spec)
    }

    #[test]
    fn pools_get_the_defaults_of_their_family() {
        let four = pool(&pool_with("10.244.0.0/16")).unwrap();
        assert_eq!((four.block_prefix_length, four.masquerade, four.disabled), (26, true, false));
        assert_eq!(four.encapsulation, Encapsulation::Vxlan);
        assert_eq!(pool(&pool_with("fd00::/64")).unwrap().block_prefix_length, 122);
    }

    #[test]
    fn a_pool_on_its_way_out_gives_no_addresses() {
        let mut object = pool_with("10.244.0.0/16");
        object.metadata.deletion_timestamp =
            Some(serde_json::from_value(serde_json::json!("2026-01-01T00:00:00Z")).unwrap());
        assert!(pool(&object).unwrap().disabled);
    }

    #[test]
    fn errors_name_object_field_and_value() {
        let error = pool(&pool_with("10.244.0.1/16")).unwrap_err();
        let expected =
            "IPPool p: spec.cidr \"10.244.0.1/16\" has bits to the right of its prefix; 10.244.0.0/16 is meant";
        assert_eq!(error.to_string(), expected);
        assert!(pool(&pool_with("ten")).is_err());
    }

    #[test]
    fn a_block_under_a_foreign_name_is_refused() {
        let spec = IPBlockSpec { cidr: "10.0.0.0/26".into(), pool: "p".into(), node: "n".into() };
        assert!(block(&IPBlock::new("10-0-0-0-26", spec.clone())).is_ok());
        assert_eq!(block(&IPBlock::new("mine", spec)).unwrap_err().field, "metadata.name");
    }
}
