//! What `status` and `list` print.

use comfy_table::{Table, presets};

use crate::error::Result;
use crate::machine::{Fault, LabDir, LabState, Machine, Node, lab_names};

/// One lab: its nodes, then what is broken.
pub(super) fn status(machine: &Machine) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["NODE", "RACK", "ADDRESSES", "STATE", "PROGRAMS"]);
    for node in machine.nodes().iter().chain([machine.outside()]) {
        table.add_row(row(node));
    }
    println!("{table}");
    let faults = machine.faults()?;
    if !faults.is_empty() {
        let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
        println!("\nBroken: {}", faults.join(", "));
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

fn row(node: &Node) -> [String; 5] {
    let addresses: Vec<String> = node.addresses().iter().map(ToString::to_string).collect();
    let (state, programs) = match node.init() {
        Err(_) => ("off".to_owned(), String::new()),
        Ok(_) => match node.programs() {
            Err(error) => (error.to_string(), String::new()),
            Ok(programs) => {
                let words: Vec<String> = programs
                    .iter()
                    .map(|program| match (&program.pid, &program.last_exit) {
                        (Some(_), None) => program.name.clone(),
                        (Some(_), Some(_)) => format!("{} (started {} times)", program.name, program.starts),
                        (None, exit) => {
                            format!("{} (ended: {})", program.name, exit.as_deref().unwrap_or("not started"))
                        }
                    })
                    .collect();
                ("running".to_owned(), words.join(", "))
            }
        },
    };
    let rack = if node.rack().is_empty() { "-" } else { node.rack() };
    [node.name().to_owned(), rack.to_owned(), addresses.join(" "), state, programs]
}
