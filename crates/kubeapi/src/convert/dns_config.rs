//! `DNSConfig` to the model: word for word. What a field means, and whether it can be used, is
//! the DNS server's to say.

use seaway_model::dns::{
    DnsAccess, DnsAccessAction, DnsBlock, DnsBlockAction, DnsForward, DnsForwardPolicy, DnsHost, DnsRecord, DnsRewrite,
    DnsRewritePart, DnsSpec, DnsZone,
};

use super::selector;
use crate::resources::dns_config::{AccessAction, BlockAction, DNSConfigSpec, ForwardPolicy, RewritePart, StaticZone};

pub(crate) fn dns_spec(spec: DNSConfigSpec) -> DnsSpec {
    DnsSpec {
        namespace_selector: spec.namespace_selector.as_ref().map(selector),
        access: each(spec.access, |rule| DnsAccess {
            action: match rule.action {
                AccessAction::Allow => DnsAccessAction::Allow,
                AccessAction::Deny => DnsAccessAction::Deny,
            },
            clients: rule.clients,
        }),
        block: each(spec.block, |rule| DnsBlock {
            names: rule.names,
            action: match rule.action {
                BlockAction::Nxdomain => DnsBlockAction::Nxdomain,
                BlockAction::Nodata => DnsBlockAction::Nodata,
                BlockAction::Refused => DnsBlockAction::Refused,
                BlockAction::Addresses => DnsBlockAction::Addresses,
                BlockAction::Allow => DnsBlockAction::Allow,
            },
            addresses: rule.addresses,
        }),
        hosts: each(spec.hosts, |host| DnsHost { name: host.name, addresses: host.addresses }),
        rewrites: each(spec.rewrites, |rule| DnsRewrite {
            part: match rule.part {
                RewritePart::Exact => DnsRewritePart::Exact,
                RewritePart::Suffix => DnsRewritePart::Suffix,
                RewritePart::Prefix => DnsRewritePart::Prefix,
            },
            from: rule.from,
            to: rule.to,
        }),
        zones: each(spec.zones, zone),
        forward: each(spec.forward, |rule| DnsForward {
            domain: rule.domain,
            upstreams: rule.upstreams,
            policy: match rule.policy {
                ForwardPolicy::Random => DnsForwardPolicy::Random,
                ForwardPolicy::RoundRobin => DnsForwardPolicy::RoundRobin,
                ForwardPolicy::Sequential => DnsForwardPolicy::Sequential,
            },
        }),
        search: spec.search,
    }
}

fn zone(zone: StaticZone) -> DnsZone {
    let records = each(zone.records, |record| DnsRecord {
        name: record.name,
        kind: record.kind,
        ttl_seconds: record.ttl_seconds,
        values: record.values,
    });
    DnsZone { name: zone.name, text: zone.text, records }
}

fn each<I, T>(items: Vec<I>, convert: impl FnMut(I) -> T) -> Vec<T> {
    items.into_iter().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields have the same names on both sides, so that nothing is lost between them.
    #[test]
    fn every_field_of_the_api_is_in_the_model() {
        let written = serde_json::json!({
            "namespaceSelector": {"matchLabels": {"team": "red"}, "matchExpressions": [{"key": "a", "operator": "Exists", "values": []}]},
            "access": [{"action": "deny", "clients": ["10.0.0.0/8"]}],
            "block": [{"names": ["*.a"], "action": "addresses", "addresses": ["192.0.2.1"]}, {"names": ["b"], "action": "allow", "addresses": []}],
            "hosts": [{"name": "a", "addresses": ["192.0.2.1"]}],
            "rewrites": [{"match": "prefix", "from": "a", "to": "b"}],
            "zones": [{"name": "a", "text": "b", "records": []},
                {"name": "c", "records": [{"name": "@", "type": "A", "ttlSeconds": 7, "values": ["192.0.2.1"]}]}],
            "forward": [{"domain": ".", "upstreams": ["192.0.2.1"], "policy": "roundRobin"}],
            "search": false,
        });
        let spec = dns_spec(serde_json::from_value(written.clone()).unwrap());
        assert_eq!(serde_json::to_value(spec).unwrap(), written);
    }
}
