//! A drop in people's words: which pods, and whose object caused it.

use std::net::IpAddr;

use seaway_datapath::AttachedLink;
use seaway_model::agent_api::DropEvent;
use seaway_model::{DropReason, InterfaceName, PodRef, abi};

use super::State;

impl State {
    /// Names what the kernel's record only numbers.
    #[must_use]
    pub fn describe_drop(&self, event: &abi::Event) -> DropEvent {
        let known = |bytes| (event.family != 0).then(|| abi::unmap_address(bytes));
        let (source, destination) = (known(event.source), known(event.destination));
        let endpoint =
            self.endpoints.values().find(|link| event.endpoint_id != 0 && link.endpoint_id == event.endpoint_id);
        let on_link = self.endpoints.values().find(|link| link.host_index == event.interface_index);
        let reason = DropReason::from_code(event.reason);
        // A pod that forges addresses is the one behind the link, whatever the packet says.
        let sender = match reason {
            Some(reason) if blames_sender(reason) => endpoint.or(on_link),
            _ => on_link.or_else(|| self.holder(source)),
        };
        DropEvent {
            boot_time_nanos: event.boot_time_nanos,
            reason: reason.map_or_else(|| format!("unknown_{}", event.reason), |reason| reason.label().to_owned()),
            source,
            destination,
            source_port: u16::from_be(event.source_port),
            destination_port: u16::from_be(event.destination_port),
            protocol: event.protocol,
            source_pod: sender.and_then(|link| link.pod.clone()).or_else(|| self.pod_with(source)),
            destination_pod: self.pod_with(destination),
            cause: self.cause(reason, sender, source, destination),
            interface: self.interface_name(event.interface_index),
        }
    }

    fn cause(
        &self,
        reason: Option<DropReason>,
        sender: Option<&AttachedLink>,
        source: Option<IpAddr>,
        destination: Option<IpAddr>,
    ) -> String {
        match reason {
            Some(reason) if blames_sender(reason) => {
                sender.map_or_else(|| "a pod link that the agent does not know".into(), AttachedLink::cause)
            }
            Some(DropReason::UntrustedTunnel) => source.map_or_else(
                || "an address that is no node of this cluster".into(),
                |address| format!("address {address}, which is no node of this cluster"),
            ),
            _ => self.cause_of_destination(destination),
        }
    }

    fn cause_of_destination(&self, destination: Option<IpAddr>) -> String {
        let Some(address) = destination else { return format!("node {}", self.settings.node) };
        if let Some(link) = self.holder(Some(address)) {
            return link.cause();
        }
        let blocks = self.snapshot.as_ref().map(|snapshot| snapshot.blocks.values());
        match blocks.into_iter().flatten().find(|block| block.cidr.contains(&address)) {
            Some(block) => format!("block {} of node {}, pool {}", block.cidr, block.node, block.pool),
            None => format!("node {}", self.settings.node),
        }
    }

    fn holder(&self, address: Option<IpAddr>) -> Option<&AttachedLink> {
        let address = address?;
        self.endpoints.values().find(|link| link.addresses.contains(&address))
    }

    fn pod_with(&self, address: Option<IpAddr>) -> Option<PodRef> {
        let local = self.holder(address).and_then(|link| link.pod.clone());
        local.or_else(|| {
            let (snapshot, address) = (self.snapshot.as_ref()?, address?);
            let mut pods = snapshot.pods.iter().filter(|(_, pod)| !pod.host_network);
            pods.find(|(_, pod)| pod.addresses.contains(&address)).map(|(name, _)| name.clone())
        })
    }

    fn interface_name(&self, index: u32) -> Option<InterfaceName> {
        let link = self.endpoints.values().find(|link| link.host_index == index);
        let underlay = self.underlay.as_ref().filter(|underlay| underlay.index == index);
        link.map(|link| link.host_interface.clone())
            .or_else(|| underlay.map(|underlay| InterfaceName(underlay.device.clone())))
    }
}

fn blames_sender(reason: DropReason) -> bool {
    match reason {
        DropReason::SpoofedSourceMac
        | DropReason::SpoofedSourceIp
        | DropReason::SpoofedNeighbor
        | DropReason::UnknownEtherType
        | DropReason::UnknownEndpoint
        | DropReason::Malformed => true,
        DropReason::UnknownPod
        | DropReason::UntrustedTunnel
        | DropReason::TtlExpired
        | DropReason::RedirectFailed
        | DropReason::ServiceWithoutLocalEndpoint
        | DropReason::ServiceSourceRefused
        | DropReason::ServicePortsExhausted
        | DropReason::ServiceUnknownConnection
        | DropReason::ServiceUnroutable => false,
    }
}
