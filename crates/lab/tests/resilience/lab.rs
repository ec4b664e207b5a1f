//! The lab all scenes share, and its verbs.

use std::fmt::Debug;
use std::io::Write;
use std::ops::Deref;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use seaway_lab::machine::footprint::Footprint;
use serde_json::{Value, json};

use super::verbs::{Verbs, succeeded};

/// Time the cluster has for something that takes seconds.
const A_WHILE: Duration = Duration::from_secs(120);
/// Pause between two looks at something that is on its way.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(crate) const NAME: &str = "test-resilience";

/// Image of pods that only hold a network.
pub(crate) const IDLE_IMAGE: &str = "seaway/pause:1";
/// Image of pods that answer.
pub(crate) const ANSWERING_IMAGE: &str = "seaway/agnhost:1.36.1";

/// Removed when dropped, however the test ends.
pub(crate) struct Lab {
    verbs: Verbs,
    before: Option<Footprint>,
}

// === impl Lab ===

impl Lab {
    /// Three nodes in two racks with Seaway: n1 (control plane) and n2 in r1, n3 in r2.
    pub(crate) fn up() -> Self {
        let mut lab = Self { verbs: Verbs::of(NAME), before: None };
        // Whatever an earlier, killed run left.
        lab.run(&["down"]);
        lab.before = Some(Footprint::take(NAME).unwrap());
        println!("{}", lab.must(&["up", "--nodes", "3", "--racks", "2", "--network", "seaway"]));
        lab.verbs.find_kubectl();
        lab
    }

    /// Removes the lab; fails when anything of it stays on the machine.
    pub(crate) fn down_without_trace(&mut self) {
        self.must(&["down"]);
        let before = self.before.take().expect("taken before the lab was made");
        let left = Footprint::lasting_differences(&before, NAME, A_WHILE).unwrap();
        assert!(left.is_empty(), "left on the machine: {left:#?}");
    }

    pub(crate) fn kubectl(&self, words: &[&str]) -> String {
        succeeded(words, &self.kubectl_command(words).output().expect("kubectl runs"))
    }

    pub(crate) fn kubectl_json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.kubectl(&[words, &["-o", "json"]].concat())).unwrap()
    }

    pub(crate) fn kubectl_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.args(words).env("KUBECONFIG", &self.kubeconfig);
        command
    }

    pub(crate) fn apply(&self, object: &Value) {
        let words = ["apply", "-f", "-"];
        let mut command = self.kubectl_command(&words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
        succeeded(&words, &child.wait_with_output().unwrap());
    }

    /// Makes pods that only hold a network, on these nodes, and waits until they are Ready.
    pub(crate) fn start_pods(&self, pods: &[(&str, &str)]) {
        for (name, node) in pods {
            self.apply(&pod(name, node, &json!({ "name": "main", "image": IDLE_IMAGE })));
        }
        for (name, _) in pods {
            self.kubectl(&["wait", "--for=condition=Ready", "--timeout=120s", &format!("pod/{name}")]);
        }
    }

    pub(crate) fn delete_pods(&self, pods: &[(&str, &str)]) {
        let names: Vec<&str> = pods.iter().map(|(name, _)| *name).collect();
        self.kubectl(&[&["delete", "pod", "--timeout=120s"], names.as_slice()].concat());
    }

    /// All agents answer and are ready for pods.
    pub(crate) fn wait_for_agents(&self) {
        for node in ["n1", "n2", "n3"] {
            wait_until(&format!("the agent of {node} is ready"), || {
                let output = self.run(&["exec", node, "--", "seaway", "status"]);
                String::from_utf8_lossy(&output.stdout).contains(&format!("{node} (ready)"))
            });
        }
    }

    /// `lab test` finds nothing broken, now or soon.
    pub(crate) fn wait_until_all_reach_all(&self) {
        let mut last = String::new();
        let start = Instant::now();
        while start.elapsed() < A_WHILE {
            let output = self.run(&["test"]);
            if output.status.success() {
                return;
            }
            last = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        }
        panic!("`lab test` still finds after {A_WHILE:?}:\n{last}");
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

/// A pod of one container on one node.
pub(crate) fn pod(name: &str, node: &str, container: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "labels": { "app": name } },
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{ "operator": "Exists" }],
            "containers": [container],
        },
    })
}

/// Waits for something that is on its way.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || if condition() { Ok(()) } else { Err("not so") });
}

/// The same, with what was seen last in the failure.
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
