//! What may end while pods ask, and no query for the cluster's names is lost.

use super::lab::{Lab, Running, SERVERS, wait_for};

/// What the upstream of the lab says of every name.
const UPSTREAM_SAYS: &str = "192.0.2.53";
/// Where it answers.
const UPSTREAM_PORT: u16 = 5353;

pub(crate) fn an_update_loses_no_query_and_forwards(lab: &Lab) {
    let _upstream = start_upstream(lab);
    lab.nothing_is_lost_while("all servers replaced", || {
        lab.configure_dns(|dns| dns["upstreams"] = serde_json::json!([upstream_address(lab)]));
    });
    must_forward(lab, "api.example.test");
}

pub(crate) fn killed_agents_lose_no_query(lab: &Lab) {
    lab.nothing_is_lost_while("agents killed", || {
        for node in ["n1", "n2"] {
            lab.must(&["break", "kill", node, "agent"]);
        }
        for node in ["n1", "n2"] {
            wait_for("the agent is ready", || {
                let output = lab.run(&["exec", node, "--", "seaway", "status"]);
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                if text.contains(&format!("{node} (ready)")) { Ok(()) } else { Err(text) }
            });
        }
    });
}

pub(crate) fn a_killed_api_server_loses_no_query(lab: &Lab) {
    lab.nothing_is_lost_while("API server killed", || {
        lab.must(&["break", "kill", "n1", "kube-apiserver"]);
        wait_for("the API server answers", || {
            let output = lab.kubectl_command(&["get", "--raw", "/readyz"]).output().unwrap();
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        });
    });
}

pub(crate) fn an_ended_upstream_loses_no_query_for_the_cluster(lab: &Lab) {
    let upstream = start_upstream(lab);
    must_forward(lab, "kept.example.test");
    lab.nothing_is_lost_while("upstream ended", || {
        drop(upstream);
        let status = |name: &str| lab.in_pod(&["kdig", "+timeout=5", "+retry=0", &at_server(), name, "A"]);
        // Nobody knows it: told so, and not kept waiting for ever.
        let unknown = status("unknown.example.test");
        assert!(unknown.contains("status: SERVFAIL"), "{unknown}");
        let kept = status("kept.example.test");
        assert!(kept.contains(UPSTREAM_SAYS), "{kept}");
    });
}

pub(crate) fn a_killed_worker_loses_no_query(lab: &Lab) {
    let worker = || lab.run(&["exec", "n1", "--", "pgrep", "-f", "seaway.* dns .*--worker|exe dns .*--worker"]);
    let processes = || String::from_utf8_lossy(&worker().stdout).trim().to_owned();
    let before = wait_for("a worker runs", || Some(processes()).filter(|text| !text.is_empty()).ok_or("none"));
    lab.nothing_is_lost_while("worker killed", || {
        for process in before.lines() {
            lab.on("n1", &["kill", "-KILL", process]);
        }
        wait_for("the next worker runs", || {
            let now = processes();
            if now.is_empty() || now == before { Err(now) } else { Ok(()) }
        });
    });
}

fn at_server() -> String {
    format!("@{}", SERVERS[0])
}

fn must_forward(lab: &Lab, name: &str) {
    let at = at_server();
    wait_for("a name of others is told", || {
        let told = lab.dig(&[&at, "+retry=0", name, "A"]);
        if told == [UPSTREAM_SAYS] { Ok(()) } else { Err(told) }
    });
}

fn upstream_address(lab: &Lab) -> String {
    let shown = lab.on("outside", &["ip", "-j", "-4", "address", "show", "scope", "global"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let links = shown.as_array().unwrap().iter();
    let address = links.filter_map(|link| link.pointer("/addr_info/0/local")?.as_str()).next();
    format!("{}:{UPSTREAM_PORT}", address.expect("the host outside has an address"))
}

fn start_upstream(lab: &Lab) -> Running {
    let program = lab.program();
    let listen = upstream_address(lab);
    lab.start_on("outside", &[&program, "lab", "load", "dns", "upstream", "--listen", &listen])
}
