//! What the kernel holds for a Service: its plan in the maps' terms. Pure.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use seaway_model::Protocol;
use seaway_model::abi::services::{self, ConnectionsKey, ServiceKey, SlotTable, SourceRangeKey};
use seaway_model::abi::{self};
use seaway_services::plan::{
    Algorithm, Backend, BackendSet, Forwarding, Frontend, FrontendAddress, FrontendKind, Reach, ServicePlan,
};

use super::slot_table;

/// What a set has besides its backends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SetForm {
    /// Entries in `sw_members`.
    pub(super) members: bool,
    /// An entry in `sw_slot_tables`, for hashes.
    pub(super) hashes: bool,
    /// An entry in `sw_turns`, and one in `sw_slot_tables` when weights differ.
    pub(super) turns: bool,
}

/// Numbers of a frontend.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    /// Its own.
    pub(super) frontend: u32,
    /// What its clients are remembered under; 0: nobody is.
    pub(super) affinity: u32,
}

/// Entries that a Service takes, by map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) frontends: u64,
    pub(super) backends: u64,
    pub(super) members: u64,
    pub(super) slot_tables: u64,
    pub(super) turns: u64,
    pub(super) source_ranges: u64,
}

/// The forms of a plan's sets: what all frontends that use a set need.
pub(super) fn forms(plan: &ServicePlan) -> Vec<SetForm> {
    let mut forms = vec![SetForm::default(); plan.sets.len()];
    for frontend in &plan.frontends {
        for reach in [frontend.inside, frontend.outside] {
            let Reach::Backends { set, .. } = reach else { continue };
            let Some(form) = forms.get_mut(set) else { continue };
            form.members |= needs_members(frontend);
            form.hashes |= matches!(frontend.algorithm, Algorithm::Maglev | Algorithm::SourceHash);
            form.turns |= frontend.algorithm == Algorithm::RoundRobin;
        }
    }
    // One table for both would be wrong for one: hashes come first, turns do without weights.
    forms
}

/// Datagrams have no end that tells when a remembered backend is no longer needed.
fn needs_members(frontend: &Frontend) -> bool {
    frontend.protocol == Protocol::Udp || frontend.affinity_timeout_seconds.is_some()
}

/// The slot table of a set, if its form asks for one.
pub(super) fn slot_table(form: SetForm, set: &BackendSet) -> Option<SlotTable> {
    if !slot_table::is_needed(form, &set.backends) {
        return None;
    }
    Some(if form.hashes { slot_table::hashes(set) } else { slot_table::turns(&set.backends) })
}

/// The key of a frontend.
pub(super) fn service_key(frontend: &Frontend) -> ServiceKey {
    let address = match frontend.at {
        FrontendAddress::Ip(address) => abi::map_address(address),
        FrontendAddress::NodeIpv4 => abi::map_address(std::net::Ipv4Addr::UNSPECIFIED.into()),
        FrontendAddress::NodeIpv6 => abi::map_address(std::net::Ipv6Addr::UNSPECIFIED.into()),
    };
    ServiceKey { address, port: frontend.port.to_be(), protocol: frontend.protocol.number(), pad: 0 }
}

/// What the clients of a frontend share: a port of the Service, in one family.
pub(super) type AffinityGroup<'a> = (&'a str, Protocol, bool);

/// Whom the frontend shares its clients with; none: it remembers nobody.
pub(super) fn affinity_group(frontend: &Frontend) -> Option<AffinityGroup<'_>> {
    frontend.affinity_timeout_seconds?;
    Some((&frontend.port_name, frontend.protocol, frontend.at.is_ipv4()))
}

/// The value of a frontend.
/// `numbers` are its own and what its clients are remembered under;
/// `set_ids` has the number of each of the plan's sets.
pub(super) fn service_value(
    frontend: &Frontend,
    numbers: Numbers,
    plan: &ServicePlan,
    set_ids: &[u32],
) -> abi::services::Service {
    let (inside_set, inside_count) = set_of(frontend.inside, plan, set_ids);
    let (outside_set, outside_count) = set_of(frontend.outside, plan, set_ids);
    abi::services::Service {
        inside_set,
        inside_count,
        outside_set,
        outside_count,
        id: numbers.frontend,
        affinity_timeout_seconds: frontend.affinity_timeout_seconds.unwrap_or(0),
        flags: flags(frontend),
        affinity_id: numbers.affinity,
    }
}

fn set_of(reach: Reach, plan: &ServicePlan, set_ids: &[u32]) -> (u32, u32) {
    let Reach::Backends { set, .. } = reach else { return (0, 0) };
    let count = u32::try_from(plan.backends(reach).len()).unwrap_or(u32::MAX);
    set_ids.get(set).map_or((0, 0), |id| (*id, count))
}

