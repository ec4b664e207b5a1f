//! A whole cluster as a user has it: the program is run, its output read, the
//! cluster used from the host, and the machine compared before and after.
//!
//! Needs root, and says so. The Kubernetes programs are built when they are not
//! in the cache.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seaway_lab::image::Digest;
use seaway_lab::machine::footprint::Footprint;

/// Time the kernel has to give back what was used.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time the cluster has for something that takes seconds.
const A_WHILE: Duration = Duration::from_secs(120);

/// Footprints are of the whole machine: one lab at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A lab that is removed when the test ends, however it ends.
struct Lab {
    name: &'static str,
    before: Option<Footprint>,
    _turn: MutexGuard<'static, ()>,
}

// === impl Lab ===

impl Lab {
    fn prepare(name: &'static str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "the lab makes namespaces: run this test as root");
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lab = Self { name, before: None, _turn: turn };
        // Whatever an earlier, killed run left.
        lab.run(&["down"]);
        lab.before = Some(Footprint::take(name).unwrap());
        lab
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seaway-lab"));
        command.args(["lab", "--name", self.name]).args(words).env_remove("SEAWAY_KUBERNETES_BIN");
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("the lab's program runs")
    }

    /// Runs a verb that must succeed; its standard output.
    fn must(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "lab {words:?}: {}\n{stdout}\n{stderr}", output.status);
        stdout.trim().to_owned()
    }

    fn kubectl(&self, words: &[&str]) -> String {
        let output = Command::new(self.must(&["kubeconfig", "--kubectl"]))
            .args(words)
            .env("KUBECONFIG", self.must(&["kubeconfig"]))
            .output()
            .expect("kubectl runs");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {words:?}: {stdout}{stderr}");
        stdout.trim().to_owned()
    }

    /// Removes the lab; fails when anything of it stays on the machine.
    fn down_without_trace(&mut self) {
        self.must(&["down"]);
        let before = self.before.take().expect("taken when the lab was prepared");
        let left = Footprint::lasting_differences(&before, self.name, PATIENCE).unwrap();
        assert!(left.is_empty(), "left on the machine: {left:#?}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.run(&["down"]);
    }
}

#[test]
fn a_cluster_comes_up_is_used_breaks_heals_and_leaves_nothing() {
    let mut lab = Lab::prepare("test-cluster");
    let table = lab.must(&["up", "--nodes", "2", "--network", "bridge", "--timings"]);
    assert!(table.contains(" n2 ") && table.contains("10.244.") && table.contains("Where the time went"), "{table}");
    let taken = lab.run(&["up", "--nodes", "1", "--network", "bridge"]);
    assert_eq!(taken.status.code(), Some(1), "a name is taken once");
    assert!(String::from_utf8_lossy(&taken.stderr).contains("SW0902: lab test-cluster"), "{taken:?}");

    lab.kubectl(&[
        "create",
        "deployment",
        "web",
        "--image=seaway/agnhost:1.36.1",
        "--replicas=2",
        "--",
        "/agnhost",
        "netexec",
    ]);
    lab.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=8080"]);
    // At once: the URL is printed when its pods are there.
    let name = get(&lab.must(&["url", "web"]), "/hostname");
    assert!(name.starts_with("web-"), "{name}");
    lab.kubectl(&["wait", "--for=condition=Available", "--timeout=120s", "deployment/web"]);
    assert!(lab.kubectl(&["exec", "deployment/web", "--", "/agnhost", "--help"]).contains("netexec"));
    assert!(lab.kubectl(&["logs", "deployment/web"]).contains("Started HTTP server on port 8080"));
    assert!(lab.must(&["test"]).contains("Everybody reaches everybody"));
    trouble_is_told_with_its_way_out(&lab);
    images_come_to_nodes_that_run_and_to_those_that_are_off(&lab);

    lab.must(&["break", "link", "n2"]);
    let broken = lab.run(&["test"]);
    assert_eq!(broken.status.code(), Some(3), "a cut link is a problem, and no failure of the test");
    assert!(String::from_utf8_lossy(&broken.stdout).contains("nodes n1 and n2 do not reach each other"));
    lab.must(&["heal", "--all"]);

    lab.must(&["break", "power-cycle", "n2"]);
    wait_until("everybody reaches everybody after a power cycle", || lab.run(&["test"]).status.success());
    assert!(get(&lab.must(&["url", "web"]), "/hostname").starts_with("web-"));
    lab.down_without_trace();
}

