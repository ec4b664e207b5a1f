//! A world for tests of decisions: the fake data path, a pretended API server,
//! and a clock that stands still unless told otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use seaway_datapath::Datapath;
use seaway_datapath::fake::FakeDatapath;
use seaway_model::agent_api::{AddedAttachment, Answer, Attachment, AttachmentKey, Failure, Request};
use seaway_model::{BlockAllocation, IpBlock, IpPool, Node, NodeName, Pod, PodRef, Snapshot};
use seaway_routing::plan::{NetworkOptions, Underlay};

use super::{Action, Announcement, ClaimKey, Input, RequestId, Settings, State};
use crate::error::datapath_failure;

/// The node whose agent is tested.
pub(super) const NODE: &str = "n1";

pub(super) struct World {
    pub(super) state: State,
    pub(super) datapath: FakeDatapath,
    pub(super) snapshot: Snapshot,
    pub(super) now: Duration,
    pub(super) answers: Vec<(RequestId, Answer)>,
    pub(super) announcements: Vec<Announcement>,
    pub(super) records: BTreeMap<IpNet, Vec<BlockAllocation>>,
    /// Every action, in order.
    pub(super) actions: Vec<Action>,
    /// Blocks that the API has though no snapshot shows them.
    pub(super) hidden_blocks: BTreeSet<IpNet>,
    /// The API server answers.
    pub(super) api_works: bool,
    /// The configuration can be written.
    pub(super) disk_works: bool,
    /// What routers have told the kernel.
    pub(super) path_mtus_bytes: BTreeMap<IpAddr, u32>,
    /// Links whose sandbox has died.
    pub(super) dead: BTreeSet<AttachmentKey>,
    settings: Settings,
    namespace: File,
    next_request: RequestId,
}

pub(super) fn settings() -> Settings {
    Settings {
        node: NodeName::from(NODE),
        options: NetworkOptions {
            vxlan_port: 4789,
            vxlan_id: 83,
            non_masquerade: Vec::new(),
            mtu_bytes: None,
            service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
        },
        node_pod_cidrs: None,
        cooldown: Duration::from_secs(30),
        version: "0.0.0".into(),
        backend: "ebpf".into(),
        backend_reason: "a test".into(),
    }
}

pub(super) fn pool(name: &str, cidr: &str, block_prefix_length: u8) -> IpPool {
    IpPool::new(name, cidr.parse().unwrap(), block_prefix_length)
}

/// Two nodes, one pool per family.
pub(super) fn cluster() -> Snapshot {
    let mut snapshot = Snapshot { generation: 1, ..Snapshot::default() };
    for (name, address) in [(NODE, "192.0.2.1"), ("n2", "192.0.2.2")] {
        let node = Node { addresses: vec![address.parse().unwrap()], ..Node::default() };
        snapshot.nodes.insert(NodeName::from(name), node);
    }
    for pool in [pool("v4", "10.244.0.0/16", 26), pool("v6", "fd00:10:244::/112", 122)] {
        snapshot.pools.insert(pool.name.clone(), pool);
    }
    snapshot
}

pub(super) fn key(container: &str) -> AttachmentKey {
    AttachmentKey { container_id: container.into(), interface: "eth0".into() }
}

pub(super) fn pod(name: &str) -> PodRef {
    PodRef { namespace: "shop".into(), name: name.into() }
}

/// The attachment of pod `shop/NAME` in container `NAME`.
pub(super) fn attachment(name: &str) -> Attachment {
    Attachment {
        key: key(name),
        network: "seaway".into(),
        pod: Some(pod(name)),
        pod_uid: Some(format!("uid-{name}")),
        requested_addresses: Vec::new(),
        requested_mac: None,
        shaped: false,
    }
}

impl World {
    /// An agent that has just started; nothing has come yet.
    pub(super) fn starting() -> World {
        World::with(settings(), cluster())
    }

    /// An agent that runs in [`cluster`].
    pub(super) fn running() -> World {
        let mut world = World::starting();
        world.follow_cluster();
        world
    }

