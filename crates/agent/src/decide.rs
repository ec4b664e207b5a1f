//! What the agent does about what happens, without doing it: [`State::decide`]
//! takes one [`Input`] at a time and answers with [`Action`]s. The shell
//! ([`crate::owner`]) carries them out one after the other and brings each
//! outcome back as an input before anything else, so that no two attachments
//! are ever half made at once.
//!
//! No clock, no kernel, no socket here; `now` is a duration since a fixed moment.

mod attach;
mod blocks;
mod drops;
mod garbage;
mod network;
#[cfg(test)]
mod property_tests;
mod status;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use seaway_datapath::{AttachedLink, Difference, PodLink};
use seaway_model::agent_api::{Answer, AttachmentKey, Failure, Request};
use seaway_model::{BlockAllocation, InterfaceName, IpBlock, NodeName, PodRef, Snapshot};
use seaway_routing::ipam::{Ipam, Lease};
use seaway_routing::plan::{NetworkOptions, NetworkPlan, Underlay};
use seaway_runtime::config::NodePodCidrs;

use crate::error::{AgentError, agent_failure};
use blocks::Claim;

/// Number of a request, given by the shell, which knows who waits for the answer.
pub type RequestId = u64;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// The kernel held these links when the agent started. First of all inputs.
    Adopted(Vec<AttachedLink>),
    /// The cluster changed.
    Snapshot(Arc<Snapshot>),
    /// What is wrong with following the cluster, or with single objects.
    Watch(Vec<Failure>),
    /// What is wrong with following Services, or with single ones.
    ServiceWatch(Vec<Failure>),
    /// What is wrong with following what only DNS needs, or with single objects of it.
    NameWatch(Vec<Failure>),
    /// What the data path of Services does not take.
    ServiceTroubles(Vec<Failure>),
    /// Answer to [`Action::FindUnderlay`].
    Underlay(Result<Underlay, Failure>),
    /// Answer to [`Action::FindPathMtus`].
    PathMtus(Result<BTreeMap<IpAddr, u32>, Failure>),
    /// Somebody asked over the socket. `with_namespace`: the sandbox's came along.
    Request {
        /// Who waits.
        id: RequestId,
        /// What for.
        request: Request,
        /// Whether a namespace came along.
        with_namespace: bool,
    },
    /// Outcome of [`Action::Attach`].
    Attached {
        /// Who waits.
        id: RequestId,
        /// The attachment.
        key: AttachmentKey,
        /// What was made.
        outcome: Result<AttachedLink, Failure>,
    },
    /// Outcome of [`Action::Check`].
    Checked {
        /// Who waits.
        id: RequestId,
        /// What was found.
        outcome: Result<(), Failure>,
    },
    /// Outcome of [`Action::Detach`].
    Detached {
        /// Who waits; none: nobody asked.
        id: Option<RequestId>,
        /// Each attachment and how it went.
        outcomes: Vec<(AttachmentKey, Result<(), Failure>)>,
    },
    /// Answer to [`Action::FindDead`]: these have no link any more.
    Dead {
        /// Who waits; none: nobody asked.
        id: Option<RequestId>,
        /// The attachments.
        keys: Vec<AttachmentKey>,
    },
    /// Outcome of [`Action::Apply`].
    Applied {
        /// Generation of the snapshot behind the plan.
        generation: u64,
        /// What became of XDP on the underlay device, for people.
        outcome: Result<Option<String>, Failure>,
    },
    /// Outcome of [`Action::Audit`].
    Audited {
        /// Who waits; none: it was time.
        id: Option<RequestId>,
        /// What differed.
        outcome: Result<Vec<Difference>, Failure>,
    },
    /// Outcome of [`Action::ClaimBlock`].
    Claimed {
        /// Which claim.
        claim: ClaimKey,
        /// What was created; none: every candidate is taken.
        outcome: Result<Option<IpBlock>, Failure>,
        /// Candidates that belong to others.
        taken: Vec<IpNet>,
    },
    /// Outcome of [`Action::ReleaseBlock`].
    Released {
        /// The block.
        block: IpNet,
        /// How it went.
        outcome: Result<(), Failure>,
    },
    /// Outcome of [`Action::BecomeReady`]: what is wrong with the CNI configuration though written.
    Written(Result<Vec<Failure>, Failure>),
    /// A second passed.
    Tick,
    /// It is time to compare kernel and plan.
    AuditDue,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Look which device of the host holds one of these addresses.
    FindUnderlay {
        /// The node's addresses.
        addresses: Vec<IpAddr>,
    },
    /// Look where routers have told of a smaller MTU on the way to other nodes.
    FindPathMtus,
    /// Connect the sandbox whose namespace came with the request.
    Attach {
        /// Who waits.
        id: RequestId,
        /// What to make.
        link: PodLink,
    },
    /// Compare the sandbox with this.
    Check {
        /// Who waits.
        id: RequestId,
        /// What ADD made.
        link: PodLink,
    },
    /// Disconnect sandboxes; go on past failures.
    Detach {
        /// Who waits; none: nobody asked.
        id: Option<RequestId>,
        /// Which.
        keys: Vec<AttachmentKey>,
    },
    /// Look which of these links are gone from the kernel.
    FindDead {
        /// Who waits; none: nobody asked.
        id: Option<RequestId>,
        /// Attachments and their interfaces on the node.
        candidates: Vec<(AttachmentKey, InterfaceName)>,
    },
    /// Make the kernel look like this.
    Apply {
        /// What it should look like.
        plan: Arc<NetworkPlan>,
        /// Generation of the snapshot behind it.
        generation: u64,
    },
    /// Compare the kernel with this and repair.
    Audit {
        /// Who waits; none: it was time.
        id: Option<RequestId>,
        /// What it should look like.
        plan: Arc<NetworkPlan>,
    },
    /// Create one of these blocks in the API.
    ClaimBlock {
        /// Which claim.
        claim: ClaimKey,
        /// Ranges to try, in order.
        candidates: Vec<IpNet>,
    },
    /// Delete this block in the API.
    ReleaseBlock(IpNet),
    /// Write down in the API what pods hold of these blocks.
    Record(BTreeMap<IpNet, Vec<BlockAllocation>>),
    /// Tell people through a Kubernetes Event.
    Announce(Announcement),
    /// Write the CNI configuration and remove the node's taint.
    BecomeReady,
    /// Answer a request.
    Reply {
        /// Who waits.
        id: RequestId,
        /// The answer.
        answer: Answer,
    },
}

