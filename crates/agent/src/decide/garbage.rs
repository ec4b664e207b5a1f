//! Attachments that nobody will delete: CNI GC, and sandboxes that died while
//! nobody told us.

use std::collections::BTreeSet;
use std::time::Duration;

use seaway_datapath::AttachedLink;
use seaway_model::agent_api::{Answer, AttachmentKey};

use super::{Action, RequestId, State};

/// Pause between two looks for leaks. A leak costs an address, not a packet.
const LEAK_CHECK_PAUSE: Duration = Duration::from_secs(30);

impl State {
    /// CNI GC: only this network's, since one agent may serve several.
    pub(super) fn collect(
        &self,
        id: RequestId,
        network: &str,
        valid: Option<Vec<AttachmentKey>>,
        actions: &mut Vec<Action>,
    ) {
        let of_network = self.endpoints.values().filter(|link| link.network == network);
        let Some(valid) = valid else {
            // The runtime did not say what is valid: only what is dead anyway.
            actions.push(Action::FindDead { id: Some(id), candidates: candidates(of_network) });
            return;
        };
        let valid: BTreeSet<AttachmentKey> = valid.into_iter().collect();
        let keys: Vec<AttachmentKey> =
            of_network.filter(|link| !valid.contains(&link.key)).map(|link| link.key.clone()).collect();
        if keys.is_empty() {
            actions.push(Action::Reply { id, answer: Answer::Done });
        } else {
            actions.push(Action::Detach { id: Some(id), keys });
        }
    }

    /// A leak is an attachment whose pod the API no longer has *and* whose link
    /// is gone: either alone happens in the ordinary life of a pod.
    pub(super) fn look_for_leaks(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if now < self.next_leak_check {
            return;
        }
        self.next_leak_check = now + LEAK_CHECK_PAUSE;
        let Some(snapshot) = &self.snapshot else { return };
        let orphans = self.endpoints.values().filter(|link| match &link.pod {
            None => true,
            Some(pod) => snapshot
                .pods
                .get(pod)
                .is_none_or(|found| link.pod_uid.as_ref().is_some_and(|uid| !uid.is_empty() && *uid != found.uid)),
        });
        let candidates = candidates(orphans);
        if !candidates.is_empty() {
            actions.push(Action::FindDead { id: None, candidates });
        }
    }
}

fn candidates<'a>(links: impl Iterator<Item = &'a AttachedLink>) -> Vec<(AttachmentKey, seaway_model::InterfaceName)> {
    links.map(|link| (link.key.clone(), link.host_interface.clone())).collect()
}
