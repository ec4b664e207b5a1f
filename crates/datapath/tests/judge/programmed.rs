//! Judges a programmed data path by the reference.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seaway_datapath::ServiceDatapath;
use seaway_datapath::kernel::services::nftables::NftablesServices;
use seaway_model::Protocol;
use seaway_services::plan::ServicePlan;
use seaway_services::{Options, ServiceTable, reference};

use crate::affinity::Kept;
use crate::court::{Disagreement, Judge};
use crate::expected::Expected;
use crate::packets::node::Node;
use crate::packets::verdict;
use crate::plans::{Held, take};
use crate::world::scenario::{Client, Probe, Scenario};

/// Packets after which a node is built anew, so that connection tracking has room on small machines.
const PACKETS_PER_NODE: u32 = 20_000;
/// A packet that shows no sign of life for that long was dropped.
const PATIENCE: Duration = Duration::from_millis(200);

/// What a data path owes, given what the plans say; none: this case it cannot judge.
pub(crate) type Owes = fn(&[&ServicePlan], &Probe, Expected) -> Option<Expected>;

/// A data path under judgement.
pub(crate) trait Served: ServiceDatapath {
    /// The pod of this number sends next. All pods of the node are behind one link here.
    fn pod_sends(&mut self, _pod: u8) {}
}

impl Served for NftablesServices {}

/// Opens a data path in the calling thread's namespaces.
pub(crate) type Open = fn(&Node) -> Box<dyn Served>;

/// A data path and a node it serves.
pub(crate) struct Programmed {
    name: &'static str,
    open: Open,
    /// How the node is built.
    build: fn() -> Node,
    /// The question that is asked instead; none: it is none for this data path.
    asks: fn(Probe) -> Option<Probe>,
    /// What the data path owes.
    owes: Owes,
    node: Option<Node>,
}

// === impl Programmed ===

impl Programmed {
    /// The data path that `open` opens.
    pub(crate) fn new(name: &'static str, open: Open) -> Self {
        Self { name, open, build: Node::new, asks: Some, owes: |_, _, expected| Some(expected), node: None }
    }

    /// Asked of processes that use sockets only.
    pub(crate) fn of_sockets(self) -> Self {
        let asks = |probe: Probe| {
            let probe = Probe { client: Client::Process, ..probe };
            (probe.protocol != Protocol::Sctp).then_some(probe)
        };
        Self { build: Node::with_sockets, asks, ..self }
    }

    /// Asked of packets from everywhere, and of processes that use sockets.
    pub(crate) fn of_packets(self, asks: fn(Probe) -> Option<Probe>) -> Self {
        Self { build: Node::with_links, asks, ..self }
    }

    /// With packets that it cannot treat as the reference says.
    pub(crate) fn that_owes(self, owes: Owes) -> Self {
        Self { owes, ..self }
    }
}

impl Programmed {
    fn asked(&self, scenario: &Scenario) -> Scenario {
        let mut scenario = scenario.clone();
        for round in &mut scenario.rounds {
            round.probes = round.probes.iter().copied().filter_map(self.asks).collect();
        }
        scenario
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
        let scenario = self.asked(scenario);
        let node = self.node.get_or_insert_with(self.build);
        let mut services = (self.open)(node);
        services.set_node(&scenario.node.settings()).expect("telling what the node is");
        let played = play(services.as_mut(), node, &scenario, self.owes);
        services.uninstall().expect("removing everything");
        played
    }
}

fn play(services: &mut dyn Served, node: &mut Node, scenario: &Scenario, owes: Owes) -> Result<u64, Disagreement> {
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
            let Some(expected) = owes(&plans, probe, Expected::from(&traced.outcome)) else { continue };
            if let Client::Pod(number) = probe.client {
                services.pod_sends(number);
            }
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
    let (sent, mut observed) = node.probe(probe);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = verdict::check(expected, probe, &observed);
        if found.is_ok() || Instant::now() > deadline {
            return found;
        }
        std::thread::yield_now();
        node.observe_again(&sent, &mut observed);
    }
}
