//! The machine layer: nodes made of namespaces, joined by a wire.
//!
//! [`Machine::create`] makes everything a [`LabSpec`] asks for and
//! [`Machine::destroy`] removes it. In the root namespace there are only the
//! nodes' processes, their cgroup directories and one state directory.
//!
//! | Namespace set | Holds |
//! |---|---|
//! | `n1`, `n2`, … | a node: net, mount, uts, pid, ipc and cgroup namespaces |
//! | `wire` | a bridge per rack and the router between racks |
//! | `outside` | a host behind the router that knows nothing of the cluster |

mod cgroup;
pub mod control;
mod create;
mod destroy;
mod dir;
mod enter;
mod fault;
pub mod footprint;
mod init;
mod inject;
mod launch;
mod layout;
mod node;
mod process;
mod socket;
mod state;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use cgroup::{join_lab, pod_processes};
pub use control::{ProgramSpec, ProgramStatus};
pub(crate) use create::require_root;
pub use dir::{LabDir, LabLock, cache_dir};
pub use enter::{EnterArgs, enter};
pub use fault::Fault;
pub use init::{InitArgs, node_init};
pub use inject::Breakage;
pub use launch::{LaunchArgs, launch};
pub use layout::{HostKind, HostLayout, Layout, OUTSIDE, Rack, WIRE};
pub use node::Node;
pub(crate) use node::in_network_of;
pub use process::ProcessId;
pub use socket::SocketKind;
pub use state::LabState;

use crate::error::{IoContext, LabError, Result};
use crate::spec::LabSpec;

/// A lab's nodes and their wire.
#[derive(Debug, Clone)]
pub struct Machine {
    dir: LabDir,
    spec: LabSpec,
    layout: Layout,
    nodes: Vec<Node>,
    outside: Node,
    /// Held by the command that makes the lab.
    lock: Option<Arc<LabLock>>,
}

// === impl Machine ===

impl Machine {
    /// The machine of the lab in `dir`, as it is now.
    pub fn open(dir: &LabDir) -> Result<Self> {
        Ok(Self::from_state(dir, &LabState::read(dir)?))
    }

    /// Lets other commands change the lab.
    pub fn unlock(&mut self) {
        self.lock = None;
    }

    /// The lab's directory.
    #[must_use]
    pub fn dir(&self) -> &LabDir {
        &self.dir
    }

    /// What was asked for.
    #[must_use]
    pub fn spec(&self) -> &LabSpec {
        &self.spec
    }

    /// Who is where.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The host behind the router.
    #[must_use]
    pub fn outside(&self) -> &Node {
        &self.outside
    }

    /// The node of that name, or `outside`.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().chain([&self.outside]).find(|node| node.name() == name).ok_or_else(|| {
            let known: Vec<&str> = self.layout.hosts().map(|host| host.name.as_str()).collect();
            LabError::NoSuchNode { lab: self.dir.name().into(), node: name.into(), known: known.join(", ") }
        })
    }

    /// The host of that name, or the wire itself.
    pub fn inside(&self, name: &str) -> Result<Node> {
        if name != WIRE {
            return self.node(name).cloned();
        }
        let layout = HostLayout {
            name: WIRE.to_owned(),
            kind: HostKind::Outside,
            rack: String::new(),
            addresses: Vec::new(),
            gateways: Vec::new(),
            port: String::new(),
            mac: String::new(),
        };
        Ok(Node { dir: self.dir.clone(), layout, init: LabState::read(&self.dir)?.inits.get(WIRE).copied() })
    }

    fn from_state(dir: &LabDir, state: &LabState) -> Self {
        let layout = Layout::of(&state.spec);
        let handle = |host: &HostLayout| Node {
            dir: dir.clone(),
            layout: host.clone(),
            init: state.inits.get(&host.name).copied(),
        };
        Self {
            dir: dir.clone(),
            spec: state.spec.clone(),
            nodes: layout.nodes.iter().map(handle).collect(),
            outside: handle(&layout.outside),
            layout,
            lock: None,
        }
    }
}

/// Names of the labs that have files or cgroups on this machine.
pub fn lab_names() -> Result<std::collections::BTreeSet<String>> {
    let mut names = cgroup::labs()?;
    names.extend(LabDir::list()?);
    Ok(names)
}

/// The program that runs now, for starting it again inside a node.
fn own_program() -> Result<PathBuf> {
    std::env::current_exe().on_system("find the running program", "the lab")
}
