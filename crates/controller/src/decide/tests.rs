//! The controller's decisions on small clusters.

use seaway_model::{IpBlock, Node};

use super::*;

fn pool(name: &str, cidr: &str, block_prefix_length: u8) -> IpPool {
    IpPool::new(name, cidr.parse().unwrap(), block_prefix_length)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A pool of ten-odd blocks and nodes `a` and `b`.
#[derive(Default)]
struct Bench {
    snapshot: Snapshot,
    recorded_use: BTreeMap<IpNet, u64>,
    default_pools: Vec<IpPool>,
    lives: BTreeMap<String, PoolLife>,
    memory: Memory,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self::default();
        for node in ["a", "b"] {
            bench.snapshot.nodes.insert(node.into(), Node::default());
        }
        bench.snapshot.pools.insert("p".into(), pool("p", "10.0.0.0/24", 28));
        bench
    }

    fn claim(&mut self, number: u8, node: &str, used: u64) {
        let cidr: IpNet = format!("10.0.0.{}/28", number * 16).parse().unwrap();
        self.snapshot.blocks.insert(cidr, IpBlock { cidr, pool: "p".into(), node: node.into() });
        self.recorded_use.insert(cidr, used);
    }

    fn decide(&mut self, now: Duration) -> Vec<Action> {
        self.memory.decide(&View {
            snapshot: &self.snapshot,
            recorded_use: &self.recorded_use,
            lives: &self.lives,
            service_cidrs: &["10.96.0.0/16".parse().unwrap()],
            default_pools: &self.default_pools,
            now,
        })
    }
}

fn warnings(actions: &[Action]) -> Vec<&'static str> {
    let reason = |action: &Action| if let Action::Warn { reason, .. } = action { Some(*reason) } else { None };
    actions.iter().filter_map(reason).collect()
}

fn deletions(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::DeleteBlock { .. })).count()
}

#[test]
fn default_pools_are_created_only_where_there_is_none() {
    let mut bench = Bench::new();
    bench.default_pools = vec![pool("default-ipv4", "10.244.0.0/16", 26)];
    assert!(!bench.decide(secs(0)).iter().any(|action| matches!(action, Action::CreatePool(_))));
    bench.snapshot.pools.clear();
    assert_eq!(bench.decide(secs(1)), [Action::CreatePool(bench.default_pools[0].clone())]);
}

#[test]
fn blocks_of_a_node_go_when_it_has_been_gone_for_the_grace_period() {
    let mut bench = Bench::new();
    bench.claim(0, "a", 1);
    bench.claim(1, "b", 1);
    bench.snapshot.nodes.remove(&NodeName::from("b"));
    assert_eq!(deletions(&bench.decide(secs(10))), 0);
    assert_eq!(deletions(&bench.decide(secs(69))), 0);
    // Back for a moment: the time starts anew.
    bench.snapshot.nodes.insert("b".into(), Node::default());
    assert_eq!(deletions(&bench.decide(secs(70))), 0);
    bench.snapshot.nodes.remove(&NodeName::from("b"));
    assert_eq!(deletions(&bench.decide(secs(71))), 0);
    let actions = bench.decide(secs(71) + NODE_GRACE);
    let expected = Action::DeleteBlock { node: "b".into(), block: "10.0.0.16/28".parse().unwrap() };
    assert_eq!((deletions(&actions), actions.contains(&expected)), (1, true));
}

