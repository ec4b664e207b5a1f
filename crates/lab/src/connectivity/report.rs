//! The test's results for people and for programs.

use serde_json::{Value, json};

use super::{Kind, Outcome};

/// One row per kind and family.
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["CHECK", "FAMILY", "PASSED", "SLOWEST", "FIRST FAILURE"]);
    for (kind, ipv6, group) in groups(outcomes) {
        let passed = group.iter().filter(|outcome| outcome.result.is_ok()).count();
        let slowest = group.iter().filter_map(|outcome| outcome.result.as_ref().ok()).max();
        let failure = group.iter().find_map(|outcome| {
            let reason = outcome.result.as_ref().err()?;
            Some(format!("{} to {}: {reason}", outcome.check.from, outcome.check.target))
        });
        table.add_row([
            kind.title().to_owned(),
            family(ipv6).to_owned(),
            format!("{passed}/{}", group.len()),
            slowest.map_or_else(|| "-".to_owned(), |micros| format!("{}.{} ms", micros / 1000, micros % 1000 / 100)),
            failure.unwrap_or_default(),
        ]);
    }
    table.trim_fmt()
}

/// The same for programs: every check, and the findings.
#[must_use]
pub fn document(outcomes: &[Outcome], findings: &[String]) -> Value {
    let checks: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            let check = &outcome.check;
            json!({
                "kind": check.kind,
                "family": family(check.ipv6),
                "from": check.from,
                "toNode": check.to_node,
                "target": check.target,
                "micros": outcome.result.as_ref().ok(),
                "failure": outcome.result.as_ref().err(),
            })
        })
        .collect();
    let passed = outcomes.iter().filter(|outcome| outcome.result.is_ok()).count();
    json!({ "passed": passed, "failed": outcomes.len() - passed, "findings": findings, "checks": checks })
}

fn family(ipv6: bool) -> &'static str {
    if ipv6 { "IPv6" } else { "IPv4" }
}

fn groups(outcomes: &[Outcome]) -> Vec<(Kind, bool, Vec<&Outcome>)> {
    let mut groups = Vec::new();
    for kind in Kind::ALL {
        for ipv6 in [false, true] {
            let group: Vec<_> = outcomes.iter().filter(|o| o.check.kind == *kind && o.check.ipv6 == ipv6).collect();
            if !group.is_empty() {
                groups.push((*kind, ipv6, group));
            }
        }
    }
    groups
}
