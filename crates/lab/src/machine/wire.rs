//! The wire: a bridge per rack, a router between them, and a veth from each
//! host to its bridge. Everything is made inside the lab's own namespaces by
//! one `ip -batch` per namespace.
//!
//! The functions that write batches are pure.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use ipnet::IpNet;

use super::layout::{HostKind, HostLayout, Layout, WIRE};
use super::node::in_network_of;
use super::process::ProcessId;
use crate::error::{IoContext, LabError, Result};

/// The link of every host.
pub(super) const HOST_LINK: &str = "eth0";

/// Batch for the wire namespace: bridges, the router's addresses.
pub(super) fn router_batch(layout: &Layout, mtu_bytes: u32) -> String {
    let mut batch = String::from("link set lo up\n");
    for rack in &layout.racks {
        let (bridge, mac) = (&rack.bridge, &rack.mac);
        // A fixed MTU: a bridge otherwise follows its smallest port.
        line(&mut batch, format_args!("link add {bridge} address {mac} mtu {mtu_bytes} type bridge mcast_snooping 0"));
        line(&mut batch, format_args!("link set {bridge} mtu {mtu_bytes} up"));
        add_addresses(&mut batch, bridge, &rack.gateways);
    }
    batch
}

/// Batch for the wire namespace: the link to one host.
pub(super) fn port_batch(layout: &Layout, host: &HostLayout, init: ProcessId, mtu_bytes: u32) -> String {
    let HostLayout { port, mac, .. } = host;
    let mut batch = String::new();
    line(
        &mut batch,
        format_args!(
            "link add {port} mtu {mtu_bytes} type veth peer name {HOST_LINK} mtu {mtu_bytes} address {mac} netns {}",
            init.pid
        ),
    );
    match host.kind {
        HostKind::Node => {
            let bridge = layout.rack(&host.rack).map_or("", |rack| rack.bridge.as_str());
            line(&mut batch, format_args!("link set {port} master {bridge} up"));
        }
        HostKind::Outside => {
            line(&mut batch, format_args!("link set {port} up"));
            add_addresses(&mut batch, port, &host.gateways);
        }
    }
    batch
}

/// Batch for a host's own namespace: addresses and default routes.
pub(super) fn host_batch(host: &HostLayout) -> String {
    let mut batch = String::from("link set lo up\n");
    line(&mut batch, format_args!("link set {HOST_LINK} up"));
    add_addresses(&mut batch, HOST_LINK, &host.addresses);
    for gateway in host.gateways.iter().map(IpNet::addr) {
        let everything = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        line(&mut batch, format_args!("route add {everything} via {gateway} dev {HOST_LINK}"));
    }
    batch
}

/// Runs a batch in the network namespace of `init`.
pub(super) fn run_ip_batch(init: ProcessId, name: &str, batch: &str) -> Result<()> {
    feed(init, name, "ip", "iproute2", &["-batch", "-"], batch)
}

/// Runs an nftables script in the wire namespace.
pub(super) fn run_nft(init: ProcessId, script: &str) -> Result<()> {
    feed(init, WIRE, "nft", "nftables", &["-f", "-"], script)
}

fn feed(init: ProcessId, name: &str, program: &str, package: &str, arguments: &[&str], input: &str) -> Result<()> {
    let output = in_network_of(init, name, || {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        // Dropped at the end of the statement, which closes it.
        child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()))?;
        child.wait_with_output()
    })?;
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(LabError::ProgramMissing { program: program.to_owned(), package: package.to_owned() });
        }
        other => other.on_system("run a program", name)?,
    };
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(LabError::Tool { program: program.to_owned(), object: name.to_owned(), stderr })
}

fn add_addresses(batch: &mut String, link: &str, addresses: &[IpNet]) {
    for address in addresses {
        let nodad = if matches!(address, IpNet::V6(_)) { " nodad" } else { "" };
        line(batch, format_args!("addr add {address} dev {link}{nodad}"));
    }
}

fn line(batch: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(batch, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::LabSpec;

    #[test]
    fn a_host_has_its_addresses_and_the_router() {
        let layout = Layout::of(&LabSpec::default());
        assert_eq!(
            host_batch(&layout.nodes[0]),
            "link set lo up\nlink set eth0 up\naddr add 172.31.0.10/24 dev eth0\n\
             addr add fd00:172:31::a/64 dev eth0 nodad\nroute add 0.0.0.0/0 via 172.31.0.1 dev eth0\n\
             route add ::/0 via fd00:172:31::1 dev eth0\n"
        );
    }

    #[test]
    fn a_node_is_plugged_into_its_rack() {
        let layout = Layout::of(&LabSpec { racks: 3, ..LabSpec::default() });
        let batch = port_batch(&layout, &layout.nodes[2], ProcessId { pid: 42, start_ticks: 0 }, 9000);
        assert_eq!(
            batch,
            "link add port-n3 mtu 9000 type veth peer name eth0 mtu 9000 address 02:5e:a0:01:00:03 netns 42\n\
             link set port-n3 master rack3 up\n"
        );
    }
}
