//! Writing netlink requests.

use std::net::IpAddr;

use seaway_model::MacAddress;

/// Numbers of `linux/netlink.h`, `linux/rtnetlink.h`, `linux/if_link.h`,
/// `linux/neighbour.h` and `linux/if_addr.h` that `libc` lacks on some targets.
pub(crate) mod constants {
    pub(crate) const NLM_F_REQUEST: u16 = 0x01;
    pub(crate) const NLM_F_ACK: u16 = 0x04;
    pub(crate) const NLM_F_DUMP: u16 = 0x300;
    pub(crate) const NLM_F_REPLACE: u16 = 0x100;
    pub(crate) const NLM_F_EXCL: u16 = 0x200;
    pub(crate) const NLM_F_CREATE: u16 = 0x400;
    pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
    pub(crate) const NLM_F_CAPPED: u16 = 0x100;
    pub(crate) const NLM_F_ACK_TLVS: u16 = 0x200;
    pub(crate) const NLMSG_ERROR: u16 = 2;
    pub(crate) const NLMSG_DONE: u16 = 3;
    pub(crate) const NLMSGERR_ATTR_MSG: u16 = 1;
    /// Attribute holds attributes.
    pub(crate) const NLA_F_NESTED: u16 = 0x8000;
}

/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER_BYTES: usize = 16;

/// A request, with words for people in case it is refused.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    /// `add`, `delete`, …
    pub(crate) operation: &'static str,
    /// The object.
    pub(crate) object: String,
}

impl Request {
    /// A request of `kind` with the family's fixed header.
    pub(crate) fn new(
        kind: u16,
        flags: u16,
        header: &[u8],
        operation: &'static str,
        object: impl Into<String>,
    ) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | constants::NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(header);
        let mut request = Self { bytes, operation, object: object.into() };
        request.align();
        request
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Appends an attribute. Payloads are names, addresses and numbers, far below the
    /// 64 KiB a length field can say.
    pub(crate) fn attribute(mut self, kind: u16, payload: &[u8]) -> Self {
        let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        self.align();
        self
    }

    pub(crate) fn u32(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    pub(crate) fn text(self, kind: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    pub(crate) fn address(self, kind: u16, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.attribute(kind, &v4.octets()),
            IpAddr::V6(v6) => self.attribute(kind, &v6.octets()),
        }
    }

    pub(crate) fn mac(self, kind: u16, mac: MacAddress) -> Self {
        self.attribute(kind, &mac.0)
    }

    /// Appends an attribute whose payload `fill` writes.
    pub(crate) fn nested(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | constants::NLA_F_NESTED).to_ne_bytes());
        let mut filled = fill(self);
        let length = u16::try_from(filled.bytes.len() - start).unwrap_or(u16::MAX);
        if let Some(field) = filled.bytes.get_mut(start..start + 2) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        filled
    }

    /// Appends raw bytes inside a nested attribute, such as a header of its own.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.align();
        self
    }

    /// Fills in length, sequence number and whether an acknowledgement is wanted.
    pub(crate) fn finish(&mut self, sequence: u32, flags: u16) {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).to_ne_bytes();
        if let Some(field) = self.bytes.first_chunk_mut::<4>() {
            *field = length;
        }
        if let Some(field) = self.bytes.get_mut(6..8).and_then(|field| field.first_chunk_mut::<2>()) {
            *field = (u16::from_ne_bytes(*field) | flags).to_ne_bytes();
        }
        if let Some(field) = self.bytes.get_mut(8..12) {
            field.copy_from_slice(&sequence.to_ne_bytes());
        }
    }
}
