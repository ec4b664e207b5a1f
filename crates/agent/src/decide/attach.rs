//! ADD, CHECK and DEL of one sandbox.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use seaway_datapath::link::gateway_like;
use seaway_datapath::{AttachedLink, PodLink};
use seaway_model::agent_api::{
    AddedAttachment, AddressAndGateway, Answer, Attachment, AttachmentKey, CheckAttachment, Failure,
};
use seaway_routing::ipam::{AllocationRequest, IpamError};

use super::{Action, Announcement, RequestId, State, not_ready, reply};
use crate::error::{AgentError, agent_failure, ipam_failure};

impl State {
    pub(super) fn add(
        &mut self,
        id: RequestId,
        attachment: &Attachment,
        with_namespace: bool,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        match self.link_for(attachment, with_namespace, now, actions) {
            Ok(link) => actions.push(Action::Attach { id, link }),
            Err(failure) => actions.push(reply(id, Err(failure))),
        }
    }

    fn link_for(
        &mut self,
        attachment: &Attachment,
        with_namespace: bool,
        now: Duration,
        actions: &mut Vec<Action>,
    ) -> Result<PodLink, Failure> {
        if !with_namespace {
            return Err(agent_failure(&AgentError::NamespaceMissing { key: attachment.key.clone() }));
        }
        let Some(plan) = self.plan.as_ref().filter(|_| self.applied.is_some()) else {
            return Err(not_ready("the first plan to be applied"));
        };
        let mtu_bytes = plan.pod_mtu_bytes;
        let addresses = self.allocate(attachment, now).map_err(|error| {
            self.announce_for(attachment, &error, actions);
            ipam_failure(&error)
        })?;
        Ok(PodLink {
            key: attachment.key.clone(),
            network: attachment.network.clone(),
            pod: attachment.pod.clone(),
            pod_uid: attachment.pod_uid.clone(),
            addresses,
            mac: attachment.requested_mac,
            mtu_bytes,
            shaped: attachment.shaped,
        })
    }

    fn allocate(&mut self, attachment: &Attachment, now: Duration) -> Result<Vec<IpAddr>, IpamError> {
        let no_labels = seaway_model::Labels::default();
        let namespace = attachment
            .pod
            .as_ref()
            .and_then(|pod| self.snapshot.as_ref().and_then(|snapshot| snapshot.namespaces.get(&pod.namespace)));
        let request = AllocationRequest {
            key: &attachment.key,
            network: &attachment.network,
            pod: attachment.pod.as_ref(),
            namespace_labels: namespace.map_or(&no_labels, |namespace| &namespace.labels),
            requested: &attachment.requested_addresses,
        };
        self.ipam.allocate(request, now)
    }

    fn announce_for(&mut self, attachment: &Attachment, error: &IpamError, actions: &mut Vec<Action>) {
        use seaway_model::Diagnose as _;
        let Some(pod) = &attachment.pod else { return };
        let note = format!("{}: {error}. {}", error.id(), error.fix());
        // The runtime tries again every few seconds; say it once per pod and reason.
        let once = format!("pod {pod} {} {}", attachment.pod_uid.as_deref().unwrap_or_default(), error.id());
        if self.announced.insert(once) {
            let pod = Some((pod.clone(), attachment.pod_uid.clone()));
            actions.push(Action::Announce(Announcement { pod, reason: "AddressNotAvailable", note }));
        }
    }

    pub(super) fn attached(
        &mut self,
        id: RequestId,
        key: &AttachmentKey,
        outcome: Result<AttachedLink, Failure>,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        match outcome {
            Ok(link) => {
                let answer = Answer::Added(added(&link));
                self.endpoints.insert(link.key.clone(), link);
                actions.push(Action::Reply { id, answer });
            }
            Err(failure) => {
                // A repeated ADD is refused because the interface is there; what
                // the first one made keeps its addresses.
                if !self.endpoints.contains_key(key) {
                    self.ipam.release(key, now);
                }
                actions.push(reply(id, Err(failure)));
            }
        }
    }

    pub(super) fn check(
        &self,
        id: RequestId,
        check: &CheckAttachment,
        with_namespace: bool,
        actions: &mut Vec<Action>,
    ) {
        match self.checked_link(check, with_namespace) {
            Ok(link) => actions.push(Action::Check { id, link }),
            Err(error) => actions.push(reply(id, Err(agent_failure(&error)))),
        }
    }

    fn checked_link(&self, check: &CheckAttachment, with_namespace: bool) -> Result<PodLink, AgentError> {
        let key = &check.attachment.key;
        if !with_namespace {
            return Err(AgentError::NamespaceMissing { key: key.clone() });
        }
        let link = self.endpoints.get(key).ok_or_else(|| AgentError::NotAttached { key: key.clone() })?;
        let expected: BTreeSet<IpAddr> = check.expected_addresses.iter().map(IpNet::addr).collect();
        // Later plugins may add addresses to our interface; ours must be among them.
        if !link.addresses.iter().all(|address| expected.contains(address)) {
            let (held, expected) = (link.addresses.clone(), expected.into_iter().collect());
            return Err(AgentError::AddressesDiffer { key: key.clone(), held, expected });
        }
        Ok(PodLink {
            key: key.clone(),
            network: link.network.clone(),
            pod: link.pod.clone(),
            pod_uid: link.pod_uid.clone(),
            addresses: link.addresses.clone(),
            mac: Some(link.pod_mac),
            mtu_bytes: link.mtu_bytes,
            shaped: link.shaped,
        })
    }

    pub(super) fn detached(
        &mut self,
        id: Option<RequestId>,
        outcomes: Vec<(AttachmentKey, Result<(), Failure>)>,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let mut failures = Vec::new();
        for (key, outcome) in outcomes {
            match outcome {
                Ok(()) => {
                    self.ipam.release(&key, now);
                    self.endpoints.remove(&key);
                }
                // The kernel may still hold the link: its addresses must stay taken.
                Err(failure) => failures.push((key, failure)),
            }
        }
        let Some(id) = id else { return };
        let answer = match failures.as_slice() {
            [] => Answer::Done,
            [(_, only)] => Answer::Failed(only.clone()),
            many => {
                let failures = many.iter().map(|(key, failure)| format!("{}: {failure}", key.container_id)).collect();
                Answer::Failed(agent_failure(&AgentError::GarbageLeft { failures }))
            }
        };
        actions.push(Action::Reply { id, answer });
    }
}

fn added(link: &AttachedLink) -> AddedAttachment {
    let addresses = link
        .addresses
        .iter()
        .map(|address| AddressAndGateway { address: IpNet::from(*address), gateway: gateway_like(address) })
        .collect();
    AddedAttachment {
        host_interface: link.host_interface.clone(),
        host_mac: link.host_mac,
        mac: link.pod_mac,
        mtu_bytes: link.mtu_bytes,
        addresses,
    }
}
