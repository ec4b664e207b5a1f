//! What `status` and `list` print.

use comfy_table::{Table, presets};

use super::{cluster, image};
use crate::error::Result;
use crate::machine::{Fault, LabDir, LabState, Machine, lab_names};

/// One lab: its nodes, then what is broken.
pub(super) fn status(machine: &Machine) -> Result<()> {
    println!("{}", cluster::node_table(machine));
    let faults = machine.faults()?;
    if !faults.is_empty() {
        let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
        println!("\nBroken: {}", faults.join(", "));
    }
    for pod in image::waiting_pods(machine) {
        println!("\n{pod}");
    }
    Ok(())
}

/// All labs, also those that only left something behind.
pub(super) fn list() -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["NAME", "NODES", "STATE"]);
    for name in lab_names()? {
        let (nodes, state) = match LabState::read(&LabDir::new(&name)) {
            Ok(state) => {
                let word = match (state.complete, state.any_alive()) {
                    (true, true) => "running",
                    (false, true) => "being made, or abandoned",
                    (_, false) => "abandoned",
                };
                (state.spec.nodes.to_string(), word)
            }
            Err(_) => ("-".to_owned(), "abandoned"),
        };
        table.add_row([name, nodes, state.to_owned()]);
    }
    println!("{table}");
    Ok(())
}
