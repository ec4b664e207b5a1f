//! `seaway bench pod-network`: Seaway, the reference bridge plugin with host
//! routes, and flannel's VXLAN, each in a lab of two nodes, side by side.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Args;

use super::load::{Measurement, Pattern};
use super::pods::{self, Pod};
use super::report::{Better, OURS, Rows, json, table};
use crate::cluster::api::ApiClient;
use crate::cluster::files::host_kubeconfig;
use crate::cluster::progress::Progress;
use crate::cluster::up::{UpOptions, up};
use crate::error::{IoContext, Result};
use crate::machine::{LabDir, Machine, Node};
use crate::spec::{DnsChoice, LabSpec, NetworkChoice, ServicesChoice};

/// Arguments of `seaway bench pod-network`.
#[derive(Debug, Args)]
pub(super) struct PodNetworkArgs {
    /// Rounds in which the peers take turns; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// CNI ADDs timed in each round; 0: none.
    #[arg(long, default_value_t = 100)]
    adds: u16,
    /// Pods of the burst on one node; 0: none.
    #[arg(long, default_value_t = 50)]
    burst: u32,
    /// Peers to compare with.
    #[arg(long, value_delimiter = ',', default_value = "bridge,flannel")]
    peers: Vec<NetworkChoice>,
    /// Folder with Kubernetes release binaries.
    #[arg(long, value_name = "DIR", env = "SEAWAY_KUBERNETES_BIN")]
    kubernetes_bin: Option<PathBuf>,
    /// Leave the labs running.
    #[arg(long)]
    keep: bool,
    /// How the report is printed: table or json.
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    output: String,
}

/// Column of what no network is faster than: both ends in one pod.
const LOOPBACK: &str = "loopback";

/// A lab under measurement.
struct Subject {
    name: &'static str,
    dir: LabDir,
    machine: Machine,
    api: ApiClient,
}

// === impl PodNetworkArgs ===

impl PodNetworkArgs {
    pub(super) fn run(&self) -> Result<()> {
        let progress = Progress::start();
        let mut networks = vec![NetworkChoice::Seaway];
        networks.extend(self.peers.iter().copied().filter(|peer| *peer != NetworkChoice::Seaway));
        let mut subjects = Vec::new();
        let rows = self.measure_all(&networks, &mut subjects, &progress);
        if !self.keep {
            for subject in &subjects {
                progress.step(&format!("lab {} removed", subject.dir.name()), || subject.remove())?;
            }
        }
        let rows = rows?;
        let mut peers: Vec<&'static str> = subjects.iter().map(|subject| subject.name).collect();
        peers.push(LOOPBACK);
        println!("{}", if self.output == "json" { json(&rows.0) } else { table(&rows.0, &peers) });
        Ok(())
    }

    fn measure_all(
        &self,
        networks: &[NetworkChoice],
        subjects: &mut Vec<Subject>,
        progress: &Progress,
    ) -> Result<Rows> {
        let mut rows = Rows::default();
        if self.adds > 0 || self.burst > 0 {
            for network in networks {
                self.measure_alone(*network, &mut rows, progress)?;
            }
        }
        for network in networks {
            subjects.push(self.bring_up(*network, progress)?);
        }
        self.measure_traffic(subjects, &mut rows, progress)?;
        Ok(rows)
    }

    /// What takes all processors for seconds is measured with no other lab up: even
    /// idle, the programs of the others take their share.
    fn measure_alone(&self, network: NetworkChoice, rows: &mut Rows, progress: &Progress) -> Result<()> {
        let subject = self.bring_up(network, progress)?;
        let measured = (1..=self.rounds).try_for_each(|round| {
            if self.adds > 0 {
                progress.passing(&format!("round {round}: CNI ADD, {}", subject.name));
                subject.measure_adds(self.adds, rows)?;
            }
            if self.burst > 0 {
                progress.passing(&format!("round {round}: burst of pods, {}", subject.name));
                let seconds = pods::burst(&subject.api, subject.node(1)?, self.burst)?;
                rows.add(&format!("burst of {} pods Ready", self.burst), "s", Better::Lower, subject.name, seconds);
            }
            Ok(())
        });
        progress.line(&format!("{}: CNI ADD and bursts", subject.name));
        // Also after a failure: a lab that stays would be in the way of the next.
        measured.and(subject.remove())
    }

    fn bring_up(&self, network: NetworkChoice, progress: &Progress) -> Result<Subject> {
        let name = match network {
            NetworkChoice::Seaway => OURS,
            NetworkChoice::Bridge => "bridge",
            NetworkChoice::Flannel => "flannel",
            NetworkChoice::None => "none",
        };
        let spec = LabSpec {
            name: format!("bench-{name}"),
            nodes: 2,
            network,
            services: ServicesChoice::None,
            dns: DnsChoice::None,
            ..LabSpec::default()
        };
        let dir = LabDir::new(&spec.name);
        let options = UpOptions { spec, release_directory: self.kubernetes_bin.clone(), keep_on_failure: false };
        progress.line(&format!("bringing up lab {}", dir.name()));
        up(&options, progress)?;
        let path = host_kubeconfig(&dir);
        let kubeconfig = std::fs::read_to_string(&path).on_file("read", &path)?;
        Ok(Subject { name, machine: Machine::open(&dir)?, api: ApiClient::new(&kubeconfig)?, dir })
    }