    pub(super) fn with(settings: Settings, snapshot: Snapshot) -> World {
        World {
            state: State::new(settings.clone()),
            datapath: FakeDatapath::default(),
            snapshot,
            now: Duration::from_secs(1000),
            answers: Vec::new(),
            announcements: Vec::new(),
            records: BTreeMap::new(),
            actions: Vec::new(),
            hidden_blocks: BTreeSet::new(),
            api_works: true,
            path_mtus_bytes: BTreeMap::new(),
            disk_works: true,
            dead: BTreeSet::new(),
            settings,
            namespace: File::open("/dev/null").unwrap(),
            next_request: 1,
        }
    }

    /// Hands the current snapshot over until nothing changes any more.
    pub(super) fn follow_cluster(&mut self) {
        for _ in 0..100 {
            let before = self.snapshot.clone();
            self.send(Input::Snapshot(Arc::new(before.clone())));
            if self.snapshot == before {
                return;
            }
        }
        panic!(
            "the agent never stops changing the cluster: {:?}",
            self.actions.iter().rev().take(8).collect::<Vec<_>>()
        );
    }

    /// kill -9: all memory is gone, the kernel is not; then a new start.
    pub(super) fn restart(&mut self) {
        self.state = State::new(self.settings.clone());
        let links = self.datapath.adopt().unwrap();
        self.send(Input::Adopted(links));
        self.follow_cluster();
    }

    pub(super) fn after(&mut self, time: Duration) {
        self.now += time;
        self.send(Input::Tick);
    }

    pub(super) fn ask(&mut self, request: Request) -> Answer {
        let id = self.next_request;
        self.next_request += 1;
        let with_namespace = true;
        self.send(Input::Request { id, request, with_namespace });
        let answers: Vec<_> = self.answers.iter().filter(|(answered, _)| *answered == id).collect();
        assert_eq!(answers.len(), 1, "every request is answered exactly once");
        answers[0].1.clone()
    }

