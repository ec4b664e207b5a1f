//! Verbs that talk to the cluster: kubeconfig, url, test, and the forwarder.

use std::time::Duration;

use clap::Args;

use crate::cluster::api::ApiClient;
use crate::cluster::progress::Progress;
use crate::cluster::status::NodeRow;
use crate::cluster::up::Lab;
use crate::cluster::url::{UrlRequest, url};
use crate::cluster::{ClusterError, files, forwarder, status};
use crate::connectivity;
use crate::error::{LabError, Result};
use crate::machine::{LabDir, Machine};

/// Exit code when the test ran and found something broken, as for all verbs
/// whose answer is a problem (docs/reference/command-line.md).
const FOUND_BROKEN: u8 = 3;

/// `lab url`.
#[derive(Debug, Args)]
pub(super) struct UrlArgs {
    /// The Service.
    service: String,
    /// Its namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Name or number of the Service's port; its first otherwise.
    #[arg(long)]
    port: Option<String>,
    /// Port on this machine; the next free one otherwise.
    #[arg(long)]
    host_port: Option<u16>,
    /// How long the Service may take until it answers.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
}

/// `lab kubeconfig`.
#[derive(Debug, Args)]
pub(super) struct KubeconfigArgs {
    /// Print the path of a kubectl that fits the cluster instead.
    #[arg(long)]
    kubectl: bool,
}

/// `lab test`.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// How results are printed: text or json.
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

// === impl UrlArgs ===

impl UrlArgs {
    pub(super) fn run(&self, dir: &LabDir) -> Result<()> {
        let (machine, api) = open(dir)?;
        let request = UrlRequest {
            namespace: self.namespace.clone(),
            service: self.service.clone(),
            service_port: self.port.clone(),
            host_port: self.host_port,
            patience: Duration::from_secs(self.wait),
        };
        println!("{}", url(&machine, &api, &request, &Progress::start())?);
        Ok(())
    }
}

// === impl TestArgs ===

impl TestArgs {
    pub(super) fn run(&self, dir: &LabDir) -> Result<u8> {
        let (machine, api) = open(dir)?;
        let report = connectivity::test(&machine, &api)?;
        if self.output == "json" {
            println!("{:#}", connectivity::report::document(&report.outcomes, &report.findings));
        } else {
            println!("{}", connectivity::report::table(&report.outcomes));
            match report.findings.as_slice() {
                [] => println!("\nEverybody reaches everybody."),
                findings => println!("\nBroken:\n  {}", findings.join("\n  ")),
            }
        }
        Ok(if report.findings.is_empty() { 0 } else { FOUND_BROKEN })
    }
}

// === impl KubeconfigArgs ===

impl KubeconfigArgs {
    pub(super) fn run(&self, dir: &LabDir) -> Result<()> {
        let path = if self.kubectl { files::kubectl(dir) } else { files::host_kubeconfig(dir) };
        if !path.exists() {
            return Err(LabError::NoSuchLab { name: dir.name().to_owned() });
        }
        println!("{}", path.display());
        Ok(())
    }
}

/// `lab forwarder`: serves until it is killed.
pub(super) fn forward(dir: &LabDir) -> Result<()> {
    forwarder::serve(dir).map_err(|source| ClusterError::Forwarder { lab: dir.name().to_owned(), source }.into())
}

/// The cluster's part of `lab status`.
pub(super) fn node_rows(machine: &Machine) -> Vec<NodeRow> {
    let api = client(machine.dir()).ok();
    status::rows(machine, api.as_ref())
}

/// What `lab up` ends in: the nodes, where the time went, what to try next.
pub(super) fn after_up(lab: &Lab, progress: &Progress, timings: bool) {
    let machine = &lab.machine;
    let api = client(machine.dir()).ok();
    println!("{}", status::table(&status::rows(machine, api.as_ref()), Some(&lab.ready_after)));
    if timings {
        println!("\nWhere the time went:");
        for step in progress.steps() {
            let (began, ended) = (step.began.as_secs_f64(), step.ended.as_secs_f64());
            println!("  {began:6.2} s to {ended:6.2} s  {:6.2} s  {}", ended - began, step.what);
        }
    }
    let name = machine.dir().name();
    let flag = if name == "default" { String::new() } else { format!(" --name {name}") };
    println!("\nUp after {:.1} s. Try:", progress.elapsed().as_secs_f64());
    println!("  export KUBECONFIG=$(seaway lab kubeconfig{flag})");
    println!("  {} get pods -A -o wide", kubectl(lab));
    println!("  seaway lab test{flag}");
    println!("  seaway lab exec{flag} n1 -- ip route");
    println!("  seaway lab down{flag}");
}

/// `kubectl`, or where it is when it is not installed.
fn kubectl(lab: &Lab) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join("kubectl").is_file()) {
        return "kubectl".to_owned();
    }
    files::kubectl(lab.machine.dir()).display().to_string()
}

fn open(dir: &LabDir) -> Result<(Machine, ApiClient)> {
    let machine = Machine::open(dir)?;
    Ok((machine, client(dir)?))
}

/// A client of the lab's API server; starts the forwarder again if it died.
fn client(dir: &LabDir) -> Result<ApiClient> {
    let path = files::host_kubeconfig(dir);
    let text = std::fs::read_to_string(&path).map_err(|source| ClusterError::Storage { path, source })?;
    if forwarder::running(dir).is_none() {
        forwarder::start(dir)?;
    }
    Ok(ApiClient::new(&text)?)
}