    fn measure_traffic(&self, subjects: &[Subject], rows: &mut Rows, progress: &Progress) -> Result<()> {
        let pods: Vec<Vec<Pod<'_>>> = subjects.iter().map(Subject::start_pods).collect::<Result<_>>()?;
        let servers: Vec<_> =
            pods.iter().flat_map(|pods| pods.iter().skip(1).map(Pod::serve)).collect::<Result<_>>()?;
        for round in 1..=self.rounds {
            for pattern in Pattern::ALL {
                for (subject, pods) in subjects.iter().zip(&pods) {
                    let [client, same_node, other_node] = pods.as_slice() else { continue };
                    for (place, server) in [("same node", same_node), ("cross node", other_node)] {
                        progress.passing(&format!("round {round}: {} {place}, {}", pattern.name(), subject.name));
                        let seen = client.measure(server, pattern, self.seconds)?;
                        rows.add_traffic(pattern, place, subject.name, &seen);
                    }
                }
            }
            progress.line(&format!("round {round} of {}: traffic", self.rounds));
        }
        drop(servers);
        self.measure_on_one_processor(subjects, &pods, rows, progress)
    }

    /// Requests and responses with both ends on one processor, beside the loopback of a pod.
    fn measure_on_one_processor(
        &self,
        subjects: &[Subject],
        pods: &[Vec<Pod<'_>>],
        rows: &mut Rows,
        progress: &Progress,
    ) -> Result<()> {
        let place = "same node, one processor";
        let servers: Vec<_> =
            pods.iter().flat_map(|pods| pods.get(1).map(Pod::serve_on_one_processor)).collect::<Result<_>>()?;
        for round in 1..=self.rounds {
            for pattern in [Pattern::TcpRr, Pattern::UdpRr] {
                for (subject, pods) in subjects.iter().zip(pods) {
                    let [client, server, ..] = pods.as_slice() else { continue };
                    progress.passing(&format!("round {round}: {}, {place}, {}", pattern.name(), subject.name));
                    let seen = client.measure_on_one_processor(server.address(), pattern, self.seconds)?;
                    rows.add_traffic(pattern, place, subject.name, &seen);
                }
                if let Some(server) = pods.first().and_then(|pods| pods.get(1)) {
                    let own = Ipv4Addr::LOCALHOST.into();
                    let seen = server.measure_on_one_processor(own, pattern, self.seconds)?;
                    rows.add_traffic(pattern, place, LOOPBACK, &seen);
                }
            }
        }
        drop(servers);
        Ok(())
    }
}

// === impl Subject ===

impl Subject {
    fn node(&self, index: usize) -> Result<&Node> {
        self.machine.node(&format!("n{}", index + 1))
    }

    /// A client and a server on one node, a server on the other.
    fn start_pods(&self) -> Result<Vec<Pod<'_>>> {
        let (first, second) = (self.node(0)?, self.node(1)?);
        pods::start(&self.api, &[("client", first), ("same-node", first), ("other-node", second)])
    }

    fn measure_adds(&self, count: u16, rows: &mut Rows) -> Result<()> {
        let node = self.node(0)?;
        let script = "ls /etc/cni/net.d/*.conflist | head -1";
        let found = node.exec(&["sh", "-c", script])?;
        let conflist = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        let argv = [
            pods::load_program()?,
            "lab".into(),
            "load".into(),
            "cni".into(),
            "--conflist".into(),
            conflist,
            "--count".into(),
            count.to_string(),
        ];
        let seen: Measurement = pods::run_load(node.command(&argv)?, &format!("CNI ADD in {}", node.name()))?;
        rows.add("CNI ADD p50", "µs", Better::Lower, self.name, seen.median_micros);
        rows.add("CNI ADD p99", "µs", Better::Lower, self.name, seen.p99_micros);
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        crate::cluster::forwarder::stop(&self.dir);
        Machine::destroy(&self.dir)
    }
}

// === impl Rows ===

impl Rows {
    fn add_traffic(&mut self, pattern: Pattern, place: &str, subject: &'static str, seen: &Measurement) {
        let what = format!("{}, {place}", pattern.name());
        if seen.bits_per_second > 0.0 {
            return self.add(&what, "Mbit/s", Better::Higher, subject, seen.bits_per_second / 1e6);
        }
        self.add(&what, "1/s", Better::Higher, subject, seen.transactions_per_second);
        self.add(&format!("{what}, p99"), "µs", Better::Lower, subject, seen.p99_micros);
    }
}
