//! Faults that last until healed, and what they mean for the wire. Pure; the
//! doing is in [`super::inject`].

use std::fmt;

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::process::ProcessId;

/// nft table of the faults between racks, in the wire namespace.
const PARTITION_TABLE: &str = "seaway_lab_partition";
/// nft table of the faults on single links, in the wire namespace.
const LOSS_TABLE: &str = "seaway_lab_loss";
/// Losses are counted in hundredths of a percent.
const LOSS_SCALE: f64 = 100.0;

/// Something broken on purpose. Its variants are the words of `lab break`.
#[derive(Debug, Clone, PartialEq, clap::Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Fault {
    /// Cut a node's cable: its `eth0` has no carrier.
    Link {
        /// The node.
        node: String,
    },
    /// Cut a rack off from the router.
    Partition {
        /// The rack: r1, r2, …
        rack: String,
    },
    /// Let the wire to a node carry smaller packets than the node believes:
    /// larger ones vanish without an ICMP message.
    Mtu {
        /// The node.
        node: String,
        /// Largest packet that passes.
        bytes: u32,
    },
    /// Lose packets from and to a node at random.
    Loss {
        /// The node.
        node: String,
        /// How many of a hundred packets, such as 10 or 0.5.
        percent: f64,
    },
    /// Stop a program's processes with SIGSTOP.
    Freeze {
        /// The node.
        node: String,
        /// The program: kubelet, containerd, etcd, agent, …
        program: String,
        /// Its processes.
        #[arg(skip)]
        processes: Vec<ProcessId>,
    },
    /// Switch a node off.
    #[command(name = "stop")]
    Power {
        /// The node.
        node: String,
    },
}

// === impl Fault ===

impl Fault {
    /// The words that name it on the command line: `link n1`.
    #[must_use]
    pub fn words(&self) -> Vec<&str> {
        match self {
            Self::Link { node } => vec!["link", node],
            Self::Partition { rack } => vec!["partition", rack],
            Self::Mtu { node, .. } => vec!["mtu", node],
            Self::Loss { node, .. } => vec!["loss", node],
            Self::Freeze { node, program, .. } => vec!["freeze", node, program],
            Self::Power { node } => vec!["power", node],
        }
    }

    /// Whether `words` name it, or a group it belongs to: `link` means all cut
    /// links.
    #[must_use]
    pub fn is_named(&self, words: &[String]) -> bool {
        let own = self.words();
        words.len() <= own.len() && words.iter().zip(&own).all(|(given, own)| given == own)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))?;
        match self {
            Self::Mtu { bytes, .. } => write!(f, " {bytes}"),
            Self::Loss { percent, .. } => write!(f, " {percent}%"),
            _ => Ok(()),
        }
    }
}

/// The nftables script that puts exactly these faults in force, in one step.
#[must_use]
pub(super) fn nft_script(faults: &[Fault], layout: &Layout) -> String {
    let mut partitions = String::new();
    let mut losses = String::new();
    for fault in faults {
        match fault {
            Fault::Partition { rack } => {
                if let Some(rack) = layout.rack(rack) {
                    let bridge = &rack.bridge;
                    partitions.push_str(&format!("iifname {bridge} drop\noifname {bridge} drop\n"));
                }
            }
            Fault::Loss { node, percent } => {
                if let Some(host) = layout.host(node) {
                    losses.push_str(&loss_chains(&host.port, *percent));
                }
            }
            _ => {}
        }
    }
    // Declared before deleted, because deleting what is not there is an error.
    let mut script = String::new();
    for (family, table, content) in [
        (
            "inet",
            PARTITION_TABLE,
            if partitions.is_empty() {
                partitions
            } else {
                format!("chain forward {{\ntype filter hook forward priority 0\n{partitions}}}\n")
            },
        ),
        ("netdev", LOSS_TABLE, losses),
    ] {
        script.push_str(&format!("table {family} {table}\ndelete table {family} {table}\n"));
        if !content.is_empty() {
            script.push_str(&format!("table {family} {table} {{\n{content}}}\n"));
        }
    }
    script
}

fn loss_chains(port: &str, percent: f64) -> String {
    let share = (percent * LOSS_SCALE).round();
    let whole = 100.0 * LOSS_SCALE;
    // nft takes no comparison that is always true.
    let chance = if share < whole { format!("numgen random mod {whole} < {share} ") } else { String::new() };
    ["ingress", "egress"]
        .iter()
        .map(|hook| {
            format!(
                "chain {hook}-{port} {{\ntype filter hook {hook} device {port} priority 0\n\
                 {chance}drop\n}}\n"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::LabSpec;

    #[test]
    fn faults_are_named_by_their_first_words() {
        let fault = Fault::Freeze { node: "n1".into(), program: "agent".into(), processes: Vec::new() };
        for (words, named) in [("freeze", true), ("freeze n1", true), ("freeze n1 agent", true), ("freeze n2", false)] {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            assert_eq!(fault.is_named(&words), named, "{words:?}");
        }
        assert_eq!(Fault::Loss { node: "n1".into(), percent: 2.5 }.to_string(), "loss n1 2.5%");
    }

    #[test]
    fn the_script_replaces_both_tables() {
        let layout = Layout::of(&LabSpec { racks: 2, ..LabSpec::default() });
        let faults = [Fault::Partition { rack: "r2".into() }, Fault::Loss { node: "n1".into(), percent: 2.5 }];
        let script = nft_script(&faults, &layout);
        assert!(script.contains("iifname rack2 drop\noifname rack2 drop"), "{script}");
        assert!(
            script.contains("hook egress device port-n1 priority 0\nnumgen random mod 10000 < 250 drop"),
            "{script}"
        );
        assert_eq!(
            nft_script(&[], &layout),
            "table inet seaway_lab_partition\ndelete table inet seaway_lab_partition\n\
             table netdev seaway_lab_loss\ndelete table netdev seaway_lab_loss\n"
        );
    }
}