#[test]
fn status_is_written_when_it_changes_and_again_after_a_failure() {
    let mut bench = Bench::new();
    bench.claim(0, "a", 3);
    let actions = bench.decide(secs(0));
    let [Action::WriteUsage { usage, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((usage.used_addresses, usage.total_addresses), (3, 256));
    assert_eq!((usage.claimed_blocks, usage.total_blocks), (1, 16));
    assert!(bench.decide(secs(1)).is_empty());
    bench.memory.forget_status("p");
    assert_eq!(bench.decide(secs(2)), actions);
}

#[test]
fn a_nearly_full_pool_is_warned_of_once_until_it_is_well_again() {
    let mut bench = Bench::new();
    (0..14).for_each(|number| bench.claim(number, "a", 1));
    assert!(warnings(&bench.decide(secs(0))).is_empty(), "87 %");
    bench.claim(14, "a", 1);
    assert_eq!(warnings(&bench.decide(secs(1))), ["PoolNearlyExhausted"]);
    bench.claim(15, "a", 1);
    assert!(warnings(&bench.decide(secs(2))).is_empty());
    bench.snapshot.blocks.pop_last();
    bench.snapshot.blocks.pop_last();
    assert!(warnings(&bench.decide(secs(3))).is_empty(), "87 % again");
    bench.claim(14, "a", 1);
    assert!(warnings(&bench.decide(secs(4))).is_empty(), "never was below 80 %");
    (0..5).for_each(|_| drop(bench.snapshot.blocks.pop_last()));
    assert!(warnings(&bench.decide(secs(5))).is_empty());
    (0..15).for_each(|number| bench.claim(number, "a", 1));
    assert_eq!(warnings(&bench.decide(secs(6))), ["PoolNearlyExhausted"]);
}

#[test]
fn a_pool_of_one_block_is_judged_by_its_addresses() {
    let mut bench = Bench::new();
    bench.snapshot.pools.insert("p".into(), pool("p", "10.0.0.0/28", 28));
    bench.claim(0, "a", 13);
    assert!(warnings(&bench.decide(secs(0))).is_empty());
    bench.claim(0, "a", 15);
    assert_eq!(warnings(&bench.decide(secs(1))), ["PoolNearlyExhausted"]);
}

#[test]
fn a_pool_that_is_not_in_force_says_why() {
    let mut bench = Bench::new();
    bench.snapshot.pools.insert("q".into(), pool("q", "10.96.4.0/24", 28));
    let actions = bench.decide(secs(0));
    assert_eq!(warnings(&actions), ["PoolNotInForce"]);
    let told = actions.iter().any(|action| match action {
        Action::WriteUsage { pool, usage } => pool == "q" && usage.problems[0].contains("SW0209"),
        _ => false,
    });
    assert!(told, "{actions:?}");
    assert!(bench.decide(secs(1)).is_empty());
}

#[test]
fn a_deleted_pool_stays_until_its_last_block_is_free() {
    let mut bench = Bench::new();
    bench.lives.insert("p".into(), PoolLife::default());
    bench.claim(0, "a", 2);
    assert!(bench.decide(secs(0)).contains(&Action::KeepPool("p".into())));
    bench.lives.insert("p".into(), PoolLife { deleting: false, kept: true });
    assert!(bench.decide(secs(1)).is_empty(), "kept, and nobody deletes it");

    bench.lives.insert("p".into(), PoolLife { deleting: true, kept: true });
    let actions = bench.decide(secs(2));
    let [Action::WriteUsage { usage, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(usage.held_by, ["block 10.0.0.0/28 of node a: 2 in use"]);
    bench.recorded_use.clear();
    assert!(bench.decide(secs(3)).contains(&Action::LetPoolGo("p".into())));
    // Somebody else's finalizer keeps it: ours has done its work.
    bench.lives.insert("p".into(), PoolLife { deleting: true, kept: false });
    assert!(bench.decide(secs(4)).is_empty());
}

#[test]
fn what_holds_a_deleted_pool_is_told_at_bounded_length() {
    let mut bench = Bench::new();
    bench.snapshot.pools.insert("p".into(), pool("p", "10.0.0.0/23", 28));
    bench.lives.insert("p".into(), PoolLife { deleting: true, kept: true });
    for number in 0..25u8 {
        let cidr: IpNet = format!("10.0.{}.{}/28", number / 16, number % 16 * 16).parse().unwrap();
        bench.snapshot.blocks.insert(cidr, IpBlock { cidr, pool: "p".into(), node: "a".into() });
        bench.recorded_use.insert(cidr, 1);
    }
    let actions = bench.decide(secs(0));
    let [Action::WriteUsage { usage, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((usage.held_by.len(), usage.held_by[20].as_str()), (21, "5 more blocks"));
}
