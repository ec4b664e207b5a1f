//! `seaway lab launch`: the last step before a program inside a node. It joins
//! the program's cgroup, gives back the default signal mask, and becomes the
//! program.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};

use super::cgroup;
use crate::error::{IoContext, Result};

/// Where every node finds the lab's own program.
pub(super) const PROGRAM_INSIDE: &str = "/run/seaway-lab/seaway";
/// Directory of the lab's own program, first in the search path of commands.
const PROGRAM_DIRECTORY: &str = "/run/seaway-lab";
/// Exit code for a command that cannot be found, as shells have it.
const NOT_FOUND: u8 = 127;

/// Hidden flags of `seaway lab launch`.
#[derive(Debug, clap::Args)]
pub struct LaunchArgs {
    /// Cgroup under the node's root to join first.
    #[arg(long)]
    cgroup: Option<String>,
    /// Whether to start a session of its own.
    #[arg(long)]
    session: bool,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    argv: Vec<OsString>,
}

/// The command that launches `argv` when spawned inside a node.
pub(super) fn command<S: AsRef<OsStr>>(argv: &[S]) -> Command {
    let mut command = Command::new(PROGRAM_INSIDE);
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(["lab", "launch", "--"]).args(argv).env("PATH", format!("{PROGRAM_DIRECTORY}:{path}"));
    command
}

/// The command that launches `argv` in a session and a cgroup of its own.
pub(super) fn command_in<S: AsRef<OsStr>>(cgroup: Option<&str>, argv: &[S]) -> Command {
    let mut command = Command::new(PROGRAM_INSIDE);
    command.args(["lab", "launch", "--session"]);
    if let Some(cgroup) = cgroup {
        command.args(["--cgroup", cgroup]);
    }
    command.arg("--").args(argv);
    command
}

/// Becomes the program; returns an exit code only if that fails.
pub fn launch(args: &LaunchArgs) -> Result<u8> {
    if let Some(cgroup) = &args.cgroup {
        cgroup::join_inside(Path::new(cgroup))?;
    }
    if args.session {
        nix::unistd::setsid().on_system("start a session", "the program")?;
    } else {
        // A command does not outlive the `lab exec` that somebody killed.
        set_pdeathsig(Signal::SIGTERM).on_system("follow the parent", "the program")?;
    }
    SigSet::empty().thread_set_mask().on_system("reset the signal mask", "the program")?;
    let Some((program, arguments)) = args.argv.split_first() else { return Ok(NOT_FOUND) };
    let error = Command::new(program).args(arguments).exec();
    eprintln!("cannot run {}: {error}", program.display());
    Ok(NOT_FOUND)
}
