//! What Prometheus reads about a lab. Names and labels are stable;
//! `docs/reference/metrics.md` lists them.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::machine::{Fault, Machine, ProgramStatus};

/// What the forwarder itself counts. Clones share their values.
#[derive(Debug, Clone, Default)]
pub(super) struct ForwarderMetrics {
    connections: Family<Port, Counter>,
    bytes: Family<PortWay, Counter>,
}

/// The counters of one forwarded port.
#[derive(Debug)]
pub(super) struct PortMetrics {
    pub(super) connections: Counter,
    pub(super) bytes_into_lab: Counter,
    pub(super) bytes_out_of_lab: Counter,
}

/// How a lab fares at this moment.
#[derive(Debug, Default, PartialEq)]
pub(super) struct LabCondition {
    /// Each node's name, and its programs while it is switched on.
    nodes: Vec<(String, Option<Vec<ProgramStatus>>)>,
    faults: Vec<Fault>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Port {
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortWay {
    port: u16,
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Program {
    node: String,
    program: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

// === impl ForwarderMetrics ===

impl ForwarderMetrics {
    pub(super) fn of_port(&self, port: u16) -> PortMetrics {
        let bytes = |direction| self.bytes.get_or_create_owned(&PortWay { port, direction });
        PortMetrics {
            connections: self.connections.get_or_create_owned(&Port { port }),
            bytes_into_lab: bytes("in"),
            bytes_out_of_lab: bytes("out"),
        }
    }

    /// The exposition, with the lab as it is now.
    pub(super) fn exposition(&self, condition: &LabCondition) -> Result<String, std::fmt::Error> {
        let mut root = Registry::default();
        let registry = root.sub_registry_with_prefix("seaway_lab");
        registry.register(
            "forwarded_connections",
            "Connections from this machine into the lab",
            self.connections.clone(),
        );
        registry.register("forwarded_bytes", "Bytes between this machine and the lab", self.bytes.clone());
        condition.register(registry);
        let mut exposition = String::new();
        text::encode(&mut exposition, &root)?;
        Ok(exposition)
    }
}

// === impl LabCondition ===

impl LabCondition {
    /// Asks the nodes' init processes. Blocks for milliseconds.
    pub(super) fn of(machine: &Machine) -> Self {
        let node = |node: &crate::machine::Node| (node.name().to_owned(), node.programs().ok());
        Self { nodes: machine.nodes().iter().map(node).collect(), faults: machine.faults().unwrap_or_default() }
    }

    fn register(&self, registry: &mut Registry) {
        let (nodes, up) = (Gauge::<i64>::default(), Gauge::<i64>::default());
        let (running, restarts) = (Family::<Program, Gauge>::default(), Family::<Program, Counter>::default());
        let faults = Family::<Kind, Gauge>::default();
        for (node, programs) in &self.nodes {
            nodes.inc();
            up.inc_by(i64::from(programs.is_some()));
            for status in programs.iter().flatten() {
                let label = Program { node: node.clone(), program: status.name.clone() };
                running.get_or_create(&label).set(i64::from(status.pid.is_some()));
                restarts.get_or_create(&label).inc_by(u64::from(status.starts.saturating_sub(1)));
            }
        }
        for fault in &self.faults {
            let kind = fault.words().first().copied().unwrap_or_default().to_owned();
            faults.get_or_create(&Kind { kind }).inc();
        }
        registry.register("nodes", "Nodes of the lab", nodes);
        registry.register("nodes_up", "Nodes that are switched on", up);
        registry.register("program_running", "Whether a program of a node runs", running);
        registry.register(
            "program_restarts",
            "Starts of a program after its first, since its node was switched on",
            restarts,
        );
        registry.register("faults_active", "What is broken on purpose, by kind", faults);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, pid: Option<i32>, starts: u32) -> ProgramStatus {
        ProgramStatus { name: name.into(), pid, starts, last_exit: None, last_lines: Vec::new() }
    }

    #[test]
    fn the_exposition_tells_what_status_tells() {
        let metrics = ForwarderMetrics::default();
        let port = metrics.of_port(16443);
        port.connections.inc();
        port.bytes_into_lab.inc_by(7);
        let condition = LabCondition {
            nodes: vec![
                ("n1".into(), Some(vec![program("etcd", Some(4), 1), program("kubelet", None, 3)])),
                ("n2".into(), None),
            ],
            faults: vec![Fault::Power { node: "n2".into() }],
        };
        let text = metrics.exposition(&condition).unwrap();
        for line in [
            "seaway_lab_nodes 2",
            "seaway_lab_nodes_up 1",
            "seaway_lab_program_running{node=\"n1\",program=\"etcd\"} 1",
            "seaway_lab_program_running{node=\"n1\",program=\"kubelet\"} 0",
            "seaway_lab_program_restarts_total{node=\"n1\",program=\"kubelet\"} 2",
            "seaway_lab_faults_active{kind=\"power\"} 1",
            "seaway_lab_forwarded_connections_total{port=\"16443\"} 1",
            "seaway_lab_forwarded_bytes_total{port=\"16443\",direction=\"in\"} 7",
        ] {
            assert!(text.lines().any(|given| given == line), "{line} is not in\n{text}");
        }
    }
}
