//! containerd's configuration file (version 3) and arguments.

use std::path::Path;

use super::{CONTAINERD_SOCKET, program_and};

/// Arguments.
#[must_use]
pub fn arguments(program: &Path, configuration: &Path) -> Vec<String> {
    program_and(program, vec![format!("--config={}", configuration.display()), "--log-level=warn".to_owned()])
}

/// The configuration file. `runtime` is the path of runc or crun.
#[must_use]
pub fn configuration(sandbox_image: &str, runtime: &Path) -> String {
    let runtime = runtime.display();
    // `restrict_oom_score_adj`: machines that forbid lowering oom_score_adj
    // (containers, some virtual machines) kill runc otherwise.
    format!(
        r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{sandbox_image}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
enable_unprivileged_ports = true
enable_unprivileged_icmp = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/opt/cni/bin"]
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runtime}"
SystemdCgroup = false
"#
    )
}
