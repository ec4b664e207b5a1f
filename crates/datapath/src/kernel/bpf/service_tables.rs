//! How much the Services' maps hold. Both objects, for packets and for sockets, use the maps, so
//! both must be loaded with the same sizes.

use std::collections::BTreeMap;

/// Sizes of the Services' maps, in entries. A node's memory is used by what is in them, except
/// where said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceTables {
    /// Places where clients reach Services: addresses with port and protocol.
    pub frontends: u32,
    /// Backends of all Services; one that belongs to two counts twice. While a Service changes,
    /// its old and its new backends count.
    pub backends: u32,
    /// Services with Maglev, source hash, or round robin by weight; 8 KiB each.
    pub slot_tables: u32,
    /// Source ranges of load balancers.
    pub source_ranges: u32,
    /// Clients whose backend is remembered for session affinity. Takes about 130 bytes for each
    /// at once.
    pub affine_clients: u32,
    /// Connected sockets of this node.
    pub sockets: u32,
    /// Peers of UDP sockets. Takes about 350 bytes for each at once.
    pub datagram_peers: u32,
}

// === impl ServiceTables ===

impl Default for ServiceTables {
    /// Five times what Kubernetes states as its limits (10,000 Services, 150,000 pods).
    fn default() -> Self {
        Self {
            frontends: 262_144,
            backends: 1_048_576,
            slot_tables: 16_384,
            source_ranges: 65_536,
            affine_clients: 65_536,
            sockets: 524_288,
            datagram_peers: 32_768,
        }
    }
}

impl ServiceTables {
    /// Sizes by the maps' names.
    pub(super) fn max_entries(&self) -> BTreeMap<&'static str, u32> {
        BTreeMap::from([
            ("sw_services", self.frontends),
            ("sw_backends", self.backends),
            ("sw_members", self.backends),
            ("sw_slot_tables", self.slot_tables),
            ("sw_turns", self.frontends),
            ("sw_connections", self.backends),
            ("sw_source_ranges", self.source_ranges),
            ("sw_affinity", self.affine_clients),
            ("sw_sockets", self.sockets),
            ("sw_socket_flows", self.datagram_peers),
            ("sw_socket_replies", self.datagram_peers),
            ("sw_socket_namespaces", self.datagram_peers),
        ])
    }
}
