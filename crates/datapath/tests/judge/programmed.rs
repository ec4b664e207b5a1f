//! Judges a programmed data path by the reference.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seaway_datapath::ServiceDatapath;
use seaway_services::plan::ServicePlan;
use seaway_services::{Options, ServiceTable, reference};

use crate::affinity::Kept;
use crate::court::{Disagreement, Judge};
use crate::expected::Expected;
use crate::packets::node::Node;
use crate::packets::verdict;
use crate::plans::{Held, take};
use crate::world::scenario::{Probe, Scenario};

/// Packets after which a node is built anew, so that connection tracking has room on small machines.
const PACKETS_PER_NODE: u32 = 20_000;
/// A packet that shows no sign of life for that long was dropped.
const PATIENCE: Duration = Duration::from_millis(200);

/// A data path and a node it serves.
pub(crate) struct Programmed {
    name: &'static str,
    /// Opens the data path in the calling thread's namespaces.
    open: fn() -> Box<dyn ServiceDatapath>,
    /// What becomes of packets that the data path cannot treat as the reference says.
    limits: fn(&Probe) -> Option<Expected>,
    node: Option<Node>,
}

// === impl Programmed ===

impl Programmed {
    /// The data path that `open` opens.
    pub(crate) fn new(name: &'static str, open: fn() -> Box<dyn ServiceDatapath>) -> Self {
        Self { name, open, limits: |_| None, node: None }
    }

    /// With packets that it cannot treat as the reference says.
    pub(crate) fn with_limits(self, limits: fn(&Probe) -> Option<Expected>) -> Self {
        Self { limits, ..self }
    }
}

impl Judge for Programmed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn play(&mut self, scenario: &Scenario) -> Result<u64, Disagreement> {
        if self.node.as_ref().is_some_and(|node| node.packets() > PACKETS_PER_NODE) {
            self.node = None;
        }
        let node = self.node.get_or_insert_with(Node::new);
        let mut services = (self.open)();
        services.set_node(&scenario.node.settings()).expect("telling what the node is");
        let played = play(services.as_mut(), node, scenario, self.limits);
        services.uninstall().expect("removing everything");
        played
    }
}

fn play(
    services: &mut dyn ServiceDatapath,
    node: &mut Node,
    scenario: &Scenario,
    limits: fn(&Probe) -> Option<Expected>,
) -> Result<u64, Disagreement> {
    let mut table = ServiceTable::new(scenario.node.view(), Options::default());
    let mut held = Held::new();
    let mut kept = Kept::default();
    let facts = scenario.node.facts();
    let mut cases = 0;
    for (number, round) in scenario.rounds.iter().enumerate() {
        let wrong = |probe, what: String| Disagreement { round: number, probe, what };
        let changes = table.apply(&round.changes);
        kept.forget(&round.changes);
        take(&mut held, &changes).map_err(|what| wrong(None, what))?;
        let report = services.apply(&changes).map_err(|error| wrong(None, error.to_string()))?;
        if !report.refused.is_empty() {
            return Err(wrong(None, format!("refused: {:?}", report.refused)));
        }
        if number == 0 {
            services.synced().map_err(|error| wrong(None, error.to_string()))?;
        }
        let plans: Vec<&ServicePlan> = held.values().map(Arc::as_ref).collect();
        for probe in &round.probes {
            let traced = reference::trace(plans.iter().copied(), &facts, probe.reference_client(), probe.destination());
            let expected = limits(probe).unwrap_or_else(|| Expected::from(&traced.outcome));
            let backend = ask(node, probe, &expected).map_err(|what| wrong(Some(*probe), what))?;
            let service = traced.matched.map(|matched| (matched.service, matched.port_name));
            kept.check(service, probe, &expected, backend).map_err(|what| wrong(Some(*probe), what))?;
            cases += 1;
        }
    }
    let differences = services.audit().expect("comparing with the kernel");
    if !differences.is_empty() {
        let what = format!("the kernel differs from what it was told: {differences:?}");
        return Err(Disagreement { round: scenario.rounds.len() - 1, probe: None, what });
    }
    Ok(cases)
}

/// Sends a packet; looks again before it says that something is wrong.
fn ask(node: &mut Node, probe: &Probe, expected: &Expected) -> Result<Option<SocketAddr>, String> {
    let mut observed = node.probe(probe);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = verdict::check(expected, probe, &observed);
        if found.is_ok() || Instant::now() > deadline {
            return found;
        }
        std::thread::yield_now();
        node.observe_again(probe, &mut observed);
    }
}
