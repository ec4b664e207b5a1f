//! Which backends clients must keep: those of a Service port with affinity, as long as they serve.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use seaway_model::{Protocol, ServiceChange, ServiceRef};

use crate::expected::Expected;
use crate::world::addresses::{HERE, Kind, address};
use crate::world::scenario::{Client, Probe};

/// Name of a Service port.
type PortOf = (ServiceRef, String);

/// The last backends of clients.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// A process being one client.
    by_client: HashMap<(PortOf, Protocol, IpAddr), SocketAddr>,
    /// A process being another client with each of its addresses.
    by_address: HashMap<(PortOf, Protocol, IpAddr), SocketAddr>,
}

// === impl Kept ===

impl Kept {
    /// Notes where a client came to; an error when it lost a backend that serves.
    pub(crate) fn check(
        &mut self,
        service: Option<PortOf>,
        probe: &Probe,
        expected: &Expected,
        backend: Option<SocketAddr>,
    ) -> Result<(), String> {
        // Those who answer directly are chosen by the client's address, so that all nodes choose alike.
        let (Some(service), Expected::Backends { to, sticky: true, direct: false, .. }, Some(backend)) =
            (service, expected, backend)
        else {
            return Ok(());
        };
        let client = match probe.client {
            Client::Process => Client::Process.address(address(Kind::Node, HERE, probe.to.is_ipv4())),
            _ => probe.from(),
        };
        let address = (service.clone(), probe.protocol, probe.from());
        let before = [
            self.by_client.insert((service, probe.protocol, client), backend),
            self.by_address.insert(address, backend),
        ];
        // Whether a process is one client (eBPF) or one for each address (nftables, kube-proxy) is free: only
        // where both agree is there a backend to keep.
        let is_settled = before[0] == before[1];
        let before = before.into_iter().flatten().filter(|_| is_settled);
        let serving: Vec<SocketAddr> = before.filter(|before| to.contains(before)).collect();
        if serving.is_empty() || serving.contains(&backend) {
            return Ok(());
        }
        Err(format!("the client had {serving:?} and came to {backend}"))
    }

    /// A Service that changes may forget its clients; one whose endpoints change may not.
    pub(crate) fn forget(&mut self, changes: &[ServiceChange]) {
        for change in changes {
            if let ServiceChange::Service { of, .. } = change {
                self.by_client.retain(|((service, _), ..), _| service != of);
                self.by_address.retain(|((service, _), ..), _| service != of);
            }
        }
    }
}
