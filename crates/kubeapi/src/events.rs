//! Events on objects, as `kubectl describe` shows them.

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, ResourceExt};
use seaway_model::{NodeName, PodRef, ServiceRef};

use crate::cluster::request;
use crate::resources::IPPool;
use crate::resources::dns_config::DNSConfig;
use crate::{Cluster, KubeApiError};

/// Writes events in the name of one daemon; repeated ones are counted, not repeated.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    pools: Api<IPPool>,
    client: kube::Client,
}

/// Whose event it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A pool by name.
    Pool(String),
    /// A node.
    Node(NodeName),
    /// A pod with its uid.
    Pod(PodRef, Option<String>),
    /// A Service.
    Service(ServiceRef),
    /// A `DNSConfig` by name.
    DnsConfig(String),
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// For information.
    Normal,
    /// Somebody should look.
    Warning,
}

// === impl Events ===

impl Events {
    /// Events of `daemon` (`seaway-agent`) running as `instance`, usually the node's or pod's name.
    #[must_use]
    pub fn new(cluster: &Cluster, daemon: &str, instance: &str) -> Self {
        let reporter = Reporter { controller: daemon.to_owned(), instance: Some(instance.to_owned()) };
        let pools = Api::all(cluster.client.clone());
        Self { recorder: Recorder::new(cluster.client.clone(), reporter), pools, client: cluster.client.clone() }
    }

    /// Writes one event. `reason` is one PascalCase word; `note` a sentence, cut at 1 kB as the API demands.
    pub async fn emit(
        &self,
        subject: &Subject,
        severity: Severity,
        reason: &str,
        note: &str,
    ) -> Result<(), KubeApiError> {
        let event = Event {
            type_: match severity {
                Severity::Normal => EventType::Normal,
                Severity::Warning => EventType::Warning,
            },
            reason: reason.to_owned(),
            note: Some(note.chars().take(1000).collect()),
            action: reason.to_owned(),
            secondary: None,
        };
        let action = format!("write event {reason} on {}", subject.describe());
        let mut reference = subject.reference();
        // `kubectl describe` finds events by the uid of the object.
        match subject {
            Subject::Pool(name) => {
                let pool = request(action.as_str(), self.pools.get_metadata_opt(name)).await?;
                reference.uid = pool.and_then(|pool| pool.uid());
            }
            Subject::Service(name) => {
                let services = Api::<Service>::namespaced(self.client.clone(), &name.namespace);
                let service = request(action.as_str(), services.get_metadata_opt(&name.name)).await?;
                reference.uid = service.and_then(|service| service.uid());
            }
            Subject::DnsConfig(name) => {
                let configs = Api::<DNSConfig>::all(self.client.clone());
                let config = request(action.as_str(), configs.get_metadata_opt(name)).await?;
                reference.uid = config.and_then(|config| config.uid());
            }
            Subject::Node(_) | Subject::Pod(..) => {}
        }
        request(action, self.recorder.publish(&event, &reference)).await
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

// === impl Subject ===

impl Subject {
    fn describe(&self) -> String {
        match self {
            Self::Pool(name) => format!("IPPool {name}"),
            Self::Node(name) => format!("node {name}"),
            Self::Pod(pod, _) => format!("pod {pod}"),
            Self::Service(service) => format!("Service {service}"),
            Self::DnsConfig(name) => format!("DNSConfig {name}"),
        }
    }

    fn reference(&self) -> ObjectReference {
        let (api_version, kind, name, namespace, uid) = match self {
            Self::Pool(name) => ("seaway.dev/v1alpha1", "IPPool", name.clone(), None, None),
            Self::DnsConfig(name) => ("seaway.dev/v1alpha1", "DNSConfig", name.clone(), None, None),
            // kubectl looks for a node's events by its name as uid, as the kubelet writes them.
            Self::Node(node) => ("v1", "Node", node.to_string(), None, Some(node.to_string())),
            Self::Pod(pod, uid) => ("v1", "Pod", pod.name.clone(), Some(pod.namespace.clone()), uid.clone()),
            Self::Service(service) => ("v1", "Service", service.name.clone(), Some(service.namespace.clone()), None),
        };
        ObjectReference {
            api_version: Some(api_version.to_owned()),
            kind: Some(kind.to_owned()),
            name: Some(name),
            namespace,
            uid,
            ..ObjectReference::default()
        }
    }
}
