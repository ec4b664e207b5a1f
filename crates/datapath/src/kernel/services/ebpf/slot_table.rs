//! Slots in the order in which hashes and turns meet them, and weights of random choice. Pure.

use bytemuck::Zeroable as _;
use seaway_model::abi::services::{Backend as Slot, SlotTable};
use seaway_model::abi::{self, services};
use seaway_services::maglev;
use seaway_services::plan::{Backend, BackendSet};

use super::image::SetForm;

/// Slots of the kernel's table.
const ROOM: usize = 4094;

/// Backends as the kernel holds them, with the weights of random choice.
pub(super) fn slots(backends: &[Backend]) -> Vec<Slot> {
    let (thresholds, aliases) = aliases(backends);
    let slots = backends.iter().zip(thresholds).zip(aliases);
    slots
        .map(|((backend, alias_threshold), alias)| Slot {
            address: abi::map_address(backend.address),
            port: backend.port.to_be(),
            flags: if backend.local { services::BACKEND_LOCAL as u16 } else { 0 },
            alias_threshold,
            alias,
            weight: backend.weight,
            pad: 0,
        })
        .collect()
}

/// Walker's alias method in integers (Vose's construction): each slot keeps what it is due of
/// its even share and gives the rest to one other.
fn aliases(backends: &[Backend]) -> (Vec<u32>, Vec<u32>) {
    let count = backends.len();
    let mut thresholds = vec![u32::MAX; count];
    let mut aliases: Vec<u32> = (0..count).map(|slot| u32::try_from(slot).unwrap_or(u32::MAX)).collect();
    let total: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
    if total == 0 || backends.windows(2).all(|pair| matches!(pair, [one, two] if one.weight == two.weight)) {
        return (thresholds, aliases);
    }
    // In units in which an even share is `total`.
    let mut due: Vec<u64> = backends.iter().map(|backend| u64::from(backend.weight) * count as u64).collect();
    let (mut poor, mut rich): (Vec<usize>, Vec<usize>) = (0..count).partition(|slot| due.get(*slot) < Some(&total));
    while let (Some(low), Some(high)) = (poor.pop(), rich.pop()) {
        let (Some(own), Some(threshold), Some(alias)) = (due.get(low), thresholds.get_mut(low), aliases.get_mut(low))
        else {
            break;
        };
        *threshold = u32::try_from((u128::from(*own) << 32) / u128::from(total)).unwrap_or(u32::MAX);
        *alias = u32::try_from(high).unwrap_or(u32::MAX);
        let given = total - own;
        if let Some(rest) = due.get_mut(high) {
            *rest -= given;
            if *rest < total { poor.push(high) } else { rich.push(high) }
        }
    }
    (thresholds, aliases)
}

/// Whether a set has a slot table: hashes always, turns when weights differ, and neither with
/// more backends than it has slots. Those are chosen at random, or one after the other.
pub(super) fn is_needed(form: SetForm, backends: &[Backend]) -> bool {
    let first = backends.first().map(|first| first.weight);
    let weights_differ = || backends.iter().any(|backend| Some(backend.weight) != first);
    !backends.is_empty() && backends.len() <= maglev::SLOTS && (form.hashes || form.turns && weights_differ())
}

/// The turns of a round, heavier backends more often and evenly spread.
pub(super) fn turns(backends: &[Backend]) -> SlotTable {
    let weights = reduced_weights(backends);
    let total: i64 = weights.iter().sum();
    let mut credits = vec![0i64; weights.len()];
    let mut order = Vec::new();
    for _ in 0..total {
        for (credit, weight) in credits.iter_mut().zip(&weights) {
            *credit += weight;
        }
        // The first of equals, on every node the same.
        let next = credits.iter().enumerate().max_by_key(|(slot, credit)| (**credit, std::cmp::Reverse(*slot)));
        let Some(next) = next.map(|(slot, _)| slot) else { break };
        if let Some(credit) = credits.get_mut(next) {
            *credit -= total;
        }
        order.push(next);
    }
    table(&order)
}

/// Weights without their common divisor, scaled down where a round would not fit.
fn reduced_weights(backends: &[Backend]) -> Vec<i64> {
    let divisor = backends.iter().map(|backend| u64::from(backend.weight)).fold(0, greatest_common_divisor).max(1);
    let total = backends.iter().map(|backend| u64::from(backend.weight)).sum::<u64>() / divisor;
    let scale =
        |weight: u64| if total > ROOM as u64 { weight * (ROOM - backends.len()) as u64 / total } else { weight };
    let weights = backends.iter().map(|backend| u64::from(backend.weight) / divisor);
    weights.map(|weight| i64::try_from(scale(weight).max(u64::from(weight > 0))).unwrap_or(1)).collect()
}

fn greatest_common_divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

/// Slots in the order in which hashes meet them.
pub(super) fn hashes(set: &BackendSet) -> SlotTable {
    let order: Vec<usize> = maglev::table(set, maglev::SLOTS).into_iter().map(|slot| slot as usize).collect();
    table(&order)
}

fn table(order: &[usize]) -> SlotTable {
    let mut table = SlotTable::zeroed();
    for (place, slot) in table.slots.iter_mut().zip(order) {
        *place = u16::try_from(*slot).unwrap_or(0);
    }
    table.entries = u16::try_from(order.len().min(ROOM)).unwrap_or(0);
    table
}
