//! Drop events of nftables: copies of dropped packets on a netlink group (NFLOG).
//!
//! Only one program can listen to a group in a namespace, and a kernel may lack NFLOG;
//! then drops are counted but not told, and the agent's log says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use seaway_model::{DropReason, abi};

use super::netlink::{Attribute, Attributes, Netlink, Request};
use super::nft::LOG_GROUP;
use crate::DatapathError;

/// `NFNL_SUBSYS_ULOG` in the upper byte.
const NFULNL_MSG_PACKET: u16 = 4 << 8;
const NFULNL_MSG_CONFIG: u16 = (4 << 8) | 1;
const NFULA_CFG_CMD: u16 = 1;
const NFULA_CFG_MODE: u16 = 2;
const NFULA_CFG_QTHRESH: u16 = 5;
const NFULNL_CFG_CMD_BIND: u8 = 1;
const NFULNL_COPY_PACKET: u8 = 2;
const NFULA_PACKET_HDR: u16 = 1;
const NFULA_IFINDEX_INDEV: u16 = 4;
const NFULA_PAYLOAD: u16 = 9;
const NFULA_PREFIX: u16 = 10;
/// Bytes of `struct nfgenmsg`.
const HEADER_BYTES: usize = 4;
const ETHER_TYPE_ARP: u16 = 0x0806;
/// Datagrams read in one go, each with one packet or a few.
const DATAGRAMS_PER_DRAIN: usize = 1024;

/// A listener to dropped packets.
#[derive(Debug)]
pub(super) struct DropLog {
    netlink: Netlink,
}

// === impl DropLog ===

impl DropLog {
    /// Listens in the calling thread's namespace.
    pub(super) fn open() -> Result<Self, DatapathError> {
        let mut netlink = Netlink::netfilter_listener()?;
        let config = || {
            // Family unspecified, version 0, the group in network byte order.
            let [high, low] = LOG_GROUP.to_be_bytes();
            Request::new(NFULNL_MSG_CONFIG, 0, &[0, 0, high, low], "listen to", format!("NFLOG group {LOG_GROUP}"))
        };
        // Copy whole packets (the rule limits them), each at once.
        let mode = [0xff, 0xff, 0xff, 0xff, NFULNL_COPY_PACKET, 0];
        netlink.run(vec![
            config().attribute(NFULA_CFG_CMD, &[NFULNL_CFG_CMD_BIND]),
            config().attribute(NFULA_CFG_MODE, &mode),
            config().attribute(NFULA_CFG_QTHRESH, &1u32.to_be_bytes()),
        ])?;
        Ok(Self { netlink })
    }

    /// Hands over what has come. Does not wait.
    pub(super) fn drain(&mut self, sink: &mut dyn FnMut(&abi::Event)) -> Result<(), DatapathError> {
        for _ in 0..DATAGRAMS_PER_DRAIN {
            let messages = match self.netlink.pending() {
                Ok(messages) if messages.is_empty() => return Ok(()),
                Ok(messages) => messages,
                // The buffer ran over: events are lost, counters are not.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => continue,
                Err(source) => {
                    let object = format!("NFLOG group {LOG_GROUP}");
                    return Err(DatapathError::Kernel { operation: "read", object, source });
                }
            };
            for (kind, body) in messages {
                if let Some(mut event) = parse(kind, &body) {
                    event.boot_time_nanos = boot_time_nanos();
                    sink(&event);
                }
            }
        }
        Ok(())
    }
}

/// The clock of `bpf_ktime_get_boot_ns`.
fn boot_time_nanos() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "the standard library reads no clock that counts suspended time")]
    // SAFETY: the pointer is to a live `timespec`, which the call fills.
    unsafe {
        libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now);
    }
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or_default())
}

/// Reads a copy of a packet; `None` when it is none of ours.
fn parse(kind: u16, body: &[u8]) -> Option<abi::Event> {
    if kind != NFULNL_MSG_PACKET {
        return None;
    }
    let attributes = Attributes(body.get(HEADER_BYTES..)?);
    let label = attributes.find(NFULA_PREFIX)?.text()?;
    let reason = DropReason::ALL.iter().find(|reason| reason.label() == label)?;
    let packet = attributes.find(NFULA_PAYLOAD)?.payload;
    let ether_type = attributes.find(NFULA_PACKET_HDR).and_then(Attribute::u16_big_endian);
    let index = attributes.find(NFULA_IFINDEX_INDEV).and_then(Attribute::u32_big_endian).unwrap_or_default();
    let mut event = abi::Event {
        boot_time_nanos: 0,
        source: [0; 16],
        destination: [0; 16],
        interface_index: index,
        // Pod links are numbered by their interface; a tunnel packet has no endpoint.
        endpoint_id: if *reason == DropReason::UntrustedTunnel { 0 } else { index },
        source_port: 0,
        destination_port: 0,
        reason: reason.code(),
        protocol: 0,
        family: 0,
        length_bytes: u32::try_from(packet.len()).unwrap_or(u32::MAX),
        pad: 0,
    };
    // A packet too short for its headers leaves the addresses unset.
    let _ = if ether_type == Some(ETHER_TYPE_ARP) { read_arp(packet, &mut event) } else { read_ip(packet, &mut event) };
    Some(event)
}

