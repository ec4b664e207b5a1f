//! Maglev tables: a slot for every hash, each owned by a backend.
//!
//! Every backend has its own order of the slots, and they take turns, each the first free slot of its
//! order (Eisenbud et al., "Maglev", NSDI 2016, §3.4). Shares differ by one slot at most between
//! equals, and when a backend goes, nearly only its own slots change hands. The hash has a fixed
//! seed: all nodes, now and after an upgrade, build the same table of the same backends.

use std::net::IpAddr;

use crate::plan::{Backend, BackendSet};

/// Slots of a table unless another number is asked for. Prime, as the orders need; with 40 backends
/// the shares differ by one percent.
pub const SLOTS: usize = 4093;

/// Distinguishes the two numbers that make a backend's order.
const OFFSET_SEED: u64 = 0x5365_6177_6179_0001;
const SKIP_SEED: u64 = 0x5365_6177_6179_0002;

/// Who owns each slot, as an index into the set's backends. Empty for an empty set; `slots` must be
/// prime and larger than the number of backends for fair shares.
#[must_use]
pub fn table(set: &BackendSet, slots: usize) -> Vec<u32> {
    if set.backends.is_empty() || slots == 0 {
        return Vec::new();
    }
    let mut orders: Vec<Order> = set.backends.iter().map(|backend| Order::of(backend, slots)).collect();
    let heaviest = set.backends.iter().map(|backend| backend.weight.max(1)).max().unwrap_or(1);
    let mut owners: Vec<Option<u32>> = vec![None; slots];
    let mut free = slots;
    while free > 0 {
        for (index, (order, backend)) in (0u32..).zip(orders.iter_mut().zip(&set.backends)) {
            // A lighter backend sits out the turns it has not saved up for.
            order.saved += u32::from(backend.weight.max(1));
            if order.saved < u32::from(heaviest) {
                continue;
            }
            order.saved -= u32::from(heaviest);
            if order.take_slot(&mut owners, index) {
                free -= 1;
            }
            if free == 0 {
                break;
            }
        }
    }
    owners.into_iter().map(Option::unwrap_or_default).collect()
}

/// The order in which one backend wants the slots: all of them, each `skip` after the one before.
struct Order {
    next: usize,
    skip: usize,
    saved: u32,
}

impl Order {
    fn of(backend: &Backend, slots: usize) -> Order {
        let within = |hash: u64, limit: usize| usize::try_from(hash % limit.max(1) as u64).unwrap_or_default();
        Order {
            next: within(hash(backend, OFFSET_SEED), slots),
            skip: 1 + within(hash(backend, SKIP_SEED), slots.saturating_sub(1)),
            saved: 0,
        }
    }

    /// Takes the first free slot of the order; false when there is none.
    fn take_slot(&mut self, owners: &mut [Option<u32>], index: u32) -> bool {
        let slots = owners.len();
        for _ in 0..slots {
            let slot = self.next;
            self.next = (self.next + self.skip) % slots;
            if let Some(owner @ None) = owners.get_mut(slot) {
                *owner = Some(index);
                return true;
            }
        }
        // Only a table whose size is not prime has slots that an order never reaches.
        let Some(owner) = owners.iter_mut().find(|owner| owner.is_none()) else { return false };
        *owner = Some(index);
        true
    }
}

/// A hash of address and port: FNV-1a over their bytes, then the finalizer of MurmurHash3, so that
/// neighboring addresses have unrelated orders.
fn hash(backend: &Backend, seed: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed;
    let mut mix = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    match backend.address {
        IpAddr::V4(address) => address.octets().into_iter().for_each(&mut mix),
        IpAddr::V6(address) => address.octets().into_iter().for_each(&mut mix),
    }
    backend.port.to_be_bytes().into_iter().for_each(&mut mix);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backend(number: u32, weight: u16) -> Backend {
        let address = IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + number));
        Backend { address, port: 8080, weight, local: false, node: None }
    }

    fn set(numbers: impl Iterator<Item = u32>) -> BackendSet {
        BackendSet { backends: numbers.map(|number| backend(number, 1)).collect() }
    }

    fn shares(table: &[u32], backends: usize) -> Vec<usize> {
        let mut shares = vec![0; backends];
        table.iter().for_each(|owner| shares[*owner as usize] += 1);
        shares
    }

    #[test]
    fn the_table_is_the_same_on_every_node_and_in_every_version() {
        let table = table(&set(1..4), 13);
        assert_eq!(table, GOLDEN, "other nodes of a cluster in upgrade hold the old table");
    }

    /// Fixed for good.
    const GOLDEN: [u32; 13] = [1, 2, 1, 2, 0, 2, 1, 1, 0, 0, 2, 0, 0];

    #[test]
    fn nobody_owns_nothing_and_one_owns_all() {
        assert!(table(&BackendSet::default(), SLOTS).is_empty());
        assert!(table(&set(1..2), SLOTS).iter().all(|owner| *owner == 0));
    }

    #[test]
    fn weights_are_kept_within_a_percent() {
        let weights = [1, 2, 3, 10];
        let set = BackendSet { backends: (1u32..).zip(weights).map(|(n, weight)| backend(n, weight)).collect() };
        for (share, weight) in shares(&table(&set, SLOTS), 4).into_iter().zip(weights) {
            let wanted = SLOTS as f64 * f64::from(weight) / 16.0;
            assert!((share as f64 - wanted).abs() < SLOTS as f64 * 0.01, "{share} for weight {weight}");
        }
    }

    #[test]
    fn five_thousand_backends_fit_a_table_that_is_large_enough() {
        let shares = shares(&table(&set(0..5000), 65_537), 5000);
        assert!(shares.iter().all(|share| (13..=14).contains(share)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn equals_differ_by_one_slot(count in 1u32..80) {
            let shares = shares(&table(&set(0..count), SLOTS), count as usize);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{least} to {most}");
        }

        #[test]
        fn few_others_move_when_a_backend_goes(count in 2u32..40, gone in 0u32..40) {
            let gone = gone % count;
            let before = table(&set(0..count), SLOTS);
            let after = table(&set((0..count).filter(|number| *number != gone)), SLOTS);
            let number_after = |owner: u32| if owner >= gone { owner + 1 } else { owner };
            let moved = before.iter().zip(&after).filter(|(was, is)| **was != gone && **was != number_after(**is));
            // The paper's figure for tables a hundred times larger than their sets is a few percent.
            let limit = SLOTS / 10;
            prop_assert!(moved.count() < limit, "more than {limit} of {SLOTS}");
        }
    }
}
