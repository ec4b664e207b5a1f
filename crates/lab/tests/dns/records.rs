//! Every record type of the Kubernetes DNS specification 1.1.0, asked from a pod.

use super::lab::{Lab, SERVERS, wait_for};

pub(crate) fn of_every_type_are_told(lab: &Lab) {
    let ip = |path: &str| lab.kubectl(&["get", path, "-o", "jsonpath={.status.podIP}"]);
    let addresses = lab.kubectl(&["get", "service/web", "-o", "jsonpath={.spec.clusterIPs[*]}"]);
    let (ipv4, ipv6) = addresses.split_once(' ').unwrap();
    let (first, second) = (ip("pod/peer-0"), ip("pod/peer-1"));
    let mut peers = vec![first.clone(), second.clone()];
    peers.sort();
    let at_server = format!("@{}", SERVERS[0]);
    wait_for("the endpoints are told", || {
        let told = lab.dig(&[&at_server, "peers.default.svc.cluster.local", "A"]);
        if told == peers { Ok(()) } else { Err(told) }
    });
    let web = "web.default.svc.cluster.local";
    let dashed = format!("{}.default.pod.cluster.local", first.replace('.', "-"));
    let target = format!("{web}.");
    let questions: Vec<(Vec<&str>, Vec<&str>)> = vec![
        (vec![web, "A"], vec![ipv4]),
        (vec![web, "AAAA"], vec![ipv6]),
        (vec!["-x", ipv4], vec![&target]),
        (vec!["-x", ipv6], vec![&target]),
        (vec!["peer-0.peers.default.svc.cluster.local", "A"], vec![&first]),
        (vec!["-x", &first], vec!["peer-0.peers.default.svc.cluster.local."]),
        (vec![&dashed, "A"], vec![&first]),
        (vec!["dns-version.cluster.local", "TXT"], vec!["\"1.1.0\""]),
        (vec!["elsewhere.default.svc.cluster.local", "CNAME"], vec![&target]),
        // The alias and what it leads to, in one answer.
        (vec!["elsewhere.default.svc.cluster.local", "A"], vec![ipv4, &target]),
    ];
    for server in SERVERS {
        let at = format!("@{server}");
        for transport in ["+notcp", "+tcp"] {
            for (question, wanted) in &questions {
                let mut told = lab.dig(&[&[at.as_str(), transport], question.as_slice()].concat());
                told.sort();
                let mut wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
                wanted.sort();
                assert_eq!(told, wanted, "{server} {transport} {question:?}");
            }
        }
    }
    ports_are_told(lab, &at_server);
    what_is_not_is_told_apart(lab, &at_server);
}

/// SRV: priority, weight, port, target.
fn ports_are_told(lab: &Lab, server: &str) {
    let ports_and_targets = |name: &str| -> Vec<String> {
        let lines = lab.dig(&[server, name, "SRV"]);
        lines.iter().map(|line| line.split(' ').skip(2).collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(ports_and_targets("_http._tcp.web.default.svc.cluster.local"), ["80 web.default.svc.cluster.local."]);
    assert_eq!(
        ports_and_targets("_gossip._tcp.peers.default.svc.cluster.local"),
        ["7000 peer-0.peers.default.svc.cluster.local.", "7000 peer-1.peers.default.svc.cluster.local."]
    );
}

/// A name without that type is there; a name that is not there is denied.
fn what_is_not_is_told_apart(lab: &Lab, server: &str) {
    for (name, kind, status) in [
        ("web.default.svc.cluster.local", "TXT", "NOERROR"),
        ("default.svc.cluster.local", "A", "NOERROR"),
        ("nobody.default.svc.cluster.local", "A", "NXDOMAIN"),
        ("web.nowhere.svc.cluster.local", "A", "NXDOMAIN"),
    ] {
        let text = lab.in_pod(&["kdig", "+timeout=2", server, name, kind]);
        let wanted = format!("status: {status}");
        assert!(text.contains(&wanted) && text.contains("ANSWER: 0"), "{name} {kind}: {text}");
        assert!(text.contains("SOA"), "how long that holds: {text}");
    }
}

pub(crate) fn pods_find_services_by_short_names(lab: &Lab) {
    for name in ["web:80", "web.default:80", "web.default.svc.cluster.local:80"] {
        lab.kubectl(&["exec", "asker", "--", "/agnhost", "connect", "--timeout=5s", name]);
    }
}

pub(crate) fn services_made_while_pods_ask_are_found(lab: &Lab) {
    let server = format!("@{}", SERVERS[0]);
    lab.nothing_is_lost_while("a Service comes and goes", || {
        lab.kubectl(&["create", "service", "clusterip", "newcomer", "--tcp=80"]);
        let address = lab.kubectl(&["get", "service/newcomer", "-o", "jsonpath={.spec.clusterIP}"]);
        let told = || lab.dig(&[&server, "newcomer.default.svc.cluster.local", "A"]);
        wait_for("its name has its address", || {
            Some(told()).filter(|told| *told == [address.as_str()]).ok_or_else(told)
        });
        lab.kubectl(&["delete", "service", "newcomer"]);
        wait_for("its name is gone", || Some(told()).filter(Vec::is_empty).ok_or_else(told));
    });
}
