//! A set of many names in little memory: block lists of a million names are common. Names lie one
//! after the other in one piece, and a table of offsets finds them; looking a name up hashes each
//! of its suffixes once and allocates nothing.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::wire::Name;

/// The name itself is in the set.
const ITSELF: u8 = 1;
/// The names below are.
const BELOW: u8 = 2;

/// No offset.
const FREE: u32 = u32::MAX;
/// Entries for each hundred places of the finished table: probes stay few, and a name costs less
/// than six octets besides its own.
const FULL_PERCENT: usize = 70;

/// Names, and domains of which everything below is meant.
#[derive(Clone)]
pub struct NameSet {
    /// Each: flags, length, wire form without the root label.
    octets: Box<[u8]>,
    table: Box<[u32]>,
    entries: usize,
}

/// A set that is being filled.
#[derive(Debug)]
pub struct NameSetBuilder {
    octets: Vec<u8>,
    table: Vec<u32>,
    entries: usize,
}

fn hash(wire: &[u8]) -> u64 {
    FixedState::with_seed(0x6e61_6d65_7365_7473).hash_one(wire)
}

/// The entry at `offset`: flags and name.
fn entry(octets: &[u8], offset: u32) -> Option<(u8, &[u8])> {
    let at = usize::try_from(offset).ok()?;
    let [flags, length] = *octets.get(at..)?.first_chunk::<2>()?;
    Some((flags, octets.get(at + 2..at + 2 + usize::from(length))?))
}

/// The place of a name in the table: where it is, or where it would go.
fn place(octets: &[u8], table: &[u32], wire: &[u8]) -> Option<(usize, Option<u32>)> {
    let places = table.len();
    if places == 0 {
        return None;
    }
    // The upper half of the product: spreads over any number of places.
    let mut at = ((u128::from(hash(wire)) * places as u128) >> 64) as usize;
    for _ in 0..places {
        match *table.get(at)? {
            FREE => return Some((at, None)),
            offset if entry(octets, offset).is_some_and(|(_, name)| name == wire) => return Some((at, Some(offset))),
            _ => at = if at + 1 == places { 0 } else { at + 1 },
        }
    }
    None
}

// === impl NameSet ===

impl NameSet {
    /// Whether the set holds a name; how many of its labels stand before what matched.
    #[must_use]
    pub fn find(&self, name: &Name) -> Option<usize> {
        if self.table.is_empty() {
            return None;
        }
        let labels = name.labels();
        (0..=labels).find(|before| {
            let wanted = if *before == 0 { ITSELF } else { BELOW };
            self.flags(name.labels_wire(*before..labels)) & wanted != 0
        })
    }

    fn flags(&self, wire: &[u8]) -> u8 {
        let found = place(&self.octets, &self.table, wire).and_then(|(_, offset)| entry(&self.octets, offset?));
        found.map_or(0, |(flags, _)| flags)
    }

    /// How many names and domains.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Octets of memory.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets.len() + self.table.len() * size_of::<u32>()
    }
}

impl std::fmt::Debug for NameSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NameSet({} entries)", self.entries)
    }
}

// === impl NameSetBuilder ===

impl NameSetBuilder {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self { octets: Vec::new(), table: vec![FREE; 64], entries: 0 }
    }

    /// Adds a name by its wire form, lower case, with the root label. `below`: not the name, but
    /// everything below it. Names beyond what four gigabytes hold are left out.
    pub fn add(&mut self, wire: &[u8], below: bool) {
        let flag = if below { BELOW } else { ITSELF };
        let name = wire.strip_suffix(&[0]).unwrap_or(wire);
        if self.entries * 2 >= self.table.len() {
            self.table = table(&self.octets, self.table.len() * 2);
        }
        let Some((at, known)) = place(&self.octets, &self.table, name) else { return };
        if let Some(flags) = known.and_then(|offset| self.octets.get_mut(offset as usize)) {
            *flags |= flag;
            return;
        }
        let (Ok(offset), Ok(length)) = (u32::try_from(self.octets.len()), u8::try_from(name.len())) else { return };
        if let Some(to) = self.table.get_mut(at).filter(|_| offset != FREE) {
            *to = offset;
            self.octets.extend([flag, length]);
            self.octets.extend(name);
            self.entries += 1;
        }
    }

    /// The set, in as little memory as it needs.
    #[must_use]
    pub fn finish(self) -> NameSet {
        let places = if self.entries == 0 { 0 } else { self.entries * 100 / FULL_PERCENT + 1 };
        let table = table(&self.octets, places).into_boxed_slice();
        NameSet { octets: self.octets.into_boxed_slice(), table, entries: self.entries }
    }
}

impl Default for NameSetBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// A table of so many places for all names of `octets`.
fn table(octets: &[u8], places: usize) -> Vec<u32> {
    let mut table = vec![FREE; places];
    let mut offset = 0u32;
    while let Some((_, name)) = entry(octets, offset) {
        if let Some((at, None)) = place(octets, &table, name)
            && let Some(to) = table.get_mut(at)
        {
            *to = offset;
        }
        offset += 2 + name.len() as u32;
    }
    table
}
