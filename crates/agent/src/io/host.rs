//! The host besides its data path.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType};
use seaway_model::InterfaceName;
use seaway_model::agent_api::Failure;
use seaway_routing::plan::Underlay;
use seaway_runtime::config::{Cni, Paths};

use super::configuration;
use crate::error::{agent_failure, datapath_failure};
use crate::owner::Host;

/// The node this process runs on.
#[derive(Debug)]
pub struct KernelHost {
    /// Where things are.
    pub paths: Paths,
    /// What is written into the CNI configuration.
    pub cni: Cni,
}

impl Host for KernelHost {
    fn underlay(&mut self, addresses: &[IpAddr]) -> Result<Underlay, Failure> {
        seaway_datapath::kernel::underlay(addresses).map_err(|error| datapath_failure(&error))
    }

    fn path_mtus(&mut self) -> Result<BTreeMap<IpAddr, u32>, Failure> {
        seaway_datapath::kernel::path_mtus().map_err(|error| datapath_failure(&error))
    }

    fn link_exists(&mut self, name: &InterfaceName) -> bool {
        // Any socket will do: the kernel looks in the namespace of the process.
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None);
        // When in doubt the link lives: a leak costs less than a pod's address.
        socket.map_or(true, |socket| name_to_index(&socket, name.as_str()) != Err(Errno::NODEV))
    }

    fn write_configuration(&mut self) -> Result<Vec<Failure>, Failure> {
        configuration::write(&self.paths, &self.cni).map_err(|error| agent_failure(&error))
    }
}

/// The node's range of ephemeral ports; the kernel's own default when it does not say.
pub(crate) fn ephemeral_ports(proc_sys: &std::path::Path) -> std::ops::RangeInclusive<u16> {
    let text = std::fs::read_to_string(proc_sys.join("net/ipv4/ip_local_port_range")).unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) => first..=last,
        _ => 32_768..=60_999,
    }
}
