//! What stands behind names, for people: which objects an answer came from.

use std::net::IpAddr;

use seaway_model::PodRef;

use super::index::{Index, PodIdentity};
use super::service::{ServiceRecords, Target};
use crate::wire::Name;

// === impl Index ===

impl Index {
    /// The pod that has an address, of this node or, with `dns.pods: verified`, any.
    #[must_use]
    pub fn pod(&self, address: &IpAddr) -> Option<PodRef> {
        self.pods.with(address, |pod| reference(pod))
    }

    /// Addresses of a pod that is known.
    #[must_use]
    pub fn addresses_of_pod(&self, pod: &PodRef) -> Vec<IpAddr> {
        let mut found = self.pods.keys_where(|_, identity| reference(identity) == *pod);
        found.sort();
        found
    }

    /// The object behind a name below the cluster's domain, and what it holds.
    #[must_use]
    pub fn describe(&self, name: &Name) -> Option<String> {
        let before = name.below(&self.settings.domain)?;
        let last = before.checked_sub(1)?;
        match name.label(last) {
            b"svc" if before >= 3 => {
                let key = name.labels_wire(before - 3..last);
                let label = |index| String::from_utf8_lossy(name.label(index)).into_owned();
                let (service, namespace) = (label(before - 3), label(before - 2));
                let told = self.services.with(key, |records| described(records)).flatten();
                Some(match told {
                    Some(told) => format!("Service {namespace}/{service} ({told})"),
                    None if self.has_namespace(name.labels_wire(before - 2..last)) => {
                        format!("no Service {namespace}/{service}")
                    }
                    None => format!("no namespace {namespace}"),
                })
            }
            b"svc" if before == 2 => {
                let namespace = String::from_utf8_lossy(name.label(0)).into_owned();
                let exists = self.has_namespace(name.labels_wire(0..1));
                Some(if exists { format!("namespace {namespace}") } else { format!("no namespace {namespace}") })
            }
            b"pod" => Some("dns.pods".to_owned()),
            _ => None,
        }
    }
}

fn reference(pod: &PodIdentity) -> PodRef {
    let namespace = String::from_utf8_lossy(pod.namespace.get(1..).unwrap_or_default()).into_owned();
    PodRef { namespace, name: pod.name.to_string() }
}

fn described(records: &ServiceRecords) -> Option<String> {
    let spec = records.spec.as_deref()?;
    Some(match &spec.target {
        Target::Addresses(addresses) => {
            let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("ClusterIP {}", texts.join(", "))
        }
        Target::Headless => {
            let endpoints = || records.slices.iter().flat_map(|slice| slice.endpoints.iter());
            let (all, shown) = (endpoints().count(), endpoints().filter(|endpoint| endpoint.shown(spec)).count());
            let slices = records.slices.len();
            format!("headless; {slices} slices with {all} endpoints, {shown} of them given out")
        }
        Target::Name(target) => format!("ExternalName {target}"),
        Target::Nothing => "ExternalName that is no name".to_owned(),
    })
}
