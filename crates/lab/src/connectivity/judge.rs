//! From failed checks to sentences that name what is broken. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Outcome};

/// Failed checks named one by one at most.
const SINGLE_FAILURES: usize = 8;

/// What is known of the nodes beside the outcomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Rack of each node.
    pub racks: BTreeMap<String, String>,
    /// Nodes without a test pod that runs.
    pub without_pods: Vec<String>,
}

/// One sentence per thing that is broken; empty: all is well.
#[must_use]
pub fn findings(outcomes: &[Outcome], surroundings: &Surroundings) -> Vec<String> {
    let mut findings: Vec<String> = surroundings
        .without_pods
        .iter()
        .map(|node| format!("node {node} runs no test pod: `kubectl -n seaway-test describe pods` says why"))
        .collect();
    let mut open: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.result.is_err()).collect();
    cut_nodes(outcomes, surroundings, &mut open, &mut findings);
    partitioned_racks(outcomes, surroundings, &mut open, &mut findings);
    broken_pairs(outcomes, &mut open, &mut findings);
    large_packets(&mut open, &mut findings);
    whole_kinds(outcomes, &mut open, &mut findings);
    for outcome in open.iter().take(SINGLE_FAILURES) {
        let reason = outcome.result.as_ref().err().map_or("", String::as_str);
        let check = &outcome.check;
        findings.push(format!("{}: {} to {}: {reason}", check.kind.title(), check.from, check.target));
    }
    if open.len() > SINGLE_FAILURES {
        findings.push(format!("and {} more", open.len() - SINGLE_FAILURES));
    }
    findings
}

/// The two nodes a check goes between, if between two.
fn ends(outcome: &Outcome) -> Option<(&str, &str)> {
    let (from, to) = (outcome.check.from.node()?, outcome.check.to_node.as_deref()?);
    (from != to).then_some((from, to))
}

fn cut_nodes(all: &[Outcome], known: &Surroundings, open: &mut Vec<&Outcome>, findings: &mut Vec<String>) {
    let nodes: BTreeSet<&str> = all.iter().filter_map(ends).flat_map(|(from, to)| [from, to]).collect();
    // With two nodes nobody can say which of them is cut off.
    if nodes.len() < 3 {
        return;
    }
    let mut cut = BTreeSet::new();
    for node in nodes {
        let mut between =
            all.iter().filter(|outcome| ends(outcome).is_some_and(|(from, to)| from == node || to == node));
        if between.all(|outcome| outcome.result.is_err()) {
            cut.insert(node);
            findings.push(cut_node(node, known));
        }
    }
    // Whatever else a node without a link does not reach needs no sentence of
    // its own, nor do Services some of whose pods are on it.
    open.retain(|outcome| {
        if !cut.is_empty() && outcome.check.kind.is_of_a_service() {
            return false;
        }
        let touches = |node: Option<&str>| node.is_some_and(|node| cut.contains(node));
        let crosses = ends(outcome).is_some() || outcome.check.from.node().is_none() || outcome.check.to_node.is_none();
        !(crosses && (touches(outcome.check.from.node()) || touches(outcome.check.to_node.as_deref())))
    });
}

/// Of a node that is alone in its rack nobody can say whether it or the rack is
/// cut off.
fn cut_node(node: &str, known: &Surroundings) -> String {
    let rack = known.racks.get(node);
    let alone = known.racks.values().filter(|other| Some(*other) == rack).count() == 1;
    match rack {
        Some(rack) if alone => {
            format!(
                "node {node}, alone in rack {rack}, unreachable from everyone: link down, or rack {rack} partitioned?"
            )
        }
        _ => format!("node {node} unreachable from everyone: link down?"),
    }
}

fn partitioned_racks(all: &[Outcome], known: &Surroundings, open: &mut Vec<&Outcome>, findings: &mut Vec<String>) {
    let racks_of = |outcome: &Outcome| -> Option<(String, String)> {
        let (from, to) = ends(outcome)?;
        let (a, b) = (known.racks.get(from)?, known.racks.get(to)?);
        match a.cmp(b) {
            std::cmp::Ordering::Less => Some((a.clone(), b.clone())),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some((b.clone(), a.clone())),
        }
    };
    let pairs: BTreeSet<_> = open.iter().filter_map(|outcome| racks_of(outcome)).collect();
    for pair in pairs {
        let mut between = all.iter().filter(|outcome| racks_of(outcome).as_ref() == Some(&pair));
        if between.all(|outcome| outcome.result.is_err()) {
            findings.push(format!("racks {} and {} do not reach each other: partitioned?", pair.0, pair.1));
            open.retain(|outcome| racks_of(outcome).as_ref() != Some(&pair));
        }
    }
}

fn broken_pairs(all: &[Outcome], open: &mut Vec<&Outcome>, findings: &mut Vec<String>) {
    let pairs: BTreeSet<_> = open.iter().filter_map(|outcome| ends(outcome)).collect();
    let broken: Vec<_> = pairs
        .iter()
        .filter(|pair| {
            all.iter().filter(|outcome| ends(outcome) == Some(**pair)).all(|outcome| outcome.result.is_err())
        })
        .copied()
        .collect();
    for (from, to) in &broken {
        if broken.contains(&(to, from)) {
            // Said once for both directions.
            if from < to {
                findings.push(format!("nodes {from} and {to} do not reach each other, in neither direction"));
            }
        } else {
            findings.push(format!("nothing from node {from} reaches node {to}"));
        }
    }
    open.retain(|outcome| !ends(outcome).is_some_and(|pair| broken.contains(&pair)));
}

