//! Seaway as the DNS of a cluster: records of every type asked from a pod, names
//! that objects ask for, names of others, and everything that may end while pods ask: agents, API server,
//! upstream, the server itself. All on one lab, with real queries.
//!
//! Needs root and the programs of the workspace (`cargo build --workspace
//! --bins`), and says so. Scenes can be chosen by name:
//! `cargo test -p seaway-lab --test dns -- records`.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod configs;
mod faults;
mod lab;
mod names;
mod records;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use lab::Lab;

type Scene = (&'static str, fn(&Lab));

/// In this order: the first makes what the others ask for.
const SCENES: [Scene; 11] = [
    ("records_of_every_type_are_told", records::of_every_type_are_told),
    ("pods_find_services_by_short_names", records::pods_find_services_by_short_names),
    ("names_of_objects_whose_kinds_are_installed_later", names::of_objects_whose_kinds_are_installed_later_are_told),
    ("configs_hold_for_the_namespaces_they_select", configs::a_configuration_holds_for_the_namespaces_it_selects),
    ("configs_that_are_broken_are_refused", configs::a_broken_configuration_is_refused_and_its_last_good_form_stays),
    ("an_update_loses_no_query_and_forwards", faults::an_update_loses_no_query_and_forwards),
    ("killed_agents_lose_no_query", faults::killed_agents_lose_no_query),
    ("a_killed_api_server_loses_no_query", faults::a_killed_api_server_loses_no_query),
    ("an_ended_upstream_loses_no_query_for_the_cluster", faults::an_ended_upstream_loses_no_query_for_the_cluster),
    ("a_killed_worker_loses_no_query", faults::a_killed_worker_loses_no_query),
    ("services_made_while_pods_ask_are_found", records::services_made_while_pods_ask_are_found),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == "--list") {
        SCENES.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let words: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let lab = Lab::up();
    let mut failed = Vec::new();
    for (name, scene) in SCENES.into_iter().filter(|(name, _)| chosen(name)) {
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| scene(&lab)));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({:.1} s)", start.elapsed().as_secs_f64());
        if outcome.is_err() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}
