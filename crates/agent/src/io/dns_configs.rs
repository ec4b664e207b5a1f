//! `DNSConfig` objects of the cluster, for the DNS server of the node.

use std::collections::BTreeMap;
use std::sync::Arc;

use seaway_kubeapi::DnsConfigWatch;
use seaway_model::Diagnose;

use crate::AgentError;
use crate::core::Handle;

/// Passes the objects on, and says in the log when they cannot be followed.
pub(crate) async fn follow_dns_configs(mut watched: DnsConfigWatch, agent: Handle) {
    loop {
        let objects = watched.objects.borrow_and_update().clone();
        if let Some(objects) = objects {
            let specs = objects.iter().map(|(name, object)| (name.clone(), Arc::clone(&object.spec)));
            agent.dns_configs(&specs.collect::<BTreeMap<_, _>>()).await;
        }
        tokio::select! {
            changed = watched.objects.changed() => if changed.is_err() { return },
            changed = watched.failure.changed() => {
                if changed.is_err() { return }
                if let Some(reason) = watched.failure.borrow_and_update().clone() {
                    let error = AgentError::WatchFailing { kind: "dnsconfigs", reason };
                    tracing::warn!(id = %error.id(), fix = error.fix(), "{error}");
                }
            }
        }
    }
}
