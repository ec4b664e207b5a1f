//! `seaway`, the one program: it only dispatches. Daemons start in [`daemon`],
//! operator verbs in [`operator`]; the lab and the benchmarks are `seaway-lab`'s.

mod daemon;
mod operator;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

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
    /// Run the daemon of a node, or one of the steps around it.
    #[command(after_help = daemon::AGENT_EXAMPLES)]
    Agent(daemon::AgentArguments),
    /// Run the daemon that keeps house for the cluster.
    #[command(after_help = daemon::CONTROLLER_EXAMPLES)]
    Controller(daemon::ControllerArguments),
    /// Run the DNS server of a node.
    #[command(after_help = daemon::DNS_EXAMPLES)]
    Dns(daemon::DnsArguments),
    /// Run a real Kubernetes cluster on this machine, for trying, testing and comparing.
    Lab(seaway_lab::cli::LabArgs),
    /// Compare Seaway with its peers on this machine.
    Bench(seaway_lab::bench::BenchArgs),
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
        Verb::Operator(verb) => operator::run(&verb),
        Verb::Agent(arguments) => daemon::agent(&arguments),
        Verb::Controller(arguments) => daemon::controller(&arguments),
        Verb::Dns(arguments) => match &arguments.verb {
            Some(verb) => operator::dns(verb),
            None => daemon::dns(&arguments),
        },
        Verb::Lab(arguments) => arguments.run(),
        Verb::Bench(arguments) => terminal::finish(arguments.run()),
        Verb::Completion { shell } => completion(shell),
    }
}

fn completion(shell: Shell) -> ExitCode {
    // The generator panics when it cannot write; memory can always be written.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "seaway", &mut script);
    print!("{}", String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
