//! `seaway lab node-init`: the process that holds a namespace set.
//!
//! The first stage joins the node's cgroups, leaves the machine's namespaces
//! and starts the second stage, which is PID 1 of the new pid namespace: it
//! builds the node's file system and then supervises the node's programs. Both
//! report to whoever started them with one JSON line on standard output.

mod console;
mod programs;
mod rootfs;
mod supervisor;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use super::cgroup::{self, Hierarchy, INIT_LEAF};
use crate::error::{IoContext, LabError, Result};

pub(super) use console::Report;

/// Hidden flags of `seaway lab node-init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// File with the [`InitConfig`].
    #[arg(long)]
    config: PathBuf,
    /// Whether this is PID 1 of the new pid namespace.
    #[arg(long)]
    second_stage: bool,
}

/// All an init process needs to know, as JSON in the lab's directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InitConfig {
    /// Name of the lab.
    pub(super) lab: String,
    /// Name of the namespace set, and its host name.
    pub(super) name: String,
    /// Whether it forwards packets.
    pub(super) forwards: bool,
    /// Empty directory to build the file system on.
    pub(super) mount_point: PathBuf,
    /// Directories with content of their own: path inside, directory on the host.
    pub(super) binds: Vec<(PathBuf, PathBuf)>,
    /// Directories of the host to see at the same path, read-only.
    pub(super) visible: Vec<PathBuf>,
    /// Directory on the host for the control socket.
    pub(super) control: PathBuf,
    /// The lab's own program.
    pub(super) program: PathBuf,
    /// Content of `/etc/hosts`.
    pub(super) hosts_file: String,
    /// The machine's cgroup hierarchies, seen before leaving its namespaces.
    pub(super) hierarchies: Vec<Hierarchy>,
}

/// Runs a stage of the init process in this process, which has one thread.
pub fn node_init(args: &InitArgs) -> Result<u8> {
    let text = fs::read_to_string(&args.config).on_file("read", &args.config)?;
    let config: InitConfig = serde_json::from_str(&text)
        .map_err(|error| LabError::State { path: args.config.clone(), reason: error.to_string() })?;
    let result = if args.second_stage { second_stage(&config) } else { first_stage(&config, &args.config) };
    if let Err(error) = &result {
        console::report(&Report::Failed(console::with_causes(error)))?;
    }
    result.map(|()| 0)
}

fn first_stage(config: &InitConfig, path: &Path) -> Result<()> {
    nix::unistd::setsid().on_system("start a session", &config.name)?;
    cgroup::join_node_root(&config.lab, &config.name)?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .on_system("leave the machine's namespaces", &config.name)?;
    // Only now: the level left behind is the root of the cgroup namespace.
    for hierarchy in config.hierarchies.iter().filter(|hierarchy| hierarchy.unified) {
        let node = hierarchy.mount_point.join(cgroup::lab_group(&config.lab)).join(&config.name);
        cgroup::join(&node.join(INIT_LEAF))?;
    }
    let child = Command::new(super::own_program()?)
        .args(["lab", "node-init", "--second-stage", "--config"])
        .arg(path)
        .stdin(Stdio::null())
        .spawn()
        .on_system("start the second stage", &config.name)?;
    console::report(&Report::Started { pid: child.id().cast_signed() })
}

fn second_stage(config: &InitConfig) -> Result<()> {
    rootfs::build(config)?;
    nix::unistd::sethostname(&config.name).on_system("set the host name", &config.name)?;
    network_settings(config)?;
    cgroup::delegate_inside()?;
    let mut supervisor = supervisor::Supervisor::open()?;
    console::report(&Report::Ready)?;
    console::close()?;
    supervisor.run()
}

/// Sysctls of the network namespace; links made later inherit `default`.
fn network_settings(config: &InitConfig) -> Result<()> {
    let forwards = if config.forwards { "1" } else { "0" };
    let bridge_filter = if config.name == super::layout::WIRE { "0" } else { "1" };
    let settings = [
        ("net/ipv4/ip_forward", forwards),
        ("net/ipv6/conf/all/forwarding", forwards),
        ("net/ipv6/conf/default/forwarding", forwards),
        ("net/ipv6/conf/all/accept_ra", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        // The wire gives each address out once; waiting a second to make sure
        // would be the longest step of all.
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/dad_transmits", "0"),
        ("net/bridge/bridge-nf-call-iptables", bridge_filter),
        ("net/bridge/bridge-nf-call-ip6tables", bridge_filter),
    ];
    for (name, value) in settings {
        let path = Path::new("/proc/sys").join(name);
        // A machine without IPv6 or bridge filtering lacks some.
        if path.exists() {
            fs::write(&path, value).on_file("write", &path)?;
        }
    }
    Ok(())
}
