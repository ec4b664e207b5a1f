//! Properties that hold for the plan of every cluster.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::tests::{options, pool, underlay};
use super::*;

fn encapsulation() -> impl Strategy<Value = Encapsulation> {
    prop_oneof![Just(Encapsulation::Vxlan), Just(Encapsulation::None), Just(Encapsulation::CrossSubnet)]
}

prop_compose! {
    /// Up to 12 nodes on two subnets; each of 64 block numbers of two pools belongs to a node or to none.
    fn cluster()(
        four in encapsulation(),
        six in encapsulation(),
        nodes in 1u8..12,
        distant in any::<u16>(),
        owners in proptest::collection::vec((any::<bool>(), 0u8..64, 0u8..12), 0..40),
    ) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for n in 0..nodes {
            let subnet = if n != 0 && distant & (1 << n) != 0 { 19 } else { 18 };
            let addresses = vec![
                IpAddr::from([172, subnet, 0, n + 1]),
                format!("fd00:{subnet}::{}", n + 1).parse().unwrap(),
            ];
            snapshot.nodes.insert(NodeName::from(format!("n{n}")), Node { addresses, ..Node::default() });
        }
        for pool in [pool("four", "10.244.0.0/20", 26, four), pool("six", "fd00:244::/116", 122, six)] {
            snapshot.pools.insert(pool.name.clone(), pool);
        }
        for (v6, number, owner) in owners {
            let pool = if v6 { "six" } else { "four" };
            let cidr = if v6 {
                format!("fd00:244::{:x}/122", u32::from(number) * 64)
            } else {
                format!("10.244.{}.{}/26", number / 4, u32::from(number % 4) * 64)
            };
            let cidr: IpNet = cidr.parse().unwrap();
            let node = NodeName::from(format!("n{}", owner % nodes));
            snapshot.blocks.insert(cidr, IpBlock { cidr, pool: pool.into(), node });
        }
        snapshot
    }
}

proptest! {
    #[test]
    fn every_reachable_remote_block_has_exactly_one_route_and_own_blocks_none(snapshot in cluster()) {
        let me = NodeName::from("n0");
        let plan = network_plan(&snapshot, &me, &underlay(1500), &options()).unwrap();
        let mut routed = BTreeSet::new();
        for route in &plan.routes {
            prop_assert!(routed.insert(route.destination), "two routes to {}", route.destination);
            prop_assert!(snapshot.blocks[&route.destination].node != me);
        }
        for block in snapshot.blocks.values().filter(|block| block.node != me) {
            let distant = snapshot.nodes[&block.node].addresses[0].to_string().starts_with("172.19.");
            let fabric = distant && snapshot.pools[&block.pool].encapsulation == Encapsulation::None;
            prop_assert_eq!(routed.contains(&block.cidr), !fabric, "{}", block.cidr);
        }
        let own = snapshot.blocks.values().filter(|block| block.node == me).count();
        prop_assert_eq!(plan.local_blocks.len(), own);
        prop_assert!(plan_problems(&snapshot, &me, &underlay(1500), &options()).is_empty());
    }

    #[test]
    fn tunnel_next_hops_of_routes_belong_to_the_peer_with_that_mac(snapshot in cluster()) {
        let plan = network_plan(&snapshot, &"n0".into(), &underlay(1500), &options()).unwrap();
        for route in &plan.routes {
            if let Via::Tunnel { next_hop, mac } = route.via {
                let peers = &plan.tunnel.as_ref().unwrap().peers;
                prop_assert!(peers.iter().any(|peer| peer.mac == mac && peer.next_hops.contains(&next_hop)));
                prop_assert!(route.mtu_bytes <= 1450);
            }
        }
    }

    #[test]
    fn the_same_input_gives_the_same_plan_and_masquerade_ranges_are_disjoint(snapshot in cluster()) {
        let one = network_plan(&snapshot, &"n0".into(), &underlay(1500), &options()).unwrap();
        let two = network_plan(&snapshot.clone(), &"n0".into(), &underlay(1500), &options()).unwrap();
        prop_assert_eq!(&one, &two);
        for ranges in [&one.masquerade.sources, &one.masquerade.except_destinations] {
            for (index, range) in ranges.iter().enumerate() {
                prop_assert!(!ranges.iter().skip(index + 1).any(|other| other.contains(range) || range.contains(other)));
            }
        }
    }
}
