//! The lab without the rest of Seaway: what the lab's own tests run, and quick
//! to build. Takes the words that `seaway` takes: `seaway-lab lab up …`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "seaway")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a real Kubernetes cluster on this machine.
    Lab(seaway_lab::cli::LabArgs),
}

fn main() -> ExitCode {
    let Verb::Lab(arguments) = Cli::parse().verb;
    arguments.run()
}
