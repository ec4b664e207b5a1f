//! `seaway bench services`: Seaway and kube-proxy take turns on one node, with
//! one API server and the same Services. Each connection through a Service has
//! a direct one beside it.

mod content;
mod metrics;
mod packets;
mod peer;
mod phase;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::fill::fill;
use super::pods::{self, LOAD_PORT};
use super::report::{OURS, Rows, json, table};
use crate::cluster::api::ApiClient;
use crate::cluster::files::host_kubeconfig;
use crate::cluster::progress::Progress;
use crate::cluster::up::{UpOptions, program_source, up};
use crate::error::{IoContext, Result};
use crate::machine::{LabDir, Machine, Node};
use crate::spec::{DnsChoice, Families, LabSpec, NetworkChoice, ServicesChoice};
use content::{MOST_ENDPOINTS, MOST_SERVICES};
use peer::{Peer, Switch};
use phase::{Phase, Plan};

/// Services whose memory is compared, if that many are asked for.
const MEMORY_SIZE: u32 = 10_000;
/// Column of connections without a Service.
const DIRECT: &str = "direct";

/// Arguments of `seaway bench services`.
#[derive(Debug, Args)]
pub(super) struct ServicesArgs {
    /// Numbers of Services, growing.
    #[arg(long, value_delimiter = ',', default_value = "1,100,10000,30000,50000",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_SERVICES)))]
    sizes: Vec<u32>,
    /// Endpoints of each Service.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_ENDPOINTS)))]
    endpoints: u32,
    /// Who takes part: seaway, seaway:nftables, kube-proxy:nftables, kube-proxy:iptables.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "seaway,seaway:nftables,kube-proxy:nftables,kube-proxy:iptables"
    )]
    peers: Vec<Peer>,
    /// Rounds of each measurement; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Connections of each side in a round.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(100..=20_000))]
    connections: u32,
    /// Changes of one endpoint, two seconds apart.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=50))]
    changes: u32,
    /// Seconds that programming everything may take; a peer that needs more sits out larger sizes.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=900))]
    patience: u64,
    /// A short run: 1, 1,000 and 10,000 Services, 2 rounds, 3 changes, half the patience.
    #[arg(long)]
    quick: bool,
    /// Folder with Kubernetes release binaries.
    #[arg(long, value_name = "DIR", env = "SEAWAY_KUBERNETES_BIN")]
    kubernetes_bin: Option<PathBuf>,
    /// Leave the lab running.
    #[arg(long)]
    keep: bool,
    /// How the report is printed: table or json.
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    output: String,
}

/// What came out.
#[derive(Debug, Default)]
struct Outcome {
    rows: Rows,
    /// What could not be measured, and why.
    notes: Vec<String>,
}

// === impl ServicesArgs ===

impl ServicesArgs {
    pub(super) fn run(&self) -> Result<()> {
        let progress = Progress::start();
        let (dir, options) = self.lab();
        progress.line(&format!("bringing up lab {}", dir.name()));
        up(&options, &progress)?;
        let mut outcome = Outcome::default();
        let measured = self.measure(&dir, &options, &mut outcome, &progress);
        if !self.keep {
            progress.step(&format!("lab {} removed", dir.name()), || crate::cluster::down(&dir))?;
        }
        self.print(&outcome);
        measured
    }

    fn lab(&self) -> (LabDir, UpOptions) {
        let spec = LabSpec {
            name: "bench-services".into(),
            nodes: 1,
            families: Families::Ipv4,
            pod_cidrs: content::POD_RANGE.parse().into_iter().collect(),
            service_cidrs: content::SERVICE_RANGE.parse().into_iter().collect(),
            network: NetworkChoice::Seaway,
            services: ServicesChoice::None,
            dns: DnsChoice::None,
            ..LabSpec::default()
        };
        let dir = LabDir::new(&spec.name);
        (dir, UpOptions { spec, release_directory: self.kubernetes_bin.clone(), keep_on_failure: false })
    }

