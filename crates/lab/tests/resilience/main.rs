//! A cluster with Seaway in it, and everything that may happen to one: agents
//! killed and replaced under load, cables cut, racks partitioned, nodes
//! switched off, bursts of pods, pods that lie about who they are. All on one
//! lab, watched on real traffic.
//!
//! Needs root and the programs of the workspace (`cargo build --workspace
//! --bins`), and says so. Scenes can be chosen by name:
//! `cargo test -p seaway-lab --test resilience -- agent`.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod agents;
mod churn;
mod demo;
mod drops;
mod faults;
mod host_ports;
mod lab;
mod ledger;
mod services;
mod traffic;
#[path = "../support/verbs.rs"]
mod verbs;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use lab::Lab;

type Scene = (&'static str, fn(&Lab));

/// In this order: what breaks more comes later.
const SCENES: [Scene; 15] = [
    ("the_demo_is_used_from_the_host", demo::is_used_from_the_host),
    ("a_host_port_answers", host_ports::answer_until_the_pod_is_gone),
    ("a_lie_is_dropped_and_named", drops::a_lie_is_dropped_and_named),
    ("killed_agents_lose_nothing", agents::killed_lose_nothing),
    ("replaced_agents_lose_nothing", agents::replaced_lose_nothing),
    ("services_of_rolled_pods_fail_no_request", services::rolled_pods_fail_no_request),
    ("services_with_killed_agents_fail_no_request", services::killed_agents_fail_no_request),
    ("services_of_a_node_change_their_data_path_and_back", services::a_node_changes_its_data_path_and_back),
    ("bursts_of_pods_leak_nothing", churn::bursts_leak_nothing),
    ("a_cut_link_is_named", faults::a_cut_link_is_named),
    ("a_partition_is_named", faults::a_partition_is_named),
    ("killed_programs_come_back", faults::killed_programs_come_back),
    ("frozen_programs_go_on_when_healed", faults::frozen_programs_go_on_when_healed),
    ("a_power_cycled_node_comes_back", faults::a_power_cycled_node_comes_back),
    ("a_stopped_control_plane_comes_back", faults::a_stopped_control_plane_comes_back),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == "--list") {
        SCENES.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let words: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut lab = Lab::up();
    let mut failed = Vec::new();
    for (name, scene) in SCENES.into_iter().filter(|(name, _)| chosen(name)) {
        println!("test {name} ...");
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| scene(&lab)));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({:.1} s)", start.elapsed().as_secs_f64());
        if outcome.is_err() {
            failed.push(name);
        }
    }
    lab.down_without_trace();
    println!("test nothing_is_left_on_the_machine ... ok");
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}
