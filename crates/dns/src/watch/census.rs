//! What one thread counts: names and clients by a sample, failed and slow names all.

use std::net::IpAddr;

use super::sketch::Sketch;

/// Items of each kind: with 256, whatever is more than 0.4 % of all is there.
const ROOM: usize = 256;

/// Counts of one thread.
#[derive(Debug)]
pub struct Census {
    /// Names in wire form.
    pub names: Sketch<Vec<u8>>,
    /// Who asked.
    pub clients: Sketch<IpAddr>,
    /// Names whose answer was SERVFAIL.
    pub failed: Sketch<Vec<u8>>,
    /// Names whose answer took long.
    pub slow: Sketch<Vec<u8>>,
}

// === impl Census ===

impl Census {
    /// Counts a query for so many.
    pub fn asked(&mut self, name: Option<&[u8]>, client: IpAddr, weight: u64) {
        if let Some(name) = name {
            self.names.add(name.to_ascii_lowercase().as_slice(), weight);
        }
        self.clients.add(&client, weight);
    }

    /// Counts a query that failed.
    pub fn failed(&mut self, name: &[u8]) {
        self.failed.add(name.to_ascii_lowercase().as_slice(), 1);
    }

    /// Counts a query that took long.
    pub fn slow(&mut self, name: &[u8]) {
        self.slow.add(name.to_ascii_lowercase().as_slice(), 1);
    }
}

impl Default for Census {
    fn default() -> Self {
        let names = || Sketch::new(ROOM);
        Self { names: names(), clients: Sketch::new(ROOM), failed: names(), slow: names() }
    }
}
