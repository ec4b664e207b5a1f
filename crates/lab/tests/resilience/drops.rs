//! A pod that sends from an address it does not own.

use std::io::{BufRead, BufReader};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use super::lab::{Lab, wait_for};
use super::traffic::PodNetwork;

const LIAR: (&str, &str) = ("liar", "n2");
const VICTIM: (&str, &str) = ("victim", "n1");
const REASON: &str = "spoofed_source_ip";
const FALSE_ADDRESS: &str = "10.99.99.99";
/// Packets sent before the event stream must have begun.
const ATTEMPTS: usize = 50;
/// Packets whose events are counted.
const COUNTED: usize = 3;

pub(crate) fn a_lie_is_dropped_and_named(lab: &Lab) {
    lab.wait_for_agents();
    lab.start_pods(&[LIAR, VICTIM]);
    let (liar, victim) = (PodNetwork::of(lab, LIAR.0), PodNetwork::of(lab, VICTIM.0));
    let target = victim.addresses.iter().find(|address| address.is_ipv4()).unwrap().to_string();
    let added = in_pod(&liar, &["ip", "address", "add", &format!("{FALSE_ADDRESS}/32"), "dev", "eth0"]);
    assert!(added, "the pod takes a false address");
    let before = dropped(lab);

    let mut monitor = lab.spawn_on(LIAR.1, &["seaway", "monitor", "-o", "json", "--pod", "default/liar"]);
    let lines = lines_of(&mut monitor.0);
    let lie =
        || assert!(!in_pod(&liar, &["ping", "-c", "1", "-W", "1", "-I", FALSE_ADDRESS, &target]), "the lie arrived");
    let mut sent = 0;
    while lines.try_recv().is_err() {
        assert!(sent < ATTEMPTS, "no event after {sent} lies");
        lie();
        sent += 1;
    }
    // The stream runs: from here on each packet has one event.
    while lines.recv_timeout(Duration::from_secs(1)).is_ok() {}
    for _ in 0..COUNTED {
        lie();
        sent += 1;
        let event: Value = serde_json::from_str(&lines.recv_timeout(Duration::from_secs(10)).unwrap()).unwrap();
        assert_eq!(event["reason"], REASON, "{event}");
        assert_eq!(
            (&event["source"], &event["destination"]),
            (&FALSE_ADDRESS.into(), &target.clone().into()),
            "{event}"
        );
        assert_eq!(event["sourcePod"], serde_json::json!({ "namespace": "default", "name": "liar" }), "{event}");
        assert_eq!(event["cause"], "pod default/liar", "{event}");
    }
    assert!(lines.recv_timeout(Duration::from_secs(1)).is_err(), "one event a packet");
    wait_for("the metric counts each lie once", || {
        let count = dropped(lab) - before;
        if count == sent as u64 { Ok(()) } else { Err(format!("{count} counted of {sent}")) }
    });
    lab.delete_pods(&[LIAR, VICTIM]);
}

/// Whether a program that runs in the pod's network succeeds.
fn in_pod(pod: &PodNetwork, words: &[&str]) -> bool {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let output = pod.run(move || Command::new(&words[0]).args(&words[1..]).output().unwrap());
    output.join().unwrap().status.success()
}

fn dropped(lab: &Lab) -> u64 {
    let metrics = lab.on(LIAR.1, &["curl", "--silent", "--fail", "http://127.0.0.1:9850/metrics"]);
    let mark = format!("seaway_drop_packets_total{{reason=\"{REASON}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&mark));
    line.unwrap_or_else(|| panic!("no {mark} in {metrics}")).parse().unwrap()
}

fn lines_of(child: &mut std::process::Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}
