//! What the kernel holds of ours, as plain values.

use std::collections::{BTreeMap, BTreeSet};

use seaway_model::MacAddress;

use super::bpf::{FastPath, Program};
use super::netlink::Netlink;
use super::nft::Nft;
use super::rtnetlink::link::LinkInfo;
use super::rtnetlink::{FAMILY_V4, FAMILY_V6, address, link, neighbor, route};
use super::setting::Settings;
use crate::link::is_host_interface_name;
use crate::plan::{FastRoute, Key, Objects, RouteTarget, Ruleset, TUNNEL_DEVICE, TunnelDevice, Value, WantedObjects};
use crate::{DatapathError, link as pod_link};

/// Links of this namespace.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_name: BTreeMap<String, LinkInfo>,
}

// === impl Links ===

impl Links {
    pub(super) fn read(netlink: &mut Netlink) -> Result<Self, DatapathError> {
        let replies = netlink.dump(&link::get_all())?;
        let links = replies.iter().filter_map(|(kind, body)| link::parse(*kind, body));
        Ok(Self { by_name: links.map(|link| (link.name.clone(), link)).collect() })
    }

    pub(super) fn index(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).map(|link| link.index)
    }

    pub(super) fn get(&self, name: &str) -> Option<&LinkInfo> {
        self.by_name.get(name)
    }

    pub(super) fn insert(&mut self, link: LinkInfo) {
        self.by_name.insert(link.name.clone(), link);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    pub(super) fn name(&self, index: u32) -> Option<&str> {
        self.by_name.values().find(|link| link.index == index).map(|link| link.name.as_str())
    }

    /// Pod links of ours: by form of the name and by record.
    pub(super) fn pods(&self) -> impl Iterator<Item = (&LinkInfo, pod_link::Recorded)> {
        self.by_name.values().filter(|link| is_host_interface_name(&link.name)).filter_map(|link| {
            let recorded = pod_link::parse_record(link.alias.as_deref()?)?;
            Some((link, recorded))
        })
    }

    /// Names of the devices whose neighbors are ours, by index.
    fn ours(&self) -> BTreeMap<u32, &str> {
        let pods = self.pods().map(|(link, _)| (link.index, link.name.as_str()));
        let tunnel = self.get(TUNNEL_DEVICE).map(|link| (link.index, link.name.as_str()));
        pods.chain(tunnel).collect()
    }
}

/// Reads everything that `wanted` could be compared with.
pub(super) fn read(
    netlink: &mut Netlink,
    nft: &Nft,
    fast_path: Option<&FastPath>,
    kernel_settings: &Settings,
    links: &Links,
    wanted: &WantedObjects,
) -> Result<Objects, DatapathError> {
    let mut objects = Objects::new();
    settings(kernel_settings, wanted, &mut objects)?;
    tunnel(links, &mut objects);
    addresses(netlink, links, &mut objects)?;
    neighbors(netlink, links, &mut objects)?;
    routes(netlink, links, &mut objects)?;
    if let Some(Value::Ruleset(ruleset @ Ruleset::Ours { .. })) = wanted.get(&Key::Ruleset).map(|want| &want.value) {
        objects.extend(nft.read(ruleset)?);
    }
    if let Some(fast_path) = fast_path {
        fast_entries(fast_path, links, &mut objects)?;
    }
    Ok(objects)
}

fn settings(kernel: &Settings, wanted: &WantedObjects, objects: &mut Objects) -> Result<(), DatapathError> {
    for key in wanted.keys() {
        if let Key::Setting(path) | Key::TunnelSetting(path) = key
            && let Some(value) = kernel.read(path)?
        {
            objects.insert(key.clone(), Value::Text(value));
        }
    }
    Ok(())
}

fn tunnel(links: &Links, objects: &mut Objects) {
    let Some(device) = links.get(TUNNEL_DEVICE) else { return };
    let vxlan = device.vxlan.clone().unwrap_or_default();
    let device = TunnelDevice {
        id: vxlan.id,
        port: vxlan.port,
        local: vxlan.local,
        learning: vxlan.learning,
        mac: device.mac.unwrap_or(MacAddress([0; 6])),
        mtu_bytes: device.mtu_bytes,
        up: device.up,
    };
    objects.insert(Key::Tunnel, Value::Tunnel(device));
}

