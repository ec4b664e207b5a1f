//! Starting the Kubernetes programs on the nodes.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use super::{STEP_TIMEOUT, Up, died};
use crate::cluster::config::{CONTAINERD_SOCKET, containerd, control_plane, kubelet};
use crate::cluster::error::ClusterError;
use crate::cluster::files;
use crate::error::Result;
use crate::machine::{Node, ProgramSpec};
use crate::patience::patience;

/// Where etcd keeps the cluster, on the disk of its node.
const ETCD_DIRECTORY: &str = "/var/lib/etcd";

/// How often a socket is looked for.
const SOCKET_INTERVAL: std::time::Duration = std::time::Duration::from_millis(5);

impl Up<'_> {
    /// Starts the store and, as soon as that listens, the API server, whose
    /// own retries come a second apart.
    pub(super) fn start_api_server(&self, node: &Node) -> Result<()> {
        let etcd = control_plane::etcd(self.programs.path("etcd")?, &self.settings, Path::new(ETCD_DIRECTORY));
        node.start(service("etcd", etcd))?;
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], control_plane::ETCD_PORT));
        wait_for("etcd", node, || node.run_in(|| TcpStream::connect(address).map(|_| ())))?;
        let argv = control_plane::api_server(self.programs.path("kube-apiserver")?, &self.settings);
        node.start(service("kube-apiserver", argv))?;
        Ok(())
    }

    /// Starts what works through the API server. Before that answers, their
    /// start would only be in its way, and their retries seconds apart.
    pub(super) fn start_controllers(&self, node: &Node) -> Result<()> {
        let manager = control_plane::controller_manager(
            self.programs.path("kube-controller-manager")?,
            &self.settings,
            &files::kubeconfig_of("controller-manager"),
        );
        let scheduler =
            control_plane::scheduler(self.programs.path("kube-scheduler")?, &files::kubeconfig_of("scheduler"));
        node.start(service("kube-controller-manager", manager))?;
        node.start(service("kube-scheduler", scheduler))?;
        Ok(())
    }

    /// Starts containerd on one node, whose images are in place already.
    pub(super) fn start_containerd(&self, node: &Node) -> Result<()> {
        self.node_files().write_node(node, &self.node_settings(node))?;
        let mut containerd = service(
            "containerd",
            containerd::arguments(self.programs.path("containerd")?, &files::containerd_configuration()),
        );
        // containerd looks for its shim there.
        let folder = self.programs.path("containerd-shim-runc-v2")?.parent().unwrap_or(Path::new("/"));
        containerd.env = vec![("PATH".to_owned(), format!("{}:{}", folder.display(), SYSTEM_PATH))];
        node.start(containerd)?;
        let socket = node.path(CONTAINERD_SOCKET);
        wait_for("containerd", node, || Ok(UnixStream::connect(&socket).map(|_| ())))
    }

    /// Starts the kubelet of one node, which finds containerd and API server there.
    pub(super) fn start_kubelet(&self, node: &Node) -> Result<()> {
        let argv = kubelet::arguments(
            self.programs.path("kubelet")?,
            &self.node_settings(node),
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

/// Waits until a program of `node` takes connections.
fn wait_for(what: &str, node: &Node, connect: impl Fn() -> Result<std::io::Result<()>>) -> Result<()> {
    let give_up = Instant::now() + patience(STEP_TIMEOUT);
    while let Err(error) = connect()? {
        died(std::slice::from_ref(node))?;
        if Instant::now() > give_up {
            return Err(ClusterError::NotReady {
                what: format!("{what} on node {} is", node.name()),
                seconds: patience(STEP_TIMEOUT).as_secs(),
                state: error.to_string(),
            }
            .into());
        }
        std::thread::sleep(SOCKET_INTERVAL);
    }
    Ok(())
}
