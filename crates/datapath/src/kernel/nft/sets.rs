//! Sets and their elements. Sets that hold addresses have a twin per address family,
//! since a set has one key type.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nlink::netlink::nftables::{Family, Set, SetElement, SetKeyType, Transaction};
use seaway_model::MacAddress;

use super::TABLE;
use crate::plan::{Element, NftSet};

/// Elements in one message: an attribute holds at most 64 KiB, an element some 60 bytes.
const ELEMENTS_PER_MESSAGE: usize = 500;

const ALL: [NftSet; 6] = [
    NftSet::TunnelPeers,
    NftSet::MasqueradeSources,
    NftSet::MasqueradeExceptions,
    NftSet::PodLinks,
    NftSet::PodMacs,
    NftSet::PodAddresses,
];

/// Whether tables of `family` have the set.
pub(crate) fn is_of(set: NftSet, family: Family) -> bool {
    family == Family::Inet || matches!(set, NftSet::PodLinks | NftSet::PodMacs | NftSet::PodAddresses)
}

/// Whether the element is in a table of `family`: ARP speaks of IPv4 only.
pub(crate) fn belongs(set: NftSet, element: &Element, family: Family) -> bool {
    is_of(set, family) && (family == Family::Inet || is_v6(element) != Some(true))
}

/// Twins by address family, or the one set.
fn twins(set: NftSet, family: Family) -> Vec<Option<bool>> {
    match set {
        NftSet::PodLinks | NftSet::PodMacs => vec![None],
        _ if family == Family::Arp => vec![Some(false)],
        _ => vec![Some(false), Some(true)],
    }
}

fn name(set: NftSet, v6: Option<bool>) -> String {
    match v6 {
        None => set.base_name().to_owned(),
        Some(false) => format!("{}_v4", set.base_name()),
        Some(true) => format!("{}_v6", set.base_name()),
    }
}

fn is_v6(element: &Element) -> Option<bool> {
    match element {
        Element::Address(address) | Element::LinkAddress(_, address) => Some(address.is_ipv6()),
        Element::Range(range) => Some(range.addr().is_ipv6()),
        Element::Link(_) | Element::LinkMac(..) => None,
    }
}

fn definition(set: NftSet, v6: Option<bool>, family: Family) -> Set {
    let address = if v6 == Some(true) { SetKeyType::Ipv6Addr } else { SetKeyType::Ipv4Addr };
    let (key, interval) = match set {
        NftSet::TunnelPeers => (address, false),
        NftSet::MasqueradeSources | NftSet::MasqueradeExceptions => (address, true),
        NftSet::PodLinks => (SetKeyType::IfIndex, false),
        NftSet::PodMacs => (SetKeyType::Concat(vec![SetKeyType::IfIndex, SetKeyType::EtherAddr]), false),
        NftSet::PodAddresses => (SetKeyType::Concat(vec![SetKeyType::IfIndex, address]), false),
    };
    let definition = Set::new(TABLE, &name(set, v6)).family(family).key_type(key);
    if interval { definition.interval() } else { definition }
}

/// All sets of a table.
pub(crate) fn all(family: Family) -> Vec<Set> {
    let sets = ALL.into_iter().filter(|set| is_of(*set, family));
    sets.flat_map(|set| twins(set, family).into_iter().map(move |v6| definition(set, v6, family))).collect()
}

/// Names of all sets of a table.
pub(crate) fn names(family: Family) -> Vec<(NftSet, String)> {
    let sets = ALL.into_iter().filter(|set| is_of(*set, family));
    sets.flat_map(|set| twins(set, family).into_iter().map(move |v6| (set, name(set, v6)))).collect()
}

