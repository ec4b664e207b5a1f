//! What the runtime asks, from the environment variables of the specification
//! (section 2, "Parameters").

use std::collections::BTreeMap;
use std::path::PathBuf;

use seaway_model::agent_api::AttachmentKey;
use seaway_model::{ContainerId, InterfaceName};

use crate::arguments::Arguments;
use crate::error::CniError;

/// Longest interface name Linux takes: IFNAMSIZ less the closing zero.
const INTERFACE_NAME_LIMIT_BYTES: usize = 15;

/// The `CNI_…` variables of the process.
#[derive(Debug, Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Connect a sandbox.
    Add(Sandbox),
    /// Disconnect a sandbox.
    Delete(Sandbox),
    /// Compare a sandbox with what ADD made.
    Check(Sandbox),
    /// Forget attachments that the runtime no longer knows.
    GarbageCollect,
    /// Could an ADD succeed now?
    Status,
    /// Which versions are spoken?
    Version,
}

/// The sandbox a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Identity of the attachment.
    pub key: AttachmentKey,
    /// `CNI_NETNS`; always there for ADD and CHECK.
    pub namespace: Option<PathBuf>,
    /// `CNI_NETNS_OVERRIDE`: the caller really means its own namespace.
    pub own_namespace_allowed: bool,
    /// `CNI_ARGS`.
    pub arguments: Arguments,
}

// === impl Variables ===

impl Variables {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Variables {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
    }

    /// A value; an empty one is as good as none.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(iter: T) -> Self {
        Variables(iter.into_iter().filter(|(name, _)| name.starts_with("CNI_")).collect())
    }
}

// === impl Command ===

impl Command {
    /// Reads and validates the variables, before anything else is looked at.
    ///
    /// # Errors
    /// Names every missing variable, or the first one with a bad value.
    pub fn from_variables(variables: &Variables) -> Result<Command, CniError> {
        let verb = variables.get("CNI_COMMAND").ok_or(CniError::VariableMissing { variables: vec!["CNI_COMMAND"] })?;
        match verb {
            "ADD" => Ok(Command::Add(Sandbox::from_variables(variables, Need::Namespace)?)),
            "CHECK" => Ok(Command::Check(Sandbox::from_variables(variables, Need::Namespace)?)),
            "DEL" => Ok(Command::Delete(Sandbox::from_variables(variables, Need::NoNamespace)?)),
            "GC" => Ok(Command::GarbageCollect),
            "STATUS" => Ok(Command::Status),
            "VERSION" => Ok(Command::Version),
            other => Err(CniError::VariableInvalid {
                variable: "CNI_COMMAND",
                value: other.to_owned(),
                problem: "it must be ADD, DEL, CHECK, GC, STATUS or VERSION",
            }),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Namespace,
    NoNamespace,
}

impl Sandbox {
    fn from_variables(variables: &Variables, need: Need) -> Result<Sandbox, CniError> {
        let container_id = variables.get("CNI_CONTAINERID");
        let interface = variables.get("CNI_IFNAME");
        let namespace = variables.get("CNI_NETNS");
        let (Some(container_id), Some(interface), true) =
            (container_id, interface, namespace.is_some() || need == Need::NoNamespace)
        else {
            let mut missing = Vec::new();
            for (name, absent) in [
                ("CNI_CONTAINERID", container_id.is_none()),
                ("CNI_NETNS", namespace.is_none() && need == Need::Namespace),
                ("CNI_IFNAME", interface.is_none()),
            ] {
                if absent {
                    missing.push(name);
                }
            }
            return Err(CniError::VariableMissing { variables: missing });
        };
        check_container_id(container_id)?;
        check_interface_name(interface)?;
        let arguments = match (Arguments::parse(variables.get("CNI_ARGS").unwrap_or("")), need) {
            (Ok(arguments), _) => arguments,
            // DEL must not fail for something it does not need.
            (Err(_), Need::NoNamespace) => Arguments::default(),
            (Err(error), Need::Namespace) => return Err(error),
        };
        let own = variables.get("CNI_NETNS_OVERRIDE");
        Ok(Sandbox {
            key: AttachmentKey {
                container_id: ContainerId(container_id.to_owned()),
                interface: InterfaceName(interface.to_owned()),
            },
            namespace: namespace.map(PathBuf::from),
            own_namespace_allowed: own.is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")),
            arguments,
        })
    }
}

fn check_container_id(text: &str) -> Result<(), CniError> {
    let invalid = |problem| CniError::VariableInvalid { variable: "CNI_CONTAINERID", value: text.to_owned(), problem };
    if !text.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Err(invalid("it must start with a letter or digit"));
    }
    if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')) {
        return Err(invalid("only letters, digits, '_', '.' and '-' are allowed"));
    }
    Ok(())
}

fn check_interface_name(text: &str) -> Result<(), CniError> {
    let invalid = |problem| CniError::VariableInvalid { variable: "CNI_IFNAME", value: text.to_owned(), problem };
    if text.len() > INTERFACE_NAME_LIMIT_BYTES {
        return Err(invalid("it is longer than 15 bytes"));
    }
    if text == "." || text == ".." || text == "lo" {
        return Err(invalid("this name is reserved"));
    }
    if text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
        return Err(invalid("'/', ':' and white space are not allowed"));
    }
    Ok(())
}
