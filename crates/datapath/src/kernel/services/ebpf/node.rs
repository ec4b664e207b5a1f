//! The node, as the Services' programs need it.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use seaway_model::abi;

use super::tables::Tables;
use crate::ServiceNode;
use crate::kernel::bpf::BpfError;

/// `SO_NETNS_COOKIE` (Linux 5.14).
const SO_NETNS_COOKIE: i32 = 71;

/// Writes what differs from what is in the maps. Returns how many entries were written.
pub(super) fn write(tables: &Tables, node: &ServiceNode, host_netns_cookie: u64) -> Result<u64, BpfError> {
    let own = |ipv4: bool| {
        let address = node.node_addresses.iter().find(|address| address.is_ipv4() == ipv4);
        address.map_or([0; 16], |address| abi::map_address(*address))
    };
    let state = abi::services::ServiceNode {
        host_netns_cookie,
        ipv4: own(true),
        ipv6: own(false),
        node_port_on_loopback: node.node_port_on_loopback.into(),
        pad: 0,
    };
    let mut writes = 0;
    if tables.node.get(&0)? != Some(state) {
        tables.node.put(&0, &state)?;
        writes += 1;
    }
    let is_served = |address: &&IpAddr| !address.is_loopback() && !address.is_unspecified();
    let wanted = node.node_port_addresses.iter().filter(is_served).map(|address| abi::map_address(*address));
    let wanted: HashSet<[u8; 16]> = wanted.collect();
    let present: HashSet<[u8; 16]> = tables.node_port_ips.entries()?.into_iter().map(|(address, _)| address).collect();
    let missing: Vec<_> = wanted.difference(&present).copied().collect();
    let unwanted: Vec<_> = present.difference(&wanted).copied().collect();
    tables.node_port_ips.put_all(&missing, &vec![1; missing.len()])?;
    tables.node_port_ips.remove_all(&unwanted)?;
    Ok(writes + (missing.len() + unwanted.len()) as u64)
}

/// Cookie of the calling thread's network namespace. Kernels before 5.14 do not tell it; there,
/// loopback is nobody's, and NodePorts are not served on it.
pub(super) fn netns_cookie() -> io::Result<u64> {
    // SAFETY: plain values.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned a descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the option's value is a 64-bit number of `length` bytes; both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &mut length,
        )
    };
    match result {
        0 => Ok(cookie),
        _ if io::Error::last_os_error().raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(0),
        _ => Err(io::Error::last_os_error()),
    }
}
