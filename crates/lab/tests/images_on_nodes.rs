//! Unpacks an image once with a real containerd, gives two nodes a root made
//! from it, runs a container on each and removes the image on one.
//!
//! Needs root, and says so. Programs come from `SEAWAY_KUBERNETES_BIN` or the
//! lab's cache, where they are built if they are missing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use seaway_lab::cluster::programs::Programs;
use seaway_lab::cluster::up::program_source;
use seaway_lab::image::{ContainerdPrograms, ImageName, ImageStore, Recipe};

/// Debian's static busybox, which the lab needs anyway.
const BUSYBOX: &str = "/bin/busybox";

/// What a node does: containerd on its own root, a container, and at the end
/// the image removed. `timeout` bounds it all.
const NODE: &str = r#"
set -eu
mount -t tmpfs tmpfs /run
cat > /run/config.toml <<END
version = 3
root = "$NODE_ROOT"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "/run/containerd.sock"
[plugins."io.containerd.gc.v1.scheduler"]
startup_delay = "1ms"
schedule_delay = "0ms"
END
containerd --config /run/config.toml --log-level error &
call() { ctr --address /run/containerd.sock --namespace k8s.io "$@"; }
until call version >/dev/null 2>&1; do kill -0 $!; done
call images list -q
call run --rm --cgroup "" "$IMAGE" test /busybox sh -c 'echo written > /file && cat /file'
if [ -n "$REMOVE" ]; then
  call images remove --sync "$IMAGE" >/dev/null
  while [ -n "$(call snapshots list | tail -n +2)" ]; do :; done
fi
"#;

struct Bench {
    directory: tempfile::TempDir,
    store: ImageStore,
    programs: ContainerdPrograms,
}

impl Bench {
    fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test unpacks images with containerd: run it as root");
        let names = ["containerd", "containerd-shim-runc-v2", "ctr"];
        let release = std::env::var_os("SEAWAY_KUBERNETES_BIN").map(PathBuf::from);
        let found = Programs::find(&names, &program_source(release), &mut |_| {}).unwrap();
        let path = |name| found.path(name).unwrap().to_owned();
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&directory.path().join("images")).unwrap();
        let programs = ContainerdPrograms { containerd: path("containerd"), ctr: path("ctr") };
        Self { directory, store, programs }
    }

    fn node_root(&self, node: &str) -> PathBuf {
        self.directory.path().join(node)
    }

    /// Runs the script in namespaces of its own; returns what it prints.
    fn run_node(&self, node: &str, image: &ImageName, removes: bool) -> String {
        let programs = self.programs.containerd.parent().unwrap().display().to_string();
        let path = format!("{programs}:/usr/sbin:/usr/bin:/sbin:/bin");
        let output = Command::new("timeout")
            .args(["--kill-after=1", "30", "unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc"])
            .args(["--kill-child=KILL", "sh", "-c", NODE])
            .env("PATH", path)
            .env("NODE_ROOT", self.node_root(node))
            .env("IMAGE", image.to_string())
            .env("REMOVE", if removes { "yes" } else { "" })
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "node {node}: {}: {errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

#[test]
fn nodes_share_what_was_unpacked_once() {
    let bench = Bench::new();
    let name: ImageName = "team/busybox:1".parse().unwrap();
    bench.store.build(&name, &Recipe::binary(Path::new(BUSYBOX)).unwrap()).unwrap();
    let template = bench.store.template(std::slice::from_ref(&name), &bench.programs).unwrap();
    let nodes = ["n1", "n2"];
    for node in nodes {
        template.prepare_node_root(&bench.node_root(node)).unwrap();
    }
    let before = files_below(&template.directory().join("root"));
    // The first node removes the image; the second must not notice.
    for (node, removes) in [("n1", true), ("n2", false)] {
        let printed = bench.run_node(node, &name, removes);
        assert_eq!(printed, format!("{name}\nwritten\n"), "node {node}");
    }
    assert_eq!(files_below(&template.directory().join("root")), before, "the template is as it was");
    let snapshots = "io.containerd.snapshotter.v1.overlayfs/snapshots";
    assert_eq!(fs::read_dir(bench.node_root("n1").join(snapshots)).unwrap().count(), 0);

    // The same set is not unpacked again; another set is, and the first goes
    // once nobody holds it and no node uses it.
    let again = bench.store.template(std::slice::from_ref(&name), &bench.programs).unwrap();
    assert_eq!(again.directory(), template.directory());
    let first = template.directory().to_owned();
    drop((again, template));
    let other: ImageName = "team/busybox:2".parse().unwrap();
    bench.store.build(&other, &Recipe::binary(Path::new(BUSYBOX)).unwrap()).unwrap();
    let both = [name, other];
    let second = bench.store.template(&both, &bench.programs).unwrap();
    assert!(first.exists(), "nodes use it");
    for node in nodes {
        fs::remove_dir_all(bench.node_root(node)).unwrap();
    }
    bench.store.template(&both[..1], &bench.programs).unwrap();
    assert!(second.directory().exists(), "it is held");
    bench.store.template(&both, &bench.programs).unwrap();
    assert!(!first.exists(), "nobody uses it");
}
