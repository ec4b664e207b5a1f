//! Starting the Kubernetes programs on the nodes.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use super::{STEP_TIMEOUT, Up, died};
use crate::cluster::config::{CONTAINERD_SOCKET, containerd, control_plane, kubelet};
use crate::cluster::error::ClusterError;
use crate::cluster::files;
use crate::error::Result;
use crate::machine::{Node, ProgramSpec};

/// Where etcd keeps the cluster, on the disk of its node.
const ETCD_DIRECTORY: &str = "/var/lib/etcd";

/// How often a socket is looked for.
const SOCKET_INTERVAL: std::time::Duration = std::time::Duration::from_millis(5);

impl Up<'_> {
    pub(super) fn start_control_plane(&self, node: &Node) -> Result<()> {
        let program = |name| self.programs.path(name);
        let settings = &self.settings;
        let manager = files::kubeconfig_of("controller-manager");
        let commands = [
            ("etcd", control_plane::etcd(program("etcd")?, settings, Path::new(ETCD_DIRECTORY))),
            ("kube-apiserver", control_plane::api_server(program("kube-apiserver")?, settings)),
            (
                "kube-controller-manager",
                control_plane::controller_manager(program("kube-controller-manager")?, settings, &manager),
            ),
            (
                "kube-scheduler",
                control_plane::scheduler(program("kube-scheduler")?, &files::kubeconfig_of("scheduler")),
            ),
        ];
        for (name, argv) in commands {
            node.start(service(name, argv))?;
        }
        Ok(())
    }

    /// Starts containerd and the kubelet of one node. Its images and its
    /// network plugins are in place already.
    pub(super) fn start_node(&self, node: &Node) -> Result<()> {
        let node_settings = self.node_settings(node);
        self.node_files().write_node(node, &node_settings)?;
        let mut containerd = service(
            "containerd",
            containerd::arguments(self.programs.path("containerd")?, &files::containerd_configuration()),
        );
        // containerd looks for its shim there.
        let folder = self.programs.path("containerd-shim-runc-v2")?.parent().unwrap_or(Path::new("/"));
        containerd.env = vec![("PATH".to_owned(), format!("{}:{}", folder.display(), SYSTEM_PATH))];
        node.start(containerd)?;
        wait_for_socket(node)?;
        let argv = kubelet::arguments(
            self.programs.path("kubelet")?,
            &node_settings,
            &files::kubelet_configuration(),
            &files::kubeconfig_of("kubelet"),
        );
        node.start(service("kubelet", argv))?;
        Ok(())
    }
}

/// Search path of the nodes' programs.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn service(name: &str, argv: Vec<String>) -> ProgramSpec {
    ProgramSpec { name: name.to_owned(), argv, restart: true, ..ProgramSpec::default() }
}

/// Waits for containerd: a kubelet that finds none gives up.
fn wait_for_socket(node: &Node) -> Result<()> {
    let socket = node.path(CONTAINERD_SOCKET);
    let give_up = Instant::now() + STEP_TIMEOUT;
    while let Err(error) = UnixStream::connect(&socket) {
        died(std::slice::from_ref(node))?;
        if Instant::now() > give_up {
            return Err(ClusterError::NotReady {
                what: format!("containerd on node {} is", node.name()),
                seconds: STEP_TIMEOUT.as_secs(),
                state: error.to_string(),
            }
            .into());
        }
        std::thread::sleep(SOCKET_INTERVAL);
    }
    Ok(())
}
