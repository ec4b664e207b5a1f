//! A pool that is deleted while pods have its addresses.

use super::lab::Lab;

const POOL: &str = "\
apiVersion: seaway.dev/v1alpha1
kind: IPPool
metadata: {name: gold}
spec: {cidr: 10.60.0.0/24, encapsulation: none, namespaceSelector: {matchLabels: {tier: gold}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: gold, labels: {tier: gold}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web, namespace: gold}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: 'seaway/agnhost:1.36.1', command: [/agnhost, netexec]}]
";

/// Its pods reach each other although every agent was replaced; when the last of them is gone, so is the pool.
pub(crate) fn stay_while_pods_use_them(lab: &Lab, nodes: &[&str]) {
    lab.shell(&format!("kubectl apply -f - <<'END'\n{POOL}END"));
    lab.shell("kubectl -n gold rollout status --timeout=120s ds/web");
    lab.shell("kubectl delete ippool gold --wait=false");
    lab.shell("kubectl -n seaway-system rollout restart ds/seaway-agent");
    lab.shell("kubectl -n seaway-system rollout status --timeout=180s ds/seaway-agent");
    let held_by = lab.shell("kubectl get ippool gold -o jsonpath='{.status.heldBy[*]}'");
    for node in nodes {
        assert!(held_by.contains(&format!(" of node {node}: 1 in use")), "{held_by}");
        let audit = lab.run(&["exec", node, "--", "seaway", "audit"]);
        assert_eq!(audit.status.code(), Some(0), "{audit:?}");
    }
    let shown = lab.shell("kubectl -n gold get pods -l app=web -o jsonpath='{range .items[*]}{.metadata.name} {.status.podIP}{\"\\n\"}{end}'");
    let pods: Vec<(&str, &str)> = shown.lines().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(pods.len(), nodes.len(), "{shown}");
    for (from, _) in &pods {
        for (name, address) in &pods {
            assert!(address.starts_with("10.60.0."), "{shown}");
            let ask = format!("kubectl -n gold exec {from} -- /agnhost connect --timeout=5s {address}:8080");
            println!("{from} to {name}: {}", lab.shell(&ask));
        }
    }
    lab.shell("kubectl delete namespace gold --timeout=120s");
    lab.shell("kubectl wait --for=delete ippool/gold --timeout=180s");
    assert_eq!(lab.shell("kubectl get ipblocks -o jsonpath='{.items[?(@.spec.pool==\"gold\")].metadata.name}'"), "");
}
