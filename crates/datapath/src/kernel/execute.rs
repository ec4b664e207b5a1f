//! Carrying operations out.
//!
//! Everything is tried, whatever failed before: each object stands for itself, and the
//! next audit tries the rest again. What failed is reported, and not taken as done.

use std::collections::BTreeSet;

use ipnet::IpNet;
use seaway_model::abi;

use super::bpf::FastPath;
use super::netlink::{Netlink, Request};
use super::nft::Nft;
use super::read::Links;
use super::rtnetlink::route::{Existing, RouteInfo};
use super::rtnetlink::{address, link, neighbor, route};
use super::setting::Settings;
use crate::DatapathError;
use crate::plan::{
    Element, FastRoute, Key, NftSet, Operation, RouteTarget, TUNNEL_DEVICE, TunnelDevice, Value, WantedObjects,
};

/// Where operations are carried out.
pub(super) struct Executor<'a> {
    pub(super) netlink: &'a mut Netlink,
    pub(super) nft: &'a Nft,
    pub(super) fast_path: Option<&'a mut FastPath>,
    pub(super) links: &'a mut Links,
    pub(super) settings: &'a Settings,
    /// What to keep with our nftables table.
    pub(super) note: &'a str,
}

/// What failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Objects that are not as wanted.
    pub(super) keys: BTreeSet<Key>,
    /// Why; one transaction's refusal stands for all its objects.
    pub(super) errors: Vec<DatapathError>,
}

// === impl Failures ===

impl Failures {
    fn insert(&mut self, key: Key, error: DatapathError) {
        self.keys.insert(key);
        self.errors.push(error);
    }
}

// === impl Executor ===

