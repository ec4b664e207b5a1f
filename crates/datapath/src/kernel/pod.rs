//! Connecting, checking and disconnecting pods.
//!
//! Connecting is the hot path of CNI ADD: one request makes the pair of interfaces, one
//! batch sets up each side. What the pod may send is registered before its link is up.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use ipnet::IpNet;
use seaway_model::InterfaceName;
use seaway_model::agent_api::AttachmentKey;

use super::execute::gone_is_fine;
use super::netlink::{Netlink, Request};
use super::netns;
use super::node::{KernelDatapath, keys_of_link};
use super::read::Links;
use super::rtnetlink::link::{LinkInfo, VethEnd};
use super::rtnetlink::route::{Existing, RouteInfo};
use super::rtnetlink::{address, link, neighbor, route};
use crate::link::{Recorded, gateway_like, host_interface_name, link_local_address, parse_record, record, sorted};
use crate::plan::{Element, Key, NftSet, Objects, RouteTarget, Value, pod_objects};
use crate::support::Backend;
use crate::{AttachedLink, DatapathError, PodLink};

/// Longest name of an interface (`IFNAMSIZ` without its NUL).
const INTERFACE_NAME_BYTES: usize = 15;
/// Index of the loopback interface in every namespace.
const LOOPBACK_INDEX: u32 = 1;
/// Smallest MTU IPv6 allows (RFC 8200 §5).
const MINIMUM_IPV6_MTU_BYTES: u32 = 1280;
/// Smallest MTU a veth pair takes.
const MINIMUM_MTU_BYTES: u32 = 68;

// === impl KernelDatapath ===

impl KernelDatapath {
    pub(super) fn attach(&mut self, netns: BorrowedFd<'_>, wanted: &PodLink) -> Result<AttachedLink, DatapathError> {
        validate(wanted)?;
        refuse_own_namespace(netns, wanted)?;
        self.prepare()?;
        let (host, pod_index) = self.make_pair(netns, wanted)?;
        let attached = AttachedLink {
            key: wanted.key.clone(),
            network: wanted.network.clone(),
            pod: wanted.pod.clone(),
            pod_uid: wanted.pod_uid.clone(),
            addresses: sorted(&wanted.addresses),
            host_interface: InterfaceName(host.name.clone()),
            host_index: host.index,
            host_mac: wanted.host_mac(),
            pod_mac: wanted.pod_mac(),
            mtu_bytes: wanted.mtu_bytes,
            endpoint_id: host.index,
            shaped: wanted.shaped,
        };
        if let Err(error) = self.set_up(netns, wanted, &attached, pod_index) {
            self.undo(&attached);
            return Err(error);
        }
        let made = pod_objects(&attached, self.backend);
        self.known()?.extend(made.into_iter().map(|(key, want)| (key, want.value)));
        self.pods.insert(attached.key.clone(), attached.clone());
        Ok(attached)
    }

    /// The source check must exist before the first pod does.
    fn prepare(&mut self) -> Result<(), DatapathError> {
        let backend = self.backend;
        let known = self.known()?;
        if backend == Backend::Ebpf || known.contains_key(&Key::Ruleset) {
            return Ok(());
        }
        let ruleset = crate::plan::Ruleset::Ours { backend, tunnel_port: None };
        known.insert(Key::Ruleset, Value::Ruleset(ruleset.clone()));
        let note = super::node::note_settings(&self.settings)?;
        self.nft.install(&ruleset, &[], &note)
    }

    /// Makes the pair; returns the node's end and the index of the pod's.
    fn make_pair(&mut self, netns: BorrowedFd<'_>, wanted: &PodLink) -> Result<(LinkInfo, u32), DatapathError> {
        let name = host_interface_name(&wanted.key);
        let host = VethEnd { name: name.as_str(), mac: wanted.host_mac(), mtu_bytes: wanted.mtu_bytes };
        let pod = VethEnd { name: wanted.key.interface.as_str(), mac: wanted.pod_mac(), mtu_bytes: wanted.mtu_bytes };
        let pair = || vec![link::add_veth(&host, &pod, netns), link::get(name.as_str())];
        let mut replies = self.netlink.send_all(pair());
        if matches!(replies.first(), Some(Err(error)) if errno(error) == Some(libc::EEXIST)) {
            self.clear_abandoned(wanted, name.as_str())?;
            replies = self.netlink.send_all(pair());
        }
        let exists = |error| match errno(&error) {
            Some(libc::EEXIST) => interface_exists(wanted),
            _ => error,
        };
        let replies: Vec<_> = replies.into_iter().collect::<Result<_, _>>().map_err(exists)?;
        let host = replies.iter().flatten().find_map(|(kind, body)| link::parse(*kind, body));
        let host = host.filter(|host| host.name == name.as_str());
        host.and_then(|host| host.peer_index.map(|peer| (host, peer))).ok_or_else(|| DatapathError::Answer {
            request: "a request for a new pod link",
            problem: format!("{name} or the index of its peer is missing"),
        })
    }

