//! A lab made from the text of a `lab.yaml`, and its verbs.

use std::io::Write;
use std::ops::Deref;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::verbs::{Verbs, succeeded};

const NAME: &str = "test-modes";

/// All share the machine and the lab's name.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Removed when dropped, however the test ends.
pub(crate) struct Lab {
    verbs: Verbs,
    _turn: MutexGuard<'static, ()>,
}

// === impl Lab ===

impl Lab {
    /// Brings a lab up by this `lab.yaml`, and finds that everybody in it reaches everybody.
    pub(crate) fn up(specification: &str) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lab = Self { verbs: Verbs::of(NAME), _turn: turn };
        // Whatever an earlier, killed run left.
        lab.run(&["down"]);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{specification}").unwrap();
        println!("{specification}\n{}", lab.must(&["up", "--file", file.path().to_str().unwrap()]));
        lab.verbs.find_kubectl();
        println!("{}", lab.must(&["test"]));
        lab
    }

    /// Runs a line of shell where the manifests are, with kubectl for this lab and seaway.
    pub(crate) fn shell(&self, line: &str) -> String {
        let [kubectl, seaway] = [&self.kubectl, &self.program].map(|program| program.parent().unwrap().display());
        let search = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("sh")
            .args(["-ec", line])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .env("PATH", format!("{kubectl}:{seaway}:{search}"))
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
}

impl Deref for Lab {
    type Target = Verbs;

    fn deref(&self) -> &Verbs {
        &self.verbs
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.run(&["down"]);
    }
}
