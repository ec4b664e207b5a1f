//! `seaway lab exec`: runs a command inside a node.
//!
//! A process with one thread joins the node's cgroups and then all of its
//! namespaces at once through a pidfd of the init process (setns(2)). A child
//! born after that is inside the pid namespace too; standard streams and
//! terminal are the caller's, and so is the exit code.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal};

use super::process::ProcessId;
use super::{cgroup, launch};
use crate::error::{IoContext, LabError, Result};

/// What `enter` needs to know; hidden flags of `seaway lab enter`.
#[derive(Debug, clap::Args)]
pub struct EnterArgs {
    /// Name of the lab.
    #[arg(long)]
    lab: String,
    /// Name of the node.
    #[arg(long)]
    node: String,
    /// Pid of the node's init process.
    #[arg(long)]
    pid: i32,
    /// Start time of the node's init process.
    #[arg(long)]
    start_ticks: u64,
    /// The command.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    argv: Vec<std::ffi::OsString>,
}

/// The command that runs `argv` inside the node of `init`.
pub(super) fn command<S: AsRef<OsStr>>(lab: &str, node: &str, init: ProcessId, argv: &[S]) -> Result<Command> {
    let mut command = Command::new(super::own_program()?);
    command
        .args(["lab", "enter", "--lab", lab, "--node", node])
        .args(["--pid", &init.pid.to_string(), "--start-ticks", &init.start_ticks.to_string(), "--"])
        .args(argv);
    Ok(command)
}

/// Runs `seaway lab enter` in this process, which has one thread; returns the
/// exit code of the command.
pub fn enter(args: &EnterArgs) -> Result<u8> {
    let init = ProcessId { pid: args.pid, start_ticks: args.start_ticks };
    let down = || LabError::NodeDown { node: args.node.clone() };
    let descriptor = init.open().ok_or_else(down)?;
    cgroup::join_node(&args.lab, &args.node)?;
    setns(
        descriptor,
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .on_system("enter the namespaces", &args.node)?;
    // The terminal sends these to the command, too; it decides what they mean.
    let mut interrupts = SigSet::empty();
    interrupts.add(Signal::SIGINT);
    interrupts.add(Signal::SIGQUIT);
    interrupts.thread_block().on_system("hold back interrupts", &args.node)?;
    let status = launch::command(&args.argv).status().on_system("run a command", &args.node)?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1))
}
