//! A lab made from the text of a `lab.yaml`, and its verbs.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

const NAME: &str = "test-modes";

/// All share the machine and the lab's name.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Removed when dropped, however the test ends.
pub(crate) struct Lab {
    program: PathBuf,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

/// A program that is killed when this value goes.
pub(crate) struct Running(pub(crate) Child);

// === impl Lab ===

impl Lab {
    /// Brings a lab up by this `lab.yaml`, and finds that everybody in it reaches everybody.
    pub(crate) fn up(specification: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "the lab makes namespaces: run this test as root");
        let program = PathBuf::from(env!("CARGO_BIN_EXE_seaway-lab")).with_file_name("seaway");
        assert!(program.is_file(), "{} is missing: `cargo build --workspace --bins` makes it", program.display());
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lab = Self { program, kubectl: PathBuf::new(), kubeconfig: PathBuf::new(), _turn: turn };
        // Whatever an earlier, killed run left.
        lab.run(&["down"]);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{specification}").unwrap();
        println!("{specification}\n{}", lab.must(&["up", "--file", file.path().to_str().unwrap()]));
        lab.kubectl = lab.must(&["kubeconfig", "--kubectl"]).into();
        lab.kubeconfig = lab.must(&["kubeconfig"]).into();
        println!("{}", lab.must(&["test"]));
        lab
    }

    /// Runs a verb that may fail.
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

    /// The same as JSON.
    pub(crate) fn json_on(&self, node: &str, words: &[&str]) -> Value {
        let text = self.on(node, words);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?} on {node}: {error}: {text}"))
    }

    /// Starts a command inside a node; its output is a pipe.
    pub(crate) fn spawn_on(&self, node: &str, words: &[&str]) -> Running {
        let mut command = self.command(&[&["exec", node, "--"], words].concat());
        Running(command.stdout(Stdio::piped()).spawn().expect("the lab's program runs"))
    }

    /// Runs a line of shell where the manifests are, with kubectl for this lab.
    pub(crate) fn shell(&self, line: &str) -> String {
        let folder = self.kubectl.parent().expect("kubectl is in a folder").display();
        let search = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("sh")
            .args(["-ec", line])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .env("PATH", format!("{folder}:{search}"))
            .env("KUBECONFIG", &self.kubeconfig)
            .output()
            .expect("a shell runs");
        succeeded(&[line], &output)
    }

    /// What `seaway status` says on a node.
    pub(crate) fn status(&self, node: &str) -> Value {
        self.json_on(node, &["seaway", "status", "-o", "json"])
    }

    /// Routes of one family that Seaway made on a node.
    pub(crate) fn routes(&self, node: &str, family: &str) -> Vec<Value> {
        let routes = self.json_on(node, &["ip", "-j", family, "route", "show", "proto", "83"]);
        routes.as_array().cloned().unwrap_or_default()
    }

    /// A process, as the node numbers it, of a test pod.
    pub(crate) fn test_pod_on(&self, node: &str) -> String {
        let processes = self.on(node, &["pgrep", "-x", "agnhost"]);
        processes.lines().next().expect("test pods run on every node").to_owned()
    }

    /// An address of a test pod, of one family.
    pub(crate) fn test_pod_address(&self, node: &str, family: &str) -> String {
        let process = self.test_pod_on(node);
        let words = [
            "nsenter", "--net", "--target", &process, "ip", "-j", family, "address", "show", "eth0", "scope", "global",
        ];
        let shown = self.json_on(node, &words);
        let address = shown.pointer("/0/addr_info/0/local").and_then(Value::as_str);
        address.unwrap_or_else(|| panic!("no address in {shown}")).to_owned()
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

fn succeeded(words: &[&str], output: &Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout.trim().to_owned()
}
