//! Packets that carry a number, and reading them back, whatever became of them on the way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use seaway_model::Protocol;

use super::checksum::{crc32c, internet};

const TCP_SYN: u8 = 0x02;
const TCP_RST: u8 = 0x04;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// The first packet of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Client.
    pub(crate) from: SocketAddr,
    /// Destination.
    pub(crate) to: SocketAddr,
    /// Transport protocol.
    pub(crate) protocol: Protocol,
    /// Number by which it is known, and by which answers to it are.
    pub(crate) number: u32,
}

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A first packet.
    Flow(Flow),
    /// A TCP reset or ICMP port unreachable that answers the packet of this number, for this address.
    Refusal(IpAddr, u32),
    /// Another ICMP error: type and code.
    Error(u8, u8),
    /// Nothing of ours.
    Other,
}

/// The IP packet of a flow.
pub(crate) fn build(flow: &Flow) -> Vec<u8> {
    let mut transport = match flow.protocol {
        Protocol::Tcp => tcp(flow),
        Protocol::Udp => udp(flow),
        Protocol::Sctp => sctp(flow),
    };
    let length = u16::try_from(transport.len()).expect("a short packet");
    let protocol = flow.protocol.number();
    let (mut header, addresses) = match (flow.from.ip(), flow.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => v4_header(from, to, protocol, length),
        (IpAddr::V6(from), IpAddr::V6(to)) => v6_header(from, to, protocol, length),
        _ => panic!("two families: {flow:?}"),
    };
    let pseudo = [addresses.as_slice(), &[0, protocol], &length.to_be_bytes()].concat();
    match flow.protocol {
        Protocol::Tcp => {
            let sum = internet(&[&pseudo, &transport]).to_be_bytes();
            transport[16..18].copy_from_slice(&sum);
        }
        Protocol::Udp => {
            let sum = internet(&[&pseudo, &transport]).to_be_bytes();
            transport[6..8].copy_from_slice(&sum);
        }
        Protocol::Sctp => {
            let sum = crc32c(&transport);
            transport[8..12].copy_from_slice(&sum);
        }
    }
    header.append(&mut transport);
    header
}

fn v4_header(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, length: u16) -> (Vec<u8>, Vec<u8>) {
    let addresses = [from.octets(), to.octets()].concat();
    let [high, low] = (20 + length).to_be_bytes();
    let mut header = [&[0x45, 0, high, low, 0, 1, 0x40, 0, 64, protocol, 0, 0], addresses.as_slice()].concat();
    let sum = internet(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    (header, addresses)
}

fn v6_header(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, length: u16) -> (Vec<u8>, Vec<u8>) {
    let addresses = [from.octets(), to.octets()].concat();
    let [high, low] = length.to_be_bytes();
    ([&[0x60, 0, 0, 0, high, low, protocol, 64], addresses.as_slice()].concat(), addresses)
}

fn ports(flow: &Flow) -> Vec<u8> {
    [flow.from.port().to_be_bytes(), flow.to.port().to_be_bytes()].concat()
}

/// A SYN whose sequence number is the flow's.
fn tcp(flow: &Flow) -> Vec<u8> {
    let mut bytes = ports(flow);
    bytes.extend(flow.number.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0x50, TCP_SYN, 0xff, 0xff, 0, 0, 0, 0]);
    bytes
}

/// A datagram that holds the number.
fn udp(flow: &Flow) -> Vec<u8> {
    let mut bytes = ports(flow);
    bytes.extend([0, 12, 0, 0]);
    bytes.extend(flow.number.to_be_bytes());
    bytes
}

/// An INIT whose tag is the number.
fn sctp(flow: &Flow) -> Vec<u8> {
    let mut bytes = ports(flow);
    bytes.extend([0; 8]);
    bytes.extend([1, 0, 0, 20]);
    bytes.extend(flow.number.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    bytes
}

/// Reads an IP packet.
pub(crate) fn read(packet: &[u8]) -> Seen {
    parse(packet).unwrap_or(Seen::Other)
}

fn parse(packet: &[u8]) -> Option<Seen> {
    let (from, to, protocol, payload) = network(packet)?;
    match protocol {
        ICMP | ICMPV6 => icmp(to, protocol == ICMP, payload),
        _ => transport(from, to, protocol, payload),
    }
}

/// Addresses, protocol and what follows the IP header.
fn network(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 0xf) * 4;
            let address = |at: usize| -> Option<IpAddr> {
                Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?))
            };
            Some((address(12)?, address(16)?, *packet.get(9)?, packet.get(header..)?))
        }
        6 => {
            let address = |at: usize| -> Option<IpAddr> {
                Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?))
            };
            Some((address(8)?, address(24)?, *packet.get(6)?, packet.get(40..)?))
        }
        _ => None,
    }
}

/// Reads what follows an IP header, or as much of it as an ICMP error quotes.
pub(crate) fn transport(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Option<Seen> {
    let u16_at = |at: usize| Some(u16::from_be_bytes(payload.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_be_bytes(payload.get(at..at + 4)?.try_into().ok()?));
    let protocol = Protocol::from_number(protocol)?;
    let flags = payload.get(13).copied().unwrap_or(TCP_SYN);
    let number = match protocol {
        // It acknowledges the SYN, whose sequence number is one less.
        Protocol::Tcp if flags & TCP_RST != 0 => return Some(Seen::Refusal(to, u32_at(8)?.wrapping_sub(1))),
        Protocol::Tcp if flags & !TCP_SYN & 0x3f != 0 => return None,
        Protocol::Tcp => u32_at(4)?,
        Protocol::Udp => u32_at(8)?,
        Protocol::Sctp => u32_at(16)?,
    };
    let (from, to) = (SocketAddr::new(from, u16_at(0)?), SocketAddr::new(to, u16_at(2)?));
    Some(Seen::Flow(Flow { from, to, protocol, number }))
}

/// Reads an ICMP message.
pub(crate) fn icmp(to: IpAddr, is_v4: bool, payload: &[u8]) -> Option<Seen> {
    let (kind, code) = (*payload.first()?, *payload.get(1)?);
    let is_error = if is_v4 { matches!(kind, 3 | 4 | 5 | 11 | 12) } else { kind < 128 };
    if !is_error {
        return None;
    }
    let is_port_unreachable = (kind, code) == if is_v4 { (3, 3) } else { (1, 4) };
    if !is_port_unreachable {
        return Some(Seen::Error(kind, code));
    }
    let (quoted_from, quoted_to, protocol, quoted) = network(payload.get(8..)?)?;
    match transport(quoted_from, quoted_to, protocol, quoted)? {
        Seen::Flow(flow) => Some(Seen::Refusal(to, flow.number)),
        _ => None,
    }
}

#[test]
fn packets_are_read_as_they_were_built() {
    for protocol in Protocol::ALL {
        for (from, to) in [("10.0.0.1:4711", "10.96.0.1:80"), ("[fd00::1]:4711", "[fd96::1]:80")] {
            let flow = Flow { from: from.parse().unwrap(), to: to.parse().unwrap(), protocol, number: 0xdead_beef };
            assert_eq!(read(&build(&flow)), Seen::Flow(flow));
        }
    }
}
