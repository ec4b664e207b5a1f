//! `seaway lab`: the verbs and their arguments.
//!
//! [`LabArgs::run`] must be called while the process has one thread: the hidden
//! verbs enter namespaces, which the kernel allows no other process. Verbs that
//! want an async runtime make their own.

mod cluster;
mod describe;
mod image;
mod machine;
mod up;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use seaway_model::Diagnose;
use seaway_model::diagnosis::Report;

use crate::bench::load::LoadArgs;
use crate::error::{LabError, Result};
use crate::image::cli::ImageArgs;
use crate::machine::{
    Breakage, EnterArgs, InitArgs, LabDir, LaunchArgs, Machine, enter, launch, node_init, require_root,
};
use crate::spec::check_name;

/// Run a real Kubernetes cluster on this machine, for trying, testing and comparing.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// Name of the lab.
    #[arg(long, global = true, default_value = "default", env = "SEAWAY_LAB")]
    name: String,
    /// Wait that many times as long as usual before giving up, on an emulated or crowded machine.
    #[arg(long, global = true, value_name = "TIMES", default_value_t = 1, env = "SEAWAY_LAB_PATIENCE",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    patience: u32,
    #[command(subcommand)]
    verb: LabVerb,
}

#[derive(Debug, Subcommand)]
enum LabVerb {
    /// Make a lab.
    Up(up::UpArgs),
    /// Remove a lab; nothing stays on the machine.
    Down,
    /// Show a lab: nodes, agents, programs, what is broken.
    Status(describe::StatusArgs),
    /// Show all labs.
    List(describe::ListArgs),
    /// Print the path of a kubeconfig that works on this machine.
    Kubeconfig(cluster::KubeconfigArgs),
    /// Print a URL that works on this machine for a Service.
    Url(cluster::UrlArgs),
    /// Test who reaches whom, and say what is broken.
    Test(cluster::TestArgs),
    /// Run a command inside a node.
    Exec(machine::ExecArgs),
    /// Capture packets on a node's interface.
    Pcap(machine::PcapArgs),
    /// Show what a node's program printed.
    Logs(machine::LogsArgs),
    /// Bring images to the lab and list them; no registry is needed.
    Image(ImageArgs),
    /// Break something on purpose.
    Break {
        /// What to break.
        #[command(subcommand)]
        what: Breakage,
    },
    /// Undo what `break` did.
    Heal(machine::HealArgs),
    #[command(hide = true)]
    Forwarder,
    #[command(hide = true)]
    Load(LoadArgs),
    #[command(hide = true)]
    NodeInit(InitArgs),
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
        // `down` removes the directory of that name: it must be one of a lab.
        check_name(&self.name)?;
        crate::patience::set(self.patience);
        if self.verb.enters_the_lab() {
            require_root()?;
        }
        let dir = LabDir::new(&self.name);
        match &self.verb {
            LabVerb::Up(args) => args.run(&self.name),
            LabVerb::Down => crate::cluster::down(&dir),
            LabVerb::Kubeconfig(args) => args.run(&dir),
            LabVerb::Url(args) => args.run(&dir),
            LabVerb::Test(args) => return args.run(&dir),
            LabVerb::Forwarder => cluster::forward(&dir),
            LabVerb::Status(args) => args.run(&Machine::open(&dir)?),
            LabVerb::List(args) => args.run(),
            LabVerb::Exec(args) => return args.run(&dir),
            LabVerb::Pcap(args) => return args.run(&dir),
            LabVerb::Logs(args) => args.run(&dir),
            LabVerb::Image(args) => return image::run(args, &dir),
            LabVerb::Break { what } => machine::break_down(&dir, what),
            LabVerb::Heal(args) => args.run(&dir),
            LabVerb::Load(args) => args.run().map_err(LabError::from),
            LabVerb::NodeInit(args) => return node_init(args),
            LabVerb::Enter(args) => return enter(args),
            LabVerb::Launch(args) => return launch(args),
        }
        .map(|()| 0)
    }
}

// === impl LabVerb ===

impl LabVerb {
    /// Whether it reads or changes what belongs to root. The hidden verbs are
    /// started by those that do.
    fn enters_the_lab(&self) -> bool {
        match self {
            Self::Up(_) | Self::Down | Self::Status(_) | Self::Url(_) | Self::Test(_) | Self::Exec(_) => true,
            Self::Pcap(_) | Self::Logs(_) | Self::Break { .. } | Self::Heal(_) => true,
            Self::List(_) | Self::Kubeconfig(_) | Self::Image(_) => false,
            Self::Forwarder | Self::Load(_) | Self::NodeInit(_) | Self::Enter(_) | Self::Launch(_) => false,
        }
    }
}

fn report(error: &LabError) {
    let error: &dyn Diagnose = error;
    eprintln!("{}", Report(error));
}
