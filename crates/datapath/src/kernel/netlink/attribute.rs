//! Reading netlink attributes. Total: whatever the bytes, no panic; what is cut off ends
//! the iteration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use seaway_model::MacAddress;

/// Flags in the upper bits of a type: nested, network byte order.
const TYPE_MASK: u16 = 0x3fff;
const HEADER_BYTES: usize = 4;

/// One attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute<'a> {
    /// Type without flags.
    pub(crate) kind: u16,
    /// Payload.
    pub(crate) payload: &'a [u8],
}

/// Attributes in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The first attribute of `kind`.
    pub(crate) fn find(mut self, kind: u16) -> Option<Attribute<'a>> {
        Iterator::find(&mut self, |attribute| attribute.kind == kind)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (kind, _) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let payload = self.0.get(HEADER_BYTES..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind: u16::from_ne_bytes(*kind) & TYPE_MASK, payload })
    }
}

impl<'a> Attribute<'a> {
    /// The attributes inside.
    pub(crate) fn nested(self) -> Attributes<'a> {
        Attributes(self.payload)
    }

    pub(crate) fn u8(self) -> Option<u8> {
        self.payload.first().copied()
    }

    pub(crate) fn u32(self) -> Option<u32> {
        self.payload.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    }

    pub(crate) fn u32_big_endian(self) -> Option<u32> {
        self.payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    pub(crate) fn u16_big_endian(self) -> Option<u16> {
        self.payload.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    pub(crate) fn text(self) -> Option<&'a str> {
        let end = self.payload.iter().position(|byte| *byte == 0).unwrap_or(self.payload.len());
        std::str::from_utf8(self.payload.get(..end)?).ok()
    }

    /// An address; the length tells the family.
    pub(crate) fn address(self) -> Option<IpAddr> {
        match self.payload.len() {
            4 => self.payload.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes).into()),
            16 => self.payload.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes).into()),
            _ => None,
        }
    }

    pub(crate) fn mac(self) -> Option<MacAddress> {
        (self.payload.len() == 6).then(|| self.payload.first_chunk().map(|bytes| MacAddress(*bytes)))?
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let total: usize = Attributes(&bytes).map(|attribute| attribute.payload.len() + HEADER_BYTES).sum();
            prop_assert!(total <= bytes.len());
        }
    }
}