fn flags(frontend: &Frontend) -> u32 {
    let algorithm = match frontend.algorithm {
        Algorithm::Random => services::ALGORITHM_RANDOM,
        Algorithm::Maglev => services::ALGORITHM_MAGLEV,
        Algorithm::SourceHash => services::ALGORITHM_SOURCE_HASH,
        Algorithm::RoundRobin => services::ALGORITHM_ROUND_ROBIN,
        Algorithm::LeastConnection => services::ALGORITHM_LEAST_CONNECTION,
    };
    let kind = match frontend.kind {
        FrontendKind::ClusterIp => services::KIND_CLUSTER_IP,
        FrontendKind::ExternalIp => services::KIND_EXTERNAL_IP,
        FrontendKind::LoadBalancer => services::KIND_LOAD_BALANCER,
        FrontendKind::NodePort => services::KIND_NODE_PORT,
    };
    let mut flags = algorithm << services::SERVICE_ALGORITHM_SHIFT | kind << services::SERVICE_KIND_SHIFT;
    flags |= match frontend.inside {
        Reach::Backends { hide_client: true, .. } => services::SERVICE_INSIDE_HIDE_CLIENT,
        Reach::Backends { .. } => 0,
        Reach::Reject => services::SERVICE_INSIDE_REJECT,
        Reach::Drop => services::SERVICE_INSIDE_DROP,
    };
    flags |= match frontend.outside {
        Reach::Backends { hide_client: true, .. } => services::SERVICE_OUTSIDE_HIDE_CLIENT,
        Reach::Backends { .. } => 0,
        Reach::Reject => services::SERVICE_OUTSIDE_REJECT,
        Reach::Drop => services::SERVICE_OUTSIDE_DROP,
    };
    let choices = [
        (!frontend.source_ranges.is_empty(), services::SERVICE_SOURCE_RANGES),
        (frontend.forwarding == Forwarding::DirectReturn, services::SERVICE_DIRECT_RETURN),
        (needs_members(frontend), services::SERVICE_MEMBERS),
    ];
    choices.iter().filter(|(applies, _)| *applies).fold(flags, |flags, (_, flag)| flags | flag)
}

/// The key of what is known of a frontend's connections to a backend.
pub(super) fn connections_key(id: u32, at: SocketAddr) -> ConnectionsKey {
    ConnectionsKey { service_id: id, port: at.port().to_be(), pad: 0, address: abi::map_address(at.ip()) }
}

/// Where a backend listens.
pub(super) fn socket_address(backend: &Backend) -> SocketAddr {
    SocketAddr::new(backend.address, backend.port)
}

/// The keys of a frontend's source ranges. Those of the other family admit nobody here: as keys,
/// `::/0` would hold every mapped IPv4 address.
pub(super) fn source_range_keys(frontend: &Frontend, id: u32) -> Vec<SourceRangeKey> {
    let same_family = |range: &&IpNet| range.addr().is_ipv4() == frontend.at.is_ipv4();
    frontend.source_ranges.iter().filter(same_family).map(|range| source_range_key(range, id)).collect()
}

fn source_range_key(range: &IpNet, id: u32) -> SourceRangeKey {
    let mapped_bits = if range.addr().is_ipv4() { 96 } else { 0 };
    SourceRangeKey {
        prefix_length_bits: 32 + mapped_bits + u32::from(range.prefix_len()),
        service_id: id,
        address: abi::map_address(range.network()),
    }
}

// === impl Room ===

impl Room {
    /// By map, in the order of [`super::tables::Tables::limits`].
    pub(super) fn by_table(&self) -> [u64; 6] {
        [self.frontends, self.backends, self.members, self.slot_tables, self.turns, self.source_ranges]
    }

    /// All entries.
    pub(super) fn total(&self) -> u64 {
        self.by_table().iter().sum()
    }

    /// Both together.
    pub(super) fn plus(&self, other: &Room) -> Room {
        self.combine(other, u64::saturating_add)
    }

    /// What is left without the other.
    pub(super) fn minus(&self, other: &Room) -> Room {
        self.combine(other, u64::saturating_sub)
    }

    fn combine(&self, other: &Room, how: impl Fn(u64, u64) -> u64) -> Room {
        Room {
            frontends: how(self.frontends, other.frontends),
            backends: how(self.backends, other.backends),
            members: how(self.members, other.members),
            slot_tables: how(self.slot_tables, other.slot_tables),
            turns: how(self.turns, other.turns),
            source_ranges: how(self.source_ranges, other.source_ranges),
        }
    }
}

/// A plan and the numbers that its sets have in the kernel.
#[derive(Debug, Clone)]
pub(super) struct Programmed {
    /// Number of the Service among those of this process.
    pub(super) owner: u32,
    pub(super) plan: Arc<ServicePlan>,
    pub(super) forms: Vec<SetForm>,
    pub(super) set_ids: Vec<u32>,
}
