//! One block: which of its addresses are free, in use, cooling down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

/// Most addresses used of one block: 8 KiB of bitmap.
const MAXIMUM_ADDRESSES: u32 = 65_536;
const WORD_BITS: u32 = u64::BITS;

/// A bitmap over the addresses of a block; a set bit is not free.
#[derive(Debug, Clone)]
pub(super) struct Block {
    cidr: IpNet,
    size: u32,
    words: Vec<u64>,
    /// Addresses kept from pods; their bits stay set.
    reserved: BTreeSet<u32>,
    in_use: u32,
    /// Released addresses and when they become free; their bits stay set.
    cooling: BTreeMap<u32, Duration>,
    /// Where the next search starts: addresses are reused as late as possible.
    cursor: u32,
}

// === impl Block ===

impl Block {
    pub(super) fn new(cidr: IpNet) -> Self {
        let host_bits = u32::from(cidr.max_prefix_len() - cidr.prefix_len());
        let size = 1u32.checked_shl(host_bits.min(16)).map_or(MAXIMUM_ADDRESSES, |size| size.min(MAXIMUM_ADDRESSES));
        let words = vec![0; usize::try_from(size.div_ceil(WORD_BITS)).unwrap_or(0)];
        Self {
            cidr: cidr.trunc(),
            size,
            words,
            reserved: BTreeSet::new(),
            in_use: 0,
            cooling: BTreeMap::new(),
            cursor: 0,
        }
    }

    /// Addresses that pods can have.
    pub(super) fn capacity(&self) -> u32 {
        self.size - u32::try_from(self.reserved.len()).unwrap_or(self.size)
    }

    pub(super) fn in_use(&self) -> u32 {
        self.in_use
    }

    pub(super) fn cooling(&self) -> u32 {
        u32::try_from(self.cooling.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn free(&self) -> u32 {
        self.capacity() - self.in_use - self.cooling()
    }

    /// Keeps `address` from pods for good. Nothing happens outside the block.
    pub(super) fn reserve(&mut self, address: IpAddr) {
        if let Some(offset) = self.offset(address)
            && !self.is_set(offset)
        {
            self.set(offset, true);
            self.reserved.insert(offset);
        }
    }

    /// Marks `address` as in use; false when it lies outside or was in use or reserved.
    pub(super) fn occupy(&mut self, address: IpAddr) -> bool {
        let Some(offset) = self.offset(address) else { return false };
        if self.cooling.remove(&offset).is_none() {
            if self.is_set(offset) {
                return false;
            }
            self.set(offset, true);
        }
        self.in_use += 1;
        true
    }

    /// Takes a free address.
    pub(super) fn take(&mut self) -> Option<IpAddr> {
        let offset = self.find_free(self.cursor, self.size).or_else(|| self.find_free(0, self.cursor))?;
        self.set(offset, true);
        self.in_use += 1;
        self.cursor = (offset + 1) % self.size;
        Some(self.address(offset))
    }

    /// Gives an address in use back; it is free again at `free_at`.
    pub(super) fn give_back(&mut self, address: IpAddr, free_at: Duration) {
        if let Some(offset) = self.offset(address)
            && self.is_set(offset)
            && !self.reserved.contains(&offset)
            && !self.cooling.contains_key(&offset)
        {
            self.in_use -= 1;
            self.cooling.insert(offset, free_at);
        }
    }

    /// Keeps a free address from pods until `free_at`; false when it lies outside.
    pub(super) fn cool(&mut self, address: IpAddr, free_at: Duration) -> bool {
        let Some(offset) = self.offset(address) else { return false };
        if !self.is_set(offset) {
            self.set(offset, true);
            self.cooling.insert(offset, free_at);
        }
        true
    }

    /// What cools down, and until when.
    pub(super) fn resting(&self) -> impl Iterator<Item = (IpAddr, Duration)> {
        self.cooling.iter().map(|(offset, free_at)| (self.address(*offset), *free_at))
    }

    /// Frees what has cooled down.
    pub(super) fn expire(&mut self, now: Duration) {
        let expired: Vec<u32> =
            self.cooling.iter().filter(|(_, free_at)| **free_at <= now).map(|(offset, _)| *offset).collect();
        for offset in expired {
            self.cooling.remove(&offset);
            self.set(offset, false);
        }
    }

    fn find_free(&self, from: u32, to: u32) -> Option<u32> {
        let mut offset = from;
        while offset < to {
            let bit = offset % WORD_BITS;
            let free = !self.word(offset) >> bit;
            if free == 0 {
                offset += WORD_BITS - bit;
                continue;
            }
            let found = offset + free.trailing_zeros();
            return (found < to).then_some(found);
        }
        None
    }

    fn word(&self, offset: u32) -> u64 {
        let index = usize::try_from(offset / WORD_BITS).unwrap_or(usize::MAX);
        self.words.get(index).copied().unwrap_or(u64::MAX)
    }

    fn is_set(&self, offset: u32) -> bool {
        self.word(offset) & (1 << (offset % WORD_BITS)) != 0
    }

    fn set(&mut self, offset: u32, on: bool) {
        let index = usize::try_from(offset / WORD_BITS).unwrap_or(usize::MAX);
        if let Some(word) = self.words.get_mut(index) {
            let bit = 1 << (offset % WORD_BITS);
            *word = if on { *word | bit } else { *word & !bit };
        }
    }

    fn offset(&self, address: IpAddr) -> Option<u32> {
        if !self.cidr.contains(&address) {
            return None;
        }
        let distance = match (address, self.cidr.network()) {
            (IpAddr::V4(address), IpAddr::V4(first)) => u128::from(u32::from(address) - u32::from(first)),
            (IpAddr::V6(address), IpAddr::V6(first)) => u128::from(address) - u128::from(first),
            _ => return None,
        };
        u32::try_from(distance).ok().filter(|offset| *offset < self.size)
    }

    fn address(&self, offset: u32) -> IpAddr {
        match self.cidr.network() {
            IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from(u32::from(first) + offset)),
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from(u128::from(first) + u128::from(offset))),
        }
    }
}
