//! The one list of reasons for which Seaway drops a packet.
//!
//! This list makes the Rust enum, the metric label, the API value, the C
//! header (`bpf/include/seaway_abi.h`) and the table in
//! `docs/reference/drop-reasons.md`; `cargo xtask codegen` writes the last two
//! and `cargo xtask tidy` fails when they are stale.

macro_rules! drop_reasons {
    ($($variant:ident = $code:literal, $label:literal, $doc:literal;)*) => {
        /// Why a packet was dropped. Codes are stable and never reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum DropReason { $(#[doc = $doc] $variant = $code,)* }

        impl DropReason {
            /// Every reason, in order of code.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)*];

            /// Label used by metrics, JSON and the command line.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(DropReason::$variant => $label,)* }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(DropReason::$variant => $doc,)* }
            }

            /// The reason with this code, if there is one.
            #[must_use]
            pub const fn from_code(code: u16) -> Option<DropReason> {
                match code { $($code => Some(DropReason::$variant),)* _ => None }
            }
        }
    };
}

drop_reasons! {
    Malformed = 1, "malformed", "The packet is shorter than its headers say.";
    SpoofedSourceMac = 2, "spoofed_source_mac", "A pod sent a frame from a MAC address that is not its own.";
    SpoofedSourceIp = 3, "spoofed_source_ip", "A pod sent a packet from an IP address that is not its own.";
    SpoofedNeighbor = 4, "spoofed_neighbor", "A pod sent an ARP or neighbor-discovery message that claims an address that is not its own.";
    UnknownEtherType = 5, "unknown_ether_type", "A pod sent a frame that is neither IPv4, IPv6 nor ARP.";
    UnknownPod = 6, "unknown_pod", "The destination lies in a block of this node but belongs to no pod.";
    UnknownEndpoint = 7, "unknown_endpoint", "The packet came from a pod link of which the data path knows nothing.";
    UntrustedTunnel = 8, "untrusted_tunnel", "A tunneled packet came from an address that is not a node of this cluster.";
    TtlExpired = 9, "ttl_expired", "The packet's hop limit ran out at this node.";
    RedirectFailed = 10, "redirect_failed", "The kernel could not hand the packet to the interface chosen for it.";
    ServiceWithoutLocalEndpoint = 11, "service_without_local_endpoint", "A Service's policy is Local and this node has no endpoint of it.";
    ServiceSourceRefused = 12, "service_source_refused", "The client is in none of the source ranges of the load balancer's address.";
    ServicePortsExhausted = 13, "service_ports_exhausted", "No source port was free for another connection to the chosen endpoint of a Service.";
    ServiceUnknownConnection = 14, "service_unknown_connection", "A packet in the middle of a connection to a Service's address, of which this node knows nothing.";
    ServiceUnroutable = 15, "service_unroutable", "The node has no route, or no address of its own, to carry a Service's packet on.";
}

impl DropReason {
    /// Number sent by the kernel programs.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_labels_are_unique_and_reversible() {
        let mut labels: Vec<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::ALL.len());
        for reason in DropReason::ALL {
            assert_eq!(DropReason::from_code(reason.code()), Some(*reason));
        }
        assert_eq!(DropReason::from_code(0), None);
    }
}
