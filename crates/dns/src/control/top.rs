//! What is seen most.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::PoisonError;

use seaway_model::dns_api::{Counted, TopReport};

use super::Desk;
use crate::watch::census::Census;
use crate::watch::hub;
use crate::watch::sketch::{Sketch, Tally, merged};

// === impl Desk ===

impl Desk {
    /// Names and clients that are seen most, at most `limit` of each.
    pub(super) fn top(&self, limit: usize) -> TopReport {
        TopReport {
            seconds: self.since.elapsed().as_secs(),
            names: shown(self.most(|census| &census.names, limit), |name| hub::text(name)),
            clients: shown(self.most(|census| &census.clients, limit), |client| self.client(*client)),
            failed: shown(self.most(|census| &census.failed, limit), |name| hub::text(name)),
            slow: shown(self.most(|census| &census.slow, limit), |name| hub::text(name)),
        }
    }

    fn most<K: Hash + Eq + Clone + Ord>(&self, pick: impl Fn(&Census) -> &Sketch<K>, limit: usize) -> Vec<Tally<K>> {
        // Copied one after the other, so that no thread waits for the others.
        let copy = |census: &std::sync::Arc<std::sync::Mutex<Census>>| {
            pick(&census.lock().unwrap_or_else(PoisonError::into_inner)).clone()
        };
        let sketches: Vec<Sketch<K>> = self.censuses.iter().map(copy).collect();
        merged(&sketches, limit)
    }

    fn client(&self, address: IpAddr) -> String {
        self.server.hub.pod(address).map_or_else(|| address.to_string(), |pod| pod.to_string())
    }
}

fn shown<K>(tallies: Vec<Tally<K>>, text: impl Fn(&K) -> String) -> Vec<Counted> {
    let counted = |tally: Tally<K>| Counted { what: text(&tally.key), count: tally.count, error: tally.error };
    tallies.into_iter().map(counted).collect()
}
