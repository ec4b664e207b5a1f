//! What `status` and `list` print.

use comfy_table::{Table, presets};

use super::{cluster, image};
use crate::cluster::forwarder;
use crate::error::{LabError, Result};
use crate::machine::{Fault, LabDir, LabState, Machine, lab_names};

/// One lab: its nodes, then what is broken.
pub(super) fn status(machine: &Machine) -> Result<()> {
    println!("{}", cluster::node_table(machine));
    let faults = machine.faults()?;
    if !faults.is_empty() {
        let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
        println!("\nBroken: {}", faults.join(", "));
    }
    image::tell_waiting_pods(machine);
    if let Some(url) = forwarder::metrics_url(machine.dir()) {
        println!("\nMetrics: {url}");
    }
    Ok(())
}

/// All labs, also those that only left something behind.
pub(super) fn list() -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["NAME", "NODES", "STATE"]);
    for name in lab_names()? {
        let dir = LabDir::new(&name);
        let state = LabState::read(&dir).ok();
        let nodes = state.as_ref().map_or_else(|| "-".to_owned(), |state| state.spec.nodes.to_string());
        // Only who makes or removes a lab holds its lock for long.
        let changing = matches!(dir.try_lock(), Err(LabError::Busy { .. }));
        let state = match state {
            _ if changing => "changing",
            Some(state) if state.complete && state.any_alive() => "running",
            _ => "abandoned",
        };
        table.add_row([name, nodes, state.to_owned()]);
    }
    println!("{table}");
    Ok(())
}
