//! `DNSConfig` objects: what pods of one namespace see and others do not, and what is said of a
//! broken one.

use std::time::Instant;

use super::lab::{Lab, SERVERS, wait_for};

/// A namespace of its own with a pod on the node of the other that asks.
const OBJECTS: &str = include_str!("configs.yaml");

const RED: &str = r#"
apiVersion: seaway.dev/v1alpha1
kind: DNSConfig
metadata: {name: red}
spec:
  namespaceSelector: {matchLabels: {team: red}}
  hosts:
  - {name: printer.office, addresses: [192.0.2.9]}
  block:
  - names: [web.default.svc.cluster.local]
  zones:
  - name: corp.test
    text: |
      www  CNAME web
      web  A     192.0.2.80
"#;

/// The second line of the zone is broken.
const BROKEN: &str = r#"
apiVersion: seaway.dev/v1alpha1
kind: DNSConfig
metadata: {name: red}
spec:
  namespaceSelector: {matchLabels: {team: red}}
  hosts:
  - {name: printer.office, addresses: [192.0.2.10]}
  zones:
  - name: corp.test
    text: |
      www  CNAME web
      web  A     192.0.2.256
"#;

const WEB: &str = "web.default.svc.cluster.local";

pub(crate) fn a_configuration_holds_for_the_namespaces_it_selects(lab: &Lab) {
    lab.apply(OBJECTS);
    lab.kubectl(&["-n", "red", "wait", "--for=condition=Ready", "--timeout=120s", "pod/asker"]);
    let red = Pod::find(lab, "red", "asker");
    let at = format!("@{}", SERVERS[0]);
    wait_for("the pod gets answers", || {
        let told = red.dig(lab, &[&at, WEB, "A"]);
        if told.is_empty() { Err(told) } else { Ok(()) }
    });
    let others_web = lab.dig(&[&at, WEB, "A"]);
    let begun = Instant::now();
    lab.apply(RED);
    wait_for("a pod of the namespace sees it", || {
        let told = red.dig(lab, &[&at, "printer.office", "A"]);
        if told == ["192.0.2.9"] { Ok(()) } else { Err(told) }
    });
    println!("  in force {} ms after `kubectl apply` began", begun.elapsed().as_millis());
    assert_eq!(red.dig(lab, &[&at, WEB, "A"]), [""; 0], "blocked");
    assert_eq!(red.dig(lab, &[&at, "www.corp.test", "A"]), ["192.0.2.80", "web.corp.test."]);
    assert_eq!(lab.dig(&[&at, WEB, "A"]), others_web, "others are not blocked");
    assert_eq!(lab.dig(&[&at, "+retry=0", "printer.office", "A"]), [""; 0], "and do not see it");
    let accepted = || condition(lab, "status");
    wait_for("the controller accepts it", || if accepted() == "True" { Ok(()) } else { Err(accepted()) });
}

pub(crate) fn a_broken_configuration_is_refused_and_its_last_good_form_stays(lab: &Lab) {
    let red = Pod::find(lab, "red", "asker");
    let at = format!("@{}", SERVERS[0]);
    lab.apply(BROKEN);
    let message = wait_for("the controller refuses it", || {
        let (status, message) = (condition(lab, "status"), condition(lab, "message"));
        if status == "False" { Ok(message) } else { Err(status) }
    });
    assert!(message.starts_with("spec.zones[0].text: line 2, column "), "{message}");
    wait_for("an event says so", || {
        let events = lab.kubectl(&["get", "events", "-A", "--field-selector=reason=InvalidField", "-o", "wide"]);
        if events.contains("spec.zones[0].text") { Ok(()) } else { Err(events) }
    });
    assert_eq!(red.dig(lab, &[&at, "printer.office", "A"]), ["192.0.2.9"], "nothing is half applied");
    assert_eq!(red.dig(lab, &[&at, "web.corp.test", "A"]), ["192.0.2.80"]);
    lab.kubectl(&["delete", "dnsconfig", "red"]);
    wait_for("it is gone", || {
        let told = red.dig(lab, &[&at, WEB, "A"]);
        if told.is_empty() { Err(told) } else { Ok(()) }
    });
    lab.kubectl(&["delete", "namespace", "red", "--wait=false"]);
}

fn condition(lab: &Lab, field: &str) -> String {
    let path = format!("jsonpath={{.status.conditions[?(@.type==\"Accepted\")].{field}}}");
    lab.kubectl(&["get", "dnsconfig", "red", "-o", &path])
}

/// A pod of node n1 by its network namespace.
struct Pod(String);

// === impl Pod ===

impl Pod {
    fn find(lab: &Lab, namespace: &str, name: &str) -> Self {
        let address = lab.kubectl(&["-n", namespace, "get", "pod", name, "-o", "jsonpath={.status.podIP}"]);
        let look = format!(
            "for n in /run/netns/*; do nsenter --net=$n ip -o address | grep -qF ' {address}/' && echo $n; done; true"
        );
        let found = lab.on("n1", &["sh", "-c", &look]);
        assert_eq!(found.lines().count(), 1, "the network of {namespace}/{name} at {address}: {found}");
        Self(found)
    }

    fn dig(&self, lab: &Lab, words: &[&str]) -> Vec<String> {
        let network = format!("--net={}", self.0);
        let text = lab.on("n1", &[&["nsenter", &network, "kdig", "+short", "+timeout=2"], words].concat());
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}