/// Adds changes of elements to a transaction; removals first, since a range to add may
/// overlap one that goes.
pub(crate) fn change(
    mut transaction: Transaction,
    family: Family,
    add: &[(NftSet, Element)],
    remove: &[(NftSet, Element)],
) -> Transaction {
    for (elements, adding) in [(remove, false), (add, true)] {
        for set in ALL {
            for v6 in twins(set, family) {
                let of_set = |(of, element): &&(NftSet, Element)| *of == set && is_v6(element) == v6;
                let chosen: Vec<SetElement> = elements
                    .iter()
                    .filter(of_set)
                    .filter(|(set, element)| belongs(*set, element, family))
                    .map(|(_, element)| encode(element))
                    .collect();
                for chunk in chosen.chunks(ELEMENTS_PER_MESSAGE) {
                    let definition = definition(set, v6, family);
                    transaction = if adding {
                        transaction.add_set_elements(&definition, chunk)
                    } else {
                        transaction.del_set_elements(&definition, chunk)
                    };
                }
            }
        }
    }
    transaction
}

fn encode(element: &Element) -> SetElement {
    let address = |address: &IpAddr| match address {
        IpAddr::V4(v4) => SetElement::ipv4(*v4),
        IpAddr::V6(v6) => SetElement::ipv6(*v6),
    };
    match element {
        Element::Address(one) => address(one),
        Element::Range(IpNet::V4(range)) => SetElement::ipv4_range(range.network(), range.broadcast()),
        Element::Range(IpNet::V6(range)) => SetElement::ipv6_range(range.network(), range.broadcast()),
        Element::Link(index) => SetElement::ifindex(*index),
        Element::LinkMac(index, mac) => SetElement::concat([SetElement::ifindex(*index), SetElement::ether(mac.0)]),
        Element::LinkAddress(index, one) => SetElement::concat([SetElement::ifindex(*index), address(one)]),
    }
}

/// Reads an element back; `None` when it is none of ours.
pub(crate) fn decode(set: NftSet, raw: &SetElement) -> Option<Element> {
    let key = raw.key();
    let index = || key.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes));
    match set {
        NftSet::TunnelPeers => Some(Element::Address(address(key)?)),
        NftSet::MasqueradeSources | NftSet::MasqueradeExceptions => {
            let first = address(key)?;
            let last = raw.key_end().map_or(Some(first), address)?;
            Some(Element::Range(covering(first, last)?))
        }
        NftSet::PodLinks => Some(Element::Link(index()?)),
        NftSet::PodMacs => Some(Element::LinkMac(index()?, MacAddress(*key.get(4..)?.first_chunk()?))),
        NftSet::PodAddresses => Some(Element::LinkAddress(index()?, address(key.get(4..)?)?)),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes).into()),
        16 => bytes.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes).into()),
        _ => None,
    }
}

/// The one prefix from `first` to `last`.
fn covering(first: IpAddr, last: IpAddr) -> Option<IpNet> {
    let differing_bits = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
        (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
        _ => return None,
    };
    let net = IpNet::new(first, u8::try_from(differing_bits).ok()?).ok()?;
    (net.network() == first && net.broadcast() == last).then_some(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_as_they_went() {
        let mac = MacAddress([2, 0, 0, 0, 0, 9]);
        for (set, element) in [
            (NftSet::TunnelPeers, Element::Address("2001:db8::1".parse().unwrap())),
            (NftSet::MasqueradeSources, Element::Range("10.1.0.0/16".parse().unwrap())),
            (NftSet::MasqueradeExceptions, Element::Range("fd83::/64".parse().unwrap())),
            (NftSet::MasqueradeExceptions, Element::Range("192.0.2.1/32".parse().unwrap())),
            (NftSet::PodLinks, Element::Link(9)),
            (NftSet::PodMacs, Element::LinkMac(9, mac)),
            (NftSet::PodAddresses, Element::LinkAddress(9, "10.1.2.3".parse().unwrap())),
        ] {
            assert_eq!(decode(set, &encode(&element)), Some(element));
        }
    }

    #[test]
    fn only_whole_prefixes_are_ours() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(covering(ip("10.0.0.0"), ip("10.0.0.255")), Some("10.0.0.0/24".parse().unwrap()));
        assert_eq!(covering(ip("10.0.0.1"), ip("10.0.0.255")), None);
        assert_eq!(covering(ip("0.0.0.0"), ip("255.255.255.255")), Some("0.0.0.0/0".parse().unwrap()));
    }
}