fn addresses(netlink: &mut Netlink, links: &Links, objects: &mut Objects) -> Result<(), DatapathError> {
    let Some(index) = links.index(TUNNEL_DEVICE) else { return Ok(()) };
    for (kind, body) in netlink.dump(&address::get_all())? {
        if let Some(held) = address::parse(kind, &body).filter(|held| held.index == index && !held.link_local) {
            objects.insert(Key::TunnelAddress(held.address), Value::Present);
        }
    }
    Ok(())
}

fn neighbors(netlink: &mut Netlink, links: &Links, objects: &mut Objects) -> Result<(), DatapathError> {
    let ours = links.ours();
    for (kind, body) in netlink.dump(&neighbor::get_all())? {
        let Some(entry) = neighbor::parse(kind, &body) else { continue };
        if let Some(device) = ours.get(&entry.index) {
            let key = Key::Neighbor { device: (*device).to_owned(), address: entry.address };
            objects.insert(key, Value::Mac(entry.mac));
        }
    }
    let Some(tunnel) = links.index(TUNNEL_DEVICE) else { return Ok(()) };
    for (kind, body) in netlink.dump(&neighbor::get_all_forwarding())? {
        if let Some(entry) = neighbor::parse(kind, &body).filter(|entry| entry.index == tunnel) {
            objects.insert(Key::Forwarding(entry.mac), Value::Node(entry.address));
        }
    }
    Ok(())
}

fn routes(netlink: &mut Netlink, links: &Links, objects: &mut Objects) -> Result<(), DatapathError> {
    for family in [FAMILY_V4, FAMILY_V6] {
        for (kind, body) in netlink.dump(&route::get_all(family))? {
            let Some(found) = route::parse(kind, &body) else { continue };
            let target = if found.unreachable {
                RouteTarget::Unreachable
            } else {
                RouteTarget::Device {
                    device: links.name(found.index).unwrap_or("an unknown device").to_owned(),
                    next_hop: found.next_hop,
                    mtu_bytes: found.mtu_bytes,
                }
            };
            objects.insert(Key::Route(found.destination), Value::Route(target));
        }
    }
    Ok(())
}

fn fast_entries(fast_path: &FastPath, links: &Links, objects: &mut Objects) -> Result<(), DatapathError> {
    let hooks: BTreeSet<(Program, u32)> = fast_path
        .attachments()
        .map_err(DatapathError::from)?
        .into_iter()
        .map(|attachment| (attachment.program, attachment.interface_index))
        .collect();
    let hooked = |index: u32, programs: [Program; 2]| programs.iter().all(|program| hooks.contains(&(*program, index)));
    for (index, entry) in fast_path.links()? {
        if hooked(index, [Program::FromPod, Program::ToPod]) {
            objects.insert(Key::FastLink(index), Value::FastLink(entry));
        }
    }
    for (address, endpoint) in fast_path.endpoints()? {
        objects.insert(Key::FastEndpoint(address), Value::FastEndpoint(endpoint));
    }
    for (destination, entry) in fast_path.routes()? {
        let value = FastRoute {
            kind: entry.kind,
            device: (entry.interface_index != 0)
                .then(|| links.name(entry.interface_index).unwrap_or("an unknown device").to_owned()),
            mtu_bytes: entry.mtu_bytes,
            tunnel_mac: (entry.tunnel_mac != [0; 6]).then_some(MacAddress(entry.tunnel_mac)),
        };
        objects.insert(Key::FastRoute(destination), Value::FastRoute(value));
    }
    if let Some(tunnel) = links.get(TUNNEL_DEVICE)
        && hooked(tunnel.index, [Program::FromTunnel, Program::ToNetwork])
    {
        objects.insert(Key::FastTunnel, Value::Mac(tunnel.mac.unwrap_or(MacAddress([0; 6]))));
    }
    let underlays = hooks.iter().filter(|(program, _)| *program == Program::FromUnderlay);
    for (_, index) in underlays {
        if let Some(name) = links.name(*index).filter(|_| hooks.contains(&(Program::ToUnderlay, *index))) {
            objects.insert(Key::FastUnderlay(name.to_owned()), Value::Present);
        }
    }
    Ok(())
}
