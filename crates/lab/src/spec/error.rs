//! Why a specification is refused, ids SW0930 to SW0949. Each names the field.

use std::path::PathBuf;

use ipnet::IpNet;
use seaway_model::{Diagnose, ErrorId};

/// A specification that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no YAML, or has fields or values the lab does not know.
    #[error("{} is not a lab specification: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
        reason: String,
    },
    /// A name that cannot be a directory, a cgroup and a host name.
    #[error("{field}: {value:?} is not a name of at most {limit} lower-case letters, digits and inner hyphens")]
    BadName {
        /// The field.
        field: String,
        /// The name given.
        value: String,
        /// Longest name allowed.
        limit: usize,
    },
    /// A count out of its range.
    #[error("{field}: {value} is not between {least} and {most}")]
    BadCount {
        /// The field.
        field: &'static str,
        /// The number given.
        value: u32,
        /// Smallest allowed.
        least: u32,
        /// Largest allowed.
        most: u32,
    },
    /// IPv6 asks for 1280 bytes on every link (RFC 8200 §5).
    #[error("linkMtuBytes: {value} is too small for IPv6, whose links carry at least {least} bytes")]
    MtuTooSmallForIpv6 {
        /// The MTU given.
        value: u32,
        /// Smallest allowed.
        least: u32,
    },
    /// A range with fewer addresses than the lab needs.
    #[error("{field}: {range} is too small: {need}")]
    RangeTooSmall {
        /// The field.
        field: &'static str,
        /// The range given.
        range: IpNet,
        /// What must fit.
        need: String,
    },
    /// A Service range larger than the API server takes.
    #[error("{field}: {range} is too large: {limit}")]
    RangeTooLarge {
        /// The field.
        field: &'static str,
        /// The range given.
        range: IpNet,
        /// What is taken at most.
        limit: String,
    },
    /// Two ranges share addresses.
    #[error("{field}: {range} overlaps {other_field} {other}")]
    Overlap {
        /// The field.
        field: &'static str,
        /// Its range.
        range: IpNet,
        /// The other field.
        other_field: &'static str,
        /// The other range.
        other: IpNet,
    },
    /// The ranges' families are not those of the lab.
    #[error("{field}: {reason}")]
    FamilyMismatch {
        /// The field.
        field: &'static str,
        /// What is missing or too much.
        reason: String,
    },
    /// Something for a node the lab does not have.
    #[error("{field}: there is no node {node:?} among n1 to n{nodes}")]
    UnknownNode {
        /// The field.
        field: &'static str,
        /// The name given.
        node: String,
        /// Number of nodes.
        nodes: u32,
    },
    /// An address with host bits where a range is wanted.
    #[error("{field}: {range} has bits set behind its prefix length")]
    HostBits {
        /// The field.
        field: &'static str,
        /// The range given.
        range: IpNet,
    },
}

// === impl SpecError ===

impl Diagnose for SpecError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::Unreadable { .. } => 930,
            Self::Syntax { .. } => 931,
            Self::BadName { .. } => 932,
            Self::BadCount { .. } => 933,
            Self::MtuTooSmallForIpv6 { .. } => 934,
            Self::RangeTooSmall { .. } => 935,
            Self::RangeTooLarge { .. } => 936,
            Self::Overlap { .. } => 937,
            Self::FamilyMismatch { .. } => 938,
            Self::UnknownNode { .. } => 939,
            Self::HostBits { .. } => 940,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::Unreadable { .. } => "give the path of an existing lab.yaml".into(),
            Self::Syntax { .. } => "docs/reference/lab-yaml.md describes every field".into(),
            Self::BadName { .. } => "use a short name such as `default` or `test-2`".into(),
            Self::BadCount { field, least, most, .. } => format!("set {field} between {least} and {most}"),
            Self::MtuTooSmallForIpv6 { .. } => "raise linkMtuBytes, or set `families: ipv4`".into(),
            Self::RangeTooSmall { field: field @ "serviceCidrs", .. } => format!("give {field} a shorter prefix"),
            Self::RangeTooSmall { field, .. } => {
                format!("give {field} a shorter prefix, or ask for fewer nodes and racks")
            }
            Self::RangeTooLarge { field, .. } => format!("give {field} a longer prefix"),
            Self::Overlap { field, other_field, .. } => {
                format!("move one of {field} and {other_field}, for example within 10.0.0.0/8 or fd00::/8")
            }
            Self::FamilyMismatch { field, .. } => {
                format!("give {field} one range per family of `families`, or leave it out for the default")
            }
            Self::UnknownNode { .. } => "nodes are named n1, n2, … up to the number of nodes".into(),
            Self::HostBits { range, .. } => format!("write {}", range.trunc()),
        }
    }
}
