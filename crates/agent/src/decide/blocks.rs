//! Taking blocks from the pools ahead of need, giving them back, writing down
//! what pods hold.

use std::time::Duration;

use ipnet::IpNet;
use seaway_model::agent_api::Failure;
use seaway_model::{Diagnose as _, IpBlock};

use super::{Action, Announcement, ClaimKey, State};

/// First pause after a claim that the API could not carry out; it doubles.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest pause. Short, since pods of a node without a block wait for it.
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// How a pool's claim stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// [`Action::ClaimBlock`] is under way; the pause to take when it fails.
    UnderWay(Duration),
    /// Failed: not before this time, and the pause after another failure.
    Waiting(Duration, Duration),
}

impl State {
    pub(super) fn look_after_blocks(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.settings.node_pod_cidrs.is_some() {
            return;
        }
        for wish in self.ipam.block_wishes() {
            let lost = wish.candidates.first().filter(|block| self.ipam.holds(block)).copied();
            let claim = ClaimKey { pool: wish.pool, lost };
            let pause = match self.claims.get(&claim) {
                None => RETRY_FIRST,
                Some(Claim::Waiting(until, pause)) if now >= *until => *pause,
                Some(_) => continue,
            };
            self.claims.insert(claim.clone(), Claim::UnderWay(pause));
            actions.push(Action::ClaimBlock { claim, candidates: wish.candidates });
        }
        self.announce_shortage(actions);
    }

    /// Only now and then: a release that failed is tried again at the next look.
    pub(super) fn give_back_blocks(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.settings.node_pod_cidrs.is_some() {
            return;
        }
        self.ipam.expire(now);
        for block in self.ipam.releasable(now) {
            if !self.releasing.contains(&block) && self.ipam.begin_release(&block) {
                self.releasing.insert(block);
                actions.push(Action::ReleaseBlock(block));
            }
        }
    }

    /// Before pods fail: a pool without unclaimed blocks, of which little is left here.
    fn announce_shortage(&mut self, actions: &mut Vec<Action>) {
        let short = self.ipam.nearly_exhausted();
        // Once per pool, and again after it had recovered; the number left changes meanwhile.
        let pools: Vec<String> = short.iter().map(pool_of).collect();
        self.announced.retain(|entry| !entry.starts_with("shortage ") || pools.contains(entry));
        for (error, pool) in short.iter().zip(pools) {
            if self.announced.insert(pool) {
                let note = format!("{}: {error}. {}", error.id(), error.fix());
                actions.push(Action::Announce(Announcement { pod: None, reason: "AddressPoolNearlyExhausted", note }));
            }
        }
    }

    pub(super) fn claimed(
        &mut self,
        claim: ClaimKey,
        outcome: Result<Option<IpBlock>, Failure>,
        taken: &[IpNet],
        now: Duration,
    ) {
        for block in taken {
            self.ipam.taken_by_other(*block);
        }
        let pause = match self.claims.get(&claim) {
            Some(Claim::UnderWay(pause)) => *pause,
            _ => RETRY_FIRST,
        };
        let waiting = Claim::Waiting(now + pause, (pause * 2).min(RETRY_LONGEST));
        match outcome {
            Ok(Some(block)) => {
                self.claims.remove(&claim);
                self.troubles.claims.remove(&claim);
                self.ipam.claimed(&block, now);
            }
            // Others were faster with all of them. There may be no end to that: a
            // block of ours that was lost to another node, say.
            Ok(None) => {
                self.claims.insert(claim, waiting);
            }
            Err(failure) => {
                self.claims.insert(claim.clone(), waiting);
                self.troubles.claims.insert(claim, failure);
            }
        }
    }

    pub(super) fn block_released(&mut self, block: IpNet, outcome: &Result<(), Failure>) {
        self.releasing.remove(&block);
        // On failure it is releasable still, and the next look tries again.
        if outcome.is_ok() {
            self.ipam.released(&block);
        }
    }

    pub(super) fn record_changes(&mut self, actions: &mut Vec<Action>) {
        let changed = self.ipam.take_changed_blocks();
        if changed.is_empty() || self.settings.node_pod_cidrs.is_some() {
            return;
        }
        let records = changed.into_iter().map(|block| (block, self.ipam.allocations(&block))).collect();
        actions.push(Action::Record(records));
    }
}

fn pool_of(error: &seaway_routing::ipam::IpamError) -> String {
    match error {
        seaway_routing::ipam::IpamError::NearlyExhausted { pool, .. } => format!("shortage {pool}"),
        other => format!("shortage {other}"),
    }
}