    fn sizes(&self) -> Vec<u32> {
        let mut sizes = if self.quick { vec![1, 1_000, 10_000] } else { self.sizes.clone() };
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn plan(&self) -> Plan {
        Plan {
            rounds: if self.quick { 2 } else { self.rounds },
            connections: if self.quick { self.connections / 2 } else { self.connections },
            changes: if self.quick { 3 } else { self.changes },
            patience: Duration::from_secs(if self.quick { self.patience.div_ceil(2) } else { self.patience }),
        }
    }

    fn measure(&self, dir: &LabDir, options: &UpOptions, outcome: &mut Outcome, progress: &Progress) -> Result<()> {
        let path = host_kubeconfig(dir);
        let api = ApiClient::new(&std::fs::read_to_string(&path).on_file("read", &path)?)?;
        let machine = Machine::open(dir)?;
        let node = machine.node("n1")?;
        let switch = Switch::new(&machine, node, &api, &program_source(options.release_directory.clone()))?;
        let pods = pods::start(&api, &[("client", node)])?;
        let Some(client) = pods.first() else { return Ok(()) };
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": content::NAMESPACE } });
        api.apply_object(&namespace)?;
        let mut peers = self.peers.clone();
        let (plan, sizes) = (self.plan(), self.sizes());
        let mut there = 0;
        for size in &sizes {
            self.grow(node, &api, there..*size, progress)?;
            there = *size;
            let phase = |peer| Phase {
                switch: &switch,
                client,
                plan,
                peer,
                size: *size,
                with_direct: Some(&peer) == self.peers.first(),
                with_memory: *size == memory_size(&sizes),
                with_restart: Some(size) == sizes.last(),
            };
            peers.retain(|peer| run_phase(&phase(*peer), outcome, progress));
        }
        Ok(())
    }

    fn grow(&self, node: &Node, api: &ApiClient, indices: std::ops::Range<u32>, progress: &Progress) -> Result<()> {
        let count = indices.len();
        let begin = progress.elapsed();
        let objects = content::objects(indices, self.endpoints, LOAD_PORT);
        // Three objects of each: itself, its slice, the record of its address.
        fill(node, api, objects, |done| progress.passing(&format!("{} of {count} Services made", done / 3)))?;
        let seconds = (progress.elapsed() - begin).as_secs_f64();
        progress.line(&format!("{count} Services made in {seconds:.1} s"));
        Ok(())
    }

    fn print(&self, outcome: &Outcome) {
        let mut columns: Vec<&'static str> = self.peers.iter().map(|peer| peer.name()).collect();
        columns.sort_by_key(|name| *name != OURS);
        columns.push(DIRECT);
        let rows = &outcome.rows.0;
        println!("{}", if self.output == "json" { json(rows) } else { table(rows, &columns) });
        for note in &outcome.notes {
            eprintln!("{note}");
        }
    }
}

/// Measures one peer at one size; says whether it goes on. What fails is noted: the others go on.
fn run_phase(phase: &Phase<'_>, outcome: &mut Outcome, progress: &Progress) -> bool {
    let name = format!("{} with {} Services", phase.peer.name(), phase.size);
    let measured = phase.run(&mut outcome.rows, progress);
    let left = phase.switch.off(phase.peer).and_then(|()| phase.remove_backends());
    let goes_on = match measured {
        Ok(goes_on) => goes_on,
        Err(error) => {
            outcome.notes.push(format!("{name}: {}", crate::cluster::error::chain(&error)));
            false
        }
    };
    if let Err(error) = left {
        outcome.notes.push(format!("{name}, switched off: {}", crate::cluster::error::chain(&error)));
        return false;
    }
    progress.line(&format!("{name}{}", if goes_on { "" } else { ": sits out what comes" }));
    goes_on
}

/// The size whose memory is compared: the goal's, or the next smaller one.
fn memory_size(sizes: &[u32]) -> u32 {
    let fitting = sizes.iter().copied().filter(|size| *size <= MEMORY_SIZE).max();
    fitting.or_else(|| sizes.first().copied()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_compared_at_ten_thousand_or_the_next_smaller_size() {
        assert_eq!(memory_size(&[1, 100, 10_000, 50_000]), 10_000);
        assert_eq!(memory_size(&[1, 1_000]), 1_000);
        assert_eq!(memory_size(&[50_000]), 50_000);
    }
}
