//! What a peer counts of its own work: kube-proxy's metrics, whose names Seaway's agent keeps.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use crate::bench::error::{BenchError, NetworkContext};
use crate::error::Result;
use crate::machine::Node;

/// Time that bringing changes into the kernel took, of each batch.
const PROGRAMMING: &str = "kubeproxy_sync_proxy_rules_duration_seconds";
/// An exposition is some hundred kilobytes.
const MOST_BYTES: u64 = 16 << 20;

/// A histogram's totals at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Programming {
    seconds: f64,
    batches: f64,
}

// === impl Programming ===

impl Programming {
    /// Asks the program that serves metrics on a loopback port of the node.
    pub(super) fn read(node: &Node, port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut text = String::new();
        let mut connection = node.dial(address)?;
        let asked = connection.write_all(b"GET /metrics HTTP/1.0\r\n\r\n");
        let read = asked.and_then(|()| connection.take(MOST_BYTES).read_to_string(&mut text));
        read.on_network("read metrics of", address)?;
        let missing = || BenchError::Program { program: format!("metrics at {address}"), reason: text.clone() };
        Ok(Self::parse(&text).ok_or_else(missing)?)
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |suffix: &str| {
            text.lines().find_map(|line| {
                let (labels, value) = line.strip_prefix(PROGRAMMING)?.strip_prefix(suffix)?.rsplit_once(' ')?;
                // kube-proxy tells its families apart: {ip_family="IPv4"}. The other one has nothing to do here.
                if labels.contains("IPv6") { None } else { value.parse::<f64>().ok() }
            })
        };
        Some(Self { seconds: value("_sum")?, batches: value("_count")? })
    }

    /// Mean milliseconds of the batches since `before`; none: there were none.
    pub(super) fn mean_millis_since(&self, before: &Self) -> Option<f64> {
        let batches = self.batches - before.batches;
        (batches > 0.0).then(|| (self.seconds - before.seconds) * 1_000.0 / batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_totals_of_ipv4_count() {
        let text = "# TYPE kubeproxy_sync_proxy_rules_duration_seconds histogram\n\
            kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv4\",le=\"0.001\"} 7\n\
            kubeproxy_sync_proxy_rules_duration_seconds_sum{ip_family=\"IPv6\"} 0.5\n\
            kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"} 1\n\
            kubeproxy_sync_proxy_rules_duration_seconds_sum{ip_family=\"IPv4\"} 2.0\n\
            kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 4\n";
        let seen = Programming::parse(text).unwrap();
        assert_eq!(seen, Programming { seconds: 2.0, batches: 4.0 });
        assert_eq!(seen.mean_millis_since(&Programming { seconds: 1.0, batches: 2.0 }), Some(500.0));
        assert_eq!(seen.mean_millis_since(&seen), None);
        let ours = "kubeproxy_sync_proxy_rules_duration_seconds_sum 0.5\nkubeproxy_sync_proxy_rules_duration_seconds_count 1\n";
        assert_eq!(Programming::parse(ours).unwrap(), Programming { seconds: 0.5, batches: 1.0 });
        assert_eq!(Programming::parse("go_goroutines 5\n"), None);
    }
}