#[test]
fn a_program_that_dies_is_shown_and_nothing_stays() {
    let mut lab = Lab::prepare("test-dies");
    let folder = tempfile::tempdir().unwrap();
    fake_program(folder.path(), "kube-apiserver", "Kubernetes v1.35.0", "cannot find my keys");
    let output =
        lab.run(&["up", "--nodes", "1", "--network", "none", "--kubernetes-bin", folder.path().to_str().unwrap()]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("SW0958: kube-apiserver on node n1") && stderr.contains("cannot find my keys"), "{stderr}");
    let before = lab.before.take().unwrap();
    let left = Footprint::lasting_differences(&before, lab.name, PATIENCE).unwrap();
    assert!(left.is_empty(), "left on the machine: {left:#?}");
}

#[test]
fn an_up_that_was_killed_is_cleared_by_the_next() {
    let mut lab = Lab::prepare("test-killed");
    let words = ["up", "--nodes", "1", "--network", "none", "--services", "none", "--dns", "none"];
    let mut killed = lab.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the first one has started etcd", || {
        assert!(killed.try_wait().unwrap().is_none(), "it is to be killed while it works");
        lab.run(&["exec", "n1", "--", "pgrep", "-x", "etcd"]).status.success()
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    lab.must(&words);
    assert!(lab.must(&["status"]).contains("n1"));
    lab.down_without_trace();
}

#[test]
fn a_release_that_is_too_old_is_refused() {
    let lab = Lab::prepare("test-old");
    let folder = tempfile::tempdir().unwrap();
    fake_program(folder.path(), "kubelet", "Kubernetes v1.30.4", "");
    let output =
        lab.run(&["up", "--nodes", "1", "--network", "none", "--kubernetes-bin", folder.path().to_str().unwrap()]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("SW0953") && stderr.contains("Kubernetes v1.30.4"), "{stderr}");
}