    /// Finds out whose the existing interface is. What an agent left that died between
    /// making a pair and answering is removed; anything else is refused.
    fn clear_abandoned(&mut self, wanted: &PodLink, name: &str) -> Result<(), DatapathError> {
        let Some(existing) = self.find_link(name)? else { return Err(interface_exists(wanted)) };
        let recorded = existing.alias.as_deref().map(parse_record);
        let abandoned = match &recorded {
            Some(Some(recorded)) => recorded.key == wanted.key && !self.pods.contains_key(&wanted.key),
            // The record is written when the link is set up: none yet.
            None => existing.kind.as_deref() == Some("veth") && !existing.up,
            Some(None) => false,
        };
        if abandoned {
            return gone_is_fine(self.netlink.run(vec![link::delete(existing.index, name)]));
        }
        match recorded {
            Some(Some(recorded)) if recorded.key == wanted.key => Err(interface_exists(wanted)),
            Some(Some(recorded)) => Err(DatapathError::HostInterfaceExists {
                interface: name.to_owned(),
                holder: format!("belongs to container {}", recorded.key.container_id),
            }),
            _ => {
                Err(DatapathError::HostInterfaceExists { interface: name.to_owned(), holder: "is not ours".to_owned() })
            }
        }
    }

    fn set_up(
        &mut self,
        netns: BorrowedFd<'_>,
        wanted: &PodLink,
        attached: &AttachedLink,
        pod_index: u32,
    ) -> Result<(), DatapathError> {
        self.register(attached)?;
        self.netlink.run(host_side(wanted, attached))?;
        let requests = pod_side(attached, pod_index);
        let configured = netns::inside(netns, || Netlink::route()?.run(requests));
        configured.map_err(|source| namespace_error(&wanted.key, source))?.map(drop)
    }

    /// Tells the source check what the pod may send.
    fn register(&mut self, attached: &AttachedLink) -> Result<(), DatapathError> {
        let objects = pod_objects(attached, self.backend);
        if let Some(fast_path) = &mut self.fast_path {
            let mut endpoints = Vec::new();
            for (key, want) in &objects {
                if let (Key::FastEndpoint(address), Value::FastEndpoint(endpoint)) = (key, &want.value) {
                    endpoints.push((*address, *endpoint));
                }
            }
            for want in objects.values() {
                if let Value::FastLink(entry) = &want.value {
                    fast_path.attach_pod_link(attached.host_index, entry, &endpoints)?;
                }
            }
        }
        self.nft.change(&elements(objects.keys()), &[])
    }

