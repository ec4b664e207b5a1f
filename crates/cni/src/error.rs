//! What can go wrong in the plugin, and how CNI is told (SW0700–SW0729).

use std::io;
use std::path::PathBuf;

use seaway_model::agent_api::Failure;
use seaway_model::{Diagnose, ErrorId};
use serde_json::{Value, json};

use crate::version::SpecVersion;

/// Why the plugin could not do what the runtime asked.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// Required variables are missing.
    #[error("environment variable {} is not set", .variables.join(", "))]
    VariableMissing {
        /// Their names.
        variables: Vec<&'static str>,
    },
    /// A variable has a value that cannot be used.
    #[error("environment variable {variable} has the value {value:?}: {problem}")]
    VariableInvalid {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// Why it cannot be used.
        problem: &'static str,
    },
    /// `CNI_ARGS` has keys that nobody here reads, and no `IgnoreUnknown`.
    #[error("environment variable CNI_ARGS has unknown keys: {}", .keys.join(", "))]
    ArgumentsUnknown {
        /// The keys.
        keys: Vec<String>,
    },
    /// The configuration could not be read.
    #[error("the network configuration could not be read from standard input: {source}")]
    InputUnreadable {
        /// Why.
        source: io::Error,
    },
    /// The configuration is larger than any sensible one.
    #[error("the network configuration on standard input is larger than {limit_bytes} bytes")]
    InputTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The configuration is no JSON object.
    #[error("the network configuration on standard input is not a JSON object: {problem}")]
    NotJson {
        /// Where and why.
        problem: String,
    },
    /// A field has the wrong type or form.
    #[error("network configuration: field {field:?} has the value {value}: {problem}")]
    FieldMalformed {
        /// Path of the field.
        field: String,
        /// Its value as JSON.
        value: String,
        /// What was expected.
        problem: String,
    },
    /// A field is required and missing or empty.
    #[error("network configuration: field {field:?} is missing or empty: {problem}")]
    FieldMissing {
        /// Its name.
        field: &'static str,
        /// Why it is needed.
        problem: &'static str,
    },
    /// A field that Seaway does not obey.
    #[error("network configuration: field {field:?} with the value {value} is not supported")]
    FieldUnsupported {
        /// Its name.
        field: &'static str,
        /// Its value as JSON.
        value: String,
        /// What to use in its place.
        instead: &'static str,
    },
    /// A version of the specification that is not spoken here.
    #[error("network configuration: field \"cniVersion\" has the value {version:?}, which this plugin does not speak")]
    VersionUnsupported {
        /// The version.
        version: String,
    },
    /// The verb is younger than the configuration's version.
    #[error("CNI_COMMAND={verb} needs a network configuration of cniVersion {needed} or later, this one has {found}")]
    VerbTooNew {
        /// The verb.
        verb: &'static str,
        /// First version that has it.
        needed: &'static str,
        /// Version of the configuration.
        found: &'static str,
    },
    /// The sandbox is not there.
    #[error("CNI_NETNS={} cannot be opened: {source}", .path.display())]
    SandboxMissing {
        /// Path of the namespace.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path is no network namespace.
    #[error("CNI_NETNS={} is not a network namespace", .path.display())]
    NotANamespace {
        /// The path.
        path: PathBuf,
    },
    /// The sandbox is the node itself.
    #[error("CNI_NETNS={} is the network namespace of the node itself", .path.display())]
    OwnNamespace {
        /// The path.
        path: PathBuf,
    },
    /// Nobody listens on the socket.
    #[error("the Seaway agent does not answer on {}: {source}", .socket.display())]
    AgentAway {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The agent took the request and did not answer.
    #[error("the Seaway agent on {} took the request and did not answer: {source}", .socket.display())]
    AgentSilent {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The agent's answer makes no sense to this plugin.
    #[error("the Seaway agent on {} gave an answer that this plugin does not understand: {problem}", .socket.display())]
    AnswerMalformed {
        /// The socket.
        socket: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A deletion could not be left for the agent.
    #[error("the deletion could not be kept for the agent in {}: {source}", .path.display())]
    DeletionNotKept {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The agent refused, with its own id, reason and fix.
    #[error("{}", .failure.message)]
    Refused {
        /// What it said.
        failure: Failure,
    },
}

impl CniError {
    /// Code of the CNI specification, section 5, "Error".
    #[must_use]
    pub fn cni_code(&self) -> u32 {
        match self {
            CniError::VersionUnsupported { .. } | CniError::VerbTooNew { .. } => 1,
            CniError::FieldUnsupported { .. } => 2,
            CniError::SandboxMissing { .. } => 3,
            CniError::VariableMissing { .. }
            | CniError::VariableInvalid { .. }
            | CniError::ArgumentsUnknown { .. }
            | CniError::NotANamespace { .. }
            | CniError::OwnNamespace { .. } => 4,
            CniError::InputUnreadable { .. } | CniError::InputTooLarge { .. } => 5,
            CniError::NotJson { .. } => 6,
            CniError::FieldMalformed { .. } | CniError::FieldMissing { .. } => 7,
            CniError::AgentAway { .. } | CniError::AgentSilent { .. } | CniError::DeletionNotKept { .. } => 11,
            CniError::AnswerMalformed { .. } => 100,
            CniError::Refused { failure } => failure.cni_code,
        }
    }

    /// No agent listens, or it ended while it had the request. A timeout is
    /// something else: then the agent has the request and is busy.
    #[must_use]
    pub fn means_agent_is_gone(&self) -> bool {
        match self {
            CniError::AgentAway { .. } => true,
            CniError::AgentSilent { source, .. } => {
                !matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
            }
            _ => false,
        }
    }

    /// Id as shown: ours, or the agent's own.
    #[must_use]
    pub fn shown_id(&self) -> String {
        match self {
            CniError::Refused { failure } => failure.id.clone(),
            other => other.id().to_string(),
        }
    }

    /// The error structure of the specification. `code` lets STATUS say 50
    /// where other verbs say "try again".
    #[must_use]
    pub fn to_json(&self, version: SpecVersion, code: u32) -> Value {
        let id = self.shown_id();
        json!({
            "cniVersion": version.text(),
            "code": code,
            "msg": format!("{id}: {self}"),
            "details": format!("{id}: {}", self.fix()),
        })
    }
}

impl Diagnose for CniError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            CniError::VariableMissing { .. } => 700,
            CniError::VariableInvalid { .. } => 701,
            CniError::ArgumentsUnknown { .. } => 702,
            CniError::InputUnreadable { .. } => 703,
            CniError::InputTooLarge { .. } => 704,
            CniError::NotJson { .. } => 705,
            CniError::FieldMalformed { .. } => 706,
            CniError::FieldMissing { .. } => 707,
            CniError::FieldUnsupported { .. } => 708,
            CniError::VersionUnsupported { .. } => 709,
            CniError::VerbTooNew { .. } => 710,
            CniError::SandboxMissing { .. } => 711,
            CniError::NotANamespace { .. } => 712,
            CniError::OwnNamespace { .. } => 713,
            CniError::AgentAway { .. } => 714,
            CniError::AgentSilent { .. } => 715,
            CniError::AnswerMalformed { .. } => 716,
            CniError::DeletionNotKept { .. } => 717,
            CniError::Refused { .. } => 718,
        })
    }

    fn fix(&self) -> String {
        match self {
            CniError::VariableMissing { .. } | CniError::VariableInvalid { .. } => {
                "the container runtime sets these variables; run the plugin through a runtime or cnitool".into()
            }
            CniError::ArgumentsUnknown { .. } => {
                "remove the keys, or add IgnoreUnknown=1 to CNI_ARGS".into()
            }
            CniError::InputUnreadable { .. } => {
                "the container runtime writes the configuration to the plugin's standard input; look in its log".into()
            }
            CniError::InputTooLarge { .. } | CniError::NotJson { .. } => {
                "correct the file in /etc/cni/net.d; the agent writes a good one when it starts".into()
            }
            CniError::FieldMalformed { field, .. } => {
                format!("correct {field} in the file in /etc/cni/net.d, or in what the runtime adds to it")
            }
            CniError::FieldMissing { field, .. } => {
                format!("add {field}; the runtime adds it to what it reads from /etc/cni/net.d")
            }
            CniError::FieldUnsupported { instead, .. } => (*instead).to_owned(),
            CniError::VersionUnsupported { .. } => {
                let all: Vec<_> = SpecVersion::ALL.iter().map(|version| version.text()).collect();
                format!("use one of {}", all.join(", "))
            }
            CniError::VerbTooNew { needed, .. } => {
                format!("set cniVersion to {needed} or later in the file in /etc/cni/net.d")
            }
            CniError::SandboxMissing { .. } => {
                "the sandbox has ended or was never made; the runtime need not clean up".into()
            }
            CniError::NotANamespace { .. } => {
                "CNI_NETNS must be a path such as /run/netns/NAME or /proc/PID/ns/net".into()
            }
            CniError::OwnNamespace { .. } => {
                "pods on the host network are not attached; give the sandbox a namespace of its own".into()
            }
            CniError::AgentAway { .. } => {
                "the agent is starting, or not running: look at the seaway-agent pod of this node; the runtime tries again".into()
            }
            CniError::AgentSilent { .. } => {
                "the agent was stopped meanwhile or is stuck: look at its log; the runtime tries again".into()
            }
            CniError::AnswerMalformed { .. } => {
                "plugin and agent are of different versions: let the agent's init container install the plugin again".into()
            }
            CniError::DeletionNotKept { .. } => {
                "make room on the file system of /run, or start the agent; the runtime tries again".into()
            }
            CniError::Refused { failure } => failure.fix.clone(),
        }
    }
}
