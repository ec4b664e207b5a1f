//! `seaway lab`: the verbs and their arguments.
//!
//! [`LabArgs::run`] must be called while the process has one thread: the hidden
//! verbs enter namespaces, which the kernel allows no other process. Verbs that
//! want an async runtime make their own.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use seaway_model::Diagnose;
use seaway_model::diagnosis::Report;

use crate::error::{LabError, Result};
use crate::machine::{EnterArgs, LaunchArgs, enter, launch};

/// A real Kubernetes cluster on this machine, for trying, testing and comparing.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// Name of the lab.
    #[arg(long, global = true, default_value = "default", env = "SEAWAY_LAB")]
    name: String,
    #[command(subcommand)]
    verb: LabVerb,
}

#[derive(Debug, Subcommand)]
enum LabVerb {
    #[command(hide = true)]
    Enter(EnterArgs),
    #[command(hide = true)]
    Launch(LaunchArgs),
}

// === impl LabArgs ===

impl LabArgs {
    /// Runs the verb; an error is printed with its id, cause and fix.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        match self.dispatch() {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                report(&error);
                ExitCode::FAILURE
            }
        }
    }

    fn dispatch(&self) -> Result<u8> {
        match &self.verb {
            LabVerb::Enter(args) => enter(args),
            LabVerb::Launch(args) => launch(args),
        }
    }
}

fn report(error: &LabError) {
    let error: &dyn Diagnose = error;
    #[expect(clippy::print_stderr, reason = "an error's place is the terminal")]
    {
        eprintln!("{}", Report(error));
    }
}
