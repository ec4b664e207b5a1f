//! The verbs of one lab, as a user has them.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A lab that may or may not be there.
pub(crate) struct Verbs {
    name: &'static str,
    pub(crate) program: PathBuf,
    /// Empty until [`Verbs::find_kubectl`].
    pub(crate) kubectl: PathBuf,
    pub(crate) kubeconfig: PathBuf,
}

/// A program that is killed when this value goes.
pub(crate) struct Running(pub(crate) Child);

// === impl Verbs ===

impl Verbs {
    /// For the lab of this name. Needs root and the program, and says so.
    pub(crate) fn of(name: &'static str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "the lab makes namespaces: run this test as root");
        let program = PathBuf::from(env!("CARGO_BIN_EXE_seaway-lab")).with_file_name("seaway");
        assert!(program.is_file(), "{} is missing: `cargo build --workspace --bins` makes it", program.display());
        Self { name, program, kubectl: PathBuf::new(), kubeconfig: PathBuf::new() }
    }

    /// Asks a lab that is up for its kubectl and kubeconfig.
    pub(crate) fn find_kubectl(&mut self) {
        self.kubectl = self.must(&["kubeconfig", "--kubectl"]).into();
        self.kubeconfig = self.must(&["kubeconfig"]).into();
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

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["lab", "--name", self.name]).args(words).env_remove("SEAWAY_KUBERNETES_BIN").stdin(Stdio::null());
        command
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Standard output of a command that must have succeeded.
pub(crate) fn succeeded(words: &[&str], output: &Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout.trim().to_owned()
}
