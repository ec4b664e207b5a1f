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

pub mod control;
mod dir;
mod layout;
mod node;
mod process;
mod state;

pub use control::{ProgramSpec, ProgramStatus};
pub use dir::{LabDir, LabLock, cache_dir};
pub use layout::{HostKind, HostLayout, Layout, Rack};
pub use node::Node;
pub use process::ProcessId;
pub use state::LabState;

mod cgroup;
mod enter;
mod launch;

use std::path::PathBuf;

pub use enter::{EnterArgs, enter};
pub use launch::{LaunchArgs, launch};

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
}

// === impl Machine ===

impl Machine {
    /// The machine of the lab in `dir`, as it is now.
    pub fn open(dir: &LabDir) -> Result<Self> {
        Ok(Self::from_state(dir, &LabState::read(dir)?))
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
        }
    }
}

/// The program that runs now, for starting it again inside a node.
fn own_program() -> Result<PathBuf> {
    std::env::current_exe().on_system("find the running program", "the lab")
}
