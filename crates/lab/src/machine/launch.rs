//! `seaway lab launch`: the last step before a program inside a node. It joins
//! the program's cgroup, gives back the default signal mask, and becomes the
//! program.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::SigSet;

use super::cgroup;
use crate::error::{IoContext, Result};

/// Where every node finds the lab's own program.
pub(super) const PROGRAM_INSIDE: &str = "/run/seaway-lab/seaway";
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
    command.args(["lab", "launch", "--"]).args(argv);
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
    }
    SigSet::empty().thread_set_mask().on_system("reset the signal mask", "the program")?;
    let Some((program, arguments)) = args.argv.split_first() else { return Ok(NOT_FOUND) };
    let error = Command::new(program).args(arguments).exec();
    #[expect(clippy::print_stderr, reason = "the program's stderr is all there is at this point")]
    {
        eprintln!("cannot run {}: {error}", program.display());
    }
    Ok(NOT_FOUND)
}