impl Executor<'_> {
    /// Carries out `operations`, which lead to `wanted`.
    pub(super) fn run(&mut self, operations: &[Operation], wanted: &WantedObjects) -> Failures {
        let mut failures = Failures::default();
        self.tunnel_device(operations, &mut failures);
        self.settings(operations, &mut failures);
        self.netlink_objects(operations, &mut failures);
        self.nft_objects(operations, wanted, &mut failures);
        self.fast_objects(operations, &mut failures);
        failures
    }

    fn settings(&mut self, operations: &[Operation], failures: &mut Failures) {
        for operation in operations {
            if let Operation::Put { key, value: Value::Text(value), .. } = operation
                && let Key::Setting(path) | Key::TunnelSetting(path) = key
                && let Err(error) = self.settings.write(path, value)
            {
                failures.insert(key.clone(), error);
            }
        }
    }

    /// The device comes first: all else on it needs its index.
    fn tunnel_device(&mut self, operations: &[Operation], failures: &mut Failures) {
        for operation in operations.iter().filter(|operation| *operation.key() == Key::Tunnel) {
            let done = match operation {
                Operation::Remove { .. } => self.remove_tunnel(),
                Operation::Put { value: Value::Tunnel(device), previous, .. } => {
                    self.put_tunnel(device, previous.is_some())
                }
                Operation::Put { .. } => Ok(()),
            };
            if let Err(error) = done {
                failures.insert(Key::Tunnel, error);
            }
        }
    }

    fn remove_tunnel(&mut self) -> Result<(), DatapathError> {
        if let Some(index) = self.links.index(TUNNEL_DEVICE) {
            if let Some(fast_path) = &mut self.fast_path {
                fast_path.detach_tunnel(index)?;
            }
            gone_is_fine(self.netlink.run(vec![link::delete(index, TUNNEL_DEVICE)]))?;
        }
        self.links.remove(TUNNEL_DEVICE);
        Ok(())
    }

    fn put_tunnel(&mut self, device: &TunnelDevice, exists: bool) -> Result<(), DatapathError> {
        if !exists {
            self.netlink.run(vec![link::add_vxlan(TUNNEL_DEVICE, device)])?;
        }
        let replies = self.netlink.run(vec![link::get(TUNNEL_DEVICE)])?;
        let made = replies.iter().flatten().find_map(|(kind, body)| link::parse(*kind, body));
        let made = made.ok_or(DatapathError::Answer {
            request: "a request for sw_vxlan",
            problem: "it describes no link".to_owned(),
        })?;
        let index = made.index;
        self.links.insert(made);
        self.netlink.run(link::set_tunnel(index, TUNNEL_DEVICE, device)).map(drop)
    }

    fn netlink_objects(&mut self, operations: &[Operation], failures: &mut Failures) {
        let mut keys = Vec::new();
        let mut requests = Vec::new();
        for operation in operations {
            match self.request(operation) {
                Ok(Some(request)) => {
                    keys.push((operation.key(), matches!(operation, Operation::Remove { .. })));
                    requests.push(request);
                }
                Ok(None) => {}
                Err(error) => {
                    failures.insert(operation.key().clone(), error);
                }
            }
        }
        for ((key, removal), outcome) in keys.into_iter().zip(self.netlink.send_all(requests)) {
            let outcome = if removal { gone_is_fine(outcome) } else { outcome.map(drop) };
            if let Err(error) = outcome {
                failures.insert(key.clone(), error);
            }
        }
    }

    fn index(&self, device: &str) -> Result<u32, DatapathError> {
        self.links.index(device).ok_or_else(|| DatapathError::Kernel {
            operation: "find",
            object: format!("interface {device}"),
            source: std::io::Error::from_raw_os_error(libc::ENODEV),
        })
    }

    /// The rtnetlink request of an operation, when it is one.
    fn request(&self, operation: &Operation) -> Result<Option<Request>, DatapathError> {
        Ok(match operation {
            Operation::Put { key, value, previous, .. } => match (key, value) {
                (Key::TunnelAddress(held), _) => Some(address::add(self.index(TUNNEL_DEVICE)?, TUNNEL_DEVICE, held)),
                (Key::Neighbor { device, address }, Value::Mac(mac)) => {
                    Some(neighbor::put(self.index(device)?, device, *address, *mac))
                }
                (Key::Forwarding(mac), Value::Node(node)) => {
                    Some(neighbor::put_forwarding(self.index(TUNNEL_DEVICE)?, TUNNEL_DEVICE, *mac, *node))
                }
                (Key::Route(destination), Value::Route(target)) => {
                    let existing = if previous.is_some() { Existing::Replace } else { Existing::Refuse };
                    Some(route::add(&self.route(*destination, target)?, device_of(target), existing))
                }
                _ => None,
            },
            Operation::Remove { key, value } => match (key, value) {
                (Key::TunnelAddress(held), _) => Some(address::delete(self.index(TUNNEL_DEVICE)?, TUNNEL_DEVICE, held)),
                // What was on a device that is gone is gone.
                (Key::Neighbor { device, address }, _) => {
                    self.links.index(device).map(|index| neighbor::delete(index, device, *address))
                }
                (Key::Forwarding(mac), Value::Node(node)) => self
                    .links
                    .index(TUNNEL_DEVICE)
                    .map(|index| neighbor::delete_forwarding(index, TUNNEL_DEVICE, *mac, *node)),
                (Key::Route(destination), Value::Route(target)) => {
                    self.route(*destination, target).ok().map(|found| route::delete(&found, device_of(target)))
                }
                _ => None,
            },
        })
    }

    fn route(&self, destination: IpNet, target: &RouteTarget) -> Result<RouteInfo, DatapathError> {
        Ok(match target {
            RouteTarget::Unreachable => {
                RouteInfo { destination, unreachable: true, index: 0, next_hop: None, mtu_bytes: None }
            }
            RouteTarget::Device { device, next_hop, mtu_bytes } => RouteInfo {
                destination,
                unreachable: false,
                index: self.index(device)?,
                next_hop: *next_hop,
                mtu_bytes: *mtu_bytes,
            },
        })
    }

    fn nft_objects(&mut self, operations: &[Operation], wanted: &WantedObjects, failures: &mut Failures) {
        let ruleset = operations.iter().find_map(|operation| match operation {
            Operation::Put { key: Key::Ruleset, value: Value::Ruleset(ruleset), .. } => Some(ruleset),
            _ => None,
        });
        let mut changed = Vec::new();
        let outcome = if let Some(ruleset) = ruleset {
            changed.push(Key::Ruleset);
            changed.extend(wanted.keys().filter(|key| matches!(key, Key::Element(..))).cloned());
            let elements = wanted.keys().filter_map(element_of).collect::<Vec<_>>();
            self.nft.install(ruleset, &elements, self.note)
        } else {
            let (mut add, mut remove) = (Vec::new(), Vec::new());
            for operation in operations {
                let Some(element) = element_of(operation.key()) else { continue };
                changed.push(operation.key().clone());
                match operation {
                    Operation::Put { .. } => add.push(element),
                    Operation::Remove { .. } => remove.push(element),
                }
            }
            self.nft.change(&add, &remove)
        };
        if let Err(error) = outcome {
            failures.keys.extend(changed);
            failures.errors.push(error);
        }
    }

    fn fast_objects(&mut self, operations: &[Operation], failures: &mut Failures) {
        for operation in operations {
            if let Err(error) = self.fast_object(operation) {
                failures.insert(operation.key().clone(), error);
            }
        }
    }

    fn fast_object(&mut self, operation: &Operation) -> Result<(), DatapathError> {
        let tunnel = self.links.index(TUNNEL_DEVICE);
        let index_of = |links: &Links, device: &str| links.index(device);
        let Some(fast_path) = self.fast_path.as_deref_mut() else { return Ok(()) };
        match operation {
            Operation::Put { key, value, .. } => match (key, value) {
                (Key::FastLink(index), Value::FastLink(entry)) => fast_path.attach_pod_link(*index, entry, &[])?,
                (Key::FastEndpoint(address), Value::FastEndpoint(endpoint)) => {
                    fast_path.set_endpoints(&[(*address, *endpoint)], &[])?;
                }
                (Key::FastTunnel, Value::Mac(mac)) => {
                    if let Some(index) = tunnel {
                        fast_path.attach_tunnel(index, *mac)?;
                    }
                }
                (Key::FastUnderlay(device), _) => {
                    if let Some(index) = index_of(self.links, device) {
                        fast_path.attach_underlay(index)?;
                    }
                }
                (Key::FastRoute(destination), Value::FastRoute(entry)) => {
                    let index = entry.device.as_deref().and_then(|device| index_of(self.links, device));
                    fast_path.set_routes(&[(*destination, fast_route(entry, index))], &[])?;
                }
                _ => {}
            },
            Operation::Remove { key, .. } => match key {
                Key::FastLink(index) => fast_path.detach_pod_link(*index)?,
                Key::FastEndpoint(address) => fast_path.set_endpoints(&[], &[*address])?,
                Key::FastUnderlay(device) => {
                    if let Some(index) = index_of(self.links, device) {
                        fast_path.detach_underlay(index)?;
                    }
                }
                Key::FastTunnel => {
                    if let Some(index) = tunnel {
                        fast_path.detach_tunnel(index)?;
                    }
                }
                Key::FastRoute(destination) => fast_path.set_routes(&[], &[*destination])?,
                _ => {}
            },
        }
        Ok(())
    }
}

fn fast_route(route: &FastRoute, index: Option<u32>) -> abi::Route {
    abi::Route {
        kind: route.kind,
        interface_index: index.unwrap_or_default(),
        mtu_bytes: route.mtu_bytes,
        tunnel_mac: route.tunnel_mac.map_or([0; 6], |mac| mac.0),
        pad: [0; 2],
    }
}

fn element_of(key: &Key) -> Option<(NftSet, Element)> {
    match key {
        Key::Element(set, element) => Some((*set, element.clone())),
        _ => None,
    }
}

fn device_of(target: &RouteTarget) -> &str {
    match target {
        RouteTarget::Unreachable => "no device",
        RouteTarget::Device { device, .. } => device,
    }
}

/// A removal of what is not there has done its work.
pub(super) fn gone_is_fine<T>(outcome: Result<T, DatapathError>) -> Result<(), DatapathError> {
    match outcome {
        Ok(_) => Ok(()),
        Err(DatapathError::Kernel { source, .. })
            if matches!(
                source.raw_os_error(),
                Some(libc::ENOENT | libc::ESRCH | libc::ENODEV | libc::EADDRNOTAVAIL)
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}