/// What is claimed: any block of a pool, or one that pods use and the API has lost.
/// One claim of each is under way at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimKey {
    /// The pool.
    pub pool: String,
    /// The lost block.
    pub lost: Option<IpNet>,
}

/// A warning for `kubectl describe` and `kubectl get events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The pod it is about; none: the node.
    pub pod: Option<(PodRef, Option<String>)>,
    /// One word, as Events have it.
    pub reason: &'static str,
    /// A sentence with the error's id.
    pub note: String,
}

/// What the agent decides from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This node.
    pub node: NodeName,
    /// Choices for the plan.
    pub options: NetworkOptions,
    /// Addresses come from `Node.spec.podCIDRs`, connected like this, not from pools.
    pub node_pod_cidrs: Option<NodePodCidrs>,
    /// How long released addresses rest.
    pub cooldown: Duration,
    /// For `NodeStatus`.
    pub version: String,
    /// For `NodeStatus`: the chosen backend.
    pub backend: String,
    /// For `NodeStatus`: why.
    pub backend_reason: String,
}

/// All that the agent knows.
#[derive(Debug, Clone)]
pub struct State {
    settings: Settings,
    ipam: Ipam,
    snapshot: Option<Arc<Snapshot>>,
    underlay: Option<Underlay>,
    plan: Option<Arc<NetworkPlan>>,
    /// Generation last applied with success.
    applied: Option<u64>,
    /// What became of XDP then.
    xdp: Option<String>,
    endpoints: BTreeMap<AttachmentKey, AttachedLink>,
    claims: BTreeMap<ClaimKey, Claim>,
    releasing: BTreeSet<IpNet>,
    readiness: Readiness,
    troubles: Troubles,
    /// What was announced, so that each trouble is announced once.
    announced: BTreeSet<String>,
    next_leak_check: Duration,
}

/// The way to a ready node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Waiting,
    /// [`Action::BecomeReady`] is under way.
    Writing,
    /// Failed; try again at this time.
    Retry(Duration),
    Ready,
}

/// What is wrong now, by where it comes from: each source replaces its own.
#[derive(Debug, Clone, Default)]
struct Troubles {
    watch: Vec<Failure>,
    service_watch: Vec<Failure>,
    name_watch: Vec<Failure>,
    services: Vec<Failure>,
    underlay: Option<Failure>,
    apply: Option<Failure>,
    plan: Vec<Failure>,
    addresses: Vec<Failure>,
    adopted: Vec<Failure>,
    claims: BTreeMap<ClaimKey, Failure>,
    configuration: Vec<Failure>,
    audit: Option<Failure>,
    path_mtus: Option<Failure>,
}

// === impl State ===

impl State {
    /// The state of an agent that has just started.
    #[must_use]
    pub fn new(settings: Settings) -> State {
        let ipam = Ipam::new(settings.node.clone(), settings.cooldown);
        State {
            settings,
            ipam,
            snapshot: None,
            underlay: None,
            plan: None,
            applied: None,
            xdp: None,
            endpoints: BTreeMap::new(),
            claims: BTreeMap::new(),
            releasing: BTreeSet::new(),
            readiness: Readiness::Waiting,
            troubles: Troubles::default(),
            announced: BTreeSet::new(),
            next_leak_check: Duration::ZERO,
        }
    }

