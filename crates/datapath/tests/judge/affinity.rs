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
    /// By Service port.
    by_port: HashMap<(PortOf, Protocol, IpAddr), SocketAddr>,
    /// By place: a Service port has several, and each may remember for itself.
    by_place: HashMap<(PortOf, IpAddr, u16, Protocol, IpAddr), SocketAddr>,
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
        let (Some(service), Expected::Backends { to, sticky: true, .. }, Some(backend)) = (service, expected, backend)
        else {
            return Ok(());
        };
        // A process is one client, whichever of its addresses it uses.
        let client = match probe.client {
            Client::Process => Client::Process.address(address(Kind::Node, HERE, probe.to.is_ipv4())),
            _ => probe.from(),
        };
        let place = (service.clone(), probe.to, probe.port, probe.protocol, client);
        let before =
            [self.by_port.insert((service, probe.protocol, client), backend), self.by_place.insert(place, backend)];
        // Whether all places of a port remember together (nftables, kube-proxy) or each for itself (eBPF),
        // and whether a process is one client or one for each address, is free: only where both agree
        // is there a backend to keep.
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
                self.by_port.retain(|((service, _), ..), _| service != of);
                self.by_place.retain(|((service, _), ..), _| service != of);
            }
        }
    }
}
