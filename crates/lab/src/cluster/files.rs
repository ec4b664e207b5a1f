//! Where the cluster's files are, on the host and inside the nodes.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::config::kubeconfig::kubeconfig;
use super::config::{ClusterSettings, NodeSettings, containerd, kubelet};
use super::error::ClusterError;
use super::pki::{self, KeyFiles};
use crate::machine::{LabDir, Node};

/// Configuration of the Kubernetes programs inside a node, on its own disk.
pub const CONFIGURATION_DIRECTORY: &str = "/etc/kubernetes";

/// Keys and certificates inside a node: the control plane's node has all,
/// the others what their kubelet needs.
pub const KEY_DIRECTORY: &str = "/etc/kubernetes/pki";

/// The users whose kubeconfig the control plane's node has.
const CONTROL_PLANE_USERS: &[&str] = &["admin", "controller-manager", "scheduler"];

/// The admin's kubeconfig on the host.
#[must_use]
pub fn host_kubeconfig(dir: &LabDir) -> PathBuf {
    dir.path().join("kubeconfig")
}

/// A link on the host to the kubectl that fits the cluster.
#[must_use]
pub fn kubectl(dir: &LabDir) -> PathBuf {
    dir.path().join("kubectl")
}

/// A user's kubeconfig inside a node.
#[must_use]
pub fn kubeconfig_of(user: &str) -> PathBuf {
    Path::new(CONFIGURATION_DIRECTORY).join(format!("{user}.kubeconfig"))
}

/// The kubelet's configuration inside its node.
#[must_use]
pub fn kubelet_configuration() -> PathBuf {
    Path::new(CONFIGURATION_DIRECTORY).join("kubelet.json")
}

/// containerd's configuration inside its node.
#[must_use]
pub fn containerd_configuration() -> PathBuf {
    PathBuf::from("/etc/containerd/config.toml")
}

/// What is written into every node.
#[derive(Debug)]
pub struct NodeFiles<'a> {
    /// The cluster.
    pub settings: &'a ClusterSettings,
    /// All keys.
    pub keys: &'a KeyFiles,
    /// Reference of the image every pod's sandbox is made from.
    pub sandbox_image: &'a str,
    /// Path of runc or crun.
    pub runtime: &'a Path,
}

// === impl NodeFiles ===

impl NodeFiles<'_> {
    /// Writes the keys and kubeconfigs that only the control plane has.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_control_plane(&self, node: &Node) -> Result<(), ClusterError> {
        for (name, text) in self.keys {
            write_private(&node.path(KEY_DIRECTORY).join(name), text)?;
        }
        for user in CONTROL_PLANE_USERS {
            self.write_kubeconfig(node, user, user)?;
        }
        Ok(())
    }

    /// Writes what every node has.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_node(&self, node: &Node, node_settings: &NodeSettings) -> Result<(), ClusterError> {
        let server = pki::kubelet_server(&node_settings.name);
        for file in ["ca.crt".to_owned(), format!("{server}.crt"), format!("{server}.key")] {
            let text = self.keys.get(&file).ok_or(ClusterError::NoCertificate { file: file.clone() })?;
            write_private(&node.path(KEY_DIRECTORY).join(file), text)?;
        }
        self.write_kubeconfig(node, "kubelet", &pki::kubelet_client(&node_settings.name))?;
        self.write_kubeconfig(node, "kube-proxy", "kube-proxy")?;
        let configuration = kubelet::configuration(self.settings, node_settings).to_string();
        write_private(&node.path(kubelet_configuration()), &configuration)?;
        let configuration = containerd::configuration(self.sandbox_image, self.runtime);
        write_private(&node.path(containerd_configuration()), &configuration)
    }

    fn write_kubeconfig(&self, node: &Node, user: &str, stem: &str) -> Result<(), ClusterError> {
        let text = kubeconfig(self.keys, "lab", &self.settings.api_server_url(), stem)?.to_string();
        write_private(&node.path(kubeconfig_of(user)), &text)
    }
}

/// Writes a file that only root reads, and its folder when missing.
///
/// # Errors
/// It cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<(), ClusterError> {
    let storage = |source| ClusterError::Storage { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(storage)?;
    }
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(storage)?;
    // An older file keeps its mode when it is truncated.
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(storage)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(storage)
}
