//! Closes connected sockets that nobody would tell otherwise: those of UDP whose backend has left
//! their Service, for datagrams vanish silently, and those of TCP whose backend terminated and is
//! gone, for a node that died resets nothing. A TCP connection to a backend that is not ready,
//! serves, terminates or merely left the Service is left alone: the backend finishes it.
//!
//! The programs note for each frontend and backend which network namespaces have such sockets,
//! so only those are visited, and the kernel looks through their sockets of that port alone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use bytemuck::{Pod, Zeroable};
use seaway_model::abi;
use seaway_model::abi::services::ConnectionsKey;
use seaway_services::plan::{Frontend, ServicePlan};

use super::image;
use super::node::netns_cookie;
use super::state::State;
use super::tables::Tables;
use crate::DatapathError;
use crate::kernel::bpf::BpfError;
use crate::kernel::netlink::{Netlink, Request};
use crate::kernel::netns;

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY` in linux/sock_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;

/// States of TCP sockets that may have to be closed: all from `TCP_ESTABLISHED` on (include/net/tcp_states.h)
/// but `TCP_TIME_WAIT`, `TCP_CLOSE`, `TCP_LISTEN` and `TCP_NEW_SYN_RECV`, whose ends hold nothing open.
const TCP_CONNECTED: u32 = 0b1011_0011_1110;

/// What the programs write when more namespaces have sockets than they note.
const MANY_NAMESPACES: u64 = u64::MAX;

/// `struct inet_diag_sockid`, in network byte order but for the cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct SocketId {
    source_port: u16,
    destination_port: u16,
    source: [u8; 16],
    destination: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

/// `struct inet_diag_req_v2`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct DiagRequest {
    family: u8,
    protocol: u8,
    extensions: u8,
    pad: u8,
    states: u32,
    id: SocketId,
}

/// A backend that a frontend has no more.
#[derive(Debug, Clone, Copy)]
struct Departed {
    key: ConnectionsKey,
    protocol: u32,
}

/// Finds the network namespaces of pods by their cookies.
pub(super) struct Namespaces {
    own: (u64, OwnedFd),
    dir: PathBuf,
    known: BTreeMap<PathBuf, u64>,
}

// === impl Namespaces ===

impl Namespaces {
    /// `own_cookie` is that of the calling thread's namespace; `dir` holds those of pods.
    pub(super) fn new(own_cookie: u64, dir: PathBuf) -> io::Result<Self> {
        Ok(Self { own: (own_cookie, netns::own()?), dir, known: BTreeMap::new() })
    }

    /// Closes the sockets of backends that have left a frontend. Returns how many.
    pub(super) fn close(&mut self, tables: &Tables, gone: &[ConnectionsKey]) -> Result<u64, DatapathError> {
        let mut wanted: BTreeMap<u64, Vec<Departed>> = BTreeMap::new();
        let mut everywhere = Vec::new();
        for key in gone {
            let Some(namespaces) = tables.socket_namespaces.get(key)? else { continue };
            let departed = Departed { key: *key, protocol: namespaces.protocol };
            if namespaces.cookies.contains(&MANY_NAMESPACES) {
                everywhere.push(departed);
                continue;
            }
            for cookie in namespaces.cookies.into_iter().filter(|cookie| *cookie != 0) {
                wanted.entry(cookie).or_default().push(departed);
            }
        }
        if wanted.is_empty() && everywhere.is_empty() {
            return Ok(0);
        }
        let mut closed = 0;
        let (own_cookie, own) = (self.own.0, self.own.1.try_clone().map_err(|source| visit_error(&self.dir, source))?);
        let all = self.pod_namespaces(&wanted, !everywhere.is_empty());
        for (cookie, namespace) in all.into_iter().chain([(own_cookie, own)]) {
            let mut keys = wanted.remove(&cookie).unwrap_or_default();
            keys.extend(&everywhere);
            if !keys.is_empty() {
                // A pod that has just gone has no sockets either.
                closed += netns::inside(namespace.as_fd(), || close_here(tables, &keys))
                    .unwrap_or_else(|error| Err(visit_error(&self.dir, error)))?;
            }
        }
        tables.socket_namespaces.remove_all(gone)?;
        Ok(closed)
    }

    /// The pods' namespaces with the wanted cookies, or all.
    fn pod_namespaces(&mut self, wanted: &BTreeMap<u64, Vec<Departed>>, all: bool) -> Vec<(u64, OwnedFd)> {
        let open = |path: &PathBuf, cookie: u64| Some((cookie, OwnedFd::from(File::open(path).ok()?)));
        let is_wanted = |cookie: &u64| all || wanted.contains_key(cookie);
        let unknown = |cookie: &&u64| **cookie != self.own.0 && !self.known.values().any(|known| known == *cookie);
        if all || wanted.keys().filter(unknown).count() > 0 {
            self.look();
        }
        let found = self.known.iter().filter(|(_, cookie)| is_wanted(cookie));
        found.filter_map(|(path, cookie)| open(path, *cookie)).collect()
    }

    /// Learns the cookies of namespaces that have come. Names are never used again: runtimes make
    /// them up at random.
    fn look(&mut self) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        let present: HashSet<PathBuf> = entries.map(|entry| entry.path()).collect();
        self.known.retain(|path, _| present.contains(path));
        for path in present {
            if self.known.contains_key(&path) {
                continue;
            }
            let cookie = File::open(&path).and_then(|file| netns::inside(file.as_fd(), netns_cookie)).flatten();
            match cookie {
                Ok(cookie) => drop(self.known.insert(path, cookie)),
                Err(error) => tracing::debug!(path = %path.display(), %error, "no network namespace"),
            }
        }
    }
}

/// Backends with connected UDP sockets that are none of the frontend's any more.
pub(super) fn strays(tables: &Tables, state: &State) -> Result<Vec<ConnectionsKey>, BpfError> {
    let noted = tables.socket_namespaces.entries()?;
    let datagrams = noted.into_iter().filter(|(_, noted)| noted.protocol == libc::IPPROTO_UDP as u32);
    Ok(strays_among(datagrams.map(|(key, _)| key), state))
}

/// Forgets the connections that were counted to backends that are none any more.
pub(super) fn forget_connections(tables: &Tables, state: &State) -> Result<(), BpfError> {
    let counted = tables.connections.entries()?;
    let strays = strays_among(counted.into_iter().map(|(key, _)| key), state);
    tables.connections.remove_all(&strays).map(drop)
}

fn strays_among(keys: impl Iterator<Item = ConnectionsKey>, state: &State) -> Vec<ConnectionsKey> {
    let mut keys = keys.peekable();
    if keys.peek().is_none() {
        return Vec::new();
    }
    // What an earlier process left is not ours to judge before all is applied.
    let left = state.leftovers.frontend_numbers();
    let mut places: HashMap<u32, (&ServicePlan, &Frontend)> = HashMap::new();
    for programmed in state.services.values() {
        for frontend in &programmed.plan.frontends {
            let placed = state.frontends.get(&image::service_key(frontend));
            let placed = placed.filter(|placed| placed.owner == programmed.owner);
            places.extend(placed.map(|placed| (placed.value.id, (programmed.plan.as_ref(), frontend))));
        }
    }
    let is_backend = |key: &ConnectionsKey| {
        let at = (abi::unmap_address(key.address), u16::from_be(key.port));
        let Some((plan, frontend)) = places.get(&key.service_id) else { return false };
        // They are in order of address and port.
        let is_in = |reach| plan.backends(reach).binary_search_by_key(&at, |one| (one.address, one.port)).is_ok();
        is_in(frontend.inside) || is_in(frontend.outside)
    };
    keys.filter(|key| !is_backend(key) && !left.contains(&key.service_id)).collect()
}

/// Closes sockets in the calling thread's namespace.
fn close_here(tables: &Tables, gone: &[Departed]) -> Result<u64, DatapathError> {
    let mut netlink = Netlink::sockets()?;
    // One look through the sockets of a kind for all backends: the kernel walks its whole table for each.
    let mut kinds: BTreeMap<(u32, i32), HashSet<ConnectionsKey>> = BTreeMap::new();
    for Departed { key, protocol } in gone {
        // Sockets of IPv6 may speak IPv4.
        let is_ipv4 = abi::unmap_address(key.address).is_ipv4();
        for family in [libc::AF_INET, libc::AF_INET6].into_iter().filter(|family| is_ipv4 || *family != libc::AF_INET) {
            kinds.entry((*protocol, family)).or_default().insert(*key);
        }
    }
    let mut closed = 0;
    for ((protocol, family), keys) in kinds {
        closed += close_kind(&mut netlink, tables, (protocol, family), &keys)?;
    }
    Ok(closed)
}

fn close_kind(
    netlink: &mut Netlink,
    tables: &Tables,
    (protocol, family): (u32, i32),
    keys: &HashSet<ConnectionsKey>,
) -> Result<u64, DatapathError> {
    let states = if protocol == libc::IPPROTO_TCP as u32 { TCP_CONNECTED } else { u32::MAX };
    let mut request = DiagRequest { family: family as u8, protocol: protocol as u8, states, ..DiagRequest::zeroed() };
    let ports: HashSet<u16> = keys.iter().map(|key| key.port).collect();
    if let [port] = ports.iter().collect::<Vec<_>>().as_slice() {
        request.id.destination_port = **port;
    }
    let replies = netlink.dump(&diag(SOCK_DIAG_BY_FAMILY, &request, "read"))?;
    let mut closed = 0;
    for (_, body) in replies {
        // Family, state, timer and retransmissions come first.
        let id = body.get(4..4 + size_of::<SocketId>()).and_then(|bytes| bytemuck::try_pod_read_unaligned(bytes).ok());
        let Some(id): Option<SocketId> = id.filter(|id: &SocketId| ports.contains(&id.destination_port)) else {
            continue;
        };
        let cookie = u64::from(id.cookie[0]) | u64::from(id.cookie[1]) << 32;
        // What the programs know of it says by which frontend it came to the backend.
        let is_meant = tables.sockets.get(&cookie)?.is_some_and(|socket| {
            let (service_id, port, address) = (socket.service_id, socket.backend_port, socket.backend_address);
            keys.contains(&ConnectionsKey { service_id, port, pad: 0, address })
        });
        if !is_meant {
            continue;
        }
        request.id = id;
        match netlink.run(vec![diag(SOCK_DESTROY, &request, "close")]) {
            Ok(_) => closed += 1,
            Err(DatapathError::Kernel { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(closed)
}

fn diag(kind: u16, request: &DiagRequest, operation: &'static str) -> Request {
    Request::new(kind, 0, bytemuck::bytes_of(request), operation, "sockets of a backend that is gone")
}

fn visit_error(path: &Path, source: io::Error) -> DatapathError {
    DatapathError::Kernel { operation: "visit", object: format!("a network namespace of {}", path.display()), source }
}
