//! A pod that sends from an address it does not own.

use std::io::{BufRead, BufReader};
use std::sync::mpsc::channel;

use serde_json::Value;

use super::lab::Lab;

const FALSE_ADDRESS: &str = "10.99.99.99";
/// Packets sent before the event stream must have begun.
const ATTEMPTS: usize = 30;

/// Spoofed packets from `liar` to `victim` do not arrive, and `seaway monitor` says who sent them.
pub(crate) fn is_dropped_and_told(lab: &Lab, liar: &str, victim: &str) {
    let target = lab.test_pod_address(victim, "-4");
    let process = lab.test_pod_on(liar);
    let in_pod =
        |words: &[&str]| lab.run(&[&["exec", liar, "--", "nsenter", "--net", "--target", &process], words].concat());
    assert!(in_pod(&["ip", "address", "add", &format!("{FALSE_ADDRESS}/32"), "dev", "eth0"]).status.success());

    let mut monitor = lab.spawn_on(liar, &["seaway", "monitor", "-o", "json"]);
    let (sender, events) = channel();
    let lines = BufReader::new(monitor.0.stdout.take().unwrap()).lines();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut first = None;
    for _ in 0..ATTEMPTS {
        let arrived = in_pod(&["ping", "-c", "1", "-W", "1", "-I", FALSE_ADDRESS, &target]).status.success();
        assert!(!arrived, "a packet from a false address arrived");
        first = events.try_recv().ok();
        if first.is_some() {
            break;
        }
    }
    let line = first.unwrap_or_else(|| panic!("no event after {ATTEMPTS} packets"));
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["reason"], "spoofed_source_ip", "{event}");
    assert_eq!((&event["source"], &event["destination"]), (&FALSE_ADDRESS.into(), &target.into()), "{event}");
    let cause = event["cause"].as_str().unwrap_or_default();
    assert!(cause.starts_with("pod seaway-test/probe-"), "{event}");
    assert!(in_pod(&["ip", "address", "del", &format!("{FALSE_ADDRESS}/32"), "dev", "eth0"]).status.success());
}
