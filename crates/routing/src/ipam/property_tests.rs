//! No interleaving of nodes, restarts and a lagging watch gives one address to two pods.

use std::collections::VecDeque;

use proptest::prelude::*;
use seaway_model::{Labels, Node};

use super::tests::{key, pool};
use super::*;

const NODES: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// ADD on a node; the agent may die before the link exists, or before the answer.
    Add {
        node: usize,
        pod: usize,
        dies: Dies,
    },
    Delete {
        node: usize,
        pod: usize,
    },
    /// CNI GC with every second pod still alive.
    Collect {
        node: usize,
    },
    Restart {
        node: usize,
    },
    /// The node's watch delivers its oldest undelivered snapshot.
    Deliver {
        node: usize,
    },
    Claim {
        node: usize,
        choice: usize,
    },
    GiveBack {
        node: usize,
    },
    Advance {
        seconds: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Dies {
    Never,
    BeforeLink,
    BeforeAnswer,
}

/// The truth: what the API and the kernels hold.
struct World {
    api: Snapshot,
    now: Duration,
    nodes: Vec<SimulatedNode>,
}

struct SimulatedNode {
    name: NodeName,
    ipam: Ipam,
    watch: VecDeque<Snapshot>,
    /// Links in the node's kernel: survive the agent.
    kernel: BTreeMap<AttachmentKey, Vec<IpAddr>>,
    /// When this agent process gave addresses back.
    released: BTreeMap<IpAddr, Duration>,
}

impl World {
    fn new() -> Self {
        let mut api = Snapshot::default();
        for pool in [pool("four", "10.0.0.0/27", 29), pool("six", "fd00::/123", 125)] {
            api.pools.insert(pool.name.clone(), pool);
        }
        let nodes = (0..NODES).map(|number| NodeName::from(format!("n{number}")));
        let nodes: Vec<SimulatedNode> = nodes
            .map(|name| {
                api.nodes.insert(name.clone(), Node::default());
                let ipam = Ipam::new(name.clone(), DEFAULT_COOLDOWN);
                SimulatedNode { name, ipam, watch: VecDeque::new(), kernel: BTreeMap::new(), released: BTreeMap::new() }
            })
            .collect();
        let mut world = Self { api, now: Duration::ZERO, nodes };
        (0..NODES).for_each(|node| world.restart(node));
        world
    }

    fn changed(&mut self) {
        for node in &mut self.nodes {
            node.watch.push_back(self.api.clone());
        }
    }

    fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Add { node, pod, dies } => self.add(node, pod, dies)?,
            Step::Delete { node, pod } => self.delete(node, &key(node * 100 + pod)),
            Step::Collect { node } => {
                let keys: Vec<AttachmentKey> = self.nodes[node].kernel.keys().cloned().collect();
                let live: BTreeSet<AttachmentKey> = keys.iter().step_by(2).cloned().collect();
                keys.iter()
                    .filter(|key| !live.contains(*key))
                    .for_each(|key| drop(self.nodes[node].kernel.remove(key)));
                let now = self.now;
                for (_, addresses) in self.nodes[node].ipam.collect_garbage(Some("seaway"), &live, now) {
                    self.nodes[node].released.extend(addresses.into_iter().map(|address| (address, now)));
                }
            }
            Step::Restart { node } => self.restart(node),
            Step::Deliver { node } => {
                if let Some(snapshot) = self.nodes[node].watch.pop_front() {
                    self.nodes[node].ipam.update(&snapshot, &["four", "six"], self.now);
                }
            }
            Step::Claim { node, choice } => self.claim(node, choice),
            Step::GiveBack { node } => self.give_back(node),
            Step::Advance { seconds } => self.now += Duration::from_secs(seconds),
        }
        self.check()
    }

    fn add(&mut self, node: usize, pod: usize, dies: Dies) -> Result<(), TestCaseError> {
        let (now, this) = (self.now, &mut self.nodes[node]);
        let key = key(node * 100 + pod);
        let known = this.kernel.contains_key(&key);
        let labels = Labels::new();
        let request =
            AllocationRequest { key: &key, network: "seaway", pod: None, namespace_labels: &labels, requested: &[] };
        let Ok(addresses) = this.ipam.allocate(request, now) else { return Ok(()) };
        prop_assert_eq!(addresses.len(), 2);
        for address in addresses.iter().filter(|_| !known) {
            if let Some(at) = this.released.get(address) {
                prop_assert!(now >= *at + DEFAULT_COOLDOWN, "{} given {:?} after its release", address, now - *at);
            }
        }
        if dies != Dies::BeforeLink
            && let Some(before) = this.kernel.insert(key, addresses.clone())
        {
            prop_assert_eq!(before, addresses, "a repeated ADD changed the addresses");
        }
        if dies != Dies::Never {
            self.restart(node);
        }
        Ok(())
    }

    fn delete(&mut self, node: usize, key: &AttachmentKey) {
        let now = self.now;
        let this = &mut self.nodes[node];
        this.kernel.remove(key);
        let addresses = this.ipam.release(key, now);
        this.released.extend(addresses.into_iter().map(|address| (address, now)));
    }

    /// A new agent lists the API afresh and adopts the kernel's links.
    fn restart(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        this.ipam = Ipam::new(this.name.clone(), DEFAULT_COOLDOWN);
        this.released.clear();
        let lease =
            |addresses: &Vec<IpAddr>| Lease { network: "seaway".into(), pod: None, addresses: addresses.clone() };
        let adopted: Vec<_> = this.kernel.iter().map(|(key, addresses)| (key.clone(), lease(addresses))).collect();
        assert!(this.ipam.restore(adopted).is_empty());
        this.watch.clear();
        this.watch.push_back(self.api.clone());
    }

    fn claim(&mut self, node: usize, choice: usize) {
        let this = &mut self.nodes[node];
        let Some(wish) = this.ipam.block_wishes().into_iter().next() else { return };
        let cidr = wish.candidates[choice % wish.candidates.len()];
        let block = IpBlock { cidr, pool: wish.pool, node: this.name.clone() };
        match self.api.blocks.get(&cidr) {
            Some(existing) if existing.node != this.name => this.ipam.taken_by_other(cidr),
            Some(_) => this.ipam.claimed(&block, self.now),
            None => {
                self.api.blocks.insert(cidr, block.clone());
                this.ipam.claimed(&block, self.now);
                self.changed();
            }
        }
    }

    fn give_back(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        for cidr in this.ipam.releasable(self.now) {
            if this.ipam.begin_release(&cidr) {
                self.api.blocks.remove(&cidr);
                this.ipam.released(&cidr);
            }
        }
        self.changed();
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let mut holders: BTreeMap<IpAddr, &AttachmentKey> = BTreeMap::new();
        for node in &self.nodes {
            for (key, addresses) in &node.kernel {
                for address in addresses {
                    prop_assert!(holders.insert(*address, key).is_none(), "{} is held twice", address);
                    let owner = self.api.blocks.values().find(|block| block.cidr.contains(address));
                    prop_assert_eq!(
                        owner.map(|block| &block.node),
                        Some(&node.name),
                        "{} is of another's block",
                        address
                    );
                }
            }
        }
        Ok(())
    }
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    let dies = prop_oneof![6 => Just(Dies::Never), 1 => Just(Dies::BeforeLink), 1 => Just(Dies::BeforeAnswer)];
    prop_oneof![
        8 => (node.clone(), 0usize..12, dies).prop_map(|(node, pod, dies)| Step::Add { node, pod, dies }),
        5 => (node.clone(), 0usize..12).prop_map(|(node, pod)| Step::Delete { node, pod }),
        1 => node.clone().prop_map(|node| Step::Collect { node }),
        1 => node.clone().prop_map(|node| Step::Restart { node }),
        6 => node.clone().prop_map(|node| Step::Deliver { node }),
        5 => (node.clone(), 0usize..3).prop_map(|(node, choice)| Step::Claim { node, choice }),
        3 => node.prop_map(|node| Step::GiveBack { node }),
        2 => prop_oneof![0u64..40, Just(301)].prop_map(|seconds| Step::Advance { seconds }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_address_is_given_twice(steps in proptest::collection::vec(step(), 1..250)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step)?;
        }
    }
}