fn v4(bytes: &[u8], offset: usize) -> Option<IpAddr> {
    bytes.get(offset..)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into())
}

fn v6(bytes: &[u8], offset: usize) -> Option<IpAddr> {
    bytes.get(offset..)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into())
}

fn set_addresses(event: &mut abi::Event, source: IpAddr, destination: IpAddr) {
    event.source = abi::map_address(source);
    event.destination = abi::map_address(destination);
    event.family = if source.is_ipv4() { 4 } else { 6 };
}

/// Sender and target of an ARP message for Ethernet and IPv4 (RFC 826).
fn read_arp(packet: &[u8], event: &mut abi::Event) -> Option<()> {
    set_addresses(event, v4(packet, 14)?, v4(packet, 24)?);
    Some(())
}

fn read_ip(packet: &[u8], event: &mut abi::Event) -> Option<()> {
    let first = *packet.first()?;
    let header_bytes = match first >> 4 {
        4 => {
            set_addresses(event, v4(packet, 12)?, v4(packet, 16)?);
            event.protocol = *packet.get(9)?;
            event.length_bytes = u32::from(u16::from_be_bytes(*packet.get(2..)?.first_chunk()?));
            usize::from(first & 0x0f) * 4
        }
        6 => {
            set_addresses(event, v6(packet, 8)?, v6(packet, 24)?);
            event.protocol = *packet.get(6)?;
            event.length_bytes = 40 + u32::from(u16::from_be_bytes(*packet.get(4..)?.first_chunk()?));
            40
        }
        _ => return None,
    };
    if matches!(i32::from(event.protocol), libc::IPPROTO_TCP | libc::IPPROTO_UDP | libc::IPPROTO_SCTP) {
        let ports = packet.get(header_bytes..)?.first_chunk::<4>()?;
        // Kept in network byte order, as the record says.
        event.source_port = u16::from_ne_bytes([ports[0], ports[1]]);
        event.destination_port = u16::from_ne_bytes([ports[2], ports[3]]);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(reason: DropReason, packet: &[u8]) -> Vec<u8> {
        let request = Request::new(NFULNL_MSG_PACKET, 0, &[2, 0, 0, 83], "tell", "a drop")
            .attribute(NFULA_PACKET_HDR, &[0x08, 0x00, 0, 0])
            .attribute(NFULA_IFINDEX_INDEV, &7u32.to_be_bytes())
            .attribute(NFULA_PAYLOAD, packet)
            .text(NFULA_PREFIX, reason.label());
        request.bytes[16..].to_vec()
    }

    #[test]
    fn a_dropped_packet_becomes_an_event() {
        let mut packet = vec![0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 9, 192, 0, 2, 1];
        packet.extend([0x30, 0x39, 0x00, 0x35]);
        let event = parse(NFULNL_MSG_PACKET, &message(DropReason::SpoofedSourceIp, &packet)).unwrap();
        assert_eq!(abi::unmap_address(event.source), "10.0.0.9".parse::<IpAddr>().unwrap());
        assert_eq!(abi::unmap_address(event.destination), "192.0.2.1".parse::<IpAddr>().unwrap());
        assert_eq!(u16::from_be(event.source_port), 12345);
        assert_eq!(u16::from_be(event.destination_port), 53);
        assert_eq!((event.interface_index, event.endpoint_id, event.protocol, event.family), (7, 7, 17, 4));
        assert_eq!((event.reason, event.length_bytes), (DropReason::SpoofedSourceIp.code(), 60));
    }

    proptest! {
        #[test]
        fn any_packet_is_read_without_panic(packet in proptest::collection::vec(any::<u8>(), 0..120)) {
            prop_assert!(parse(NFULNL_MSG_PACKET, &message(DropReason::SpoofedSourceMac, &packet)).is_some());
        }
    }
}