    pub(super) fn add(&mut self, name: &str) -> Result<AddedAttachment, Failure> {
        match self.ask(Request::Add(attachment(name))) {
            Answer::Added(added) => Ok(added),
            Answer::Failed(failure) => Err(failure),
            other => panic!("ADD was answered with {other:?}"),
        }
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(), Failure> {
        done(self.ask(Request::Delete(attachment(name))))
    }

    pub(super) fn status(&mut self) -> Result<(), Failure> {
        done(self.ask(Request::Status))
    }

    pub(super) fn fail_next(&mut self, step: &'static str) {
        self.datapath.state().fail_next = Some(step);
    }

    /// The API knows this pod on our node.
    pub(super) fn pod_exists(&mut self, name: &str) {
        let found = Pod { uid: format!("uid-{name}"), node: Some(NodeName::from(NODE)), ..Pod::default() };
        self.snapshot.pods.insert(pod(name), found);
        self.changed();
    }

    pub(super) fn changed(&mut self) {
        self.snapshot.generation += 1;
    }

    pub(super) fn count(&self, wanted: impl Fn(&Action) -> bool) -> usize {
        self.actions.iter().filter(|action| wanted(action)).count()
    }

    pub(super) fn send(&mut self, input: Input) {
        let mut inputs = std::collections::VecDeque::from([input]);
        let mut decisions = 0;
        while let Some(input) = inputs.pop_front() {
            decisions += 1;
            assert!(
                decisions < 1000,
                "one input keeps the agent busy for ever: {:?}",
                self.actions.iter().rev().take(6)
            );
            for action in self.state.decide(input, self.now) {
                self.actions.push(action.clone());
                inputs.extend(self.carry_out(action));
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::FindUnderlay { addresses } => Some(Input::Underlay(Ok(underlay(&addresses)))),
            Action::FindPathMtus => Some(Input::PathMtus(Ok(self.path_mtus_bytes.clone()))),
            Action::Attach { id, link } => {
                let outcome = self.datapath.attach_pod(self.namespace.as_fd(), &link);
                let outcome = outcome.map_err(|error| datapath_failure(&error));
                Some(Input::Attached { id, key: link.key, outcome })
            }
            Action::Check { id, link } => {
                let outcome = self.datapath.check_pod(self.namespace.as_fd(), &link);
                Some(Input::Checked { id, outcome: outcome.map_err(|error| datapath_failure(&error)) })
            }
            Action::Detach { id, keys } => {
                let mut outcomes = Vec::new();
                for key in keys {
                    let outcome = self.datapath.detach_pod(&key, None).map_err(|error| datapath_failure(&error));
                    outcomes.push((key, outcome));
                }
                Some(Input::Detached { id, outcomes })
            }
            Action::FindDead { id, candidates } => {
                let keys = candidates.into_iter().map(|(key, _)| key).filter(|key| self.dead.contains(key)).collect();
                Some(Input::Dead { id, keys })
            }
            Action::Apply { plan, generation } => {
                let outcome =
                    self.datapath.apply(&plan).map(|report| report.xdp).map_err(|error| datapath_failure(&error));
                Some(Input::Applied { generation, outcome })
            }
            Action::Audit { id, plan } => {
                let outcome = self.datapath.audit(&plan).map_err(|error| datapath_failure(&error));
                Some(Input::Audited { id, outcome })
            }
            Action::ClaimBlock { claim, candidates } => Some(self.claim(claim, &candidates)),
            Action::ReleaseBlock(block) => Some(self.release(block)),
            Action::Record(records) => {
                self.records.extend(records);
                None
            }
            Action::Announce(announcement) => {
                self.announcements.push(announcement);
                None
            }
            Action::BecomeReady => {
                let outcome = if self.disk_works { Ok(Vec::new()) } else { Err(no_answer()) };
                Some(Input::Written(outcome))
            }
            Action::Reply { id, answer } => {
                self.answers.push((id, answer));
                None
            }
        }
    }

    fn claim(&mut self, claim: ClaimKey, candidates: &[IpNet]) -> Input {
        if !self.api_works {
            return Input::Claimed { claim, outcome: Err(no_answer()), taken: Vec::new() };
        }
        let is_taken = |cidr: &&IpNet| {
            let holder = self.snapshot.blocks.get(*cidr).map(|block| block.node.as_str());
            holder.is_some_and(|holder| holder != NODE) || self.hidden_blocks.contains(*cidr)
        };
        let taken: Vec<IpNet> = candidates.iter().take_while(is_taken).copied().collect();
        let block = candidates.get(taken.len()).map(|cidr| {
            let block = IpBlock { cidr: *cidr, pool: claim.pool.clone(), node: NodeName::from(NODE) };
            self.snapshot.blocks.insert(*cidr, block.clone());
            self.snapshot.generation += 1;
            block
        });
        Input::Claimed { claim, outcome: Ok(block), taken }
    }

    fn release(&mut self, block: IpNet) -> Input {
        if !self.api_works {
            return Input::Released { block, outcome: Err(no_answer()) };
        }
        self.snapshot.blocks.remove(&block);
        self.snapshot.generation += 1;
        Input::Released { block, outcome: Ok(()) }
    }
}

fn done(answer: Answer) -> Result<(), Failure> {
    match answer {
        Answer::Done => Ok(()),
        Answer::Failed(failure) => Err(failure),
        other => panic!("answered with {other:?}"),
    }
}

fn no_answer() -> Failure {
    Failure { id: "SW0402".into(), message: "no answer".into(), fix: "wait".into(), cni_code: 100 }
}

fn underlay(addresses: &[IpAddr]) -> Underlay {
    Underlay {
        device: "eth0".into(),
        index: 2,
        mtu_bytes: 1500,
        addresses: addresses.iter().map(|address| IpNet::new(*address, 24).unwrap()).collect(),
        path_mtus_bytes: BTreeMap::new(),
    }
}
