//! Whether what became of a packet is what may become of it.

use std::net::{IpAddr, SocketAddr};

use super::node::{Exit, Observed};
use crate::expected::Expected;
use crate::world::addresses::{HERE, Kind, SECOND, address, local_pod_ranges};
use crate::world::scenario::{Client, Probe};

/// What is wrong, if something is; else the backend that got the packet, if one did.
pub(crate) fn check(expected: &Expected, probe: &Probe, observed: &Observed) -> Result<Option<SocketAddr>, String> {
    let wrong = |why: &str| Err(format!("{why}: {observed}; expected {expected:?}"));
    if observed.delivered.len() > 1 {
        return wrong("it came out more than once");
    }
    let is_named_otherwise = observed.peer.is_some_and(|peer| peer != SocketAddr::new(probe.to, probe.port));
    if is_named_otherwise {
        return wrong("the socket has another peer than it called");
    }
    let delivered = observed.delivered.first().copied();
    match (expected, delivered) {
        (Expected::Backends { to, direct: true, .. }, Some((Exit::World, flow)))
            if flow.to == SocketAddr::new(probe.to, probe.port) =>
        {
            // The node of the endpoint chooses again.
            match to.iter().any(|backend| exit_for(backend.ip()) == Exit::World) {
                true if flow.from.ip() == probe.from() => Ok(None),
                true => wrong("the client's address must be kept"),
                false => wrong("no endpoint is elsewhere"),
            }
        }
        (Expected::Backends { to, hidden, direct, .. }, Some((exit, flow))) => {
            if !to.contains(&flow.to) || flow.protocol != probe.protocol {
                return wrong("it went elsewhere");
            }
            if exit != exit_for(flow.to.ip()) {
                return wrong("it went another way");
            }
            match source_flaw(probe, *hidden && !*direct, exit, flow.from.ip(), flow.to.ip()) {
                Some(flaw) => wrong(flaw),
                None => Ok(Some(flow.to)),
            }
        }
        (Expected::Backends { .. }, None) => wrong("it did not arrive"),
        (Expected::Refused, None) if observed.refused => Ok(None),
        (Expected::Refused, _) => wrong("it was not refused"),
        (Expected::Silence, None) if !observed.refused => Ok(None),
        (Expected::Silence, _) => wrong("it was not dropped"),
        (Expected::Untouched, Some((_, flow))) => {
            let is_from_client = match probe.client {
                // The kernel chooses among its addresses.
                Client::Process => is_own(flow.from.ip()),
                _ => flow.from.ip() == probe.from(),
            };
            if flow.to == SocketAddr::new(probe.to, probe.port) && is_from_client {
                return Ok(None);
            }
            wrong("it was changed")
        }
        // Hosts do not let such packets in.
        (Expected::Untouched, None) if probe.to.is_loopback() && !observed.refused => Ok(None),
        (Expected::Untouched, None) => wrong("it did not pass"),
    }
}

/// What is wrong with the address that a backend sees.
fn source_flaw(probe: &Probe, hidden: bool, exit: Exit, from: IpAddr, backend: IpAddr) -> Option<&'static str> {
    let is_node = from == address(Kind::Node, HERE, from.is_ipv4());
    let is_own = is_own(from);
    match probe.client {
        Client::Pod(_) if probe.from() == backend => {
            (!is_node).then_some("a backend that calls itself must see the node")
        }
        Client::Pod(_) => (from != probe.from()).then_some("a pod's address must be kept"),
        Client::Process if exit == Exit::Process => (!is_own).then_some("a process must keep an address of its node"),
        Client::Process => {
            (!is_own || from.is_loopback()).then_some("a process must have an address of its node elsewhere")
        }
        // Its answer comes back through the node whatever address it sees, as with kube-proxy.
        Client::Elsewhere(..) if hidden && exit == Exit::Process => {
            (!is_node && from != probe.from()).then_some("the client must be hidden or kept")
        }
        Client::Elsewhere(..) if hidden => (!is_node).then_some("the client must be hidden"),
        Client::Elsewhere(..) => (from != probe.from()).then_some("the client's address must be kept"),
    }
}

/// Whether it is an address of the node.
fn is_own(one: IpAddr) -> bool {
    one.is_loopback() || [HERE, SECOND].iter().any(|number| one == address(Kind::Node, *number, one.is_ipv4()))
}

fn exit_for(backend: IpAddr) -> Exit {
    if is_own(backend) {
        Exit::Process
    } else if local_pod_ranges().iter().any(|range| range.contains(&backend)) {
        Exit::Pods
    } else {
        Exit::World
    }
}