    fn undo(&mut self, attached: &AttachedLink) {
        let name = attached.host_interface.as_str();
        let mut outcomes = vec![gone_is_fine(self.netlink.run(vec![link::delete(attached.host_index, name)]))];
        if let Some(fast_path) = &mut self.fast_path {
            outcomes.push(fast_path.detach_pod_link(attached.host_index).map_err(Into::into));
        }
        // One by one: which of them were made is not known.
        for element in elements(pod_objects(attached, self.backend).keys()) {
            let _ = self.nft.change(&[], &[element]);
        }
        for error in outcomes.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, container = %attached.key.container_id, "undoing a failed attachment");
        }
    }

    /// One link by name, without reading those of all pods.
    fn find_link(&mut self, name: &str) -> Result<Option<LinkInfo>, DatapathError> {
        match self.netlink.run(vec![link::get(name)]) {
            Ok(replies) => Ok(replies.iter().flatten().find_map(|(kind, body)| link::parse(*kind, body))),
            Err(error) if errno(&error) == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn detach(&mut self, key: &AttachmentKey) -> Result<(), DatapathError> {
        let name = host_interface_name(key);
        let known = self.pods.get(key).map(|pod| pod.host_index);
        let found = self.find_link(name.as_str())?.filter(|found| {
            let recorded = found.alias.as_deref().and_then(parse_record);
            recorded.is_some_and(|recorded| recorded.key == *key) || known == Some(found.index)
        });
        let mut first_error = None;
        let mut note = |outcome: Result<(), DatapathError>| {
            if let Err(error) = outcome {
                first_error.get_or_insert(error);
            }
        };
        if let Some(found) = &found {
            note(gone_is_fine(self.netlink.run(vec![link::delete(found.index, name.as_str())])));
        }
        if let Some(index) = known.or(found.as_ref().map(|found| found.index)) {
            let keys = keys_of_link(self.known()?, name.as_str(), index);
            if let Some(fast_path) = &mut self.fast_path {
                note(fast_path.detach_pod_link(index).map_err(Into::into));
            }
            note(self.nft.change(&[], &elements(keys.iter())));
            self.known()?.retain(|key, _| !keys.contains(key));
        }
        match first_error {
            Some(error) => Err(error),
            None => {
                self.pods.remove(key);
                Ok(())
            }
        }
    }

    pub(super) fn check(&mut self, netns: BorrowedFd<'_>, wanted: &PodLink) -> Result<(), DatapathError> {
        let changed =
            |problem: String| DatapathError::LinkChanged { container: wanted.key.container_id.to_string(), problem };
        let name = host_interface_name(&wanted.key);
        let Some(host) = self.find_link(name.as_str())?.filter(|host| host.up) else {
            return Err(changed(format!("interface {name} of the node is missing or down")));
        };
        let routes = self.netlink.dump(&route::get_all(super::rtnetlink::FAMILY_V4))?;
        let routes_v6 = self.netlink.dump(&route::get_all(super::rtnetlink::FAMILY_V6))?;
        let routes: Vec<_> =
            routes.iter().chain(&routes_v6).filter_map(|(kind, body)| route::parse(*kind, body)).collect();
        for address in &wanted.addresses {
            let destination = IpNet::from(*address);
            if !routes.iter().any(|route| route.destination == destination && route.index == host.index) {
                return Err(changed(format!("the node's route to {address} is missing")));
            }
        }
        let problem = netns::inside(netns, || pod_side_problem(wanted, host.index))
            .map_err(|source| namespace_error(&wanted.key, source))??;
        problem.map_or(Ok(()), |problem| Err(changed(problem)))
    }
}

/// What is missing inside the pod. MAC and MTU are not looked at: plugins that come after
/// us in the chain may change them.
fn pod_side_problem(wanted: &PodLink, host_index: u32) -> Result<Option<String>, DatapathError> {
    let mut netlink = Netlink::route()?;
    let links = Links::read(&mut netlink)?;
    let name = wanted.key.interface.as_str();
    let Some(pod) = links.get(name).filter(|pod| pod.up && pod.peer_index == Some(host_index)) else {
        return Ok(Some(format!("interface {name} is missing, down, or not the peer of the node's end")));
    };
    let addresses = netlink.dump(&address::get_all())?;
    let addresses: Vec<_> = addresses.iter().filter_map(|(kind, body)| address::parse(*kind, body)).collect();
    for wanted in &wanted.addresses {
        if !addresses.iter().any(|held| held.index == pod.index && held.address.addr() == *wanted) {
            return Ok(Some(format!("{name} lacks address {wanted}")));
        }
        let family = super::rtnetlink::family(wanted);
        let routes = netlink.dump(&route::get_all(family))?;
        let mut routes = routes.iter().filter_map(|(kind, body)| route::parse(*kind, body));
        if !routes.any(|route| route.destination.prefix_len() == 0 && route.index == pod.index) {
            return Ok(Some(format!("the default route beside {wanted} is missing")));
        }
    }
    Ok(None)
}

/// Requests that set up the node's end.
fn host_side(wanted: &PodLink, attached: &AttachedLink) -> Vec<Request> {
    let (index, name) = (attached.host_index, attached.host_interface.as_str());
    let mut requests = link::set_host_side(index, name, &record(wanted));
    for address in &attached.addresses {
        requests.push(neighbor::put(index, name, *address, attached.pod_mac));
        let target = on_link(IpNet::from(*address), index);
        requests.push(route::add(&target, name, Existing::Refuse));
    }
    requests
}

/// Requests that set up the pod's end, to be sent inside its namespace.
fn pod_side(attached: &AttachedLink, index: u32) -> Vec<Request> {
    let name = attached.key.interface.as_str();
    let mut requests = vec![link::set_up(LOOPBACK_INDEX, "lo")];
    requests.extend(link::set_up_without_address(index, name));
    for address in &attached.addresses {
        requests.push(address::add(index, name, &IpNet::from(*address)));
        if address.is_ipv6()
            // Set by hand, since the kernel would check its own for duplicates for a second.
            && let Ok(link_local) = IpNet::new(link_local_address(attached.pod_mac).into(), 64)
        {
            requests.push(address::add(index, name, &link_local));
        }
    }
    for address in &attached.addresses {
        let gateway = gateway_like(address);
        requests.push(neighbor::put(index, name, gateway, attached.host_mac));
        requests.push(route::add(&on_link(IpNet::from(gateway), index), name, Existing::Refuse));
        let everywhere = if address.is_ipv4() { IpNet::V4(Default::default()) } else { IpNet::V6(Default::default()) };
        let default = RouteInfo {
            destination: everywhere,
            unreachable: false,
            index,
            next_hop: Some(gateway),
            mtu_bytes: Some(attached.mtu_bytes),
        };
        requests.push(route::add(&default, name, Existing::Refuse));
    }
    requests
}

fn on_link(destination: IpNet, index: u32) -> RouteInfo {
    RouteInfo { destination, unreachable: false, index, next_hop: None, mtu_bytes: None }
}

/// A pod link found in the kernel. Its addresses are those of its routes, its MAC that of
/// its neighbor entries.
pub(super) fn adopted(host: &LinkInfo, recorded: Recorded, actual: &Objects) -> AttachedLink {
    let mut addresses = Vec::new();
    let mut pod_mac = None;
    for (key, value) in actual {
        match (key, value) {
            (Key::Route(destination), Value::Route(RouteTarget::Device { device, .. })) if *device == host.name => {
                addresses.push(destination.addr());
            }
            (Key::Neighbor { device, .. }, Value::Mac(mac)) if *device == host.name => pod_mac = Some(*mac),
            _ => {}
        }
    }
    let wanted = PodLink {
        key: recorded.key,
        network: recorded.network,
        pod: recorded.pod,
        pod_uid: recorded.pod_uid,
        addresses: sorted(&addresses),
        mac: pod_mac,
        mtu_bytes: host.mtu_bytes,
        shaped: recorded.shaped,
    };
    AttachedLink {
        host_mac: host.mac.unwrap_or_else(|| wanted.host_mac()),
        pod_mac: wanted.pod_mac(),
        key: wanted.key,
        network: wanted.network,
        pod: wanted.pod,
        pod_uid: wanted.pod_uid,
        addresses: wanted.addresses,
        host_interface: InterfaceName(host.name.clone()),
        host_index: host.index,
        mtu_bytes: host.mtu_bytes,
        endpoint_id: host.index,
        shaped: wanted.shaped,
    }
}

fn validate(wanted: &PodLink) -> Result<(), DatapathError> {
    let name = wanted.key.interface.as_str();
    let per_family = |v4: bool| wanted.addresses.iter().filter(|address| address.is_ipv4() == v4).count();
    let forbidden = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    let problem = if name.is_empty()
        || name.len() > INTERFACE_NAME_BYTES
        || name.contains(forbidden)
        || name == "."
        || name == ".."
    {
        format!("{name:?} is no name for an interface")
    } else if wanted.key.container_id.as_str().is_empty()
        || wanted.key.container_id.as_str().contains(char::is_whitespace)
    {
        "the container id is empty or contains white space".to_owned()
    } else if per_family(true) > 1 || per_family(false) > 1 {
        "more than one address of a family".to_owned()
    } else if wanted.addresses.is_empty() {
        "it has no address".to_owned()
    } else if per_family(false) > 0 && wanted.mtu_bytes < MINIMUM_IPV6_MTU_BYTES {
        format!("an MTU of {} bytes is too small for IPv6, which needs {MINIMUM_IPV6_MTU_BYTES}", wanted.mtu_bytes)
    } else if wanted.mtu_bytes < MINIMUM_MTU_BYTES {
        format!("an MTU of {} bytes is too small", wanted.mtu_bytes)
    } else {
        return Ok(());
    };
    Err(DatapathError::InvalidLink { container: wanted.key.container_id.to_string(), problem })
}

fn refuse_own_namespace(netns: BorrowedFd<'_>, wanted: &PodLink) -> Result<(), DatapathError> {
    let same = netns::own().and_then(|own| netns::same(own.as_fd(), netns));
    match same.map_err(|source| namespace_error(&wanted.key, source))? {
        true => Err(DatapathError::InvalidLink {
            container: wanted.key.container_id.to_string(),
            problem: "its network namespace is the node's own".to_owned(),
        }),
        false => Ok(()),
    }
}

fn namespace_error(key: &AttachmentKey, source: io::Error) -> DatapathError {
    DatapathError::Namespace { container: key.container_id.to_string(), source }
}

fn interface_exists(wanted: &PodLink) -> DatapathError {
    DatapathError::InterfaceExists {
        interface: wanted.key.interface.to_string(),
        container: wanted.key.container_id.to_string(),
    }
}

fn errno(error: &DatapathError) -> Option<i32> {
    match error {
        DatapathError::Kernel { source, .. } => source.raw_os_error(),
        _ => None,
    }
}

fn elements<'a>(keys: impl Iterator<Item = &'a Key>) -> Vec<(NftSet, Element)> {
    keys.filter_map(|key| match key {
        Key::Element(set, element) => Some((*set, element.clone())),
        _ => None,
    })
    .collect()
}
