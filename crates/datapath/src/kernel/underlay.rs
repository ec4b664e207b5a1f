//! Which device carries traffic between nodes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use seaway_routing::plan::Underlay;

use super::netlink::Netlink;
use super::rtnetlink::{address, link};
use crate::DatapathError;
use crate::plan::TUNNEL_DEVICE;

/// Finds the device that holds the first of the node's addresses that any device holds.
pub fn underlay(node_addresses: &[IpAddr]) -> Result<Underlay, DatapathError> {
    find(&mut Netlink::route()?, node_addresses)
}

/// All addresses of this node's devices, without link-local and loopback ones.
pub fn host_addresses() -> Result<Vec<IpAddr>, DatapathError> {
    let answers = Netlink::route()?.dump(&address::get_all())?;
    let held = answers.iter().filter_map(|(kind, body)| address::parse(*kind, body));
    let global = held.filter(|held| !held.link_local).map(|held| held.address.addr());
    Ok(global.filter(|held| !held.is_loopback()).collect())
}

pub(super) fn find(netlink: &mut Netlink, node_addresses: &[IpAddr]) -> Result<Underlay, DatapathError> {
    let links = netlink.dump(&link::get_all())?;
    let addresses = netlink.dump(&address::get_all())?;
    let addresses: Vec<_> = addresses.iter().filter_map(|(kind, body)| address::parse(*kind, body)).collect();
    let mut links = links.iter().filter_map(|(kind, body)| link::parse(*kind, body));
    let holder = |wanted: &IpAddr| addresses.iter().find(|held| held.address.addr() == *wanted).map(|held| held.index);
    let index = node_addresses.iter().find_map(holder);
    let device = links.find(|link| Some(link.index) == index && link.name != TUNNEL_DEVICE);
    let Some(device) = device else {
        let list: Vec<_> = node_addresses.iter().map(ToString::to_string).collect();
        return Err(DatapathError::NoUnderlay { addresses: list.join(", ") });
    };
    Ok(Underlay {
        index: device.index,
        mtu_bytes: device.mtu_bytes,
        addresses: addresses
            .iter()
            .filter(|held| held.index == device.index && !held.link_local)
            .map(|held| held.address)
            .collect(),
        path_mtus_bytes: BTreeMap::new(),
        device: device.name,
    })
}
