//! Upstreams that a configuration names. Each distinct set has a number of its own, which is part
//! of the cache's key: no view sees what another's upstreams said.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::forward::{Policy, Transport};

/// Numbers below this are the groups of the server's own configuration.
pub const FIRST_NUMBER: u16 = 256;

/// And all numbers are below this: the cache's key has 14 bits for them.
pub const NUMBERS_END: u16 = 1 << 14;

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewUpstreams {
    /// Part of the cache's key.
    pub number: u16,
    /// Where, and how they are spoken to.
    pub members: Vec<(SocketAddr, Transport)>,
    /// Whom first.
    pub policy: Policy,
}

/// Gives numbers: the same upstreams keep theirs, and their cache, however often they are written anew.
#[derive(Debug, Default)]
pub struct Numbers {
    known: HashMap<String, u16>,
    next: u16,
}

// === impl Numbers ===

impl Numbers {
    /// Upstreams with their number; none when there are no more numbers.
    pub fn give(&mut self, members: Vec<(SocketAddr, Transport)>, policy: Policy) -> Option<Arc<ViewUpstreams>> {
        let text = format!("{policy:?} {members:?}");
        let number = match self.known.get(&text) {
            Some(number) => *number,
            None => {
                let number = self.next.checked_add(FIRST_NUMBER).filter(|number| *number < NUMBERS_END)?;
                self.next += 1;
                self.known.insert(text, number);
                number
            }
        };
        Some(Arc::new(ViewUpstreams { number, members, policy }))
    }
}