    /// Takes note of what happened and says what to do about it, in order.
    #[must_use]
    pub fn decide(&mut self, input: Input, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Adopted(links) => self.adopt(links),
            Input::Snapshot(snapshot) => self.take_snapshot(&snapshot, now, &mut actions),
            Input::Watch(failures) => self.troubles.watch = failures,
            Input::ServiceWatch(failures) => self.troubles.service_watch = failures,
            Input::NameWatch(failures) => self.troubles.name_watch = failures,
            Input::ServiceTroubles(failures) => self.troubles.services = failures,
            Input::Underlay(outcome) => self.take_underlay(outcome, now, &mut actions),
            Input::PathMtus(outcome) => self.take_path_mtus(outcome, now, &mut actions),
            Input::Request { id, request, with_namespace } => {
                self.request(id, request, with_namespace, now, &mut actions);
            }
            Input::Attached { id, key, outcome } => self.attached(id, &key, outcome, now, &mut actions),
            Input::Checked { id, outcome } => actions.push(reply(id, outcome.map(|()| Answer::Done))),
            Input::Detached { id, outcomes } => self.detached(id, outcomes, now, &mut actions),
            Input::Dead { id, keys } => detach_dead(id, keys, &mut actions),
            Input::Applied { generation, outcome } => self.take_applied(generation, outcome),
            Input::Audited { id, outcome } => self.audited(id, outcome, &mut actions),
            Input::Claimed { claim, outcome, taken } => self.claimed(claim, outcome, &taken, now),
            Input::Released { block, outcome } => self.block_released(block, &outcome),
            Input::Written(outcome) => self.written(outcome, now),
            Input::Tick => {
                self.look_at_path_mtus(&mut actions);
                self.look_for_leaks(now, &mut actions);
                self.give_back_blocks(now, &mut actions);
            }
            Input::AuditDue => self.audit_due(&mut actions),
        }
        self.follow_up(now, &mut actions);
        actions
    }

    /// Attachments now, for metrics and for naming drops.
    pub fn endpoints(&self) -> impl Iterator<Item = &AttachedLink> {
        self.endpoints.values()
    }

    fn request(
        &mut self,
        id: RequestId,
        request: Request,
        with_namespace: bool,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        match request {
            Request::Add(attachment) => self.add(id, &attachment, with_namespace, now, actions),
            // Also for what we do not know: the kernel may still hold a part of it.
            Request::Delete(attachment) => {
                actions.push(Action::Detach { id: Some(id), keys: vec![attachment.key] });
            }
            Request::Check(check) => self.check(id, &check, with_namespace, actions),
            Request::GarbageCollect { network, valid } => self.collect(id, &network, valid, actions),
            Request::Status => {
                let outcome = self.availability(now).map_or(Ok(Answer::Done), Err);
                actions.push(reply(id, outcome));
            }
            Request::NodeStatus => {
                actions.push(Action::Reply { id, answer: Answer::NodeStatus(self.node_status(now)) });
            }
            Request::Endpoints => {
                actions.push(Action::Reply { id, answer: Answer::Endpoints { endpoints: self.endpoint_status() } });
            }
            Request::Audit => match &self.plan {
                Some(plan) => actions.push(Action::Audit { id: Some(id), plan: Arc::clone(plan) }),
                None => actions.push(reply(id, Err(not_ready("the cluster's objects")))),
            },
            // The shell streams by itself, and Services have a thread of their own.
            Request::Monitor | Request::Follow(_) | Request::Services { .. } => {
                let problem = "it is not decided here".to_owned();
                actions.push(reply(id, Err(agent_failure(&AgentError::RequestMalformed { problem }))));
            }
        }
    }

    fn adopt(&mut self, links: Vec<AttachedLink>) {
        let leases = links.iter().map(|link| {
            let lease =
                Lease { network: link.network.clone(), pod: link.pod.clone(), addresses: link.addresses.clone() };
            (link.key.clone(), lease)
        });
        let problems = self.ipam.restore(leases.collect::<Vec<_>>());
        self.troubles.adopted = problems.iter().map(crate::error::ipam_failure).collect();
        self.endpoints = links.into_iter().map(|link| (link.key.clone(), link)).collect();
    }

    /// What any input may have made due.
    fn follow_up(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.look_after_blocks(now, actions);
        self.record_changes(actions);
        self.become_ready(now, actions);
    }
}

fn detach_dead(id: Option<RequestId>, keys: Vec<AttachmentKey>, actions: &mut Vec<Action>) {
    if keys.is_empty() {
        if let Some(id) = id {
            actions.push(Action::Reply { id, answer: Answer::Done });
        }
    } else {
        actions.push(Action::Detach { id, keys });
    }
}

fn reply(id: RequestId, outcome: Result<Answer, Failure>) -> Action {
    Action::Reply { id, answer: outcome.unwrap_or_else(Answer::Failed) }
}

fn not_ready(waiting_for: &'static str) -> Failure {
    agent_failure(&AgentError::NotReady { waiting_for })
}
