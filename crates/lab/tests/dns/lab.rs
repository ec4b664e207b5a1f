//! The lab of all scenes: two nodes, and a pod that asks.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use seaway_lab::bench::load::Asked;

const NAME: &str = "test-dns";
/// Time the cluster has for something that takes seconds.
const A_WHILE: Duration = Duration::from_secs(120);
/// Pause between two looks at something that is on its way.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// What the scenes ask for. On n1 there is only the pod that asks.
const OBJECTS: &str = include_str!("objects.yaml");
/// Names that clients ask for while something ends.
const NAMES: &str = "/run/test-dns.names";

/// The Service's addresses, both families.
pub(crate) const SERVERS: [&str; 2] = ["10.96.0.10", "fd00:96::a"];

/// Removed when dropped, however the test ends.
pub(crate) struct Lab {
    program: PathBuf,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
}

/// A program that is killed when this value goes.
pub(crate) struct Running(Child);

// === impl Lab ===

impl Lab {
    pub(crate) fn up() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "the lab makes namespaces: run this test as root");
        let program = PathBuf::from(env!("CARGO_BIN_EXE_seaway-lab")).with_file_name("seaway");
        assert!(program.is_file(), "{} is missing: `cargo build --workspace --bins` makes it", program.display());
        let mut lab = Self { program, kubectl: PathBuf::new(), kubeconfig: PathBuf::new() };
        // Whatever an earlier, killed run left.
        lab.run(&["down"]);
        println!("{}", lab.must(&["up", "--nodes", "2", "--services", "seaway", "--dns", "seaway"]));
        lab.kubectl = lab.must(&["kubeconfig", "--kubectl"]).into();
        lab.kubeconfig = lab.must(&["kubeconfig"]).into();
        lab.apply(OBJECTS);
        lab.kubectl(&["wait", "--for=condition=Ready", "--timeout=120s", "pod", "--all"]);
        let names =
            "kubernetes.default.svc.cluster.local\nweb.default.svc.cluster.local\npeers.default.svc.cluster.local";
        lab.on("n1", &["sh", "-c", &format!("echo '{names}' > {NAMES}")]);
        lab
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("the lab's program runs")
    }

    /// Runs a verb that must succeed; its standard output.
    pub(crate) fn must(&self, words: &[&str]) -> String {
        succeeded(words, &self.run(words))
    }

    /// Runs a command inside a node; it must succeed.
    pub(crate) fn on(&self, node: &str, words: &[&str]) -> String {
        self.must(&[&["exec", node, "--"], words].concat())
    }

    /// Runs a command of the node in the network of the pod that asks.
    pub(crate) fn in_pod(&self, words: &[&str]) -> String {
        let process = self.on("n1", &["pgrep", "-x", "agnhost"]);
        self.on("n1", &[&["nsenter", "--net", "--target", &process], words].concat())
    }

    /// What kdig's short form says, sorted.
    pub(crate) fn dig(&self, words: &[&str]) -> Vec<String> {
        let text = self.in_pod(&[&["kdig", "+short", "+timeout=2"], words].concat());
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Asks for names of the cluster from the pod while `work` happens; nothing may be lost.
    pub(crate) fn nothing_is_lost_while(&self, what: &str, work: impl FnOnce()) {
        let process = self.on("n1", &["pgrep", "-x", "agnhost"]);
        let program = self.program.display().to_string();
        let server = format!("{}:53", SERVERS[0]);
        let words = [
            "exec", "n1", "--", "nsenter", "--net", "--target", &process, &program, "lab", "load", "dns", "ask",
            "--server", &server, "--names", NAMES,
        ];
        let mut command = self.command(&words);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut running = Running(child);
        let mut ready = [0; b"ready\n".len()];
        running.0.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        work();
        drop(running.0.stdin.take());
        let mut text = String::new();
        running.0.stdout.as_mut().unwrap().read_to_string(&mut text).unwrap();
        let seen: Asked = serde_json::from_str(&text).unwrap();
        println!(
            "  {what}: {} queries, {} lost, {} failed, longest gap {:.0} ms, p99 {:.1} ms",
            seen.queries,
            seen.lost,
            seen.failed,
            seen.longest_gap_millis,
            seen.answers.p99_micros / 1e3
        );
        assert!(seen.queries > 0 && seen.lost == 0 && seen.failed == 0, "{what}: {seen:?}");
    }

    /// Changes the section `dns` of the configuration, and replaces all servers.
    pub(crate) fn configure_dns(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let of = ["-n", "kube-system"];
        let kubectl = |words: &[&str]| self.kubectl(&[of.as_slice(), words].concat());
        let text = kubectl(&["get", "configmap", "seaway-dns", "-o", "jsonpath={.data.config\\.yaml}"]);
        let mut configuration: serde_json::Value = serde_json::from_str(&text).expect("the lab writes it as JSON");
        change(&mut configuration["dns"]);
        let patch = serde_json::json!({ "data": { "config.yaml": configuration.to_string() } }).to_string();
        kubectl(&["patch", "configmap", "seaway-dns", "--type=merge", "-p", &patch]);
        kubectl(&["rollout", "restart", "daemonset/seaway-dns"]);
        kubectl(&["rollout", "status", "daemonset/seaway-dns", "--timeout=120s"]);
    }

    /// Starts a command inside a host of the lab; waits for the first line it prints.
    pub(crate) fn start_on(&self, node: &str, words: &[&str]) -> Running {
        let mut command = self.command(&[&["exec", node, "--"], words].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 1];
        child.stdout.as_mut().unwrap().read_exact(&mut first).expect("the program starts");
        Running(child)
    }

    pub(crate) fn program(&self) -> String {
        self.program.display().to_string()
    }

    pub(crate) fn kubectl(&self, words: &[&str]) -> String {
        succeeded(words, &self.kubectl_command(words).output().expect("kubectl runs"))
    }

    pub(crate) fn kubectl_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.args(words).env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        command
    }

    pub(crate) fn apply(&self, text: &str) {
        let words = ["apply", "-f", "-"];
        let mut command = self.kubectl_command(&words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        succeeded(&words, &child.wait_with_output().unwrap());
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["lab", "--name", NAME]).args(words).env_remove("SEAWAY_KUBERNETES_BIN").stdin(Stdio::null());
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.run(&["down"]);
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for something that is on its way; what was seen last is in the failure.
pub(crate) fn wait_for<T, E: Debug>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let give_up = Instant::now() + A_WHILE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < give_up, "waited {A_WHILE:?} in vain: {what}: {seen:#?}"),
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn succeeded(words: &[&str], output: &Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout.trim().to_owned()
}
