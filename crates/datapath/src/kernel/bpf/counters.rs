//! What the programs count.

use std::collections::BTreeMap;

use seaway_model::{DropReason, abi};

use super::error::BpfError;
use super::table::Table;

/// Counters of the fast path since its maps were made, summed over CPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FastPathCounters {
    /// Dropped packets by reason; reasons that never occurred are left out.
    pub drops: BTreeMap<DropReason, abi::Counter>,
    /// Traffic of each endpoint, by its number.
    pub endpoints: BTreeMap<u32, abi::EndpointCounters>,
    /// Drops that no event told of.
    pub event_loss: EventLoss,
}

/// Drops that were counted but not told, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventLoss {
    /// The CPU's budget was used up.
    pub suppressed: u64,
    /// Nobody emptied the ring buffer.
    pub lost: u64,
}

pub(super) fn read(
    endpoints: &Table<u32, abi::EndpointCounters>,
    drops: &Table<u32, abi::Counter>,
    budget: &Table<u32, abi::EventBudget>,
) -> Result<FastPathCounters, BpfError> {
    let mut counters = FastPathCounters::default();
    for (code, values) in drops.per_cpu_entries()? {
        let reason = u16::try_from(code).ok().and_then(DropReason::from_code);
        let total = sum(values.iter());
        if let (Some(reason), true) = (reason, total.packets > 0) {
            counters.drops.insert(reason, total);
        }
    }
    for (id, values) in endpoints.per_cpu_entries()? {
        let traffic = abi::EndpointCounters {
            sent_fast: sum(values.iter().map(|value| &value.sent_fast)),
            sent_stack: sum(values.iter().map(|value| &value.sent_stack)),
            received_fast: sum(values.iter().map(|value| &value.received_fast)),
            received_stack: sum(values.iter().map(|value| &value.received_stack)),
        };
        counters.endpoints.insert(id, traffic);
    }
    for state in budget.per_cpu_entries()?.values().flatten() {
        counters.event_loss.suppressed += state.suppressed;
        counters.event_loss.lost += state.lost;
    }
    Ok(counters)
}

fn sum<'a>(values: impl Iterator<Item = &'a abi::Counter>) -> abi::Counter {
    values.fold(abi::Counter { packets: 0, bytes: 0 }, |total, value| abi::Counter {
        packets: total.packets + value.packets,
        bytes: total.bytes + value.bytes,
    })
}
