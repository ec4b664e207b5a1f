//! Judges a [`LabSpec`] before anything is made. Pure.

use ipnet::IpNet;

use super::{LabSpec, SpecError};

/// Longest name of a lab: it is part of a cgroup name, a path and a host name.
const MAX_NAME_BYTES: usize = 32;
/// A /24 per rack holds 200 nodes beside the router; the machine is the limit
/// long before that.
const MAX_NODES: u32 = 200;
/// Racks are numbered in the third octet; the last subnet is the outside's.
const MAX_RACKS: u32 = 64;
/// RFC 791: every link carries 68 bytes, but a tunnel header of 50 must fit too.
const MIN_MTU_BYTES: u32 = 576;
/// RFC 8200 §5.
const MIN_IPV6_MTU_BYTES: u32 = 1280;
/// Largest MTU of a veth.
const MAX_MTU_BYTES: u32 = 65535;
/// The API server takes at most 20 bits of IPv6 Service range.
const LONGEST_SERVICE_HOST_BITS: u8 = 20;

impl LabSpec {
    /// Refuses what cannot be built, naming the field.
    pub fn validate(&self) -> Result<(), SpecError> {
        name_is_good("name", &self.name)?;
        in_range("nodes", self.nodes, 1, MAX_NODES)?;
        in_range("racks", self.racks, 1, MAX_RACKS.min(self.nodes))?;
        in_range("linkMtuBytes", self.link_mtu_bytes, MIN_MTU_BYTES, MAX_MTU_BYTES)?;
        if self.families.ipv6() && self.link_mtu_bytes < MIN_IPV6_MTU_BYTES {
            return Err(SpecError::MtuTooSmallForIpv6 { value: self.link_mtu_bytes, least: MIN_IPV6_MTU_BYTES });
        }
        let labels = self.node_labels.keys().map(|node| ("nodeLabels", node));
        let backends = self.seaway.node_backends.keys().map(|node| ("seaway.nodeBackends", node));
        for (field, node) in labels.chain(backends) {
            let number = node.strip_prefix('n').and_then(|digits| digits.parse::<u32>().ok());
            if !number.is_some_and(|number| number >= 1 && number <= self.nodes && *node == format!("n{number}")) {
                return Err(SpecError::UnknownNode { field, node: node.clone(), nodes: self.nodes });
            }
        }
        self.families_match("podCidrs", &self.pod_ranges())?;
        self.families_match("serviceCidrs", &self.service_ranges())?;
        self.sizes_fit()?;
        self.nothing_overlaps()
    }

    fn families_match(&self, field: &'static str, ranges: &[IpNet]) -> Result<(), SpecError> {
        let count = |ipv4: bool| ranges.iter().filter(|range| matches!(range, IpNet::V4(_)) == ipv4).count();
        for (family, wanted, given) in
            [("IPv4", self.families.ipv4(), count(true)), ("IPv6", self.families.ipv6(), count(false))]
        {
            let reason = match (wanted, given) {
                (true, 1) | (false, 0) => continue,
                (true, 0) => format!("no {family} range, but families is {}", self.families),
                (true, _) => format!("more than one {family} range"),
                (false, _) => format!("an {family} range, but families is {}", self.families),
            };
            return Err(SpecError::FamilyMismatch { field, reason });
        }
        Ok(())
    }

    fn sizes_fit(&self) -> Result<(), SpecError> {
        for (field, ranges) in self.fields() {
            for range in ranges {
                if range.trunc() != range {
                    return Err(SpecError::HostBits { field, range });
                }
                let longest = match (field, &range) {
                    // The subnets of the racks and one more for the outside.
                    ("underlay.ipv4", _) => 24 - bits_for(self.racks + 1),
                    ("underlay.ipv6", _) => 64 - bits_for(self.racks + 1),
                    // A block of 64 addresses for each node, and one spare.
                    ("podCidrs", IpNet::V4(_)) => 26 - bits_for(self.nodes + 1),
                    ("podCidrs", IpNet::V6(_)) => 122 - bits_for(self.nodes + 1),
                    // Room for the API server's and the DNS's own addresses.
                    (_, IpNet::V4(_)) => 27,
                    (_, IpNet::V6(_)) => 123,
                };
                if range.prefix_len() > longest {
                    let need = format!("its prefix must be /{longest} or shorter");
                    return Err(SpecError::RangeTooSmall { field, range, need });
                }
                let host_bits = range.max_prefix_len() - range.prefix_len();
                if field == "serviceCidrs" && host_bits > LONGEST_SERVICE_HOST_BITS {
                    let shortest = range.max_prefix_len() - LONGEST_SERVICE_HOST_BITS;
                    let limit = format!("the API server takes /{shortest} or longer");
                    return Err(SpecError::RangeTooLarge { field, range, limit });
                }
            }
        }
        Ok(())
    }

    fn nothing_overlaps(&self) -> Result<(), SpecError> {
        let all: Vec<(&'static str, IpNet)> = self
            .fields()
            .into_iter()
            .flat_map(|(field, ranges)| ranges.into_iter().map(move |range| (field, range)))
            .collect();
        for (index, (field, range)) in all.iter().enumerate() {
            for (other_field, other) in all.iter().take(index) {
                if range.contains(other) || other.contains(range) {
                    return Err(SpecError::Overlap { field, range: *range, other_field, other: *other });
                }
            }
        }
        Ok(())
    }

    fn fields(&self) -> [(&'static str, Vec<IpNet>); 4] {
        let underlay = |ipv4: bool| {
            self.underlay_ranges().into_iter().filter(|range| matches!(range, IpNet::V4(_)) == ipv4).collect()
        };
        [
            ("underlay.ipv4", underlay(true)),
            ("underlay.ipv6", underlay(false)),
            ("podCidrs", self.pod_ranges()),
            ("serviceCidrs", self.service_ranges()),
        ]
    }
}

/// Refuses a name that is no directory, cgroup and host name: every verb asks
/// before it makes a path of it.
///
/// # Errors
/// [`SpecError::BadName`].
pub fn check_name(name: &str) -> Result<(), SpecError> {
    name_is_good("name", name)
}

fn name_is_good(field: &str, value: &str) -> Result<(), SpecError> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = value.as_bytes();
    let good = !bytes.is_empty()
        && bytes.len() <= MAX_NAME_BYTES
        && bytes.iter().all(|&byte| inner(byte) || byte == b'-')
        && bytes.first().is_some_and(|&byte| inner(byte))
        && bytes.last().is_some_and(|&byte| inner(byte));
    if good {
        return Ok(());
    }
    Err(SpecError::BadName { field: field.to_owned(), value: value.to_owned(), limit: MAX_NAME_BYTES })
}

fn in_range(field: &'static str, value: u32, least: u32, most: u32) -> Result<(), SpecError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(SpecError::BadCount { field, value, least, most })
}

/// Bits that number `count` things.
fn bits_for(count: u32) -> u8 {
    let bits = u32::BITS - count.saturating_sub(1).leading_zeros();
    u8::try_from(bits).unwrap_or(u8::MAX)
}
