//! What `status` and `list` print.

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use serde::Serialize;

use super::{cluster, image};
use crate::cluster::forwarder;
use crate::cluster::status::{self, NodeRow};
use crate::error::{IoContext, LabError, Result};
use crate::image::StuckPod;
use crate::machine::{Fault, LabDir, LabState, Machine, lab_names};

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs; field names are stable.
    Json,
}

/// `lab status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// `lab list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// What `lab status` tells of one lab.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LabStatus {
    name: String,
    nodes: Vec<NodeRow>,
    faults: Vec<Fault>,
    pods_waiting_for_images: Vec<StuckPod>,
    metrics_url: Option<String>,
}

/// What `lab list` tells of one lab.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LabRow {
    name: String,
    /// Absent when the lab's state cannot be read.
    nodes: Option<u32>,
    state: &'static str,
}

// === impl StatusArgs ===

impl StatusArgs {
    /// One lab: its nodes and their agents, then what is wrong.
    pub(super) fn run(&self, machine: &Machine) -> Result<()> {
        let dir = machine.dir();
        let status = LabStatus {
            name: dir.name().to_owned(),
            nodes: cluster::node_rows(machine),
            faults: machine.faults()?,
            pods_waiting_for_images: image::waiting_pods(machine),
            metrics_url: forwarder::metrics_url(dir),
        };
        match self.output {
            Format::Json => print_json(&status),
            Format::Text => {
                status.print(dir);
                Ok(())
            }
        }
    }
}

// === impl LabStatus ===

impl LabStatus {
    fn print(&self, dir: &LabDir) {
        println!("{}", status::table(&self.nodes, None));
        let remarks = status::agent_remarks(&self.nodes);
        if !remarks.is_empty() {
            println!("\nAgents:\n  {}", remarks.join("\n  "));
        }
        if !self.faults.is_empty() {
            let faults: Vec<String> = self.faults.iter().map(Fault::to_string).collect();
            println!("\nBroken: {}", faults.join(", "));
        }
        image::tell_waiting_pods(dir, &self.pods_waiting_for_images);
        if let Some(url) = &self.metrics_url {
            println!("\nMetrics: {url}");
        }
    }
}

// === impl ListArgs ===

impl ListArgs {
    /// All labs, also those that only left something behind.
    pub(super) fn run(&self) -> Result<()> {
        let rows: Vec<LabRow> = lab_names()?.into_iter().map(LabRow::of).collect();
        if self.output == Format::Json {
            return print_json(&rows);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["NAME", "NODES", "STATE"]);
        for row in rows {
            let nodes = row.nodes.map_or_else(|| "-".to_owned(), |nodes| nodes.to_string());
            table.add_row([row.name, nodes, row.state.to_owned()]);
        }
        println!("{table}");
        Ok(())
    }
}

// === impl LabRow ===

impl LabRow {
    fn of(name: String) -> Self {
        let dir = LabDir::new(&name);
        let state = LabState::read(&dir).ok();
        let nodes = state.as_ref().map(|state| state.spec.nodes);
        // Only who makes or removes a lab holds its lock for long.
        let changing = matches!(dir.try_lock(), Err(LabError::Busy { .. }));
        let state = match state {
            _ if changing => "changing",
            Some(state) if state.complete && state.any_alive() => "running",
            _ => "abandoned",
        };
        Self { name, nodes, state }
    }
}

fn print_json(answer: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(answer).on_system("print", "the answer")?;
    println!("{text}");
    Ok(())
}