/// A missing image, a taken port, a Service that is not there, and metrics.
fn trouble_is_told_with_its_way_out(lab: &Lab) {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("pod.yaml");
    let pod = "{kind: Pod, metadata: {name: hungry}, spec: {containers: [{name: c, image: example.invalid/none:1}]}}";
    std::fs::write(&manifest, pod).unwrap();
    let missing = lab.run(&["image", "check", manifest.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&missing.stdout);
    let way_out = format!("seaway lab image pull --name {} example.invalid/none:1", lab.name);
    assert!(missing.status.code() == Some(3) && text.contains(&way_out), "{text}");
    lab.kubectl(&["run", "hungry", "--image=example.invalid/none:1"]);
    wait_until("status names the pod that waits for an image", || {
        let status = lab.must(&["status"]);
        status.contains("pod default/hungry waits for image") && status.contains(&way_out)
    });
    lab.kubectl(&["delete", "pod", "hungry", "--now"]);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = String::from_utf8(lab.run(&["url", "web", "--host-port", &port]).stderr).unwrap();
    assert!(refused.contains("SW0964") && refused.contains("in use"), "{refused}");
    lab.kubectl(&["create", "service", "clusterip", "empty", "--tcp=80"]);
    let empty = String::from_utf8(lab.run(&["url", "empty", "--wait", "1"]).stderr).unwrap();
    assert!(empty.contains("SW0965: service default/empty: nothing takes connections at"), "{empty}");
    let absent = String::from_utf8(lab.run(&["url", "nobody"]).stderr).unwrap();
    assert!(absent.contains("SW0965: service default/nobody"), "{absent}");

    let status = lab.must(&["status"]);
    let url = status.lines().find_map(|line| line.strip_prefix("Metrics: ")).expect("status tells where metrics are");
    let metrics = get(url.strip_suffix("/metrics").unwrap(), "/metrics");
    assert!(
        metrics.contains("seaway_lab_nodes_up 2") && metrics.contains("seaway_lab_forwarded_bytes_total"),
        "{metrics}"
    );
}

/// Unpacked once and shared; a node that is off gets them when it is on again.
fn images_come_to_nodes_that_run_and_to_those_that_are_off(lab: &Lab) {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("image.tar");
    let before = shared_layers(lab, "n2");
    // The lower layer is the same for both.
    for (name, content, off, new_layers) in [("test/layers:1", "one", false, 2), ("test/layers:2", "two", true, 3)] {
        write_archive(&archive, name, content);
        if off {
            lab.must(&["break", "stop", "n2"]);
        }
        let told = lab.must(&["image", "load", archive.to_str().unwrap()]);
        assert_eq!(told.contains("Node n2 is off and gets it"), off, "{told}");
        if off {
            assert!(lab.must(&["heal", "power"]).contains("brought 1 images to n2"));
        }
        let pod = format!("shows-{content}");
        let on_n2 = r#"{"spec": {"nodeName": "n2"}}"#;
        lab.kubectl(&["run", &pod, "--image", name, "--overrides", on_n2, "--restart=Never"]);
        lab.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s", &format!("pod/{pod}")]);
        assert_eq!(lab.kubectl(&["logs", &pod]), content);
        assert_eq!(shared_layers(lab, "n2"), before + new_layers, "{name}");
        lab.kubectl(&["delete", "pod", &pod, "--now"]);
        lab.must(&["image", "remove", name]);
    }
    let status: serde_json::Value = serde_json::from_str(&lab.must(&["status", "-o", "json"])).unwrap();
    assert_eq!(status.pointer("/nodes/1/state").unwrap(), "Ready", "{status:#}");
}

/// How many layers the node has that all nodes share.
fn shared_layers(lab: &Lab, node: &str) -> usize {
    let snapshots = format!(
        "/var/lib/seaway-lab/{}/hosts/{node}/disk/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots",
        lab.name
    );
    std::fs::read_dir(snapshots).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_symlink()).count()
}

/// An archive as `docker save` writes it, of two layers: busybox, and a file
/// that the image prints.
fn write_archive(path: &Path, name: &str, content: &str) {
    let layer = |file: &str, bytes: &[u8]| {
        let mut layer = tar::Builder::new(Vec::new());
        append(&mut layer, file, bytes);
        // No run finds the layers of another.
        append(&mut layer, &format!("{file}-run"), std::process::id().to_string().as_bytes());
        layer.into_inner().unwrap()
    };
    let layers = [layer("busybox", &std::fs::read("/bin/busybox").unwrap()), layer("content", content.as_bytes())];
    let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        "os": "linux",
        "config": {"Entrypoint": ["/busybox", "cat", "/content"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let manifest =
        serde_json::json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["lower.tar", "upper.tar"]}]);
    let mut archive = tar::Builder::new(std::fs::File::create(path).unwrap());
    append(&mut archive, "manifest.json", manifest.to_string().as_bytes());
    append(&mut archive, "config.json", config.to_string().as_bytes());
    for (file, layer) in ["lower.tar", "upper.tar"].iter().zip(&layers) {
        append(&mut archive, file, layer);
    }
    archive.finish().unwrap();
}

fn append(archive: &mut tar::Builder<impl Write>, path: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    header.set_cksum();
    archive.append_data(&mut header, path, content).unwrap();
}

/// A program that tells its version, and otherwise complains and ends.
fn fake_program(folder: &Path, name: &str, version: &str, complaint: &str) {
    let path = folder.join(name);
    let script =
        format!("#!/bin/sh\n[ \"$1\" = --version ] && echo '{version}' && exit 0\necho '{complaint}' >&2\nexit 1\n");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The body of what `url` answers at `path`.
fn get(url: &str, path: &str) -> String {
    let address = url.strip_prefix("http://").expect("an http URL");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(A_WHILE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: lab\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").expect("an HTTP answer").1.to_owned()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + A_WHILE;
    while !condition() {
        assert!(Instant::now() < give_up, "not so after {A_WHILE:?}: {what}");
    }
}