fn large_packets(open: &mut Vec<&Outcome>, findings: &mut Vec<String>) {
    // Small ones failed as well: then size is not the reason.
    let small: BTreeSet<_> = open
        .iter()
        .filter(|outcome| matches!(outcome.check.kind, Kind::CrossNodeTcp))
        .filter_map(|outcome| ends(outcome))
        .collect();
    let large: BTreeSet<_> = open
        .iter()
        .filter(|outcome| outcome.check.kind == Kind::CrossNodeLarge)
        .filter_map(|outcome| ends(outcome))
        .filter(|pair| !small.contains(pair))
        .collect();
    for (from, to) in &large {
        findings.push(format!(
            "large packets from node {from} to node {to} are lost, small ones arrive: a smaller MTU on the way?"
        ));
    }
    open.retain(|outcome| {
        outcome.check.kind != Kind::CrossNodeLarge || !ends(outcome).is_some_and(|pair| large.contains(&pair))
    });
}

fn whole_kinds(all: &[Outcome], open: &mut Vec<&Outcome>, findings: &mut Vec<String>) {
    for kind in Kind::ALL {
        for ipv6 in [false, true] {
            let same = |outcome: &Outcome| outcome.check.kind == *kind && outcome.check.ipv6 == ipv6;
            let count = all.iter().filter(|outcome| same(outcome)).count();
            let failed: Vec<_> = open.iter().filter(|outcome| same(outcome)).collect();
            if count > 1 && failed.len() == count {
                let mut reasons: Vec<&str> =
                    failed.iter().filter_map(|o| o.result.as_ref().err().map(String::as_str)).collect();
                reasons.sort_unstable();
                reasons.dedup();
                let family = if ipv6 { "IPv6" } else { "IPv4" };
                findings.push(format!("{} over {family} works nowhere: {}", kind.title(), reasons.join("; ")));
                open.retain(|outcome| !same(outcome));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Check, Place, Question};
    use super::*;

    fn outcomes(broken: impl Fn(&str, &str, Kind) -> bool) -> Vec<Outcome> {
        let nodes = ["n1", "n2", "n3"];
        let mut outcomes = Vec::new();
        for from in nodes {
            for to in nodes.iter().filter(|to| **to != from) {
                for kind in [Kind::CrossNodeTcp, Kind::CrossNodeLarge] {
                    let check = Check {
                        kind,
                        ipv6: false,
                        from: Place::Pod { node: from.into(), pod: format!("pod-{from}") },
                        to_node: Some((*to).into()),
                        target: ([10, 0, 0, 1], 80).into(),
                        question: Question::Accept,
                    };
                    let result = if broken(from, to, kind) { Err("no answer".into()) } else { Ok(100) };
                    outcomes.push(Outcome { check, result });
                }
            }
        }
        outcomes
    }

    #[test]
    fn a_cut_link_is_named_once() {
        let all = outcomes(|from, to, _| from == "n2" || to == "n2");
        assert_eq!(findings(&all, &Surroundings::default()), ["node n2 unreachable from everyone: link down?"]);
    }

    #[test]
    fn a_cut_node_alone_in_its_rack_may_be_a_partition() {
        let racks = [("n1", "r1"), ("n2", "r1"), ("n3", "r2")].map(|(n, r)| (n.to_owned(), r.to_owned())).into();
        let known = Surroundings { racks, without_pods: Vec::new() };
        let all = outcomes(|from, to, _| from == "n3" || to == "n3");
        let found = findings(&all, &known);
        assert_eq!(found, ["node n3, alone in rack r2, unreachable from everyone: link down, or rack r2 partitioned?"]);
        let all = outcomes(|from, to, _| from == "n2" || to == "n2");
        assert_eq!(findings(&all, &known), ["node n2 unreachable from everyone: link down?"]);
    }

    #[test]
    fn a_partition_is_named_by_racks() {
        let racks = [("n1", "r1"), ("n2", "r1"), ("n3", "r2")].map(|(n, r)| (n.to_owned(), r.to_owned())).into();
        let all = outcomes(|from, to, _| (from == "n1" && to == "n3") || (from == "n3" && to == "n1"));
        let found = findings(&all, &Surroundings { racks, without_pods: Vec::new() });
        assert_eq!(found, ["nodes n1 and n3 do not reach each other, in neither direction"]);
    }

    #[test]
    fn only_large_packets_lost_points_at_the_mtu() {
        let all = outcomes(|from, to, kind| kind == Kind::CrossNodeLarge && from == "n1" && to == "n2");
        let found = findings(&all, &Surroundings::default());
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("large packets from node n1 to node n2 are lost"), "{found:?}");
    }

    #[test]
    fn nothing_broken_says_nothing() {
        assert!(findings(&outcomes(|_, _, _| false), &Surroundings::default()).is_empty());
    }
}
