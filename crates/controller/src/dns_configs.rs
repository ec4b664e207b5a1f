//! Follows `DNSConfig` objects on the leader and writes whether they can be used.

use std::time::Duration;

use seaway_kubeapi::{DnsConfigs, Events, Severity, Subject, watch_dns_configs};

use crate::decide::dns_configs::DnsConfigMemory;
use crate::tasks::{Controller, report};

/// Pause before a write that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

impl Controller {
    /// Judges; never ends by itself.
    pub(crate) async fn judge_dns_configs(&self) {
        let events = Events::new(&self.cluster, "seaway-controller", &self.config.identity);
        let configs = DnsConfigs::new(&self.cluster);
        let mut watched = watch_dns_configs(&self.cluster);
        let mut memory = DnsConfigMemory::default();
        loop {
            let objects = watched.objects.borrow_and_update().clone();
            let mut failed = false;
            for verdict in objects.map(|objects| memory.judge(&objects)).unwrap_or_default() {
                let accepted = &verdict.accepted;
                tracing::info!(config = verdict.name, accepted = accepted.accepted, "{}", accepted.message);
                if let Err(error) = configs.write_accepted(&verdict.name, accepted).await {
                    failed = true;
                    report("cannot write whether a DNSConfig is accepted", &error);
                    continue;
                }
                let subject = Subject::DnsConfig(verdict.name.clone());
                if verdict.warn
                    && let Err(error) =
                        events.emit(&subject, Severity::Warning, &accepted.reason, &accepted.message).await
                {
                    report("cannot write an event", &error);
                }
            }
            if failed {
                let _ = tokio::time::timeout(RETRY_PAUSE, watched.objects.changed()).await;
            } else if watched.objects.changed().await.is_err() {
                // The watch ends with this value only; without it there is nothing to judge.
                return std::future::pending().await;
            }
        }
    }
}
