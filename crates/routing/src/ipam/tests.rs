//! One node's allocator in single situations.

use seaway_model::{ContainerId, Diagnose, Encapsulation, InterfaceName, Labels, Node};

use super::*;

pub(super) fn key(number: usize) -> AttachmentKey {
    AttachmentKey { container_id: ContainerId(format!("c{number}")), interface: InterfaceName::from("eth0") }
}

pub(super) fn pool(name: &str, cidr: &str, block_prefix_length: u8) -> IpPool {
    IpPool::new(name, cidr.parse().unwrap(), block_prefix_length)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// One node `a` with its allocator and the API it claims from.
struct Bench {
    ipam: Ipam,
    snapshot: Snapshot,
}

impl Bench {
    fn new(pools: &[IpPool]) -> Self {
        let mut snapshot = Snapshot::default();
        snapshot.nodes.insert("a".into(), Node::default());
        snapshot.pools = pools.iter().map(|pool| (pool.name.clone(), pool.clone())).collect();
        let mut bench = Self { ipam: Ipam::new("a".into(), DEFAULT_COOLDOWN), snapshot };
        bench.sync(secs(0));
        bench
    }

    fn sync(&mut self, now: Duration) -> Vec<IpamError> {
        let usable: Vec<&str> = self.snapshot.pools.keys().map(String::as_str).collect();
        self.ipam.update(&self.snapshot, &usable, now)
    }

    /// Claims the first candidate of every wish; how many.
    fn claim(&mut self, now: Duration) -> usize {
        let wishes = self.ipam.block_wishes();
        for wish in &wishes {
            let block = IpBlock { cidr: wish.candidates[0], pool: wish.pool.clone(), node: "a".into() };
            self.snapshot.blocks.insert(block.cidr, block.clone());
            self.ipam.claimed(&block, now);
        }
        wishes.len()
    }

    fn add(&mut self, number: usize, now: Duration) -> Result<Vec<IpAddr>, IpamError> {
        self.add_with(number, &[], &Labels::new(), now)
    }

    fn add_with(
        &mut self,
        number: usize,
        requested: &[IpAddr],
        namespace_labels: &Labels,
        now: Duration,
    ) -> Result<Vec<IpAddr>, IpamError> {
        let key = key(number);
        let request = AllocationRequest { key: &key, network: "seaway", pod: None, namespace_labels, requested };
        self.ipam.allocate(request, now)
    }
}

#[test]
fn a_pod_gets_one_address_per_family_and_the_same_again() {
    let mut bench = Bench::new(&[pool("four", "10.244.0.0/24", 26), pool("six", "fd00::/116", 122)]);
    assert!(matches!(bench.add(1, secs(0)), Err(IpamError::NoBlockYet { .. })));
    assert_eq!(bench.claim(secs(0)), 2);
    let addresses = bench.add(1, secs(0)).unwrap();
    assert!(addresses[0].is_ipv4() && addresses[1].is_ipv6() && addresses.len() == 2);
    assert_eq!(bench.add(1, secs(1)).unwrap(), addresses);
    assert_eq!(bench.ipam.take_changed_blocks().len(), 2);
    let block = *bench.snapshot.blocks.keys().next().unwrap();
    let recorded = bench.ipam.allocations(&block);
    assert_eq!((recorded.len(), &recorded[0].key), (1, &key(1)));
}

#[test]
fn one_family_failing_fails_all_and_keeps_nothing() {
    let mut bench = Bench::new(&[pool("four", "10.244.0.0/24", 26), pool("six", "fd00::/126", 126)]);
    bench.claim(secs(0));
    for number in 0..3 {
        bench.add(number, secs(0)).unwrap();
    }
    let used = |bench: &Bench| bench.ipam.block_status().iter().map(|block| block.used).sum::<u64>();
    let before = used(&bench);
    let error = bench.add(3, secs(0)).unwrap_err();
    assert!(error.to_string().contains("IPPool six"), "{error}");
    assert_eq!((error.id().to_string(), error.is_transient()), ("SW0227".into(), true));
    assert_eq!(used(&bench), before);
}

#[test]
fn released_addresses_rest_before_they_are_given_again() {
    let mut bench = Bench::new(&[pool("four", "10.244.0.0/29", 29)]);
    bench.claim(secs(0));
    // Six of eight: the first is the node's, the last of the pool is not used.
    for number in 0..6 {
        bench.add(number, secs(0)).unwrap();
    }
    assert!(bench.add(6, secs(0)).is_err());
    let freed = bench.ipam.release(&key(2), secs(10));
    assert!(matches!(bench.add(6, secs(39)), Err(IpamError::Exhausted { in_use: 5, cooling: 1, .. })));
    assert_eq!(bench.add(6, secs(40)).unwrap(), freed);
    assert!(bench.ipam.release(&key(2), secs(50)).is_empty(), "DEL is repeatable");
}

#[test]
fn reserved_addresses_are_never_given() {
    let mut bench = Bench::new(&[pool("four", "10.244.0.0/28", 29)]);
    bench.claim(secs(0));
    for number in 0..13 {
        bench.claim(secs(0));
        let address = bench.add(number, secs(0)).unwrap()[0].to_string();
        assert!(!["10.244.0.0", "10.244.0.8", "10.244.0.15"].contains(&address.as_str()), "{address}");
    }
    assert!(bench.add(13, secs(0)).is_err());
}

#[test]
fn requested_addresses_are_given_or_refused_with_the_reason() {
    let mut bench = Bench::new(&[pool("four", "10.244.0.0/26", 26), pool("six", "fd00::/122", 122)]);
    bench.claim(secs(0));
    let wanted: IpAddr = "10.244.0.9".parse().unwrap();
    let given = bench.add_with(1, &[wanted], &Labels::new(), secs(0)).unwrap();
    assert_eq!((given[0], given.len()), (wanted, 2));
    for (text, id) in
        [("10.244.0.9", 229), ("10.244.0.0", 230), ("10.244.0.63", 230), ("10.9.9.9", 228), ("fd00:1::1", 228)]
    {
        let error = bench.add_with(2, &[text.parse().unwrap()], &Labels::new(), secs(0)).unwrap_err();
        assert_eq!(error.id().0, id, "{text}: {error}");
    }
    let two = [wanted, "10.244.0.10".parse().unwrap()];
    assert_eq!(bench.add_with(3, &two, &Labels::new(), secs(0)).unwrap_err().id().0, 231);
    assert_eq!(bench.add_with(1, &two[1..], &Labels::new(), secs(0)).unwrap_err().id().0, 232);
    // Someone who asks for an address by name gets it back without the rest.
    bench.ipam.release(&key(1), secs(1));
    assert_eq!(bench.add_with(4, &[wanted], &Labels::new(), secs(2)).unwrap()[0], wanted);
}

#[test]
fn pools_are_chosen_by_namespace_and_node_labels() {
    let mut gold = pool("gold", "10.1.0.0/24", 26);
    gold.namespace_selector.match_labels = labels(&[("tier", "gold")]);
    let mut elsewhere = pool("elsewhere", "10.2.0.0/24", 26);
    elsewhere.node_selector.match_labels = labels(&[("zone", "west")]);
    let mut bench = Bench::new(&[gold, elsewhere, pool("usual", "10.3.0.0/24", 26)]);
    assert_eq!(bench.claim(secs(0)), 2, "no block of a pool for other nodes");
    let of = |bench: &mut Bench, number, tier: &str| {
        bench.add_with(number, &[], &labels(&[("tier", tier)]), secs(0)).unwrap()[0].to_string()
    };
    assert!(of(&mut bench, 1, "gold").starts_with("10.1."));
    assert!(of(&mut bench, 2, "lead").starts_with("10.3."));
    bench.snapshot.pools.get_mut("usual").unwrap().disabled = true;
    bench.sync(secs(1));
    let error = bench.add_with(3, &[], &labels(&[("tier", "lead")]), secs(1)).unwrap_err();
    assert_eq!(error.id().0, 225);
    assert!(bench.ipam.lease(&key(2)).is_some(), "addresses in use stay");
}

#[test]
fn blocks_are_claimed_ahead_and_extra_ones_given_back() {
    let mut bench = Bench::new(&[pool("four", "10.244.0.0/24", 28)]);
    assert_eq!(bench.claim(secs(0)), 1);
    for number in 0..7 {
        bench.add(number, secs(0)).unwrap();
    }
    assert_eq!(bench.claim(secs(0)), 0, "eight of fifteen are left");
    bench.add(7, secs(0)).unwrap();
    assert_eq!(bench.claim(secs(0)), 1, "seven are left");
    bench.sync(secs(0));
    (0..8).for_each(|number| drop(bench.ipam.release(&key(number), secs(1))));
    assert!(bench.ipam.releasable(secs(2)).is_empty());
    bench.ipam.expire(secs(60));
    let later = secs(60) + IDLE_BEFORE_RELEASE;
    let extra = bench.ipam.releasable(later);
    assert_eq!(extra.len(), 1);
    assert!(bench.ipam.begin_release(&extra[0]));
    bench.ipam.released(&extra[0]);
    // A snapshot from before the deletion must not bring the block back.
    bench.sync(later);
    assert_eq!(bench.ipam.block_status().len(), 1);
    bench.snapshot.blocks.remove(&extra[0]);
    bench.sync(later);
    assert_eq!((bench.ipam.releasable(later).len(), bench.claim(later)), (0, 0), "no back and forth");
}

#[test]
fn a_disabled_pool_gets_its_blocks_back_as_soon_as_nobody_uses_them() {
    let mut bench = Bench::new(&[pool("four", "10.244.0.0/24", 28)]);
    bench.claim(secs(0));
    bench.add(1, secs(0)).unwrap();
    bench.sync(secs(0));
    bench.snapshot.pools.get_mut("four").unwrap().disabled = true;
    bench.sync(secs(1));
    bench.ipam.expire(secs(2));
    assert!(bench.ipam.releasable(secs(2) + IDLE_BEFORE_RELEASE).is_empty(), "a pod uses it");
    drop(bench.ipam.release(&key(1), secs(2)));
    bench.ipam.expire(secs(3));
    assert!(bench.ipam.releasable(secs(3)).is_empty(), "its address rests");
    bench.ipam.expire(secs(60));
    assert_eq!(bench.ipam.releasable(secs(60)).len(), 1);
}

#[test]
fn shortage_is_told_before_pods_fail() {
    let mut bench = Bench::new(&[pool("four", "10.244.0.0/28", 28)]);
    bench.claim(secs(0));
    assert!(bench.ipam.nearly_exhausted().is_empty());
    for number in 0..8 {
        bench.add(number, secs(0)).unwrap();
    }
    let told = bench.ipam.nearly_exhausted();
    assert!(matches!(told.as_slice(), [IpamError::NearlyExhausted { free: 6, .. }]), "{told:?}");
}

#[test]
fn after_a_restart_what_the_kernel_holds_is_in_use() {
    let mut bench = Bench::new(&[pool("four", "10.244.0.0/28", 28)]);
    bench.claim(secs(0));
    let held = bench.add(1, secs(0)).unwrap();
    bench.ipam = Ipam::new("a".into(), DEFAULT_COOLDOWN);
    let lease = Lease { network: "seaway".into(), pod: None, addresses: held.clone() };
    let problems = bench.ipam.restore([(key(1), lease.clone()), (key(9), lease)]);
    assert!(matches!(problems.as_slice(), [IpamError::DuplicateAddress { .. }]));
    bench.sync(secs(1));
    assert_eq!(bench.add(1, secs(1)).unwrap(), held);
    for number in 20..33 {
        assert_ne!(bench.add(number, secs(1)).unwrap(), held);
    }
    assert!(bench.add(33, secs(1)).is_err());
    bench.ipam.release(&key(9), secs(2));
    assert!(bench.add(33, secs(99)).is_err(), "its other holder still uses the address");
}

#[test]
fn a_block_lost_by_the_api_is_claimed_again_and_gives_nothing_meanwhile() {
    let mut bench = Bench::new(&[pool("four", "10.244.0.0/24", 26)]);
    bench.claim(secs(0));
    bench.add(1, secs(0)).unwrap();
    bench.sync(secs(0));
    let lost = *bench.snapshot.blocks.keys().next().unwrap();
    bench.snapshot.blocks.clear();
    let problems = bench.sync(secs(1));
    assert!(matches!(problems.as_slice(), [IpamError::BlockLost { in_use: 1, .. }]));
    let wish = &bench.ipam.block_wishes()[0];
    assert_eq!(wish.candidates, [lost]);
    assert!(bench.add(2, secs(1)).is_err());
    bench.claim(secs(1));
    assert!(bench.add(2, secs(1)).is_ok());
}

#[test]
fn garbage_is_what_is_not_listed_in_its_own_network() {
    let mut bench = Bench::new(&[pool("four", "10.244.0.0/24", 26)]);
    bench.claim(secs(0));
    (1..4).for_each(|number| drop(bench.add(number, secs(0)).unwrap()));
    let live = BTreeSet::from([key(1)]);
    assert!(bench.ipam.collect_garbage(Some("other"), &live, secs(1)).is_empty());
    let collected = bench.ipam.collect_garbage(Some("seaway"), &live, secs(1));
    assert_eq!(collected.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [key(2), key(3)]);
    assert_eq!(bench.ipam.leases().count(), 1);
}

#[test]
fn node_pod_cidrs_become_pools_with_their_only_block() {
    let mut snapshot = Snapshot::default();
    for (node, cidrs) in [("a", ["10.244.0.0/24", "fd00:244::/64"]), ("b", ["10.244.1.0/24", "fd00:244:0:1::/64"])] {
        let pod_cidrs = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
        snapshot.nodes.insert(node.into(), Node { pod_cidrs, ..Node::default() });
    }
    let snapshot = with_node_pod_cidrs(&snapshot, Encapsulation::Vxlan, true);
    let usable: Vec<&str> = snapshot.pools.keys().map(String::as_str).collect();
    let mut ipam = Ipam::new("b".into(), DEFAULT_COOLDOWN);
    ipam.update(&snapshot, &usable, secs(0));
    assert!(ipam.block_wishes().is_empty());
    let request = AllocationRequest {
        key: &key(1),
        network: "seaway",
        pod: None,
        namespace_labels: &Labels::new(),
        requested: &[],
    };
    let addresses = ipam.allocate(request, secs(0)).unwrap();
    assert_eq!(addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.244.1.1", "fd00:244:0:1::1"]);
    assert_eq!(ipam.block_status()[1].total, 65_535);
}

#[test]
fn nodes_start_at_different_candidates_and_huge_pools_are_no_trouble() {
    let mut starts = BTreeSet::new();
    for node in ["a", "b", "c", "d", "e"] {
        let mut ipam = Ipam::new(node.into(), DEFAULT_COOLDOWN);
        let mut snapshot = Snapshot::default();
        let huge = pool("six", "fd00::/8", 122);
        snapshot.pools.insert("six".into(), huge.clone());
        ipam.update(&snapshot, &["six"], secs(0));
        let wish = ipam.block_wishes().remove(0);
        assert_eq!(wish.candidates.len(), 16);
        assert!(wish.candidates.iter().all(|candidate| huge.cidr.contains(candidate)));
        starts.insert(wish.candidates[0]);
    }
    assert_eq!(starts.len(), 5);
}
