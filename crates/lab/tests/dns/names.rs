//! Names in zones of our own, and those of Services of other clusters, with the real definitions of
//! the Gateway API and of the multi-cluster API installed while the server runs.

use std::path::PathBuf;
use std::process::Command;

use super::lab::{Lab, SERVERS, wait_for};

/// Where the definitions come from: Go modules, as the lab's Kubernetes.
const GATEWAY_API: &str = "sigs.k8s.io/gateway-api@v1.5.0";
const MULTI_CLUSTER_API: &str = "sigs.k8s.io/mcs-api@v0.5.2";
/// What the scene makes: a load-balanced Service, a Gateway with a route, imports.
const OBJECTS: &str = include_str!("names.yaml");

pub(crate) fn of_objects_whose_kinds_are_installed_later_are_told(lab: &Lab) {
    lab.configure_dns(|dns| {
        dns["externalZones"] = serde_json::json!([{ "name": "example.org", "headless": true }]);
        dns["pods"] = serde_json::json!("verified");
    });
    // Of kinds that are not there nothing exists; nothing is waited for either.
    must_be_denied(lab, "shop.example.org");
    must_be_denied(lab, "db.default.svc.clusterset.local");
    let node = lab.kubectl(&["get", "node/n2", "-o", "jsonpath={.status.addresses[?(@.type=='InternalIP')].address}"]);
    let node = node.split(' ').next().unwrap().to_owned();
    must_be(lab, &["n2.node.example.org", "A"], &[&node]);
    pods_of_other_nodes_are_verified(lab);
    install_definitions(lab);
    lab.apply(OBJECTS);
    set_status(lab, "service/front", r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.10"}]}}}"#);
    set_status(lab, "gateway/edge", r#"{"status":{"addresses":[{"type":"IPAddress","value":"192.0.2.20"}]}}"#);
    let accepted = r#"{"status":{"parents":[{"controllerName":"example.org/test","parentRef":{"name":"edge"},
        "conditions":[{"type":"Accepted","status":"True","reason":"Accepted","message":"",
        "lastTransitionTime":"2026-01-01T00:00:00Z"}]}]}}"#;
    set_status(lab, "httproute/shop", accepted);
    must_be(lab, &["front.default.example.org", "A"], &["192.0.2.10"]);
    must_be(lab, &["www.example.org", "A"], &["192.0.2.10"]);
    must_be(lab, &["-x", "192.0.2.10"], &["front.default.example.org."]);
    must_be(lab, &["_http._tcp.front.default.example.org", "SRV"], &["0 100 80 front.default.example.org."]);
    must_be(lab, &["any.apps.example.org", "A"], &["192.0.2.20"]);
    must_be(lab, &["shop.apps.example.org", "A"], &["192.0.2.20"]);
    imports_are_told(lab);
    lab.kubectl(&["delete", "crd", "gateways.gateway.networking.k8s.io", "serviceimports.multicluster.x-k8s.io"]);
    must_be_denied(lab, "any.apps.example.org");
    must_be_denied(lab, "bank.default.svc.clusterset.local");
    must_be(lab, &["www.example.org", "A"], &["192.0.2.10"]);
    for node in ["n1", "n2"] {
        let status = lab.on(node, &["seaway", "status"]);
        assert!(!status.contains("gateways") && !status.contains("serviceimports"), "no complaint stays: {status}");
    }
}

fn pods_of_other_nodes_are_verified(lab: &Lab) {
    let address = lab.kubectl(&["get", "pod/peer-0", "-o", "jsonpath={.status.podIP}"]);
    let dashed = address.replace('.', "-");
    must_be(lab, &[&format!("{dashed}.default.pod.cluster.local"), "A"], &[&address]);
    must_be_denied(lab, &format!("{dashed}.kube-system.pod.cluster.local"));
}

fn imports_are_told(lab: &Lab) {
    must_be(lab, &["bank.default.svc.clusterset.local", "A"], &["10.250.0.1"]);
    must_be(
        lab,
        &["_https._tcp.bank.default.svc.clusterset.local", "SRV"],
        &["0 100 443 bank.default.svc.clusterset.local."],
    );
    must_be(lab, &["db.default.svc.clusterset.local", "A"], &["10.251.0.1", "10.252.0.1"]);
    must_be(lab, &["db-0.east.eu.db.default.svc.clusterset.local", "A"], &["10.252.0.1"]);
    must_be_denied(lab, "east.eu.db.default.svc.clusterset.local");
}

fn must_be(lab: &Lab, question: &[&str], wanted: &[&str]) {
    let at = format!("@{}", SERVERS[0]);
    wait_for("an answer", || {
        let told = lab.dig(&[&[at.as_str()], question].concat());
        if told == wanted { Ok(()) } else { Err((question.join(" "), told)) }
    });
}

fn must_be_denied(lab: &Lab, name: &str) {
    let at = format!("@{}", SERVERS[0]);
    wait_for("a denial", || {
        let told = lab.in_pod(&["kdig", "+timeout=2", &at, name, "A"]);
        if told.contains("status: NXDOMAIN") { Ok(()) } else { Err(told) }
    });
}

fn set_status(lab: &Lab, object: &str, patch: &str) {
    lab.kubectl(&["patch", object, "--subresource=status", "--type=merge", "-p", patch]);
}

fn install_definitions(lab: &Lab) {
    let (gateway, multi_cluster) = (module(GATEWAY_API), module(MULTI_CLUSTER_API));
    for kind in ["gatewayclasses", "gateways", "httproutes", "grpcroutes", "tlsroutes"] {
        let file = gateway.join(format!("config/crd/standard/gateway.networking.k8s.io_{kind}.yaml"));
        // Too large for the annotation that plain apply keeps.
        lab.kubectl(&["apply", "--server-side", "-f", &file.display().to_string()]);
    }
    let file = multi_cluster.join("config/crd/multicluster.x-k8s.io_serviceimports.yaml");
    lab.kubectl(&["apply", "--server-side", "-f", &file.display().to_string()]);
    let definitions = ["crd/httproutes.gateway.networking.k8s.io", "crd/serviceimports.multicluster.x-k8s.io"];
    lab.kubectl(&[&["wait", "--for=condition=Established", "--timeout=60s"], definitions.as_slice()].concat());
}

/// Directory of a Go module.
fn module(version: &str) -> PathBuf {
    let output = Command::new("go")
        .args(["mod", "download", "-json", version])
        .current_dir(std::env::temp_dir())
        .output()
        .expect("go runs: the lab needs it, too");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("go tells where a module is");
    told["Dir"].as_str().unwrap_or_else(|| panic!("{version} cannot be had: {told}")).into()
}
