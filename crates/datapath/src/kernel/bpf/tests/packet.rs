//! Frames for tests, built by naming only what matters: the rest is an ordinary TCP segment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const ETHERNET_BYTES: usize = 14;

/// A frame to be.
#[derive(Clone)]
pub(super) struct PacketBuilder {
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
    source: IpAddr,
    destination: IpAddr,
    hop_limit: u8,
    fragment: u16,
    ipv4_options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    protocol: u8,
    transport: Vec<u8>,
    wrong_length: Option<u16>,
}

/// An ordinary TCP segment from one address to another, both of one family.
pub(super) fn packet(source: impl Into<IpAddr>, destination: impl Into<IpAddr>) -> PacketBuilder {
    PacketBuilder {
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        source: source.into(),
        destination: destination.into(),
        hop_limit: 64,
        fragment: 0,
        ipv4_options: Vec::new(),
        extensions: Vec::new(),
        protocol: 6,
        transport: Vec::new(),
        wrong_length: None,
    }
    .tcp(40_000, 80)
}

/// A frame with an Ethernet type and arbitrary content.
pub(super) fn frame(source_mac: [u8; 6], destination_mac: [u8; 6], ether_type: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = [destination_mac, source_mac].concat();
    bytes.extend(ether_type.to_be_bytes());
    bytes.extend(content);
    bytes
}

/// An ARP message for IPv4 over Ethernet (RFC 826).
pub(super) fn arp(operation: u16, sender: ([u8; 6], Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4];
    bytes.extend(operation.to_be_bytes());
    bytes.extend(sender.0);
    bytes.extend(sender.1.octets());
    bytes.extend([0; 6]);
    bytes.extend(target.octets());
    bytes
}

/// A neighbor solicitation (135) or advertisement (136), RFC 4861 §4.3, §4.4.
pub(super) fn neighbor_message(kind: u8, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 0], target.octets().as_slice(), options].concat()
}

/// A link-layer address option: of the source (1) or of the target (2).
pub(super) fn mac_option(kind: u8, mac: [u8; 6]) -> Vec<u8> {
    [[kind, 1].as_slice(), &mac].concat()
}

// === impl PacketBuilder ===

impl PacketBuilder {
    pub(super) fn macs(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        (self.source_mac, self.destination_mac) = (source, destination);
        self
    }

    pub(super) fn destination_mac(mut self, mac: [u8; 6]) -> Self {
        self.destination_mac = mac;
        self
    }

    pub(super) fn hop_limit(mut self, hops: u8) -> Self {
        self.hop_limit = hops;
        self
    }

    /// The flags and offset field of IPv4.
    pub(super) fn fragment(mut self, flags_and_offset: u16) -> Self {
        self.fragment = flags_and_offset;
        self
    }

    pub(super) fn ipv4_options(mut self, options: &[u8]) -> Self {
        self.ipv4_options = options.to_vec();
        self
    }

    /// An extension header of 8 bytes: its number and what follows its first two bytes.
    pub(super) fn extension(mut self, number: u8, content: [u8; 6]) -> Self {
        self.extensions.push((number, content.to_vec()));
        self
    }

    pub(super) fn protocol(mut self, protocol: u8, transport: &[u8]) -> Self {
        (self.protocol, self.transport) = (protocol, transport.to_vec());
        self
    }

    pub(super) fn tcp(self, source_port: u16, destination_port: u16) -> Self {
        let mut header = [source_port.to_be_bytes(), destination_port.to_be_bytes()].concat();
        header.extend([0; 8]);
        header.extend([0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
        self.protocol(6, &header)
    }

    /// Makes it the first segment of a connection.
    pub(super) fn syn(mut self) -> Self {
        self.transport[13] = 0x02;
        self
    }

    pub(super) fn udp(self, source_port: u16, destination_port: u16) -> Self {
        let ports = [source_port.to_be_bytes(), destination_port.to_be_bytes()].concat();
        self.protocol(17, &[ports.as_slice(), &[0, 8, 0, 0]].concat())
    }

    /// SCTP with one chunk (RFC 9260 §3) and a right checksum.
    pub(super) fn sctp(self, source_port: u16, destination_port: u16, chunk: &[u8]) -> Self {
        let ports = [source_port.to_be_bytes(), destination_port.to_be_bytes()].concat();
        let mut bytes = [ports.as_slice(), &[0, 0, 0, 7, 0, 0, 0, 0], chunk].concat();
        let checksum = crc32c(&bytes).to_le_bytes();
        bytes[8..12].copy_from_slice(&checksum);
        self.protocol(132, &bytes)
    }

    /// ICMP or ICMPv6, by the family of the addresses.
    pub(super) fn icmp(self, message: &[u8]) -> Self {
        let protocol = if self.source.is_ipv4() { 1 } else { 58 };
        self.protocol(protocol, message)
    }

    /// Adds bytes of payload.
    pub(super) fn payload_bytes(mut self, count: usize) -> Self {
        self.transport.extend(vec![0x5a; count]);
        self
    }

    /// Writes another length into the IP header than the packet has.
    pub(super) fn wrong_length(mut self, length: u16) -> Self {
        self.wrong_length = Some(length);
        self
    }

    pub(super) fn build(self) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let content = self.ipv4(source, destination);
                frame(self.source_mac, self.destination_mac, 0x0800, &content)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let content = self.ipv6(source, destination);
                frame(self.source_mac, self.destination_mac, 0x86dd, &content)
            }
            _ => panic!("addresses of two families"),
        }
    }

    fn ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let header_bytes = 20 + self.ipv4_options.len();
        let total = u16::try_from(header_bytes + self.transport.len()).unwrap();
        let mut header = vec![0x40 | u8::try_from(header_bytes / 4).unwrap(), 0];
        header.extend(self.wrong_length.unwrap_or(total).to_be_bytes());
        header.extend([0, 0]);
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.hop_limit, self.protocol, 0, 0]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header.extend(&self.ipv4_options);
        let checksum = internet_checksum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        [header, self.transport.clone()].concat()
    }

    fn ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let mut numbers: Vec<u8> = self.extensions.iter().map(|(number, _)| *number).collect();
        numbers.push(self.protocol);
        let payload = self.extensions.len() * 8 + self.transport.len();
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(self.wrong_length.unwrap_or(u16::try_from(payload).unwrap()).to_be_bytes());
        bytes.extend([numbers[0], self.hop_limit]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        for ((_, content), next) in self.extensions.iter().zip(&numbers[1..]) {
            bytes.extend([*next, 0]);
            bytes.extend(content);
        }
        [bytes, self.transport.clone()].concat()
    }
}

/// RFC 9260 appendix A, bit by bit.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

/// RFC 1071; 0 over a header whose checksum is right.
pub(super) fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
