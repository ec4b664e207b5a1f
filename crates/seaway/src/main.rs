//! `seaway`, the one program: it only dispatches. Manners are in [`terminal`],
//! operator verbs in `seaway-cli`, the lab in `seaway-lab`.

mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use seaway_cli::{Finding, Output};

/// The network of a Kubernetes cluster: pods, addresses, routes, and why a packet was dropped.
#[derive(Parser)]
#[command(name = "seaway", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  seaway lab up                      a real 3-node cluster on this machine, in seconds
  seaway lab exec n1 -- seaway status
  seaway check --pre                 what this kernel can do
  seaway monitor                     dropped packets with pod names and causes

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 done, and the answer is a problem;
64 unusable configuration. Errors start with an id, explained in docs/reference/errors/.";

#[derive(Subcommand)]
enum Verb {
    #[command(flatten)]
    Operator(seaway_cli::Verb),
    /// Run a real Kubernetes cluster on this machine, for trying, testing and comparing.
    Lab(seaway_lab::cli::LabArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Examples:\n  source <(seaway completion bash)\n  seaway completion zsh > ~/.zfunc/_seaway")]
    Completion {
        /// The shell.
        shell: Shell,
    },
}

fn main() -> ExitCode {
    terminal::end_quietly_when_the_reader_goes();
    let name = terminal::name_called_by();
    let matches = Cli::command().bin_name(name).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.verb {
        Verb::Operator(verb) => operator(&verb),
        Verb::Lab(arguments) => arguments.run(),
        Verb::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "seaway", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}

fn operator(verb: &seaway_cli::Verb) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    let mut output = Output::new(&mut stdout, terminal::wants_colour());
    match seaway_cli::run(verb, seaway_datapath::KernelSupport::default, &mut output) {
        Ok(Finding::Good) => ExitCode::SUCCESS,
        Ok(Finding::Bad) => ExitCode::from(3),
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => terminal::report(&error),
    }
}
