//! The operator verbs of `seaway-cli` on this terminal and this kernel.

use std::process::ExitCode;

use seaway_cli::{CliError, DnsVerb, Finding, Output, Verb};

use crate::terminal;

/// Neither success nor failure: scripts tell "could not ask" from "the answer is no".
const PROBLEM_FOUND: u8 = 3;

/// Carries out a verb; 3 when it could, and the answer is a problem.
pub(crate) fn run(verb: &Verb) -> ExitCode {
    show(|output| seaway_cli::run(verb, seaway_datapath::probe, output))
}

/// The same for a verb that looks at the DNS server of this node.
pub(crate) fn dns(verb: &DnsVerb) -> ExitCode {
    show(|output| seaway_cli::run_dns(verb, output))
}

fn show(verb: impl FnOnce(&mut Output<'_>) -> Result<Finding, CliError>) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    let mut output = Output::new(&mut stdout, terminal::wants_colour());
    match verb(&mut output) {
        Ok(Finding::Good) => ExitCode::SUCCESS,
        Ok(Finding::Bad) => ExitCode::from(PROBLEM_FOUND),
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => terminal::report(&error),
    }
}
