//! `seaway bench dns`: Seaway and CoreDNS side by side on one node, each on one
//! processor, with the same Services and the same upstream; dnsperf is the load.

mod content;
mod dnsperf;
mod measure;
mod peer;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::fill::fill;
use super::pods::load_program;
use super::report::{json, table};
use crate::cluster::api::ApiClient;
use crate::cluster::files::host_kubeconfig;
use crate::cluster::programs::{ProgramSource, Programs};
use crate::cluster::progress::Progress;
use crate::cluster::up::{UpOptions, program_source, up};
use crate::error::{IoContext, LabError, Result};
use crate::machine::{LabDir, Machine, Node, ProgramSpec};
use crate::spec::{DnsChoice, Families, LabSpec, NetworkChoice, ServicesChoice};
use content::MOST_SERVICES;
use dnsperf::LOAD_PROCESSOR;
use measure::{Bench, Plan};
use peer::{Peer, Place};

/// Where the upstream answers, on the host outside the cluster.
const UPSTREAM_PORT: u16 = 5300;

/// Arguments of `seaway bench dns`.
#[derive(Debug, Args)]
pub(super) struct DnsArgs {
    /// Services in the cluster, each with 10 endpoints.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=i64::from(MOST_SERVICES)))]
    services: u32,
    /// Rounds of each load; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Seconds of each load.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// A small and short run: 1,000 Services, one round of 2 seconds.
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

// === impl DnsArgs ===

impl DnsArgs {
    pub(super) fn run(&self) -> Result<()> {
        require("dnsperf", "dnsperf")?;
        require("taskset", "util-linux")?;
        let progress = Progress::start();
        let (dir, options) = self.lab();
        if cfg!(debug_assertions) {
            progress.line("this program was built for debugging: its figures are not those of a release");
        }
        progress.line(&format!("bringing up lab {}", dir.name()));
        up(&options, &progress)?;
        let mut rows = super::report::Rows::default();
        let measured = self.measure(&dir, &options, &mut rows, &progress);
        if !self.keep {
            progress.step(&format!("lab {} removed", dir.name()), || crate::cluster::down(&dir))?;
        }
        let [ours, theirs] = Peer::ALL.map(Peer::name);
        let columns = [ours, theirs, measure::FLOOR];
        println!("{}", if self.output == "json" { json(&rows.0) } else { table(&rows.0, &columns) });
        measured
    }

    fn lab(&self) -> (LabDir, UpOptions) {
        let spec = LabSpec {
            name: "bench-dns".into(),
            nodes: 1,
            families: Families::Ipv4,
            service_cidrs: content::SERVICE_RANGE.parse().into_iter().collect(),
            network: NetworkChoice::Seaway,
            services: ServicesChoice::None,
            dns: DnsChoice::None,
            ..LabSpec::default()
        };
        let dir = LabDir::new(&spec.name);
        (dir, UpOptions { spec, release_directory: self.kubernetes_bin.clone(), keep_on_failure: false })
    }

    fn plan(&self) -> Plan {
        Plan {
            services: if self.quick { self.services.min(1_000) } else { self.services },
            rounds: if self.quick { 1 } else { self.rounds },
            seconds: if self.quick { 2 } else { self.seconds },
        }
    }

    fn measure(
        &self,
        dir: &LabDir,
        options: &UpOptions,
        rows: &mut super::report::Rows,
        progress: &Progress,
    ) -> Result<()> {
        let path = host_kubeconfig(dir);
        let api = ApiClient::new(&std::fs::read_to_string(&path).on_file("read", &path)?)?;
        let machine = Machine::open(dir)?;
        let node = machine.node("n1")?;
        let plan = self.plan();
        create_services(node, &api, plan.services, progress)?;
        let place = Place {
            machine: &machine,
            node,
            coredns: find_coredns(&machine, &program_source(options.release_directory.clone()))?,
            upstream: start_upstream(machine.outside())?,
        };
        Bench { place: &place, api: &api, plan, progress }.run(rows)
    }
}

fn require(program: &str, package: &str) -> Result<()> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&paths).any(|folder| folder.join(program).is_file()) {
        return Ok(());
    }
    Err(LabError::ProgramMissing { program: program.to_owned(), package: package.to_owned() })
}

fn create_services(node: &Node, api: &ApiClient, services: u32, progress: &Progress) -> Result<()> {
    let name = content::NAMESPACE;
    api.apply_object(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))?;
    let begin = progress.elapsed();
    // Of each the address, the Service and its slice.
    fill(node, api, content::objects(services), |done| {
        progress.passing(&format!("{} of {services} Services made", done / 3));
    })?;
    let seconds = (progress.elapsed() - begin).as_secs_f64();
    progress.line(&format!("{services} Services with {} endpoints each made in {seconds:.0} s", content::ENDPOINTS));
    Ok(())
}

fn find_coredns(machine: &Machine, source: &ProgramSource) -> Result<PathBuf> {
    let mut found = Programs::find(&["coredns"], source, &mut |_| {})?;
    if let Some(hidden) = &source.release_directory {
        found.make_visible(hidden, &machine.dir().shared().join("programs"))?;
    }
    Ok(found.path("coredns")?.to_owned())
}

/// The name server that knows every name, on a host outside the cluster.
fn start_upstream(host: &Node) -> Result<SocketAddr> {
    let address = host.addresses().first().copied().unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let listen = SocketAddr::new(address, UPSTREAM_PORT);
    let mut argv = vec!["taskset".to_owned(), "-c".to_owned(), LOAD_PROCESSOR.to_owned(), load_program()?];
    argv.extend(["lab", "load", "dns", "upstream", "--listen"].map(str::to_owned));
    argv.push(listen.to_string());
    host.start(ProgramSpec { name: "bench-upstream".to_owned(), argv, restart: true, ..ProgramSpec::default() })?;
    Ok(listen)
}
